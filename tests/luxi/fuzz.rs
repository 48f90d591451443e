//! Random bytes never panic, never hang, and always get an answer or the end of the stream.
//! A failure is kept by proptest with its seed and tried again first.

use lockmaster::interfaces::luxi::Request;
use proptest::prelude::*;

use crate::fake::Served;

/// JSON of any form, with the words of the protocol in it.
fn json() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "null",
        "true",
        "0",
        "-1",
        "1e400",
        "999999999999999999999",
        "\"status\"",
        "\"\"",
        "[]",
        "{}",
        "{\"OP_ID\":\"OP_X\",\"reason\":[]}",
        "\"abc\"",
        "1.5",
        "[[-1,[\"success\"]]]",
    ]);
    let leaf = words.prop_map(str::to_owned);
    leaf.prop_recursive(4, 40, 6, |inner| {
        let keys = prop::sample::select(vec!["OP_ID", "depends", "priority", "reason", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec((keys, inner), 0..6).prop_map(|all| {
                let all: Vec<_> =
                    all.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", all.join(","))
            }),
        ]
    })
}

fn method() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "SubmitJob",
        "SubmitManyJobs",
        "QueryJobs",
        "WaitForJobChange",
        "CancelJob",
        "LockmasterSubmit",
        "LockmasterChanges",
        "LockmasterWhy",
        "LockmasterLocks",
        "Query",
        "QueryFields",
        "QueryConfigValues",
        "SetDrainFlag",
    ])
}

proptest! {
    #[test]
    fn no_message_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(&bytes);
    }

    #[test]
    fn every_message_is_answered(
        messages in prop::collection::vec((method(), json()), 1..8),
        garbage in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let served = Served::new();
        for (method, args) in &messages {
            let mut client = served.connect();
            client.send(&format!("{{\"method\":\"{method}\",\"args\":{args}}}\u{3}"));
            let answer = client.receive();
            let text = answer.unwrap_or_default();
            prop_assert!(text.starts_with("{\"success\":"), "{method} {args}: {text}");
        }
        let mut client = served.connect();
        let _ = std::io::Write::write_all(&mut client.stream, &garbage);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        while client.receive().is_some() {}
    }
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    let served = Served::new();
    let mut client = served.connect();
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    client.send(&format!("{{\"method\":\"CancelJob\",\"args\":{deep}}}\u{3}"));
    assert!(client.receive().unwrap().contains("recursion limit"));
}
