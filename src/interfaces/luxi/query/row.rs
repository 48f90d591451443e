//! One row of an answer to `Query`.

use serde_json::{Value, json};

use crate::interfaces::luxi::fields::Field;
use crate::interfaces::luxi::filters;
use crate::interfaces::luxi::select::Found;
use crate::runtime::{LockReport, Mode};
use crate::vocabulary::FilterRule;

/// One row: what its fields are taken from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'r> {
    Job(Found<'r>),
    Lock(&'r LockReport),
    Filter(&'r FilterRule),
}

impl Row<'_> {
    /// The value of a field; none where it has none (yet).
    pub(super) fn value(self, name: &str) -> Option<Value> {
        match self {
            Self::Job(Found::Job(view)) => {
                let field = Field::named(name)?;
                let value = field.of(view);
                let unset = matches!(field, Field::Start | Field::End) && value.is_null();
                (!unset).then_some(value)
            }
            Self::Job(Found::Nothing(number)) => (name == "id").then(|| json!(number)),
            Self::Lock(report) => lock_value(report, name),
            Self::Filter(rule) => filters::field(rule, name),
        }
    }

    /// The value of a field as filters see it: of times, the seconds.
    pub(super) fn to_compare(self, name: &str) -> Option<Value> {
        let value = self.value(name)?;
        match name {
            "received_ts" | "start_ts" | "end_ts" => value.get(0).cloned(),
            // A job without a label has none of any name.
            "label" => Some(json!(value.as_str().unwrap_or_default())),
            _ => Some(value),
        }
    }
}

/// Ganeti knows no intentions: who holds a level's lock with one, holds locks below it, which
/// have rows of their own.
fn lock_value(report: &LockReport, name: &str) -> Option<Value> {
    let holders = || report.holders.iter().filter_map(|it| Some((it, word(it.mode)?)));
    match name {
        "name" => Some(json!(report.lock)),
        "mode" => Some(holders().map(|(_, word)| word).min().map_or(Value::Null, Value::from)),
        "owner" => Some(holders().map(|(it, _)| json!(it.owner.0.to_string())).collect()),
        "pending" => {
            let wanters = report.waiters.iter().filter_map(|it| Some((it, word(it.mode)?)));
            Some(wanters.map(|(it, word)| json!([word, [it.owner.0.to_string()]])).collect())
        }
        _ => None,
    }
}

const fn word(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::IntentShared | Mode::IntentExclusive => None,
        Mode::Shared | Mode::SharedIntentExclusive => Some("shared"),
        Mode::Exclusive => Some("exclusive"),
    }
}
