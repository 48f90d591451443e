//! Runs that are killed, stopped, or started twice.

use rustix::process::Signal;

use crate::place::Place;

const THREE_STEPS: &str = r#"
[[job]]
label = "steps"
op = [
    { OP_ID = "OP_STEP", name = "one" },
    { OP_ID = "OP_STEP", name = "two" },
    { OP_ID = "OP_STEP", name = "three" },
]

[[job]]
label = "after"
depends = ["steps"]
op = [{ OP_ID = "OP_NOTE", name = "after" }]
"#;

/// Runs what is left, which has to be those steps.
fn finish(place: &Place, steps: &[&str]) -> Vec<String> {
    let run = place.start("jobs.toml");
    for step in steps {
        assert_eq!(place.began(), *step);
        place.go_on();
    }
    let ended = run.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.contains("going on with"), "{ended:?}");
    place.notes()
}

#[test]
fn a_killed_run_goes_on_without_doing_finished_opcodes_again() {
    let place = Place::new();
    place.jobs("jobs.toml", THREE_STEPS);
    let run = place.start("jobs.toml");
    assert_eq!(place.began(), "one");
    place.go_on();
    assert_eq!(place.began(), "two");
    run.kill();
    let expected = [
        "begin one",
        "end one",
        "begin two",
        "begin two",
        "end two",
        "begin three",
        "end three",
        "after",
    ];
    assert_eq!(finish(&place, &["two", "three"]), expected);
    let again = place.start("jobs.toml");
    assert_eq!(place.began(), "one", "a run that is over can be run again");
    again.kill();
}

#[test]
fn ctrl_c_lets_the_opcode_finish_and_says_how_to_go_on() {
    let place = Place::new();
    place.jobs("jobs.toml", THREE_STEPS);
    let mut run = place.start("jobs.toml");
    assert_eq!(place.began(), "one");
    run.signal(Signal::INT);
    run.wait_until_it_says("executing opcodes finish");
    place.go_on();
    let ended = run.wait();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.err.contains("2 jobs are left\nhint: `lockmaster run "), "{ended:?}");
    assert_eq!(place.notes(), ["begin one", "end one"]);
    let expected =
        ["begin one", "end one", "begin two", "end two", "begin three", "end three", "after"];
    assert_eq!(finish(&place, &["two", "three"]), expected);
}

#[test]
fn a_second_ctrl_c_ends_the_command_which_then_runs_again() {
    let place = Place::new();
    place.jobs("jobs.toml", THREE_STEPS);
    let mut run = place.start("jobs.toml");
    assert_eq!(place.began(), "one");
    place.go_on();
    assert_eq!(place.began(), "two");
    run.signal(Signal::INT);
    run.wait_until_it_says("executing opcodes finish");
    run.signal(Signal::INT);
    let ended = run.wait();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(place.notes(), ["begin one", "end one", "begin two"]);
    assert_eq!(finish(&place, &["two", "three"])[3..5], ["begin two", "end two"]);
}

#[test]
fn a_second_run_on_the_same_state_is_refused_and_named_the_first() {
    let place = Place::new();
    place.jobs("jobs.toml", THREE_STEPS);
    let run = place.start("jobs.toml");
    assert_eq!(place.began(), "one");
    let second = place.run("jobs.toml", &[]);
    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.err.contains("lockmaster run"), "{second:?}");
    assert!(second.err.contains("hint: "), "{second:?}");
    run.kill();
}

#[test]
fn unfinished_jobs_of_another_file_are_not_touched_unless_given_up() {
    let place = Place::new();
    place.jobs("jobs.toml", THREE_STEPS);
    let run = place.start("jobs.toml");
    assert_eq!(place.began(), "one");
    run.kill();
    let other = r#"
        [[job]]
        op = [{ OP_ID = "OP_NOTE", name = "other" }]
    "#;
    place.jobs("other.toml", other);
    let refused = place.run("other.toml", &[]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.err.contains("jobs.toml left 2 jobs unfinished here"), "{refused:?}");
    place.jobs("jobs.toml", other);
    let changed = place.run("jobs.toml", &[]);
    assert!(changed.err.contains("jobs.toml has changed since"), "{changed:?}");
    let given_up = place.run("other.toml", &["--cancel-unfinished"]);
    assert_eq!(given_up.code, Some(0), "{given_up:?}");
    assert_eq!(place.notes(), ["begin one", "other"]);
}

#[test]
fn a_run_killed_right_before_its_summary_shows_that_and_does_nothing_again() {
    let place = Place::new();
    place.jobs("jobs.toml", "[[job]]\nop = [{ OP_ID = \"OP_FAIL\", name = \"x\" }]\n");
    let first = place.run("jobs.toml", &[]);
    std::fs::remove_file(place.path("state/shown")).unwrap();
    let second = place.run("jobs.toml", &[]);
    assert_eq!((first.code, second.code), (Some(1), Some(1)), "{second:?}");
    assert_eq!(first.out, second.out);
    assert!(second.err.contains("going on with"), "{second:?}");
    assert_eq!(place.notes(), ["x", "undo x"]);
    assert_eq!(place.run("jobs.toml", &[]).code, Some(1));
    assert_eq!(place.notes(), ["x", "undo x", "x", "undo x"], "what is over can be run again");
}
