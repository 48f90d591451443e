//! Conditions on jobs, as they are written on the command line.

use std::str::FromStr;

use lockmaster::interfaces::luxi::Field;
use lockmaster::vocabulary::Error;
use serde_json::{Value, json};

/// The operators, longer ones before those they begin with, and what the daemon calls them.
const OPERATORS: [(&str, &str); 7] =
    [("!=", "!="), ("<=", "<="), (">=", ">="), ("=", "="), ("<", "<"), (">", ">"), ("~", "=~")];

/// A field, an operator and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    field: String,
    operator: &'static str,
    value: String,
}

impl Condition {
    /// The condition in the daemon's language.
    pub(super) fn filter(&self) -> Value {
        let number = self.value.parse::<i64>().ok().filter(|_| is_number(&self.field));
        let value = number.map_or_else(|| json!(self.value), |number| json!(number));
        // A list is searched for the text; everything else is compared with it.
        match (is_list(&self.field), self.operator) {
            (true, "=") => json!(["=[]", self.field, value]),
            (true, "!=") => json!(["!", ["=[]", self.field, value]]),
            (_, operator) => json!([operator, self.field, value]),
        }
    }
}

fn is_number(field: &str) -> bool {
    ["id", "priority"].contains(&field)
}

fn is_list(field: &str) -> bool {
    ["summary", "opstatus"].contains(&field)
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let begin = text.find(['=', '!', '<', '>', '~']).unwrap_or(text.len());
        let (field, rest) = text.split_at(begin);
        let found = OPERATORS.iter().find(|(written, _)| rest.starts_with(written));
        let Some((written, operator)) = found.filter(|_| Field::names().any(|it| it == field))
        else {
            let known: Vec<&str> = Field::names().collect();
            return Err(Error::invalid(format!(
                "{text:?} is no condition: expected a field, one of = != < <= > >= ~, and a value; \
                 the fields are {}",
                known.join(", ")
            )));
        };
        let value = rest[written.len()..].to_owned();
        Ok(Self { field: field.to_owned(), operator, value })
    }
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
        ];
        for (text, filter) in cases {
            assert_eq!(text.parse::<Condition>().unwrap().filter(), filter, "{text}");
        }
        for text in ["label", "colour=red", "", "=x", "label!x"] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
