//! The filter language of `Query`: which rows a client wants.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::interfaces::luxi::message::Failure;

/// What a compiled regular expression may take in memory.
const REGEX_BYTES: usize = 1 << 20;

/// Which rows are wanted. Its nesting is bounded by that of the JSON it was read from.
#[derive(Debug)]
pub(super) enum Filter {
    All,
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    True(String),
    Compare(Comparison, String, Operand),
    Matches(String, Regex),
    Contains(String, Operand),
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Text(String),
    Number(i64),
}

impl std::fmt::Display for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl Filter {
    /// Reads a filter, or says why it is none.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self::All),
            Value::Array(list) => match list.split_first() {
                Some((Value::String(operator), args)) => Self::of(operator, args),
                _ => Err(not_a_filter(value)),
            },
            _ => Err(not_a_filter(value)),
        }
    }

    fn of(operator: &str, args: &[Value]) -> Result<Self, String> {
        let parts = || args.iter().map(Self::parse).collect::<Result<Vec<_>, _>>();
        if let Some(comparison) = Comparison::of(operator) {
            let (field, value) = pair(args)?;
            return Ok(Self::Compare(comparison, field, operand(value)?));
        }
        match operator {
            "&" => parts().map(Self::And),
            "|" => parts().map(Self::Or),
            "!" => match args {
                [inner] => Ok(Self::Not(Box::new(Self::parse(inner)?))),
                _ => Err("Cannot deserialise field, expected [filter]".to_owned()),
            },
            "?" => match args {
                [Value::String(field)] => Ok(Self::True(field.clone())),
                _ => Err("Cannot deserialise field, expected [fieldname]".to_owned()),
            },
            "=~" => pair(args).and_then(|(field, value)| Ok(Self::Matches(field, regex(value)?))),
            "=[]" => {
                pair(args).and_then(|(field, value)| Ok(Self::Contains(field, operand(value)?)))
            }
            _ => Err(format!("Unknown filter operand '{operator}'")),
        }
    }

    /// Calls `each` for every field it looks at.
    pub(super) fn fields<'f>(&'f self, each: &mut impl FnMut(&'f str)) {
        match self {
            Self::All => {}
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.fields(each)),
            Self::Not(inner) => inner.fields(each),
            Self::True(field)
            | Self::Compare(_, field, _)
            | Self::Matches(field, _)
            | Self::Contains(field, _) => each(field),
        }
    }

    /// The values asked for, where rows are named by their value of `field` and nothing else.
    /// None where the filter says more.
    pub(super) fn named(&self, field: &str) -> Option<Vec<&Operand>> {
        match self {
            Self::Or(parts) => {
                let parts = parts.iter().map(|part| part.named(field));
                parts.collect::<Option<Vec<_>>>().map(|lists| lists.concat())
            }
            Self::Compare(Comparison::Equal, name, operand) if name == field => Some(vec![operand]),
            _ => None,
        }
    }

    /// The parts that all have to hold.
    pub(super) fn parts(&self) -> &[Self] {
        match self {
            Self::And(parts) => parts,
            _ => std::slice::from_ref(self),
        }
    }

    /// Between which numbers a row's value of `field` has to be, both included.
    pub(super) fn bounds(&self, field: &str) -> (i64, i64) {
        let all = (i64::MIN, i64::MAX);
        self.parts().iter().fold(all, |(least, most), part| match part {
            Self::Compare(how, name, Operand::Number(number)) if name == field => match how {
                Comparison::AtLeast => (least.max(*number), most),
                Comparison::Greater => (least.max(number.saturating_add(1)), most),
                Comparison::AtMost => (least, most.min(*number)),
                Comparison::Less => (least, most.min(number.saturating_sub(1))),
                Comparison::Equal | Comparison::NotEqual => (least, most),
            },
            _ => (least, most),
        })
    }

    /// Whether a row is wanted. `value` gives its fields; none where there is no value, which,
    /// as in luxid, suits every filter.
    ///
    /// # Errors
    ///
    /// luxid's `ParameterError` where a value is not of the kind the filter compares with.
    pub(super) fn admits(&self, value: &dyn Fn(&str) -> Option<Value>) -> Result<bool, Failure> {
        match self {
            Self::All => Ok(true),
            Self::And(parts) => all(parts, value),
            Self::Or(parts) => all_not(parts, value).map(|none| !none),
            Self::Not(inner) => inner.admits(value).map(|admitted| !admitted),
            Self::True(field) => on(value(field), truth),
            Self::Compare(how, field, operand) => on(value(field), |it| how.holds(it, operand)),
            Self::Matches(field, regex) => on(value(field), |it| matches(it, regex)),
            Self::Contains(field, operand) => on(value(field), |it| contains(it, operand)),
        }
    }
}

type Given<'a> = &'a dyn Fn(&str) -> Option<Value>;

fn all(parts: &[Filter], value: Given<'_>) -> Result<bool, Failure> {
    for part in parts {
        if !part.admits(value)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn all_not(parts: &[Filter], value: Given<'_>) -> Result<bool, Failure> {
    for part in parts {
        if part.admits(value)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn on(
    value: Option<Value>,
    holds: impl FnOnce(&Value) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    value.map_or(Ok(true), |value| holds(&value))
}

impl Comparison {
    fn of(operator: &str) -> Option<Self> {
        match operator {
            "=" | "==" => Some(Self::Equal),
            "!=" => Some(Self::NotEqual),
            "<" => Some(Self::Less),
            ">" => Some(Self::Greater),
            "<=" => Some(Self::AtMost),
            ">=" => Some(Self::AtLeast),
            _ => None,
        }
    }

    fn holds(self, value: &Value, operand: &Operand) -> Result<bool, Failure> {
        let ordering = match (value, operand) {
            (Value::String(text), Operand::Text(other)) => Some(text.cmp(other)),
            (Value::Number(number), Operand::Number(other)) => compare(number, *other),
            _ => None,
        };
        let ordering = ordering.ok_or_else(|| {
            wrong_kind(format!(
                "Invalid types in comparison, trying to compare {value} with '{operand}'"
            ))
        })?;
        Ok(match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::Greater => ordering.is_gt(),
            Self::AtMost => ordering.is_le(),
            Self::AtLeast => ordering.is_ge(),
        })
    }
}

fn compare(number: &serde_json::Number, other: i64) -> Option<std::cmp::Ordering> {
    match number.as_i64() {
        Some(number) => Some(number.cmp(&other)),
        // Precise enough for what is neither a count nor a time in seconds.
        #[allow(clippy::cast_precision_loss)]
        None => number.as_f64()?.partial_cmp(&(other as f64)),
    }
}

fn wrong_kind(message: String) -> Failure {
    Failure::exception("ParameterError", message)
}

fn truth(value: &Value) -> Result<bool, Failure> {
    value
        .as_bool()
        .ok_or_else(|| wrong_kind(format!("Unexpected value '{value}' in boolean context")))
}

fn matches(value: &Value, regex: &Regex) -> Result<bool, Failure> {
    value.as_str().map(|text| regex.is_match(text)).ok_or_else(|| {
        wrong_kind(format!(
            "Invalid field value used in regexp matching, expecting string but got '{value}'"
        ))
    })
}

fn contains(value: &Value, operand: &Operand) -> Result<bool, Failure> {
    let list = value.as_array().ok_or_else(|| {
        wrong_kind(format!("Invalid field value, expecting a list but got '{value}'"))
    })?;
    Ok(list.iter().any(|entry| match operand {
        Operand::Text(text) => entry.as_str() == Some(text),
        Operand::Number(number) => entry.as_i64() == Some(*number),
    }))
}

fn not_a_filter(value: &Value) -> String {
    format!("Cannot deserialise filter: expected array [string, args], got {value}")
}

fn pair(args: &[Value]) -> Result<(String, &Value), String> {
    match args {
        [Value::String(field), value] => Ok((field.clone(), value)),
        _ => Err("Cannot deserialise field/value pair, expected [fieldname, value]".to_owned()),
    }
}

fn operand(value: &Value) -> Result<Operand, String> {
    let number = || value.as_i64().map(Operand::Number);
    let text = value.as_str().map(|text| Operand::Text(text.to_owned()));
    text.or_else(number).ok_or_else(|| {
        format!("Cannot deserialise filter value, expecting string or integer, got {value}")
    })
}

fn regex(value: &Value) -> Result<Regex, String> {
    let text = value.as_str().ok_or("Unable to read String")?;
    RegexBuilder::new(text).size_limit(REGEX_BYTES).build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(field: &str) -> Option<Value> {
        match field {
            "id" => Some(json!(7)),
            "status" => Some(json!("error")),
            "archived" => Some(json!(false)),
            "summary" => Some(json!(["A", "B"])),
            _ => None,
        }
    }

    #[test]
    fn every_operator_does_what_it_says() {
        let cases = [
            (json!(null), true),
            (json!(["|"]), false),
            (json!(["&"]), true),
            (json!(["=", "id", 7]), true),
            (json!(["!=", "id", 7]), false),
            (json!(["<", "id", 8]), true),
            (json!([">", "id", 7]), false),
            (json!(["<=", "id", 7]), true),
            (json!([">=", "status", "f"]), false),
            (json!(["?", "archived"]), false),
            (json!(["!", ["?", "archived"]]), true),
            (json!(["=~", "status", "^err"]), true),
            (json!(["=[]", "summary", "B"]), true),
            (json!(["=[]", "summary", "C"]), false),
            (json!(["&", ["==", "id", 7], ["|", ["==", "status", "x"], ["==", "id", 7]]]), true),
            (json!(["==", "start_ts", 5]), true),
        ];
        for (filter, admitted) in cases {
            let parsed = Filter::parse(&filter).unwrap();
            assert_eq!(parsed.admits(&row).unwrap(), admitted, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_in_words() {
        let cases = [
            (json!(["?what", "id"]), "Unknown filter operand '?what'"),
            (json!([]), "Cannot deserialise filter: expected array [string, args], got []"),
            (json!(["==", "id"]), "expected [fieldname, value]"),
            (json!(["==", "id", 1.5]), "expecting string or integer, got 1.5"),
            (json!(["=~", "status", "("]), "unclosed group"),
            (json!(["=~", "status", "(((a{1000}){1000}){1000})"]), "size limit"),
        ];
        for (filter, words) in cases {
            let refused = Filter::parse(&filter).unwrap_err();
            assert!(refused.contains(words), "{filter}: {refused}");
        }
    }

    #[test]
    fn values_of_another_kind_are_an_error() {
        for filter in [
            json!(["==", "id", "7"]),
            json!(["?", "id"]),
            json!(["=~", "id", "7"]),
            json!(["=[]", "id", 7]),
        ] {
            assert!(Filter::parse(&filter).unwrap().admits(&row).is_err(), "{filter}");
        }
    }

    #[test]
    fn what_has_to_hold_of_a_number_bounds_it() {
        let bounds = |filter: Value| Filter::parse(&filter).unwrap().bounds("id");
        let all = (i64::MIN, i64::MAX);
        assert_eq!(bounds(json!(null)), all);
        assert_eq!(bounds(json!([">", "id", 5])), (6, i64::MAX));
        assert_eq!(bounds(json!(["&", [">=", "id", 5], ["<", "id", 9], ["<=", "id", 30]])), (5, 8));
        assert_eq!(bounds(json!(["|", [">=", "id", 5], ["<", "id", 9]])), all);
        assert_eq!(bounds(json!(["!", [">=", "id", 5]])), all);
        assert_eq!(bounds(json!(["<", "id", i64::MIN])), (i64::MIN, i64::MIN));
    }

    #[test]
    fn rows_are_named_only_by_equality_alone() {
        let named =
            |filter: Value| Filter::parse(&filter).unwrap().named("id").map(|names| names.len());
        assert_eq!(named(json!(["|", ["==", "id", 1], ["=", "id", 5]])), Some(2));
        assert_eq!(named(json!(["|", ["==", "id", 1], ["==", "status", "error"]])), None);
        assert_eq!(named(json!(["&", ["==", "id", 1]])), None);
        assert_eq!(named(json!(null)), None);
    }
}
