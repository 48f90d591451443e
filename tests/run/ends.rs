//! How runs end: exit codes, summaries, and what is said of bad input.

use serde_json::Value;

use crate::place::Place;

#[test]
fn a_run_that_succeeds_exits_with_0_and_sums_up() {
    let place = Place::new();
    let jobs = r#"
        [[job]]
        label = "first"
        op = [{ OP_ID = "OP_NOTE", name = "1" }, { OP_ID = "OP_NOTE", name = "2" }]
    "#;
    place.jobs("jobs.toml", jobs);
    let ended = place.run("jobs.toml", &["--verbose"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("the job ended as expected"), "{ended:?}");
    assert!(ended.err.contains("first: | said 2"), "{ended:?}");
    assert_eq!(place.notes(), ["1", "2"]);
}

#[test]
fn a_failed_job_is_undone_and_explained_and_exits_with_1() {
    let place = Place::new();
    let jobs = r#"
        [[job]]
        label = "doomed"
        op = [{ OP_ID = "OP_FAIL", name = "x" }, { OP_ID = "OP_NOTE", name = "never" }]

        [[job]]
        label = "dependent"
        depends = ["doomed"]
        op = [{ OP_ID = "OP_NOTE", name = "never" }]
    "#;
    place.jobs("jobs.toml", jobs);
    let ended = place.run("jobs.toml", &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.contains("0 jobs ended as expected, 2 did not"), "{ended:?}");
    assert!(ended.err.contains("doomed: error: OP_FAIL"), "{ended:?}");
    assert!(ended.err.contains("| no luck with x"), "{ended:?}");
    assert_eq!(place.notes(), ["x", "undo x"]);
}

#[test]
fn a_failure_that_the_file_expects_exits_with_0() {
    let place = Place::new();
    let jobs = r#"
        [[job]]
        label = "doomed"
        expect = "error"
        op = [{ OP_ID = "OP_FAIL", name = "x" }]
    "#;
    place.jobs("jobs.toml", jobs);
    let ended = place.run("jobs.toml", &["--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let summary: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(summary["as_expected"], true);
    assert_eq!(summary["jobs"][0]["status"], "error");
    assert_eq!(summary["jobs"][0]["ops"][0]["undone"], true);
}

const NOTE: &str = r#"{ OP_ID = "OP_NOTE", name = "x" }"#;

#[test]
fn a_bad_file_exits_with_2_names_the_place_and_submits_nothing() {
    let place = Place::new();
    let job = |op: &str| format!("[[job]]\nlabel = \"j\"\nop = [{op}]\n");
    let cases = [
        (job(r#"{ OP_ID = "OP_NOBODY" }"#), "unknown opcode OP_NOBODY"),
        (job(r#"{ OP_ID = "OP_NOTE" }"#), "name"),
        (job(r#"{ OP_ID = "OP_NOTE", name = 5 }"#), "name"),
        (job(r#"{ OP_ID = "OP_NOTE", name = "x", nmae = "y" }"#), "nmae"),
        (job("").replace("op =", "depends = [\"nobody\"]\nop = "), "at least one opcode"),
        (job(NOTE).replace("op =", "depends = [\"nobody\"]\nop ="), "nobody"),
        (job(NOTE).replace("op =", "depends = [\"j\"]\nop ="), "wait for each other: j -> j"),
        ("[[job]\n".to_owned(), "jobs.toml:"),
    ];
    for (jobs, said) in cases {
        place.jobs("jobs.toml", &jobs);
        let ended = place.run("jobs.toml", &[]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.err.contains("jobs.toml:"), "{ended:?}");
        assert!(ended.err.contains(said), "{said}: {ended:?}");
        assert!(!place.path("state").exists(), "{ended:?}");
    }
}

#[test]
fn what_cannot_be_opened_is_said_with_its_name() {
    let place = Place::new();
    let missing = place.run("missing.toml", &[]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.err.contains("missing.toml"), "{missing:?}");
    place.jobs("jobs.toml", "[[job]]\nop = [{ OP_ID = \"OP_NOTE\", name = \"x\" }]\n");
    let nowhere = place.run("jobs.toml", &["--state-dir", "/dev/null/state"]);
    assert_eq!(nowhere.code, Some(2), "an option twice is a usage error: {nowhere:?}");
    std::fs::write(place.path("state"), "a file").unwrap();
    let blocked = place.run("jobs.toml", &[]);
    assert_eq!(blocked.code, Some(3), "{blocked:?}");
    assert!(blocked.err.contains("state"), "{blocked:?}");
    assert!(blocked.err.contains("hint: "), "{blocked:?}");
}

#[test]
fn no_workers_is_a_usage_error() {
    let place = Place::new();
    place.jobs("jobs.toml", "[[job]]\nop = [{ OP_ID = \"OP_NOTE\", name = \"x\" }]\n");
    let ended = place.run("jobs.toml", &["--workers", "0"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.err.contains("at least one worker"), "{ended:?}");
}

#[test]
fn a_failed_undo_is_explained_and_nothing_a_command_says_moves_the_cursor() {
    let place = Place::new();
    place.jobs(
        "jobs.toml",
        r#"
[[opcode]]
id = "OP_ESCAPE"
argv = ["sh", "-c", 'printf "a\033[2Jb\rc\n" >&2; exit 3']
undo = ["sh", "-c", 'echo cannot >&2; exit 7']

[[job]]
label = "escape"
op = [{ OP_ID = "OP_ESCAPE" }]
"#,
    );
    let ended = place.run("jobs.toml", &["--verbose"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("OP_ESCAPE could not be undone: sh failed, exit code 7: cannot"));
    let controls = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
    assert!(!controls(&ended.err) && !controls(&ended.out), "{ended:?}");
}

#[test]
fn a_reader_that_has_seen_enough_does_not_make_a_failed_run_a_success() {
    let place = Place::new();
    place.jobs("jobs.toml", "[[job]]\nop = [{ OP_ID = \"OP_FAIL\", name = \"x\" }]\n");
    let mut command = place.command("jobs.toml", &[]);
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    drop(reader);
    let errors = writer.try_clone().unwrap();
    let status = command.stdout(writer).stderr(errors).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
