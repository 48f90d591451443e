//! TOML and JSON read into one tree in which every value knows its place in the file.
//!
//! What reads the tree asks for the type it expects; a mismatch becomes an error that names
//! file, line and column. Size and depth are bounded before anything is built.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Number, Value};

use crate::vocabulary::Error;

mod fields;
mod json;
mod toml_tree;

pub(crate) use fields::{Fields, did_you_mean};

/// The largest file read, in bytes.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// How deep lists and tables may nest.
const MAX_DEPTH: usize = 32;

/// A file and the tree in it.
#[derive(Debug)]
pub(crate) struct Document {
    source: Source,
    root: Node,
}

/// The name and the text of a file: what turns a byte position into a place.
#[derive(Debug)]
struct Source {
    name: String,
    text: String,
}

#[derive(Debug)]
struct Node {
    span: Range<usize>,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Null,
    Boolean(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, keys unique.
    Table(Vec<Entry>),
}

#[derive(Debug)]
struct Entry {
    key: String,
    key_span: Range<usize>,
    value: Node,
}

/// The notation of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Toml,
    Json,
}

impl Format {
    /// By the name of the file, else by how it begins: a JSON file opens lists and then an
    /// object or nothing, a TOML file opens at most a header, with a name in it.
    pub(crate) fn of(name: &str, text: &str) -> Self {
        let ends = |suffix: &str| name.to_ascii_lowercase().ends_with(suffix);
        let json = match (ends(".json"), ends(".toml")) {
            (false, false) => {
                let inner = text.trim_start_matches(|c: char| c == '[' || c.is_whitespace());
                inner.starts_with(['{', ']'])
            }
            (json, _) => json,
        };
        if json { Self::Json } else { Self::Toml }
    }
}

/// The text of a file, bounded.
///
/// # Errors
///
/// `Io` where it cannot be read, `Invalid` where it is too large or not UTF-8.
pub(crate) fn read_file(path: &Path) -> Result<String, Error> {
    let shown = path.display();
    let file =
        File::open(path).map_err(|error| Error::io(format!("{shown} cannot be opened"), error))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(format!("{shown} cannot be read"), error))?;
    if bytes.len() > MAX_BYTES {
        return Err(Error::invalid(format!("{shown} is larger than {MAX_BYTES} bytes"))
            .hint("split it into several files"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        let source = Source { name: shown.to_string(), text };
        Error::invalid("this is not UTF-8 text").at(source.place(good))
    })
}

impl Document {
    /// The tree in that text.
    ///
    /// # Errors
    ///
    /// `Invalid` with the place where the notation is left or a bound is exceeded.
    pub(crate) fn parse(name: &str, text: &str, format: Format) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::invalid(format!("{name} is larger than {MAX_BYTES} bytes")));
        }
        let source = Source { name: name.to_owned(), text: text.to_owned() };
        let root = match format {
            Format::Toml => toml_tree::parse(&source)?,
            Format::Json => json::parse(&source)?,
        };
        Ok(Self { source, root })
    }

    pub(crate) fn root(&self) -> Located<'_> {
        Located { source: &self.source, node: &self.root }
    }
}

impl Source {
    /// `file:line:column`, both from 1, the column in characters.
    fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        format!("{}:{line}:{column}", self.name)
    }

    fn error(&self, at: usize, message: impl Into<String>) -> Error {
        Error::invalid(message).at(self.place(at))
    }
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located<'d> {
    source: &'d Source,
    node: &'d Node,
}

impl<'d> Located<'d> {
    /// An error at this place.
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        self.source.error(self.node.span.start, message)
    }

    /// That error, at this place.
    pub(crate) fn wrap(&self, error: impl Into<Error>) -> Error {
        error.into().at(self.source.place(self.node.span.start))
    }

    fn expected(&self, what: impl Display) -> Error {
        self.error(format!("expected {what}, found {}", self.kind()))
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> String {
        match &self.node.data {
            Data::Null => "null".to_owned(),
            Data::Boolean(yes) => yes.to_string(),
            Data::Number(number) => format!("the number {number}"),
            Data::Text(text) if text.chars().count() <= 40 => format!("the text {text:?}"),
            Data::Text(_) => "a text".to_owned(),
            Data::List(_) => "a list".to_owned(),
            Data::Table(_) => "a table".to_owned(),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.node.data, Data::Null)
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.data, Data::List(_))
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self.node.data, Data::Table(_))
    }

    pub(crate) fn as_text(&self) -> Option<&'d str> {
        match &self.node.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text here; `what` says in the error what was expected.
    pub(crate) fn text(&self, what: &str) -> Result<&'d str, Error> {
        self.as_text().ok_or_else(|| self.expected(what))
    }

    pub(crate) fn boolean(&self) -> Result<bool, Error> {
        match self.node.data {
            Data::Boolean(yes) => Ok(yes),
            _ => Err(self.expected("true or false")),
        }
    }

    pub(crate) fn integer(&self, what: &str) -> Result<i64, Error> {
        match &self.node.data {
            Data::Number(number) => number.as_i64().ok_or_else(|| self.expected(what)),
            _ => Err(self.expected(what)),
        }
    }

    pub(crate) fn number(&self, what: &str) -> Result<f64, Error> {
        match &self.node.data {
            Data::Number(number) => number.as_f64().ok_or_else(|| self.expected(what)),
            _ => Err(self.expected(what)),
        }
    }

    /// The elements of the list here.
    pub(crate) fn list(
        &self,
        what: &str,
    ) -> Result<impl ExactSizeIterator<Item = Located<'d>> + use<'d>, Error> {
        let source = self.source;
        match &self.node.data {
            Data::List(elements) => Ok(elements.iter().map(move |node| Located { source, node })),
            _ => Err(self.expected(what)),
        }
    }

    /// The text here as one element, or the texts in the list here.
    pub(crate) fn one_or_more(&self, what: &str) -> Result<Vec<Located<'d>>, Error> {
        match &self.node.data {
            Data::List(_) => Ok(self.list(what)?.collect()),
            _ => Ok(vec![*self]),
        }
    }

    /// The keys and values of the table here, in the order of the file; a key is located too.
    pub(crate) fn entries(
        &self,
        what: &str,
    ) -> Result<impl ExactSizeIterator<Item = (Key<'d>, Located<'d>)> + use<'d>, Error> {
        let source = self.source;
        match &self.node.data {
            Data::Table(entries) => Ok(entries
                .iter()
                .map(move |entry| (Key { source, entry }, Located { source, node: &entry.value }))),
            _ => Err(self.expected(what)),
        }
    }

    /// The value as JSON.
    pub(crate) fn to_json(self) -> Value {
        self.node.to_json()
    }
}

impl Node {
    fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Boolean(yes) => Value::Bool(*yes),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(elements) => Value::Array(elements.iter().map(Self::to_json).collect()),
            Data::Table(entries) => {
                let pair = |entry: &Entry| (entry.key.clone(), entry.value.to_json());
                Value::Object(entries.iter().map(pair).collect::<Map<_, _>>())
            }
        }
    }
}

/// A key of a table and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'d> {
    source: &'d Source,
    entry: &'d Entry,
}

impl<'d> Key<'d> {
    pub(crate) fn as_str(&self) -> &'d str {
        &self.entry.key
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        self.source.error(self.entry.key_span.start, message)
    }

    /// That error, at this place.
    pub(crate) fn wrap(&self, error: impl Into<Error>) -> Error {
        error.into().at(self.source.place(self.entry.key_span.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str, format: Format) -> Vec<String> {
        let document = Document::parse("f", text, format).unwrap();
        let entries: Vec<_> = document.root().entries("a table").unwrap().collect();
        entries
            .iter()
            .map(|(key, value)| {
                format!("{} {} {}", key.as_str(), key.wrap(Error::invalid("k")), value.error("v"))
            })
            .collect()
    }

    #[test]
    fn every_value_knows_line_and_column_in_both_notations() {
        let toml = places("b = 1\n\"ä\" = { x = [1, 2] }\na.c = \"t\"\n", Format::Toml);
        assert_eq!(toml, ["b f:1:1: k f:1:5: v", "ä f:2:1: k f:2:7: v", "a f:3:1: k f:3:1: v"]);
        let json = places("{\"b\": 1,\n \"ä\" : {\"x\": [1, 2]}, \"c\":null}", Format::Json);
        assert_eq!(json, ["b f:1:2: k f:1:7: v", "ä f:2:2: k f:2:8: v", "c f:2:23: k f:2:27: v"]);
    }

    #[test]
    fn both_notations_become_the_same_values() {
        let toml = "a = [1, -2.5, true]\n[t]\nk = \"v\\n\"\n";
        let json = r#"{"a": [1, -2.5, true], "t": {"k": "v\n"}}"#;
        let value = |text, format| Document::parse("f", text, format).unwrap().root().to_json();
        assert_eq!(value(toml, Format::Toml), value(json, Format::Json));
    }

    #[test]
    fn what_leaves_the_notation_is_refused_with_its_place() {
        let error =
            |text: &str, format| Document::parse("f", text, format).unwrap_err().to_string();
        assert!(error("a = 1\nb = = 2\n", Format::Toml).starts_with("f:2:5: "));
        assert!(error("a = 1\na = 2\n", Format::Toml).starts_with("f:2:1: "));
        assert!(error("{\"a\": 1,\n \"b\" 2}", Format::Json).starts_with("f:2:6: "));
        assert!(error("{\"a\": 1,\n \"a\": 2}", Format::Json).starts_with("f:2:2: "));
        assert!(error("d = 2020-01-01", Format::Toml).contains("quotes"));
        assert!(error("x = nan", Format::Toml).contains("finite"));
        assert!(error("x = 9223372036854775808", Format::Toml).starts_with("f:1:5: "));
    }

    #[test]
    fn nesting_is_bounded_in_both_notations() {
        for depth in [MAX_DEPTH + 2, 100_000] {
            let json = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let error = Document::parse("f", &json, Format::Json).unwrap_err();
            assert!(error.to_string().contains("nested"), "{error}");
            let toml = format!("a = {json}");
            assert!(Document::parse("f", &toml, Format::Toml).is_err());
        }
    }

    #[test]
    fn an_unexpected_type_is_named_with_what_was_expected() {
        let document = Document::parse("f", "a = 5", Format::Toml).unwrap();
        let (_, a) = document.root().entries("a table").unwrap().next().unwrap();
        let error = a.text("a name").unwrap_err().to_string();
        assert_eq!(error, "f:1:5: expected a name, found the number 5");
    }
}
