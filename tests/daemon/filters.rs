//! Filter rules through the socket: what Ganeti's clients sent and were answered, and what our
//! command line makes of them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::process::{Place, text};

const RECORDINGS: &str = include_str!("recordings/filters.jsonl");

struct Wire(UnixStream);

impl Wire {
    fn call(&mut self, request: &str) -> String {
        self.0.write_all(format!("{request}\u{3}").as_bytes()).expect("the daemon reads");
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(&[3]) {
            self.0.read_exact(&mut byte).expect("an answer");
            answer.extend(byte);
        }
        answer.pop();
        String::from_utf8(answer).expect("answers are UTF-8")
    }
}

/// An answer without what differs from run to run: when, and how many jobs there were before.
fn timeless(text: &str) -> Value {
    let watermark = regex::Regex::new(r#"(\[0,|",)46([,\]])"#).unwrap();
    let text = watermark.replace_all(text, "${1}0$2");
    let times = regex::Regex::new(r"\b\d{19}\b").unwrap();
    serde_json::from_str(&times.replace_all(&text, "0")).unwrap()
}

#[test]
fn ganetis_filter_clients_are_answered_as_by_ganeti() {
    let place = Place::new();
    let _daemon = place.start();
    let connect = || Wire(UnixStream::connect(place.path("socket")).unwrap());
    let (recorded_id, recorded_job) = ("6b3e588e-d6d2-4ab4-8695-336cb761dbf3", "47");
    let mut id = String::new();
    for line in RECORDINGS.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let said = |key: &str| line[key].as_str().unwrap();
        let request = said("request").replace(recorded_job, "1").replace(recorded_id, &id);
        // A request that cannot be read ends the connection.
        let answer = connect().call(&request);
        if request.contains("ReplaceFilter") && id.is_empty() {
            let value: Value = serde_json::from_str(&answer).unwrap();
            id = value["result"].as_str().unwrap().to_owned();
        }
        let expected = match said("request") {
            // On purpose: a job that is rejected says by which rule.
            wait if wait.contains("WaitForJobChange") => {
                let answer: Value = serde_json::from_str(&answer).unwrap();
                let sentence = format!("rejected by filter rule {id}: no delays");
                assert_eq!(answer["result"][0], json!(["canceled"]));
                assert_eq!(answer["result"][1][0][3], json!(sentence));
                continue;
            }
            submit if submit.contains("SubmitJob") => r#"{"success":true,"result":1}"#.to_owned(),
            _ => said("response").replace(recorded_id, &id),
        };
        assert_eq!(timeless(&answer), timeless(&expected), "{request}");
    }
}

#[test]
fn rules_that_are_wrong_are_refused_with_the_place() {
    let place = Place::new();
    let _daemon = place.start();
    let mut wire = Wire(UnixStream::connect(place.path("socket")).unwrap());
    let call = |wire: &mut Wire, method: &str, args: Value| -> Value {
        let request = json!({"method": method, "args": args}).to_string();
        serde_json::from_str(&wire.call(&request)).unwrap()
    };
    let unknown = FILTER;
    let cases = [
        (
            "ReplaceFilter",
            json!([null, 0, [["jobid", ["?", "id"]]], "PAUSE", []]),
            "predicates[0][1]: id is a number; this \"?\" needs true or false".to_owned(),
        ),
        (
            "ReplaceFilter",
            json!(["nonsense", 0, [], "PAUSE", []]),
            "\"nonsense\" is not the id of a filter rule".to_owned(),
        ),
        (
            "DeleteFilter",
            json!([unknown]),
            format!("Filter rule with UUID {unknown} does not exist"),
        ),
        (
            "QueryFilters",
            json!([[unknown], ["uuid"]]),
            format!("Filter rule with UUID {unknown} does not exist"),
        ),
        (
            "QueryFilters",
            json!([[], ["uuid", "colour"]]),
            "Unknown output fields selected: colour".to_owned(),
        ),
        (
            "LockmasterSubmit",
            json!([[{"label": null, "ops": [
                {"OP_ID": "OP_TEST_DELAY", "duration": 1, "reason": [["me", "rate-limit:x", 1]]},
            ]}]]),
            "job 0 of the submission has the reason \"rate-limit:x\", which is no rate limit"
                .to_owned(),
        ),
    ];
    for (method, args, expected) in cases {
        let answer = call(&mut wire, method, args);
        assert_eq!(
            (&answer["success"], &answer["result"][1][0]),
            (&json!(false), &json!(expected))
        );
    }
    // What cannot be read is answered in words, and ends the connection.
    for (args, expected) in [
        (json!([null, -1, [], "PAUSE", []]), "a number from 0, not -1"),
        (json!([null, 0, [], "STOP", []]), "\"STOP\" is not the action of a filter rule"),
        (json!([null, 0, [["jobid"]], "PAUSE", []]), "parameter list for 'jobid' predicate: []"),
        (json!([null, 0, []]), "invalid length"),
    ] {
        let mut wire = Wire(UnixStream::connect(place.path("socket")).unwrap());
        let answer = call(&mut wire, "ReplaceFilter", args);
        let said = answer["result"].as_str().unwrap();
        assert!(
            said.starts_with("Failed to parse request: Cannot convert value '[null,"),
            "{said}"
        );
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(place.expect(0, &["filter", "list", "--json"]).trim(), "[]");
}

const FILTER: &str = "00000000-0000-4000-8000-00000000000a";

#[test]
fn the_command_line_pauses_limits_and_rejects_and_survives_a_restart() {
    let place = Place::new();
    let daemon = place.start();
    let pause = ["filter", "replace", FILTER, "pause", "--opcode", "OP_TEST_DELAY"];
    let set = place.run(&[&pause[..], &["--reason", "stuck"]].concat());
    assert_eq!((text(&set.stdout), set.status.code()), (format!("{FILTER}\n"), Some(0)));
    assert_eq!(text(&set.stderr), "it decides about 0 jobs in the queue, 0 of them running\n");
    let id = place.submit(&["duration=0.1e-3"]);
    let said = format!(
        "job 1 is paused by filter rule {FILTER} (stuck)\n\
         it goes on when the rule is replaced or deleted: lockmaster filter delete {FILTER}\n"
    );
    assert_eq!(place.expect(0, &["why", &id]), said);
    drop(daemon);

    let _daemon = place.start();
    assert_eq!(place.expect(0, &["why", &id]), said);
    let table = place.expect(0, &["filter", "list"]);
    let cells: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let predicates = r#"[["opcode",["|",["==","OP_ID","OP_TEST_DELAY"]]]]"#;
    assert_eq!(cells[0], ["RULE", "PRIORITY", "ACTION", "JOBS", "RUNNING", "PREDICATES"]);
    assert_eq!(cells[1], [FILTER, "0", "pause", "1", "0", predicates]);
    let info = place.expect(0, &["filter", "info", FILTER]);
    let lines = [
        "action: pause",
        "watermark: job 0",
        "reason: stuck (gnt:user)",
        "jobs: decides about 1 job in the queue, 0 of them running",
    ];
    assert!(lines.iter().all(|line| info.contains(line)), "{info}");

    place.expect(0, &["filter", "replace", FILTER, "rate-limit:1"]);
    place.expect(0, &["wait", "--quiet", &id]);
    let runs = place.submit(&["duration=1000"]);
    place.wait_for_status(&runs, "running");
    let waits = place.submit(&["duration=0.1e-3"]);
    let why = place.expect(0, &["why", &waits]);
    let expected = format!(
        "job 3 waits for its turn: filter rule {FILTER} lets 1 run at once, 1 do: job 2\n  \
         job 2 has been executing OP_TEST_DELAY for "
    );
    assert!(why.starts_with(&expected), "{why}");
    let why: Value = serde_json::from_str(&place.expect(0, &["why", &waits, "--json"])).unwrap();
    assert_eq!(
        [&why["reason"], &why["rule"], &why["most"], &why["running"], &why["inside"][0]["job"]],
        [&json!("rate-limit"), &json!(FILTER), &json!(1), &json!(1), &json!(2)]
    );

    let reject = ["filter", "add", "reject", "--priority", "3", "--predicates"];
    let later = r#"[["jobid", ["<=", "id", "watermark"]]]"#;
    let other = place.expect(0, &[&reject[..], &[later]].concat());
    assert_eq!(
        place.expect(0, &["why", &waits]),
        why_text(&place, &waits),
        "asked after the limit"
    );
    assert_eq!(place.expect(0, &["filter", "delete", FILTER]), format!("{FILTER}: deleted\n"));
    place.expect(1, &["wait", "--quiet", &waits]);
    let info = place.expect(0, &["info", &waits]);
    assert!(info.contains(&format!("rejected by filter rule {}", other.trim())), "{info}");
    assert!(place.expect(0, &["list", &runs, "-o", "status"]).contains("running"));
}

fn why_text(place: &Place, id: &str) -> String {
    place.expect(0, &["why", id])
}

#[test]
fn a_limit_that_jobs_bring_along_is_told_by_its_name() {
    let place = Place::new();
    let _daemon = place.start();
    let tape = ["--reason", "rate-limit:1:tape"];
    let runs = place.submit(&[&["duration=1000"], &tape[..]].concat());
    place.wait_for_status(&runs, "running");
    let waits = place.submit(&[&["duration=0.1e-3"], &tape[..]].concat());
    let why = place.expect(0, &["why", &waits]);
    let said =
        "job 2 waits for its turn: the rate limit \"tape\" lets 1 run at once, 1 do: job 1\n";
    assert!(why.starts_with(said), "{why}");
    place.expect(1, &["cancel", &runs]);
    assert_eq!(place.expect(0, &["wait", &waits]), "2 success\n");
    let wrong =
        place.run(&["submit", "OP_TEST_DELAY", "duration=1", "--reason", "rate-limit:tape"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        text(&wrong.stderr).contains("hint: write rate-limit:N:NAME"),
        "{}",
        text(&wrong.stderr)
    );
}

#[test]
fn mistakes_in_rules_end_with_2_and_say_where() {
    let place = Place::new();
    let _daemon = place.start();
    let cases: [(&[&str], &str); 5] = [
        (&["filter", "add", "stop"], "expected accept, continue, pause, reject or rate-limit:N"),
        (&["filter", "add", "rate-limit:0"], "rate-limit:N with N from 1"),
        (
            &["filter", "add", "pause", "--predicates", r#"[["opcode", ["=", "x", true]]]"#],
            "predicates[0][1][2]: a field is not compared with true or false",
        ),
        (&["filter", "delete", FILTER], "there is no filter rule"),
        (&["filter", "info", "x"], "is not the id of a filter rule"),
    ];
    for (args, said) in cases {
        let output = place.run(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
