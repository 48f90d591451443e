//! The examples print what they say they show.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/chained.rs"]
mod chained;
#[path = "../examples/levels.rs"]
mod levels;
#[path = "../examples/restart.rs"]
mod restart;
#[path = "../examples/undo.rs"]
mod undo;

use std::error::Error;
use std::io::Write;

type Shows = fn(&mut dyn Write) -> Result<(), Box<dyn Error>>;

/// What an example prints; its `main` has to work as well.
fn printed(show: Shows, main: fn() -> Result<(), Box<dyn Error>>) -> String {
    main().unwrap();
    let mut out = Vec::new();
    show(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// `docs/examples.md` says what each prints.
fn assert_is_on_the_page(name: &str, expected: &str) {
    let said = format!("```text\n$ cargo run --example {name}\n{expected}```\n");
    assert!(include_str!("../docs/examples.md").contains(&said), "{said}");
}

#[test]
fn every_example_is_on_the_page() {
    let page = include_str!("../docs/examples.md");
    let examples = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap();
    for entry in examples {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // A directory holds parts of the example of that name, or is one itself.
        let source = name.strip_suffix(".rs").unwrap_or(&name);
        assert!(page.contains(&format!("examples/{source}")), "{name} is not on the page");
    }
}

#[test]
fn levels_of_ones_own() {
    let expected = "\
levels: pool, volume
holding tank (shared), tank/db, tank/web
job 1: success
";
    assert_eq!(printed(levels::show, levels::main), expected);
    assert_is_on_the_page("levels", expected);
}

#[test]
fn chained_jobs() {
    let expected = "\
job 1 (evacuate node1): success
job 2 (migrate web1): success, after 0 jobs
job 3 (migrate db1): success, after 0 jobs
job 4 (power node1 off): success, after 2 jobs
";
    assert_eq!(printed(chained::show, chained::main), expected);
    assert_is_on_the_page("chained", expected);
}

#[test]
fn a_job_that_is_taken_back() {
    let expected = "\
reserve the volume
export it to the host
attach it
take back: attach it
take back: export it to the host
take back: reserve the volume
opcode: success, undone
opcode: success, undone
opcode: error: the host does not see the device, undone
opcode: error: Preceding opcode failed
";
    assert_eq!(printed(undo::show, undo::main), expected);
    assert_is_on_the_page("undo", expected);
}

#[test]
fn a_job_that_goes_on_with_the_next_master() {
    restart::main().unwrap();
    let state = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    restart::show(state.path(), &mut out).unwrap();
    let expected = "\
the first master has stopped
part 1
part 2
part 2
part 3
job 1: success
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_is_on_the_page("restart", expected);
}
