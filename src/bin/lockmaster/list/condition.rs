//! Conditions on jobs, as they are written on the command line.

use std::str::FromStr;

use lockmaster::vocabulary::Error;
use regex::Regex;
use serde_json::{Value, json};

use crate::times;

/// The operators, longer ones before those they begin with, and what the daemon calls them.
const OPERATORS: [(&str, &str); 7] =
    [("!=", "!="), ("<=", "<="), (">=", ">="), ("=", "="), ("<", "<"), (">", ">"), ("~", "=~")];

/// What can be said of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    Time,
    /// Whether something is so.
    Truth,
    /// Texts, of which one is looked for.
    List,
}

/// The fields that conditions are about.
const FIELDS: [(&str, Kind); 10] = [
    ("id", Kind::Number),
    ("priority", Kind::Number),
    ("status", Kind::Text),
    ("label", Kind::Text),
    ("summary", Kind::List),
    ("opstatus", Kind::List),
    ("archived", Kind::Truth),
    ("received_ts", Kind::Time),
    ("start_ts", Kind::Time),
    ("end_ts", Kind::Time),
];

impl Kind {
    /// What is compared with, in the daemon's language.
    fn value(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Number => match text.parse::<i64>() {
                Ok(number) => Ok(json!(number)),
                Err(_) => Err("a number".to_owned()),
            },
            Self::Time => match times::moment(text) {
                Some(seconds) => Ok(json!(seconds)),
                None => Err("a time such as 2026-11-20 or '2026-11-20 18:30'".to_owned()),
            },
            Self::Truth => match text.parse::<bool>() {
                Ok(truth) => Ok(json!(truth)),
                Err(_) => Err("true or false".to_owned()),
            },
            Self::Text | Self::List => Ok(json!(text)),
        }
    }

    fn takes(self, operator: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Number | Self::Time => operator != "=~",
            Self::Truth | Self::List => ["=", "!="].contains(&operator),
        }
    }
}

/// A field, an operator and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    field: &'static str,
    kind: Kind,
    operator: &'static str,
    value: Value,
}

impl Condition {
    /// The condition in the daemon's language.
    pub(super) fn filter(&self) -> Value {
        let Self { field, kind, operator, value } = self;
        let filter = match kind {
            Kind::Truth if *value == json!(true) => json!(["?", field]),
            Kind::Truth => json!(["!", ["?", field]]),
            Kind::List => json!(["=[]", field, value]),
            _ => return json!([operator, field, value]),
        };
        if *operator == "=" { filter } else { json!(["!", filter]) }
    }
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let begin = text.find(['=', '!', '<', '>', '~']).unwrap_or(text.len());
        let (name, rest) = text.split_at(begin);
        let Some((written, operator)) =
            OPERATORS.iter().find(|(written, _)| rest.starts_with(written))
        else {
            return Err(Error::invalid(format!(
                "{text:?} is no condition: expected a field, one of = != < <= > >= ~, and a value"
            )));
        };
        let Some((field, kind)) = FIELDS.iter().find(|(field, _)| *field == name) else {
            let known = FIELDS.map(|(field, _)| field).join(", ");
            return Err(Error::invalid(format!(
                "{name:?} is no field that can be compared; those are {known}"
            )));
        };
        if !kind.takes(operator) {
            return Err(Error::invalid(format!("{field} cannot be compared by {written}")));
        }
        let expected = |what| Error::invalid(format!("{field} is compared with {what}"));
        let value = kind.value(&rest[written.len()..]).map_err(expected)?;
        check_pattern(operator, &value)?;
        Ok(Self { field, kind: *kind, operator, value })
    }
}

fn check_pattern(operator: &str, value: &Value) -> Result<(), Error> {
    let pattern = value.as_str().filter(|_| operator == "=~").unwrap_or_default();
    let Err(error) = Regex::new(pattern) else { return Ok(()) };
    // The last line says it; those before show the place.
    let said = error.to_string();
    let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
    Err(Error::invalid(format!("{pattern:?} is no pattern: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_become_what_the_daemon_understands() {
        let cases = [
            ("label=nightly", json!(["=", "label", "nightly"])),
            ("label!=a=b", json!(["!=", "label", "a=b"])),
            ("priority<=-3", json!(["<=", "priority", -3])),
            ("label=7", json!(["=", "label", "7"])),
            ("label~^web", json!(["=~", "label", "^web"])),
            ("opstatus=error", json!(["=[]", "opstatus", "error"])),
            ("opstatus!=error", json!(["!", ["=[]", "opstatus", "error"]])),
            ("archived=true", json!(["?", "archived"])),
            ("archived!=true", json!(["!", ["?", "archived"]])),
            ("archived!=false", json!(["!", ["!", ["?", "archived"]]])),
            ("end_ts>=1700000000", json!([">=", "end_ts", 1_700_000_000])),
        ];
        for (text, filter) in cases {
            assert_eq!(text.parse::<Condition>().unwrap().filter(), filter, "{text}");
        }
        let wrong = [
            ("label", "expected a field, one of"),
            ("", "expected a field, one of"),
            ("label!x", "expected a field, one of"),
            ("colour=red", "\"colour\" is no field"),
            ("=x", "\"\" is no field"),
            ("ops=x", "\"ops\" is no field"),
            ("priority<high", "priority is compared with a number"),
            ("priority~1", "priority cannot be compared by ~"),
            ("summary<X", "summary cannot be compared by <"),
            ("end_ts>yesterday", "end_ts is compared with a time such as"),
            ("archived=1", "archived is compared with true or false"),
            ("label~(", "\"(\" is no pattern: unclosed group"),
        ];
        for (text, words) in wrong {
            let error = text.parse::<Condition>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
