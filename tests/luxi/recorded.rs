//! Requests that real Ganeti was sent, and what it answered.

use lockmaster::vocabulary::Status;

use crate::fake::{Raw, Served};

/// Requests, the recorded answer, and whether the connection stayed open.
const PROBES: [(&str, &str, bool); 18] = [
    (
        "hello",
        r#""Failed to parse request: parsing top-level JSON message: Invalid JSON: a JSON text a serialized object or array at the top level.""#,
        false,
    ),
    (
        "",
        r#""Failed to parse request: parsing top-level JSON message: Invalid JSON: a JSON text a serialized object or array at the top level.""#,
        false,
    ),
    (
        "[1,2]",
        r#""Failed to parse request: parsing top-level JSON message: Unable to read JSObject""#,
        false,
    ),
    (
        r#"{"method":"QueryClusterInfo"}"#,
        r#""Failed to parse request: key 'args' not found, object contains only [\"method\"]""#,
        false,
    ),
    (
        r#"{"args":[]}"#,
        r#""Failed to parse request: key 'method' not found, object contains only [\"args\"]""#,
        false,
    ),
    (
        r#"{"method": "NoSuch", "args": []}"#,
        r#""Failed to parse request: Unable to parse LUXI request method: Invalid string value for type LuxiReq: \"NoSuch\"""#,
        false,
    ),
    (
        r#"{"method":1,"args":[]}"#,
        r#""Failed to parse request: Unable to parse LUXI request method: Can't parse value for 'LuxiReq': Unable to read String""#,
        false,
    ),
    (
        r#"{"method": "SubmitJob", "args": [[{"OP_ID": "OP_TEST_DELAY", "duration": 0.001}]]}"#,
        r#""Failed to parse request: SubmitJob: key 'reason' not found, object contains only [\"OP_ID\",\"duration\"]""#,
        false,
    ),
    (
        r#"{"method": "SubmitJob", "args": [[{"OP_ID": "OP_TEST_DELAY", "duration": 0.001, "on_master": false, "on_nodes": [], "priority": 3}]]}"#,
        r#""Failed to parse request: SubmitJob: Can't parse value for 'priority': Invalid string value for type OpSubmitPriority: 3""#,
        false,
    ),
    (
        r#"{"method": "SubmitJob", "args": [[{"OP_ID": "OP_TEST_DELAY", "duration": 0.001, "on_master": false, "on_nodes": [], "depends": [[1, ["nosuch"]]]}]]}"#,
        r#""Failed to parse request: SubmitJob: Can't parse value for 'depends': Invalid string value for type FinalizedJobStatus: \"nosuch\"""#,
        false,
    ),
    (
        r#"{"method": "WaitForJobChange", "args": [47, ["status"], null, null]}"#,
        r#""Failed to parse request: Parsing WaitForJobChange message: Not enough values""#,
        false,
    ),
    (
        r#"{"method": "QueryJobs", "args": [[47], ["id", "nosuch"]]}"#,
        r#"["OpPrereqError",["Unknown output fields selected: nosuch","wrong_input"]]"#,
        true,
    ),
    (
        r#"{"method": "WaitForJobChange", "args": [999999, ["status"], null, null, 1]}"#,
        r#"["JobLost",["Can't load job file"]]"#,
        true,
    ),
    (
        r#"{"method": "PickupJob", "args": [47]}"#,
        r#"["GenericError",["Luxi call 'PickupJob' is for internal use only"]]"#,
        true,
    ),
    (
        r#"{"method": "Query", "args": ["job", ["id"], ["?what", "id"]]}"#,
        r#""Failed to parse request: Cannot convert value '[\"job\", [\"id\"], [\"?what\", \"id\"]]', error: Unknown filter operand '?what'""#,
        false,
    ),
    (
        r#"{"method": "Query", "args": ["job", ["id"], ["==", "nosuch", 1]]}"#,
        r#"["ParameterError",["Can't find field named 'nosuch'"]]"#,
        true,
    ),
    (
        r#"{"method": "Query", "args": ["nosuch", ["id"], null]}"#,
        r#""Failed to parse request: Cannot convert value '[\"nosuch\", [\"id\"], null]', error: Can't parse value 'nosuch' as neitherQueryTypeLuxi nor QueryTypeOp""#,
        false,
    ),
    (
        r#"{"method": "MasterFailover", "args": []}"#,
        r#"["GenericError",["Luxi call 'MasterFailover' is not supported by lockmasterd"]]"#,
        true,
    ),
];

#[test]
fn what_cannot_be_done_is_answered_as_recorded() {
    let served = Served::new();
    for (message, answer, stays_open) in PROBES {
        let mut client = served.connect();
        client.send(&format!("{message}\u{3}"));
        let expected = format!("{{\"success\":false,\"result\":{answer}}}");
        assert_eq!(client.receive().unwrap(), expected, "{message}");
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.receive(), None, "nothing follows {message}");
        let mut again = served.connect();
        again.send(&format!("{message}\u{3}{message}\u{3}"));
        assert!(again.receive().is_some());
        assert_eq!(again.receive().is_some(), stays_open, "{message}");
    }
}

#[test]
fn what_can_be_done_is_answered_as_recorded() {
    let served = Served::new();
    let mut client = served.connect();
    let submit = r#"[[[{"OP_ID":"OP_X","reason":[]}],[{"OP_ID":"OP_X","reason":[],"depends":[[-1,["success"]]]}]]]"#;
    let probes = [
        ("CancelJob", "[999999]", r#"[false,"Job 999999 not found in queue"]"#),
        ("CancelJob", r#"["999999", false]"#, r#"[false,"Job 999999 not found in queue"]"#),
        ("SubmitManyJobs", "[[]]", "[]"),
        ("SubmitJob", "[[]]", "1"),
        ("SubmitManyJobs", submit, "[[true,2],[true,3]]"),
        ("QueryJobs", r#"[[999999],["id","status"]]"#, "[[999999,null]]"),
        ("QueryJobs", r#"[["2"],["id","status"]]"#, r#"[[2,"queued"]]"#),
        ("QueryJobs", r#"[[3,2,3],["id"]]"#, "[[3],[2]]"),
        ("QueryJobs", r#"[null,["id"]]"#, "[[1],[2],[3]]"),
        ("QueryJobs", r#"[[],["id"]]"#, "[[1],[2],[3]]"),
        ("ChangeJobPriority", r#"["999999",10]"#, r#"[false,"Job 999999 not found in queue"]"#),
        ("ChangeJobPriority", "[999999,77]", r#"[false,"Job 999999 not found in queue"]"#),
        (
            "ChangeJobPriority",
            "[3,-10]",
            r#"[true,"Priorities of pending opcodes for job 3 have been changed to -10"]"#,
        ),
        ("CancelJob", "[2,false]", r#"[true,"Dequeued job 2"]"#),
        ("WaitForJobChange", r#"[2,["status","nosuch"],null,null,1]"#, "[[null,null],[]]"),
        (
            "WaitForJobChange",
            r#"[2,["status","opstatus"],null,null,1]"#,
            r#"[["queued",["queued"]],[]]"#,
        ),
        (
            "QueryJobs",
            r#"[[2],["id","status","priority","archived","opresult","opstatus","oplog","opstart","opexec","opend","oppriority","summary","received_ts","start_ts","end_ts"]]"#,
            r#"[[2,"queued",0,false,[null],["queued"],[[]],[null],[null],[null],[0],["X"],[1,2],null,null]]"#,
        ),
    ];
    for (method, args, result) in probes {
        let expected = format!("{{\"success\":true,\"result\":{result}}}");
        assert_eq!(client.call(method, args), expected, "{method} {args}");
    }
}

#[test]
fn tables_are_answered_as_recorded() {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let served = Served::new();
    let mut client = served.connect();
    client.submit();
    client.submit();
    served.queue.set_status(2, Status::Running);
    let id = r#"{"name":"id","title":"ID","kind":"number","doc":"Job ID"}"#;
    let status = r#"{"name":"status","title":"Status","kind":"text","doc":"Job status"}"#;
    let unknown =
        r#"{"name":"nosuch","title":"nosuch","kind":"unknown","doc":"Unknown field 'nosuch'"}"#;
    let both = format!("{id},{status}");
    let cases = [
        (r#"["job",["id","status"],["=","id",2]]"#, &both, r#"[[0,2],[0,"running"]]"#),
        (r#"["job",["id","status"],["==","status","queued"]]"#, &both, r#"[[0,1],[0,"queued"]]"#),
        (r#"["job",["id","status"],["=~","status","^r"]]"#, &both, r#"[[0,2],[0,"running"]]"#),
        (
            r#"["job",["id","status"],["|",["==","id",9999],["==","id",1],["==","id",1]]]"#,
            &both,
            r#"[[0,9999],[3,null]],[[0,1],[0,"queued"]]"#,
        ),
        (
            r#"["job",["id","nosuch"],null]"#,
            &format!("{id},{unknown}"),
            "[[0,1],[1,null]],[[0,2],[1,null]]",
        ),
        (r#"["job",["id"],["&",[">","id",1],["!",["?","archived"]]]]"#, &id.into(), "[[0,2]]"),
        (r#"["filter",["nosuch"],null]"#, &unknown.into(), ""),
    ];
    for (args, fields, data) in cases {
        let expected =
            format!("{{\"success\":true,\"result\":{{\"fields\":[{fields}],\"data\":[{data}]}}}}");
        assert_eq!(json(&client.call("Query", args)), json(&expected), "{args}");
    }
    let some = client.call("QueryFields", r#"["job",["id","nosuch"]]"#);
    let expected = format!("{{\"success\":true,\"result\":{{\"fields\":[{id},{unknown}]}}}}");
    assert_eq!(json(&some), json(&expected));
}

#[test]
fn locks_are_told_without_intentions() {
    let served = Served::new();
    let mut client = served.connect();
    let answer = client.call("Query", r#"["lock",["name","mode","owner","pending"],null]"#);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let pending = serde_json::json!([["exclusive", ["3"]], ["shared", ["4"]]]);
    let expected = serde_json::json!([
        [[0, "cluster/BGL"], [0, "shared"], [0, ["2", "3"]], [0, []]],
        [[0, "node/[lockset]"], [0, null], [0, []], [0, []]],
        [[0, "node/a"], [0, "exclusive"], [0, ["2"]], [0, pending]],
    ]);
    assert_eq!(answer["result"]["data"], expected);
    let some = client.call("Query", r#"["lock",["name"],["==","mode","exclusive"]]"#);
    assert!(some.contains("ParameterError"), "null is not a text: {some}");
}

#[test]
fn a_drained_queue_takes_only_what_says_that_it_knows() {
    let served = Served::new();
    let mut client = served.connect();
    let flag = |client: &mut Raw| client.call("QueryConfigValues", r#"[["drain_flag","x"]]"#);
    assert_eq!(client.call("SetDrainFlag", "[true]"), r#"{"success":true,"result":true}"#);
    assert_eq!(flag(&mut client), r#"{"success":true,"result":[true,null]}"#);
    let refused = r#"{"success":false,"result":["GenericError",["Queue drained"]]}"#;
    assert_eq!(client.call("SubmitJob", "[[]]"), refused);
    assert_eq!(client.call("SubmitManyJobs", "[[[]]]"), refused);
    let taken = client.call("SubmitJobToDrainedQueue", "[[]]");
    assert_eq!(taken, r#"{"success":true,"result":1}"#);
    client.call("SetDrainFlag", "[false]");
    assert_eq!(flag(&mut client), r#"{"success":true,"result":[false,null]}"#);
    assert_eq!(client.call("SubmitJob", "[[]]"), r#"{"success":true,"result":2}"#);
}

#[test]
fn one_bad_job_refuses_the_whole_submission_and_takes_no_id() {
    let served = Served::new();
    let mut client = served.connect();
    let bad = r#"[[[{"OP_ID":"OP_X","reason":[]}],[{"OP_ID":"OP_X","reason":[],"priority":19}]]]"#;
    let answer = client.call("SubmitManyJobs", bad);
    assert_eq!(
        answer,
        r#"{"success":false,"result":"Failed to parse request: SubmitManyJobs: Can't parse value for 'priority': Invalid string value for type OpSubmitPriority: 19"}"#
    );
    let mut client = served.connect();
    assert_eq!(client.call("SubmitJob", "[[]]"), r#"{"success":true,"result":1}"#);
}

#[test]
fn echoed_opcodes_tell_where_in_the_queue_they_are() {
    let served = Served::new();
    let mut client = served.connect();
    let op = r#"[[{"duration":0.1,"dry_run":null,"debug_level":null,"priority":-10,"depends":null,"comment":"h\u00e9","reason":[["gnt:client:gnt-debug","delay",7]],"OP_ID":"OP_TEST_DELAY"}]]"#;
    client.call("SubmitJob", op);
    let answer = client.call("QueryJobs", r#"[[1],["ops","summary"]]"#);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let echoed = serde_json::json!({
        "OP_ID": "OP_TEST_DELAY", "duration": 0.1, "dry_run": false, "debug_level": 0,
        "priority": -10, "depends": null, "comment": "hé",
        "reason": [
            ["gnt:client:gnt-debug", "delay", 7],
            ["gnt:opcode:test_delay", "job=1;index=0", 1_000_002_000],
        ],
    });
    let expected = serde_json::json!([[[echoed], ["TEST_DELAY(0.1)"]]]);
    assert_eq!(answer["result"], expected);
}
