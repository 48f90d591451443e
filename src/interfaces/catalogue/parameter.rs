//! The typed parameters of an opcode.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::super::located::{Fields, Located, did_you_mean};
use crate::vocabulary::Error;

const FIELDS: [&str; 9] = [
    "type",
    "summary",
    "required",
    "default",
    "pattern",
    "min",
    "max",
    "may_start_with_dash",
    "secret",
];
/// What a compiled pattern may take, in bytes.
const PATTERN_BYTES: usize = 1 << 20;
/// The longest text taken, in bytes: an argument cannot be longer on Linux.
const TEXT_BYTES: usize = 128 << 10;

/// What values a parameter takes, and how far they may reach in an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterKind {
    /// A name: no control character and, where it becomes part of an argument, no `/`, no `..`.
    String,
    /// A path: where something stands before it, it has to lead downwards.
    Path,
    /// Any text, for what is never taken as a path.
    Text,
    /// A list of names.
    Strings,
    /// A list of paths.
    Paths,
    /// A whole number.
    Integer,
    /// Any finite number.
    Number,
    /// True or false.
    Boolean,
}

impl ParameterKind {
    const WORDS: [(&'static str, Self); 8] = [
        ("string", Self::String),
        ("path", Self::Path),
        ("text", Self::Text),
        ("strings", Self::Strings),
        ("paths", Self::Paths),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
    ];

    fn read(at: Located<'_>) -> Result<Self, Error> {
        let word = at.text("a type such as \"string\"")?;
        let found = Self::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let known = Self::WORDS.iter().map(|(known, _)| *known);
            at.wrap(Error::invalid(format!("there is no type {word:?}")).hint(did_you_mean(
                word,
                known,
                "the types are",
            )))
        })
    }

    /// Whether values are lists.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(self, Self::Strings | Self::Paths)
    }

    const fn phrase(self) -> &'static str {
        match self {
            Self::String | Self::Path | Self::Text => "a text",
            Self::Strings | Self::Paths => "a list of texts",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
        }
    }
}

/// One parameter of an opcode.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub(super) kind: ParameterKind,
    pub(super) summary: Option<String>,
    pub(super) required: bool,
    pub(super) default: Option<Value>,
    pub(super) may_start_with_dash: bool,
    pub(super) secret: bool,
    pattern: Option<(String, Regex)>,
    min: Option<f64>,
    max: Option<f64>,
}

impl Parameter {
    /// Reads `"string"` or `{ type = "string", ... }`.
    pub(super) fn read(name: &str, at: Located<'_>) -> Result<Self, Error> {
        if at.as_text().is_some() {
            return Ok(Self::of(ParameterKind::read(at)?));
        }
        let fields = at.fields("a parameter", &FIELDS)?;
        let mut parameter = Self::of(ParameterKind::read(fields.required("type")?)?);
        parameter.read_constraints(&fields)?;
        if let Some(default) = fields.get("default") {
            let value = default.to_json();
            parameter.check(name, &value).map_err(|error| default.wrap(error))?;
            parameter.default = Some(value);
        }
        parameter.required = parameter.default.is_none();
        if let Some(required) = fields.get("required") {
            parameter.required = required.boolean()?;
            if parameter.required && parameter.default.is_some() {
                return Err(required.error("a parameter with a default is never required"));
            }
        }
        Ok(parameter)
    }

    fn of(kind: ParameterKind) -> Self {
        Self {
            kind,
            summary: None,
            required: true,
            default: None,
            may_start_with_dash: false,
            secret: false,
            pattern: None,
            min: None,
            max: None,
        }
    }

    fn read_constraints(&mut self, fields: &Fields<'_>) -> Result<(), Error> {
        let numeric = matches!(self.kind, ParameterKind::Integer | ParameterKind::Number);
        let bound = |name: &str| match fields.get(name) {
            Some(at) if !numeric => Err(at.error(format!("{name:?} is for numbers only"))),
            Some(at) => at.number("a number").map(Some),
            None => Ok(None),
        };
        (self.min, self.max) = (bound("min")?, bound("max")?);
        if let Some(summary) = fields.get("summary") {
            self.summary = Some(summary.text("a sentence")?.to_owned());
        }
        if let Some(dash) = fields.get("may_start_with_dash") {
            self.may_start_with_dash = dash.boolean()?;
        }
        if let Some(secret) = fields.get("secret") {
            self.secret = secret.boolean()?;
        }
        if let Some(pattern) = fields.get("pattern") {
            self.pattern = Some(read_pattern(pattern, self.kind)?);
        }
        Ok(())
    }

    /// Whether nobody is to be told its values.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        self.secret
    }

    /// What values it takes.
    #[must_use]
    pub const fn kind(&self) -> ParameterKind {
        self.kind
    }

    /// What it is for.
    #[must_use]
    pub fn summary(&self) -> Option<&str> {
        self.summary.as_deref()
    }

    /// Whether it has to be given.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.required
    }

    /// What it is where it is not given.
    #[must_use]
    pub const fn default(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// Whether it may be null: neither required nor with a default.
    pub(super) const fn may_be_absent(&self) -> bool {
        !self.required && self.default.is_none()
    }

    /// Checks one value.
    ///
    /// # Errors
    ///
    /// `Invalid`, naming the parameter, what was expected and, unless it is a secret, what was
    /// found.
    pub fn check(&self, name: &str, value: &Value) -> Result<(), Error> {
        self.check_openly(name, value).map_err(|error| match self.secret {
            true => Error::invalid(format!("the parameter {name:?} has a value that is not taken"))
                .hint("it is a secret: more is not said"),
            false => error,
        })
    }

    fn check_openly(&self, name: &str, value: &Value) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::invalid(format!("the parameter {name:?} {why}")));
        match (self.kind, value) {
            (_, Value::Null) if self.may_be_absent() => Ok(()),
            (ParameterKind::Boolean, Value::Bool(_)) => Ok(()),
            (ParameterKind::Integer, Value::Number(number)) if number.is_f64() => {
                refuse(format!("has to be a whole number, not {number}"))
            }
            (ParameterKind::Integer | ParameterKind::Number, Value::Number(number)) => {
                self.check_bounds(number.as_f64().unwrap_or(f64::NAN)).or_else(refuse)
            }
            (ParameterKind::String | ParameterKind::Path | ParameterKind::Text, _)
                if value.is_string() =>
            {
                self.check_text(value.as_str().unwrap_or_default()).or_else(refuse)
            }
            (ParameterKind::Strings | ParameterKind::Paths, Value::Array(elements)) => {
                elements.iter().try_for_each(|element| match element {
                    Value::String(text) => self.check_text(text).or_else(refuse),
                    other => refuse(format!("has to be a list of texts, but holds {other}")),
                })
            }
            (kind, value) => refuse(format!("has to be {}, not {value}", kind.phrase())),
        }
    }

    fn check_bounds(&self, number: f64) -> Result<(), String> {
        match (self.min, self.max) {
            (Some(min), _) if number < min => Err(format!("is {number}; at least {min}")),
            (_, Some(max)) if number > max => Err(format!("is {number}; at most {max}")),
            _ => Ok(()),
        }
    }

    fn check_text(&self, text: &str) -> Result<(), String> {
        if text.contains('\0') {
            return Err("contains a NUL".to_owned());
        }
        if text.len() > TEXT_BYTES {
            return Err(format!("is {} bytes long; at most {TEXT_BYTES}", text.len()));
        }
        let name = matches!(self.kind, ParameterKind::String | ParameterKind::Strings);
        if name && text.chars().any(char::is_control) {
            return Err(format!("contains a control character: {text:?}"));
        }
        match &self.pattern {
            Some((written, pattern)) if !pattern.is_match(text) => {
                Err(format!("is {text:?}, which does not match the pattern {written:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// A pattern has to match the whole value: it stands between anchors that it cannot move.
fn read_pattern(at: Located<'_>, kind: ParameterKind) -> Result<(String, Regex), Error> {
    if matches!(kind, ParameterKind::Integer | ParameterKind::Number | ParameterKind::Boolean) {
        return Err(at.error("a pattern is for texts only"));
    }
    let written = at.text("a regular expression")?;
    let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
    compile(written)
        .and_then(|_| compile(&format!(r"\A(?:{written})\z")))
        .map(|pattern| (written.to_owned(), pattern))
        .map_err(|error| {
            let reason = error.to_string();
            let last = reason.lines().last().unwrap_or_default();
            at.error(format!("{written:?} is not a usable pattern: {last}"))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::located::{Document, Format};
    use super::*;

    fn parameter(text: &str) -> Result<Parameter, Error> {
        let document = Document::parse("f", &format!("p = {text}"), Format::Toml)?;
        let (_, at) = document.root().entries("a table")?.next().unwrap();
        Parameter::read("p", at)
    }

    #[test]
    fn values_of_the_right_type_are_taken_and_others_named() {
        for (declared, good, bad) in [
            (r#""string""#, json!("a"), json!(5)),
            (r#""string""#, json!("a"), json!("a\nb")),
            (r#""text""#, json!("a\nb"), json!("a\0b")),
            (r#""integer""#, json!(-5), json!(5.5)),
            (r#""number""#, json!(5.5), json!("5")),
            (r#""boolean""#, json!(true), json!("true")),
            (r#""strings""#, json!(["a"]), json!(["a", 1])),
            (r#"{ type = "integer", min = 1, max = 3 }"#, json!(3), json!(4)),
            (r#"{ type = "string", pattern = "a|ab" }"#, json!("ab"), json!("abc")),
            (r#"{ type = "strings", pattern = "[a-z]" }"#, json!(["a", "b"]), json!(["ab"])),
            (r#"{ type = "string", required = false }"#, json!(null), json!(1)),
            (r#""string""#, json!("a"), json!(null)),
        ] {
            let parameter = parameter(declared).unwrap();
            assert!(parameter.check("p", &good).is_ok(), "{declared} {good}");
            let error = parameter.check("p", &bad).unwrap_err().to_string();
            assert!(error.starts_with("the parameter \"p\" "), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_not_said() {
        let parameter = parameter(r#"{ type = "string", pattern = "a+", secret = true }"#).unwrap();
        assert!(parameter.is_secret());
        let error = parameter.check("p", &json!("hunter2")).unwrap_err();
        let said = format!("{error} {:?}", error.hint_text());
        assert!(!said.contains("hunter2") && said.contains("\"p\""), "{said}");
    }

    #[test]
    fn malformed_declarations_are_refused_with_their_place() {
        for (declared, complaint) in [
            (r#""strng""#, "f:1:5: there is no type \"strng\""),
            (r#"{ type = "integer", pattern = "a" }"#, "a pattern is for texts only"),
            (r#"{ type = "string", min = 1 }"#, "for numbers only"),
            (r#"{ type = "string", pattern = "(" }"#, "f:1:34: "),
            (r#"{ type = "string", pattern = "a)|(b" }"#, "not a usable pattern"),
            (r#"{ type = "string", pattern = "(?:a{1000}){1000}" }"#, "not a usable pattern"),
            (r#"{ type = "integer", default = "x" }"#, "has to be a whole number"),
            (r#"{ type = "integer", default = 1, required = true }"#, "never required"),
        ] {
            let error = parameter(declared).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
