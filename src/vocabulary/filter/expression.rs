//! The expressions of predicates, as values: how they are evaluated, and written as JSON.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::{Number, Value, json};

use super::field::{Field, Found};

/// An expression. Its depth and size are bounded where it is read.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    True(Field),
    Compare(Comparison, Field, Operand),
    Matches(Field, Regex),
    Contains(Field, Operand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    Greater,
    AtMost,
    AtLeast,
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Text(String),
    Number(Number),
    /// The watermark of the rule.
    Watermark,
}

/// What an expression is evaluated on.
pub(super) struct Facts<'f, 'v> {
    /// The value of a field; none where there is none.
    pub(super) value: &'f dyn Fn(&Field) -> Option<Found<'v>>,
    pub(super) watermark: u64,
}

impl Expression {
    /// Whether it holds. A field that has no value, or one of another kind than it is compared
    /// with, equals nothing, is in no order, matches nothing and contains nothing.
    pub(super) fn holds(&self, facts: &Facts<'_, '_>) -> bool {
        let value = facts.value;
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(facts)),
            Self::Not(inner) => !inner.holds(facts),
            Self::True(field) => matches!(value(field), Some(Found::Bool(true))),
            Self::Compare(how, field, operand) => {
                let found = value(field).and_then(|found| operand.compared(&found, facts));
                how.holds(found)
            }
            Self::Matches(field, regex) => match value(field) {
                Some(Found::Text(text)) => regex.is_match(text),
                _ => false,
            },
            Self::Contains(field, operand) => match value(field) {
                Some(Found::List(list)) => list
                    .iter()
                    .filter_map(Found::of)
                    .any(|entry| operand.compared(&entry, facts) == Some(Ordering::Equal)),
                _ => false,
            },
        }
    }

    /// The JSON it is read from, with one name for each operator.
    pub(super) fn to_json(&self) -> Value {
        let list = |operator: &str, parts: &[Self]| {
            let head = std::iter::once(json!(operator));
            head.chain(parts.iter().map(Self::to_json)).collect()
        };
        match self {
            Self::All(parts) => list("&", parts),
            Self::Any(parts) => list("|", parts),
            Self::Not(inner) => json!(["!", inner.to_json()]),
            Self::True(field) => json!(["?", field.name()]),
            Self::Compare(how, field, operand) => {
                json!([how.symbol(), field.name(), operand.to_json()])
            }
            Self::Matches(field, regex) => json!(["=~", field.name(), regex.as_str()]),
            Self::Contains(field, operand) => json!(["=[]", field.name(), operand.to_json()]),
        }
    }
}

impl Comparison {
    pub(super) fn of(symbol: &str) -> Option<Self> {
        match symbol {
            "=" | "==" => Some(Self::Equal),
            "!=" => Some(Self::NotEqual),
            "<" => Some(Self::Less),
            ">" => Some(Self::Greater),
            "<=" => Some(Self::AtMost),
            ">=" => Some(Self::AtLeast),
            _ => None,
        }
    }

    const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::Greater => ">",
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
        }
    }

    /// Whether a value that compares so is wanted. `!=` is the opposite of `==`, whatever the
    /// value is.
    fn holds(self, found: Option<Ordering>) -> bool {
        match self {
            Self::Equal => found == Some(Ordering::Equal),
            Self::NotEqual => found != Some(Ordering::Equal),
            Self::Less => found == Some(Ordering::Less),
            Self::Greater => found == Some(Ordering::Greater),
            Self::AtMost => matches!(found, Some(Ordering::Less | Ordering::Equal)),
            Self::AtLeast => matches!(found, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

impl Operand {
    /// How the value compares with it; nothing where they are of different kinds.
    fn compared(&self, found: &Found<'_>, facts: &Facts<'_, '_>) -> Option<Ordering> {
        match (found, self) {
            (Found::Text(text), Self::Text(other)) => Some((*text).cmp(other)),
            (Found::Number(number), Self::Number(other)) => compare(number, other),
            (Found::Number(number), Self::Watermark) => compare(number, &facts.watermark.into()),
            _ => None,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Watermark => json!("watermark"),
        }
    }
}

/// Whole numbers exactly; others as floating point.
fn compare(number: &Number, other: &Number) -> Option<Ordering> {
    let whole = |number: &Number| {
        number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
    };
    match (whole(number), whole(other)) {
        (Some(number), Some(other)) => Some(number.cmp(&other)),
        _ => number.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}
