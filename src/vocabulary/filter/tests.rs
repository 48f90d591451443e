//! The predicate language against a table, against a second opinion on random trees, and
//! against what is none.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::vocabulary::{Job, JobId, JobOp, OpCode, OpId, Params, Priority};

fn job() -> Job {
    let op = |id: &str, params: Value| OpCode {
        comment: (id == "OP_TEST_DELAY").then(|| "it's late".to_owned()),
        priority: Priority::HIGH,
        dry_run: id == "OP_BACKUP",
        reason: vec![Reason { source: "gnt:user".into(), text: "night run".into(), time_ns: 50 }],
        ..OpCode::new(OpId::new(id).unwrap(), Params::from_json(&params.to_string()).unwrap())
    };
    let delay =
        op("OP_TEST_DELAY", json!({"duration": 0.5, "on_nodes": ["n1", "n2"], "fast": true}));
    let backup = op("OP_BACKUP", json!({"instance": "web1", "disk": {"size": 7, "name": null}}));
    Job {
        id: JobId::new(12).unwrap(),
        label: None,
        received: Timestamp::from_micros(3),
        ops: vec![JobOp::new(delay), JobOp::new(backup)],
        feedback: crate::vocabulary::FeedbackLog::default(),
        cancel_requested: None,
        origin: None,
        terms: crate::vocabulary::JobTerms::default(),
    }
}

fn hold(predicates: &Value) -> bool {
    let predicates = Predicates::from_json(predicates).unwrap();
    predicates.hold(&Candidate::new(&job()), 11)
}

fn refusal(predicates: &Value) -> String {
    Predicates::from_json(predicates).unwrap_err().to_string()
}

#[test]
fn predicates_hold_as_the_table_says() {
    let table = [
        (json!([]), true),
        (json!([["jobid", ["=", "id", 12]]]), true),
        (json!([["jobid", [">", "id", "watermark"]]]), true),
        (json!([["jobid", ["<=", "id", "watermark"]]]), false),
        (json!([["jobid", ["!", ["<=", "id", 12.5]]]]), false),
        (json!([["jobid", ["&"]]]), true),
        (json!([["jobid", ["|"]]]), false),
        (json!([["jobid", ["|", ["<", "id", 3], [">=", "id", 12]]]]), true),
        (json!([["jobid", ["&", ["<", "id", 13], ["!=", "id", 12]]]]), false),
        (json!([["opcode", ["=", "OP_ID", "OP_BACKUP"]]]), true),
        (json!([["opcode", ["=", "OP_ID", "OP_OTHER"]]]), false),
        // One opcode has to satisfy the whole expression.
        (json!([["opcode", ["&", ["==", "OP_ID", "OP_BACKUP"], ["?", "fast"]]]]), false),
        (json!([["opcode", ["==", "OP_ID", "OP_BACKUP"]], ["opcode", ["?", "fast"]]]), true),
        (json!([["opcode", [">", "duration", 0.4]]]), true),
        (json!([["opcode", [">", "duration", "0.4"]]]), false),
        (json!([["opcode", ["=[]", "on_nodes", "n2"]]]), true),
        (json!([["opcode", ["=[]", "on_nodes", "n3"]]]), false),
        (json!([["opcode", ["=[]", "on_nodes", 2]]]), false),
        (json!([["opcode", ["=~", "instance", "^web\\d$"]]]), true),
        (json!([["opcode", ["=~", "duration", "."]]]), false),
        (json!([["opcode", ["=", "disk.size", 7]]]), true),
        (json!([["opcode", ["=", "disk.name", "x"]]]), false),
        (json!([["opcode", ["=", "disk.size.more", 7]]]), false),
        // What is not there is not equal, and `!` means what it says.
        (json!([["opcode", ["=", "nosuch", "x"]]]), false),
        (json!([["opcode", ["!=", "nosuch", "x"]]]), true),
        (json!([["opcode", ["!", ["=", "nosuch", "x"]]]]), true),
        (json!([["opcode", ["!", ["<", "nosuch", 3]]]]), true),
        (json!([["opcode", ["?", "nosuch"]]]), false),
        (json!([["opcode", ["?", "duration"]]]), false),
        (json!([["opcode", ["?", "dry_run"]]]), true),
        (json!([["opcode", ["=", "priority", -10]]]), true),
        (json!([["opcode", ["=", "debug_level", 0]]]), true),
        (json!([["opcode", ["=~", "comment", "late"]]]), true),
        (json!([["reason", ["=", "source", "gnt:user"]]]), true),
        (json!([["reason", ["=~", "reason", "run$"]]]), true),
        (json!([["reason", ["<", "timestamp", 51]]]), true),
        (json!([["reason", ["!", ["=", "source", "gnt:user"]]]]), true),
        // The step that the queue adds.
        (json!([["reason", ["=", "reason", "job=12;index=1"]]]), true),
        (json!([["reason", ["=", "source", "gnt:opcode:backup"]]]), true),
    ];
    for (predicates, expected) in table {
        assert_eq!(hold(&predicates), expected, "{predicates}");
    }
}

#[test]
fn what_could_never_hold_is_refused_with_its_place() {
    let table = [
        (json!("x"), "\"x\" is no list of predicates"),
        (json!([5]), "predicates[0]: expected [NAME, EXPRESSION], got 5"),
        (json!([[]]), "predicates[0]: expected [NAME, EXPRESSION], got []"),
        (
            json!([["nosuch", ["=", "a", "b"]]]),
            "malformed FilterPredicate: bad parameter list for 'nosuch' predicate: [[\"=\",\"a\",\"b\"]]",
        ),
        (
            json!([["jobid"]]),
            "malformed FilterPredicate: bad parameter list for 'jobid' predicate: []",
        ),
        (json!([["jobid", null]]), "predicates[0][1]: expected [OPERATOR, ...], got null"),
        (json!([["jobid", ["~", "id", 1]]]), "predicates[0][1][0]: there is no operator \"~\""),
        (
            json!([["jobid", ["&", ["=", "id", 1], ["=", "nr", 1]]]]),
            "predicates[0][1][2][1]: a job has no field \"nr\" here, only \"id\"",
        ),
        (
            json!([["jobid", ["?", "id"]]]),
            "predicates[0][1]: id is a number; this \"?\" needs true or false",
        ),
        (
            json!([["jobid", ["=~", "id", "1"]]]),
            "predicates[0][1]: id is a number; this \"=~\" needs a text",
        ),
        (
            json!([["jobid", ["=[]", "id", 1]]]),
            "predicates[0][1]: id is a number; \"=[]\" looks into a list",
        ),
        (
            json!([["jobid", ["=", "id", "1"]]]),
            "predicates[0][1]: id is a number; this \"=\" needs a text",
        ),
        (
            json!([["opcode", ["=", "OP_ID", 5]]]),
            "predicates[0][1]: OP_ID is a text; this \"=\" needs a number",
        ),
        (
            json!([["opcode", ["=", "fast", true]]]),
            "predicates[0][1][2]: a field is not compared with true or false",
        ),
        (
            json!([["opcode", ["=", "a..b", 1]]]),
            "predicates[0][1][1]: \"a..b\" is not the name of a field",
        ),
        (
            json!([["opcode", ["=", "reason", "x"]]]),
            "predicates[0][1][1]: the reasons of an opcode are looked at by a \"reason\" predicate",
        ),
        (json!([["opcode", ["=", "x"]]]), "predicates[0][1]: expected [\"=\", FIELD, VALUE]"),
        (json!([["opcode", ["!"]]]), "predicates[0][1]: expected [\"!\", EXPRESSION]"),
        (json!([["opcode", ["?", 1]]]), "predicates[0][1]: expected [\"?\", FIELD]"),
        (
            json!([[], ["reason", ["=", "who", "x"]]]),
            "predicates[0]: expected [NAME, EXPRESSION], got []",
        ),
        (
            json!([["reason", ["=", "who", "x"]]]),
            "predicates[0][1][1]: a reason has no field \"who\", only \"source\", \"reason\" and \"timestamp\"",
        ),
        (
            json!([["reason", ["=", "source", "watermark"]], ["reason", ["=", "timestamp", "x"]]]),
            "predicates[1][1]: timestamp is a number; this \"=\" needs a text",
        ),
    ];
    for (predicates, expected) in table {
        assert_eq!(refusal(&predicates), expected, "{predicates}");
    }
    let pattern = refusal(&json!([["opcode", ["=~", "x", "("]]]));
    assert!(pattern.starts_with("predicates[0][1][2]: \"(\" is not a regular"), "{pattern}");
}

#[test]
fn depth_size_and_patterns_are_bounded() {
    let nested =
        |depth: usize| (1..depth).fold(json!(["=", "id", 1]), |inner, _| json!(["!", inner]));
    assert!(Predicates::from_json(&json!([["jobid", nested(32)]])).is_ok());
    assert!(refusal(&json!([["jobid", nested(33)]])).contains("nested more than 32 deep"));
    let wide = |operator: &str, part: Value, count: usize| {
        let parts = std::iter::repeat_n(part, count);
        let list: Value = std::iter::once(json!(operator)).chain(parts).collect();
        json!([["opcode", list]])
    };
    let equal = json!(["=", "a", 1]);
    assert!(Predicates::from_json(&wide("|", equal.clone(), 999)).is_ok());
    assert!(refusal(&wide("|", equal, 1000)).contains("more than 1000 operators"));
    let pattern = json!(["=~", "a", "b"]);
    assert!(refusal(&wide("|", pattern, 9)).contains("more than 8 regular expressions"));
    let huge = refusal(&json!([["opcode", ["=~", "a", "\\w{1000}"]]]));
    assert!(huge.contains("not a regular expression"), "{huge}");
    let long = json!([["opcode", ["=", "a", "x".repeat(70_000)]]]);
    assert!(refusal(&long).contains("bytes; at most 65536"));
    let many: Value = (0..65).map(|_| json!(["jobid", ["=", "id", 1]])).collect();
    assert_eq!(refusal(&many), "65 predicates; at most 64");
}

/// An expression about opcodes, as JSON.
fn expression() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        Just("duration"),
        Just("instance"),
        Just("fast"),
        Just("on_nodes"),
        Just("disk.size"),
        Just("nosuch")
    ];
    let operand = prop_oneof![
        (0..9_i64).prop_map(|number| json!(number)),
        Just(json!(0.5)),
        Just(json!("web1")),
        Just(json!("n2")),
    ];
    let symbol = prop_oneof![
        Just("="),
        Just("=="),
        Just("!="),
        Just("<"),
        Just(">"),
        Just("<="),
        Just(">="),
        Just("=[]")
    ];
    let pattern = prop_oneof![Just("1$"), Just("n"), Just("^w")];
    let leaf = prop_oneof![
        (symbol, field.clone(), operand).prop_map(|(symbol, field, to)| json!([symbol, field, to])),
        field.clone().prop_map(|field| json!(["?", field])),
        (field, pattern).prop_map(|(field, pattern)| json!(["=~", field, pattern])),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let list = |operator: &'static str, parts: Vec<Value>| {
            std::iter::once(json!(operator)).chain(parts).collect::<Value>()
        };
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(move |parts| list("&", parts)),
            prop::collection::vec(inner.clone(), 0..4).prop_map(move |parts| list("|", parts)),
            inner.prop_map(|part| json!(["!", part])),
        ]
    })
}

/// A second opinion, straight from JSON to an answer.
fn opinion(expression: &Value, params: &Value) -> bool {
    let parts = || expression.as_array().unwrap()[1..].iter();
    let field = || {
        let path = expression[1].as_str().unwrap().split('.');
        path.fold(params, |value, key| &value[key])
    };
    let operand = &expression[2];
    let equal = |value: &Value| match (value.as_f64(), operand.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => value == operand,
    };
    let order = || match (field().as_f64(), operand.as_f64()) {
        (Some(one), Some(other)) => one.partial_cmp(&other),
        _ => Some(field().as_str()?.cmp(operand.as_str()?)),
    };
    match expression[0].as_str().unwrap() {
        "&" => parts().all(|part| opinion(part, params)),
        "|" => parts().any(|part| opinion(part, params)),
        "!" => !opinion(&expression[1], params),
        "?" => field() == &json!(true),
        "=" | "==" => equal(field()),
        "!=" => !equal(field()),
        "<" => order().is_some_and(std::cmp::Ordering::is_lt),
        ">" => order().is_some_and(std::cmp::Ordering::is_gt),
        "<=" => order().is_some_and(std::cmp::Ordering::is_le),
        ">=" => order().is_some_and(std::cmp::Ordering::is_ge),
        "=[]" => field().as_array().is_some_and(|list| list.iter().any(equal)),
        "=~" => field().as_str().is_some_and(|text| match operand.as_str().unwrap() {
            "1$" => text.ends_with('1'),
            "n" => text.contains('n'),
            _ => text.starts_with('w'),
        }),
        other => unreachable!("{other}"),
    }
}

proptest! {
    #[test]
    fn random_trees_mean_the_same_to_a_second_evaluator(expression in expression()) {
        let Ok(predicates) = Predicates::from_json(&json!([["opcode", expression]])) else {
            // Too many patterns.
            return Ok(());
        };
        let job = job();
        let params = job.ops.iter().map(|op| Value::Object(op.opcode.params.to_object()));
        let expected = params.into_iter().any(|params| opinion(&expression, &params));
        prop_assert_eq!(predicates.hold(&Candidate::new(&job), 0), expected);
    }

    #[test]
    fn what_is_written_reads_back_the_same(expression in expression()) {
        if let Ok(predicates) = Predicates::from_json(&json!([["opcode", expression]])) {
            let again: Predicates = predicates.as_str().parse().unwrap();
            prop_assert_eq!(&again, &predicates);
            prop_assert_eq!(again.to_json(), predicates.to_json());
        }
    }

    #[test]
    fn any_json_is_read_or_refused(text in "[\\[\\]\"=!&|?,a-z0-9 ]{0,40}") {
        if let Ok(predicates) = text.parse::<Predicates>() {
            predicates.hold(&Candidate::new(&job()), 0);
        }
    }
}

#[test]
fn an_equals_sign_comes_back_doubled() {
    let predicates = Predicates::from_json(&json!([["opcode", ["=", "OP_ID", "OP_X"]]])).unwrap();
    assert_eq!(predicates.as_str(), r#"[["opcode",["==","OP_ID","OP_X"]]]"#);
}

#[test]
fn ids_are_uuids_in_either_case() {
    let text = "6b3e588e-d6d2-4ab4-8695-336cb761dbf3";
    let id: FilterId = text.parse().unwrap();
    assert_eq!(id.to_string(), text);
    assert_eq!(text.to_uppercase().parse::<FilterId>().unwrap(), id);
    for random in [0, u128::MAX, 12345] {
        let id = FilterId::of_random(random);
        let text = id.to_string();
        assert_eq!((&text[14..15], text.parse::<FilterId>().unwrap()), ("4", id));
        assert!("89ab".contains(&text[19..20]), "{text}");
    }
    let bad = ["", "x", &text[1..], "6b3e588ed6d24ab48695336cb761dbf3", &text.replace('6', "+")];
    for bad in bad {
        assert!(bad.parse::<FilterId>().is_err(), "{bad}");
    }
}

#[test]
fn actions_are_read_and_written_as_in_ganeti() {
    for action in ["\"ACCEPT\"", "\"CONTINUE\"", "\"PAUSE\"", "\"REJECT\"", "[\"RATE_LIMIT\",3]"] {
        let value: Value = serde_json::from_str(action).unwrap();
        assert_eq!(FilterAction::from_json(&value).unwrap().to_json(), value);
    }
    let bad = [
        json!("accept"),
        json!("RATE_LIMIT"),
        json!(["RATE_LIMIT"]),
        json!(["RATE_LIMIT", 0]),
        json!(["RATE_LIMIT", -1]),
        json!(["RATE_LIMIT", 5_000_000_000_u64]),
        json!(null),
        json!(["PAUSE"]),
    ];
    for bad in bad {
        assert!(FilterAction::from_json(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_reason_that_begins_like_a_rate_limit_is_one_or_an_error() {
    let read = |text: &str| RateLimit::in_reason(text);
    assert_eq!(read("because").unwrap(), None);
    let limit = read("rate-limit:2:tapes: all").unwrap().unwrap();
    assert_eq!((limit.most.get(), limit.name.as_str()), (2, "tapes: all"));
    assert_eq!(limit.to_string(), "rate-limit:2:tapes: all");
    for bad in [
        "rate-limit:",
        "rate-limit:0:x",
        "rate-limit:x:y",
        "rate-limit:3:",
        "rate-limit:3",
        "rate-limit:+3:x",
        "rate-limit:99999999999:x",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
