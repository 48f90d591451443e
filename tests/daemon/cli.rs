//! What the command line prints, and how it ends.

use std::process::Stdio;

use crate::process::{Place, text, without_durations};

#[test]
fn without_a_daemon_every_verb_says_how_to_start_one() {
    let place = Place::new();
    let verbs: [&[&str]; 8] = [
        &["list"],
        &["info", "1"],
        &["watch", "1"],
        &["wait", "1"],
        &["cancel", "1"],
        &["why", "1"],
        &["locks"],
        &["submit", "OP_TEST_DELAY", "duration=1"],
    ];
    let socket = place.path("socket");
    let socket = socket.display();
    let expected = format!(
        "error: no daemon listens at {socket}\nhint: start one with: lockmasterd --socket {socket}\n"
    );
    for verb in verbs {
        let output = place.run(verb);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(3), expected.clone()));
        assert_eq!(text(&output.stdout), "", "{verb:?}");
    }
}

#[test]
fn usage_errors_end_with_2_and_typos_get_a_suggestion() {
    let place = Place::new();
    let cases: [(&[&str], &str); 10] = [
        (&["list", "--sort", "colour"], "there is no field \"colour\""),
        (&["list", "--where", "label~("], "unclosed group"),
        (&["wait", "1", "--timeout", "soon"], "expected a duration such as 500ms"),
        (&["timeline", "--last", "0"], "invalid value '0'"),
        (&["lst"], "'list'"),
        (&["list", "--jsn"], "'--json'"),
        (&["list", "-o", "statuss"], "'status'"),
        (&["info", "0"], "neither the id of a job nor a range of ids"),
        (&["submit", "OP_TEST_DELAY", "duration"], "expected KEY=VALUE"),
        (&["list", "--status", "done"], "[possible values: queued, waiting,"),
    ];
    for (args, said) in cases {
        let output = place.run(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

#[test]
fn what_the_daemon_refuses_ends_with_2_and_submits_nothing() {
    let place = Place::new();
    let _daemon = place.start();
    let cases: [(&[&str], &str); 7] = [
        (&["submit", "OP_NO_SUCH"], "hint: the opcodes known here are OP_TEST_DELAY"),
        (&["submit", "OP_TEST_DELAY", "duration=soon"], "wrong parameters for OP_TEST_DELAY"),
        (&["submit", "OP_TEST_DELAY", "duration=1", "--priority", "-21"], "-20 to 19"),
        (&["info", "7"], "error: there is no job 7\n"),
        (&["wait", "7"], "error: there is no job 7\nhint: lockmaster list"),
        (&["why", "7"], "error: there is no job 7\nhint: lockmaster list"),
        (&["watch", "7"], "error: there is no job 7\nhint: lockmaster list"),
    ];
    for (args, said) in cases {
        let output = place.run(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    assert_eq!(place.submit(&["duration=0.000001"]), "1");
}

#[test]
fn a_job_that_fails_ends_the_command_with_1() {
    let place = Place::new();
    let _daemon = place.start();
    let submit = ["submit", "OP_TEST_DELAY", "--wait"];
    let good = place.expect(0, &[&submit[..], &["duration=0.000001"]].concat());
    let bad = place.expect(1, &[&submit[..], &["duration=0"]].concat());
    assert_eq!((good.as_str(), bad.as_str()), ("1 success\n", "2 error\n"));
    place.expect(0, &["wait", "--quiet", "1"]);
    place.expect(1, &["wait", "--quiet", "1", "2"]);
    place.expect(1, &["watch", "2"]);
    let said = place.expect(1, &["cancel", "2"]);
    assert_eq!(said, "2: the job has ended (error)\n");
    let said = place.expect(1, &["priority", "3", "2"]);
    assert_eq!(said, "2: the job has ended (error)\n");
    for verb in [&["cancel", "1", "77"][..], &["priority", "3", "77"]] {
        let refused = place.run(verb);
        assert_eq!(refused.status.code(), Some(2), "{verb:?}");
        assert!(text(&refused.stderr).starts_with("error: there is no job 77\n"), "{verb:?}");
    }
    let waited = place.run(&["wait", "2"]);
    let why = "job 2, TEST_DELAY(0.0): Duration must be greater than zero\n";
    assert_eq!(text(&waited.stderr), why);
    let info = place.expect(0, &["info", "2"]);
    assert!(info.contains("result: Duration must be greater than zero"), "{info}");
}

#[test]
fn lists_are_tables_for_people_and_json_for_programs() {
    let place = Place::new();
    let _daemon = place.start();
    place.expect(0, &["submit", "OP_TEST_DELAY", "duration=0.5e-3", "--label", "nap", "--wait"]);
    place.expect(1, &["submit", "OP_TEST_DELAY", "duration=0", "--wait"]);
    let table = place.expect(0, &["list", "-o", "id,status,label,summary"]);
    place.expect(0, &["submit", "OP_TEST_DELAY", "duration=1e-6", "--label", "\u{1b}[2J", "-w"]);
    let table = table + &place.expect(0, &["list", "3", "-o", "label"]);
    let expected = "\
ID  STATUS   LABEL  SUMMARY
1   success  nap    TEST_DELAY(5.0e-4)
2   error    -      TEST_DELAY(0.0)
LABEL
\u{fffd}[2J
";
    assert_eq!(table, expected);
    let json = place.expect(0, &["list", "--json", "--status", "error", "-o", "id,opresult"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let error = serde_json::json!(["OpPrereqError", ["Duration must be greater than zero"]]);
    assert_eq!(json, serde_json::json!([{"id": 2, "opresult": [error]}]));
}

#[test]
fn what_a_job_waits_for_is_said() {
    let place = Place::new();
    let _daemon = place.start();
    let holder = place.submit(&["duration=1000", "on_nodes=[\"alpha\"]"]);
    place.wait_for_status(&holder, "running");
    let waiter = place.submit(&["duration=0.1e-3", "on_nodes=[\"alpha\"]"]);
    place.wait_for_status(&waiter, "waiting");
    let after = place.submit(&["duration=0.1e-3", "--after", &waiter]);
    let why = explained(&place, &waiter);
    let chain = "\
job 2 has waited T for the lock node/alpha (exclusive)
  job 1 has held it (exclusive) for T; it executes OP_TEST_DELAY
";
    assert!(why.starts_with(chain), "{why}");
    let why = explained(&place, &after);
    let indented = chain.replace("job", "  job");
    assert_eq!(why, format!("job 3 waits for job 2 to end\n{indented}"));
    place.expect(0, &["priority", "-5", &waiter]);
    assert_eq!(place.expect(0, &["list", &waiter, "-o", "priority"]), "PRIORITY\n-5\n");
    let info = place.expect(0, &["info", &waiter]);
    assert!(info.contains("why: job 2 has waited "), "{info}");
    place.expect(1, &["cancel", &holder]);
    assert_eq!(place.expect(0, &["wait", &waiter, &after]), "2 success\n3 success\n");
}

/// Why a job waits, with every duration as T; it is starting a moment before it stands in line.
fn explained(place: &Place, id: &str) -> String {
    let mut asked = std::iter::repeat_with(|| place.expect(0, &["why", id]));
    let why = asked.find(|why| !why.contains("is about to start\n")).unwrap();
    without_durations(&why)
}

#[test]
fn watching_prints_what_the_job_says() {
    let place = Place::new();
    let _daemon = place.start();
    let id = place.submit(&["duration=0.1e-3", "repeat=2"]);
    let output = place.run(&["watch", &id]);
    let expected = " - INFO: Test delay iteration 0/1\n - INFO: Test delay iteration 1/1\n";
    assert_eq!(text(&output.stdout), expected);
    assert!(text(&output.stderr).ends_with("job 1 success\n"));
    assert!(!text(&output.stderr).contains('\u{1b}'), "no colours where nobody sees them");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let place = Place::new();
    let _daemon = place.start();
    place.submit(&["duration=0.1e-3"]);
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(reader);
    let mut command = place.cli(&["list"]);
    let child =
        command.stdout(std::os::fd::OwnedFd::from(writer)).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn a_file_of_jobs_is_submitted_whole_or_not_at_all() {
    let place = Place::new();
    let _daemon = place.start();
    let file = place.path("jobs.toml");
    let job = |label: &str, more: &str| {
        let op = format!("op = [{{ OP_ID = 'OP_TEST_DELAY', duration = 0.1e-3{more} }}]");
        format!("[[job]]\nlabel = '{label}'\n{op}\n")
    };
    let path = file.to_str().unwrap();
    std::fs::write(&file, job("one", "") + &job("two", ", nosuch = 1")).unwrap();
    let refused = place.run(&["submit", path]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("nosuch"), "{}", text(&refused.stderr));
    std::fs::write(&file, job("one", "") + &job("two", ", depends = ['one']")).unwrap();
    assert_eq!(place.expect(0, &["submit", path, "--wait"]), "1 success\n2 success\n");
    assert_eq!(place.expect(0, &["list", "-o", "label"]), "LABEL\none\ntwo\n");
    std::fs::write(&file, "[[job]]\nlabell = 'x'\n").unwrap();
    let refused = place.run(&["submit", path]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("jobs.toml:2:1"), "{}", text(&refused.stderr));
    let mixed = place.run(&["submit", path, "--label", "x"]);
    assert_eq!(mixed.status.code(), Some(2), "{}", text(&mixed.stderr));
    let none = place.run(&["submit", "no-such-file.toml"]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
}

#[test]
fn who_waits_no_longer_than_so_long_ends_with_124() {
    let place = Place::new();
    let _daemon = place.start();
    place.submit(&["duration=1000"]);
    let done = place.submit(&["duration=1e-6"]);
    place.expect(0, &["wait", &done]);
    for (args, said) in [
        (&["wait", "--timeout", "10ms", "1", "2"][..], "1 running\n2 success\n"),
        (&["wait", "--timeout", "0", "--quiet", "1"], ""),
        (&["wait", "--timeout", "0.01", "--any", "1"], ""),
    ] {
        assert_eq!(place.expect(124, args), said, "{args:?}");
    }
    assert_eq!(place.expect(0, &["wait", "--timeout", "0", "2"]), "2 success\n");
    let said = place.expect(0, &["wait", "--timeout", "1h", "--until", "running", "1"]);
    assert_eq!(said, "1 running\n");
}

#[test]
fn a_job_comes_after_all_jobs_of_a_label() {
    let place = Place::new();
    let _daemon = place.start();
    for seconds in ["1000", "1001"] {
        let duration = format!("duration={seconds}");
        place.expect(0, &["submit", "OP_TEST_DELAY", &duration, "--label", "first"]);
    }
    let last = place.submit(&["duration=1e-6", "--after", "first"]);
    let info = place.expect(0, &["info", &last]);
    assert!(info.contains("depends: [[1,[\"success\"]],[2,[\"success\"]]]"), "{info}");
    let missing = place.run(&["submit", "OP_TEST_DELAY", "duration=1", "--after", "second"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn conditions_are_about_times_and_truths_too() {
    let place = Place::new();
    let _daemon = place.start();
    place.submit(&["duration=1e-6", "--wait"]);
    let table = |condition: &str| {
        place.expect(0, &["list", "--archived", "-o", "id", "--where", condition])
    };
    let (with, without) = ("ID  ARCHIVED\n1   false\n", "ID  ARCHIVED\n");
    assert_eq!(table("received_ts>2001-01-01"), with);
    assert_eq!(table("received_ts<2001-01-01 10:30"), without);
    assert_eq!(
        (table("archived=false").as_str(), table("archived!=false").as_str()),
        (with, without)
    );
    place.expect(0, &["archive", "1"]);
    assert_eq!(table("archived=true"), "ID  ARCHIVED\n1   true\n");
    assert_eq!(place.expect(0, &["why", "1"]), "job 1 has ended: success\n");
}

#[test]
fn what_is_printed_for_programs_is_json_whatever_there_is() {
    let place = Place::new();
    let _daemon = place.start();
    let verbs: [&[&str]; 9] = [
        &["list", "--json"],
        &["list", "--json", "--archived", "--sort", "-end_ts"],
        &["info", "--json", "1"],
        &["why", "--json", "1"],
        &["locks", "--json"],
        &["locks", "--json", "--graph"],
        &["stats", "--json"],
        &["filter", "list", "--json"],
        &["filter", "info", "--json"],
    ];
    let check = |when: &str| {
        for verb in verbs {
            let output = place.run(verb);
            let out = text(&output.stdout);
            // An error is no result: nothing is printed then.
            let valid = serde_json::from_str::<serde_json::Value>(&out).is_ok();
            assert_eq!(valid, output.status.success(), "{when}: {verb:?}: {out}");
            assert!(!out.contains('\u{1b}'), "{when}: {verb:?}: {out}");
        }
    };
    check("in an empty queue");
    place.submit(&["duration=1000", "on_nodes=[\"alpha\"]", "--label", "\u{1b}[31mred\"\n"]);
    place.wait_for_status("1", "running");
    place.submit(&["duration=1", "on_nodes=[\"alpha\"]"]);
    place.expect(0, &["filter", "add", "pause", "--opcode", "OP_X", "--reason", "\u{1b}[2J"]);
    check("with jobs");
}
