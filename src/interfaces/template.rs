//! Texts with fields in them: `{instance}-{port}`. Parsed once, rendered often, never half.
//!
//! The grammar: `{name}`, `{name.key}`, `{name[key]}`, each with a default after a bar
//! (`{name|none}`), `{name...}` standing alone for every element of a list, and `{{` and `}}`
//! for the braces themselves. There are no conversions, no format specifications and no code.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::vocabulary::Error as LockmasterError;

mod parse;

/// A text with fields, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(Box<str>),
    Field(Field),
}

/// A place in a template that a value goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// As it was written, without braces and default: what errors show.
    pub(crate) written: Box<str>,
    /// The name, then the keys below it.
    pub(crate) path: Vec<Box<str>>,
    /// What stands for null and for the empty text.
    pub(crate) default: Option<Box<str>>,
    /// One text per element of a list.
    pub(crate) spread: bool,
}

/// Why a text is not a template, or why it cannot be rendered with those values.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It does not follow the grammar.
    #[error("template {template:?}: {problem} at byte {at}")]
    Syntax {
        /// The text.
        template: String,
        /// Where, in bytes from its start.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// It names a field that is not there.
    #[error("template {template:?} names the field {field:?}, which is not there")]
    MissingField {
        /// The text.
        template: String,
        /// The field as written.
        field: String,
        /// The fields there are.
        available: Vec<String>,
    },
    /// The field is null or empty, and the template writes no default.
    #[error("template {template:?}: the field {field:?} is empty")]
    NullField {
        /// The text.
        template: String,
        /// The field as written.
        field: String,
    },
    /// The field is a list or an object.
    #[error("template {template:?}: the field {field:?} is {found}, which is not one text")]
    NotText {
        /// The text.
        template: String,
        /// The field as written.
        field: String,
        /// What it is.
        found: &'static str,
    },
}

impl From<TemplateError> for LockmasterError {
    fn from(error: TemplateError) -> Self {
        let hint = match &error {
            TemplateError::Syntax { .. } => "a brace itself is written {{ or }}".to_owned(),
            TemplateError::MissingField { available, .. } if available.is_empty() => {
                "there are no fields here".to_owned()
            }
            TemplateError::MissingField { available, .. } => {
                format!("the fields are {}", available.join(", "))
            }
            TemplateError::NullField { field, .. } => {
                format!("a default is written {{{field}|default}}")
            }
            TemplateError::NotText { field, .. } => {
                format!("a list is written {{{field}...}}, alone: one text per element")
            }
        };
        Self::invalid(error.to_string()).hint(hint)
    }
}

impl Template {
    /// The template in that text.
    ///
    /// ```
    /// use lockmaster::interfaces::template::Template;
    /// let name = Template::parse("disk-{instance}-{disk[index]}")?;
    /// let fields = serde_json::json!({"instance": "web1", "disk": {"index": 0}});
    /// assert_eq!(name.render(fields.as_object().unwrap())?, "disk-web1-0");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TemplateError::Syntax`], with the byte at which the grammar is left.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let pieces = parse::pieces(text)?;
        Ok(Self { text: text.into(), pieces })
    }

    /// A template without fields: braces in `text` are braces.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self { text: text.into(), pieces: vec![Piece::Literal(text.into())] }
    }

    /// The text it was parsed from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[cfg(feature = "commands")]
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    #[cfg(feature = "commands")]
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field(field) => Some(field),
            Piece::Literal(_) => None,
        })
    }

    #[cfg(feature = "commands")]
    /// The text, where there is no field in it.
    pub(crate) fn as_literal(&self) -> Option<String> {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => Some(&**text),
                Piece::Field(_) => None,
            })
            .collect()
    }

    /// The field, where the template is one field that stands for all elements of a list.
    pub(crate) fn as_spread(&self) -> Option<&Field> {
        match &*self.pieces {
            [Piece::Field(field)] if field.spread => Some(field),
            _ => None,
        }
    }

    /// The text with those values in it.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] where a field is not there, or null or empty without a default, or
    /// not one text.
    pub fn render(&self, fields: &Map<String, Value>) -> Result<String, TemplateError> {
        let mut text = String::with_capacity(self.text.len() + 16);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Field(field) => text.push_str(&self.text_of(field, fields)?),
            }
        }
        Ok(text)
    }

    /// One text, or where the template is `{list...}`, one for every element.
    ///
    /// # Errors
    ///
    /// As [`render`](Self::render).
    pub fn render_all(&self, fields: &Map<String, Value>) -> Result<Vec<String>, TemplateError> {
        let Some(field) = self.as_spread() else { return Ok(vec![self.render(fields)?]) };
        match self.value_of(field, fields)? {
            None => field
                .default
                .as_ref()
                .map(|default| vec![default.to_string()])
                .ok_or_else(|| self.null(field)),
            Some(Value::Array(elements)) => {
                elements.iter().map(|element| self.word(field, element)).collect()
            }
            Some(value) => Ok(vec![self.word(field, value)?]),
        }
    }

    pub(crate) fn text_of(
        &self,
        field: &Field,
        fields: &Map<String, Value>,
    ) -> Result<String, TemplateError> {
        let value = self.value_of(field, fields)?.filter(|value| !is_empty(value));
        match (value, &field.default) {
            (Some(value), _) => self.word(field, value),
            (None, Some(default)) => Ok(default.to_string()),
            (None, None) => Err(self.null(field)),
        }
    }

    /// The value; none where it is null, or missing below a name that is there and a default
    /// is written. A name that is not there is an error in any case: it is a slip of the pen.
    fn value_of<'v>(
        &self,
        field: &Field,
        fields: &'v Map<String, Value>,
    ) -> Result<Option<&'v Value>, TemplateError> {
        let missing = |names: &Map<String, Value>| TemplateError::MissingField {
            template: self.text.to_string(),
            field: field.written.to_string(),
            available: names.keys().cloned().collect(),
        };
        let (name, keys) = field.path.split_first().ok_or_else(|| missing(fields))?;
        let mut value = fields.get(&**name).ok_or_else(|| missing(fields))?;
        for key in keys {
            let below = match value {
                Value::Object(object) => object.get(&**key),
                Value::Array(array) => key.parse().ok().and_then(|index: usize| array.get(index)),
                _ => None,
            };
            value = match (below, value) {
                (Some(below), _) => below,
                (None, _) if field.default.is_some() => return Ok(None),
                (None, Value::Null) => return Err(self.null(field)),
                (None, Value::Object(object)) => return Err(missing(object)),
                (None, _) => return Err(missing(&Map::new())),
            };
        }
        Ok(Some(value).filter(|value| !value.is_null()))
    }

    fn word(&self, field: &Field, value: &Value) -> Result<String, TemplateError> {
        let not_text = |found| TemplateError::NotText {
            template: self.text.to_string(),
            field: field.written.to_string(),
            found,
        };
        match value {
            Value::Null => Err(self.null(field)),
            Value::String(text) if text.is_empty() => Err(self.null(field)),
            Value::String(text) => Ok(text.clone()),
            Value::Bool(yes) => Ok(yes.to_string()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Array(_) => Err(not_text("a list")),
            Value::Object(_) => Err(not_text("an object")),
        }
    }

    fn null(&self, field: &Field) -> TemplateError {
        TemplateError::NullField {
            template: self.text.to_string(),
            field: field.written.to_string(),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_str().is_some_and(str::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str, fields: &Value) -> Result<String, TemplateError> {
        Template::parse(template)?.render(fields.as_object().unwrap())
    }

    #[test]
    fn fields_are_replaced_and_doubled_braces_are_braces() {
        let fields = json!({"a": "x", "n": -3, "b": true, "o": {"k": "v", "l": [1, 2]}});
        for (template, text) in [
            ("plain", "plain"),
            ("{a}", "x"),
            ("{{{a}}}", "{x}"),
            ("{a}-{n}-{b}", "x--3-true"),
            ("{o.k}{o[k]}{o.l[1]}", "vv2"),
            ("{o[none]|-}", "-"),
            ("ä{a}ö", "äxö"),
        ] {
            assert_eq!(render(template, &fields).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn a_missing_field_names_template_field_and_what_there_is() {
        let error = render("lock-{connector[host]}", &json!({"connector": {"ip": 1}})).unwrap_err();
        let expected = TemplateError::MissingField {
            template: "lock-{connector[host]}".into(),
            field: "connector[host]".into(),
            available: vec!["ip".into()],
        };
        assert_eq!(error, expected);
        let error: LockmasterError = render("{x|d}", &json!({"a": 1, "b": 2})).unwrap_err().into();
        assert_eq!(error.hint_text(), Some("the fields are a, b"));
    }

    #[test]
    fn null_and_empty_need_a_default() {
        for fields in [json!({"x": null}), json!({"x": ""})] {
            let error = render("a{x}", &fields).unwrap_err();
            assert!(matches!(error, TemplateError::NullField { .. }));
            assert_eq!(render("a{x|-}", &fields).as_deref(), Ok("a-"));
            assert_eq!(render("a{x|}", &fields).as_deref(), Ok("a"));
        }
    }

    #[test]
    fn a_list_becomes_several_texts_only_where_the_template_says_so() {
        let fields = json!({"nodes": ["a", "b"], "none": []});
        let fields = fields.as_object().unwrap();
        let all = |template: &str| Template::parse(template).unwrap().render_all(fields);
        assert_eq!(all("{nodes...}"), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(all("{none...}"), Ok(vec![]));
        assert!(matches!(all("{nodes}"), Err(TemplateError::NotText { .. })));
    }
}
