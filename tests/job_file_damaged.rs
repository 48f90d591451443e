//! Damaged job files: whatever is in them, the answer is an error with a place, never a panic.
#![cfg(feature = "commands")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

use lockmaster::interfaces::catalogue::Catalogue;
use lockmaster::interfaces::job_file::JobFile;
use lockmaster::vocabulary::Hierarchy;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestCaseResult};

const TOML: &str = include_str!("../examples/nightly.toml");
const JSON: &str = r#"[[{"OP_ID": "OP_A", "x": [1, -2.5e3, "é\n", null]}],
 [{"OP_ID": "OP_B", "depends": [[-1, ["success"]]], "priority": -5, "y": {"z": true}}]]"#;

/// One change to a text: that many characters at that place (in thousandths) become another.
type Change = (usize, usize, String);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let piece = prop_oneof![
        Just(String::new()),
        "[\\[\\]{}\"'=,.#|:\n-]{1,3}",
        Just("{".repeat(2000)),
        Just("[".repeat(2000)),
        Just("{x...}".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("\u{0}\u{feff}é".to_owned()),
        Just("OP_SCRUB".to_owned()),
    ];
    prop::collection::vec((0..1000usize, 0..30usize, piece), 1..4)
}

fn damaged(text: &str, changes: &[Change]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (place, length, piece) in changes {
        let start = place * chars.len() / 1000;
        let end = (start + length).min(chars.len());
        chars.splice(start..end, piece.chars());
    }
    chars.into_iter().collect()
}

fn is_read_or_refused_with_a_place(name: &str, text: &str) -> TestCaseResult {
    let known = Catalogue::new(Hierarchy::default()).with_any_other();
    if let Err(error) = JobFile::parse(name, text, known) {
        let shown = error.to_string();
        let place = shown.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        let mut numbers = place.unwrap_or_default().splitn(3, ':');
        let line = numbers.next().and_then(|line| line.parse::<usize>().ok());
        let column = numbers.next().and_then(|column| column.parse::<usize>().ok());
        let lines = text.matches('\n').count() + 1;
        if line.is_none_or(|line| line > lines) || column.is_none() {
            return Err(TestCaseError::fail(format!("without its place: {shown}")));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_damaged_toml_file_is_read_or_refused_with_a_place(changes in changes()) {
        is_read_or_refused_with_a_place("f.toml", &damaged(TOML, &changes))?;
    }

    #[test]
    fn a_damaged_json_file_is_read_or_refused_with_a_place(changes in changes()) {
        is_read_or_refused_with_a_place("f.json", &damaged(JSON, &changes))?;
    }
}

#[test]
fn the_undamaged_files_are_read() {
    let known = || Catalogue::new(Hierarchy::default()).with_any_other();
    assert_eq!(JobFile::parse("f.toml", TOML, known()).unwrap().jobs.len(), 15);
    assert_eq!(JobFile::parse("f.json", JSON, known()).unwrap().jobs.len(), 2);
}
