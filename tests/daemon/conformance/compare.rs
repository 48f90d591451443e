//! What is the same of two answers: all but times, paths, Ganeti's names for nodes, and what
//! `design/luxi.md` says differs on purpose.

use regex::Regex;
use serde_json::{Value, json};

/// Numbers of seconds and nanoseconds since 1970 are above these.
const A_TIME: f64 = 1e9;

/// An answer as it is compared.
pub(super) fn plain(answer: &str) -> Value {
    let mut value: Value = serde_json::from_str(answer).expect("an answer is JSON");
    // Our own addition beside `success` and `result`.
    value.as_object_mut().expect("an answer is an object").remove("hint");
    let patterns = Patterns::new();
    patterns.plain(&value)
}

struct Patterns(Vec<(Regex, &'static str)>);

impl Patterns {
    fn new() -> Self {
        let replaced = [
            (r"/[\w/-]+/sock\b", "SOCKET"),
            (r"^node/([0-9a-f-]{36}|master)$", "node/MASTER"),
            // luxid has a summary of its own for each of its opcodes.
            (r"^(CLUSTER_\w+)\(.*\)$", "$1"),
            (r"\b(cluster\.example\.com|lockmaster)\b", "CLUSTER"),
            (r"\b(node1\.example\.com|master)\b", "MASTER"),
            // Ganeti's processes are told by a signal, ours are none.
            (
                r"^Job (\d+) with pid \d+ signaled$",
                "Priorities of pending opcodes for job $1 have been changed",
            ),
            (r"^(Priorities of pending opcodes for job \d+ have been changed) to -?\d+$", "$1"),
        ];
        Self(replaced.map(|(from, to)| (Regex::new(from).expect("a pattern"), to)).into())
    }

    fn plain(&self, value: &Value) -> Value {
        match value {
            Value::Number(number) if number.as_f64().is_some_and(|it| it > A_TIME) => json!("TIME"),
            // Haskell writes 30 where Python wrote 30.0.
            Value::Number(number) => json!(number.as_f64()),
            // Ganeti has no word for those that were cancelled while they were queued.
            Value::String(text) if text == "Job canceled by request" => Value::Null,
            Value::String(text) => json!(self.text(text)),
            Value::Array(all) => match all.as_slice() {
                [first, second] if is_time(first) && second.is_u64() => json!("TIME"),
                _ => all.iter().map(|one| self.plain(one)).collect(),
            },
            Value::Object(object) => {
                let kept = object.iter().filter(|(key, value)| is_kept(key, value));
                kept.map(|(key, value)| (key.clone(), self.plain(value))).collect()
            }
            other => other.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (pattern, with)| {
            pattern.replace_all(&text, *with).into_owned()
        })
    }
}

fn is_time(value: &Value) -> bool {
    value.as_f64().is_some_and(|seconds| seconds > A_TIME)
}

/// Ganeti drops parameters that are null but for the common ones, and adds the ids of nodes.
fn is_kept(key: &str, value: &Value) -> bool {
    key != "on_node_uuids" && !(key == "dry_run" && value == &json!(false))
}
