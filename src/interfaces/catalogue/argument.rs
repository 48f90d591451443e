//! What parameters may do to an argument: be a part of it, and nothing else.
//!
//! Three laws. One template makes one argument (or, written `{list...}`, one per element). A
//! value cannot begin an argument with a dash, unless its parameter says it may. A value cannot
//! lead out of the path its template describes, unless its parameter is a text.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::located::{Located, did_you_mean};
use super::super::template::{Field, Piece, Template};
use super::parameter::{Parameter, ParameterKind};
use crate::vocabulary::Error;

pub(super) type Parameters = BTreeMap<String, Parameter>;

/// Reads a template whose fields are parameters. The empty text is a template here: itself.
pub(super) fn read(at: Located<'_>, parameters: &Parameters) -> Result<Template, Error> {
    let text = at.text("a text, possibly with {parameters} in it")?;
    if text.contains('\0') {
        return Err(at.error("a command cannot be given a NUL"));
    }
    if text.is_empty() {
        return Ok(Template::literal(""));
    }
    let template = Template::parse(text).map_err(|error| at.wrap(error))?;
    template
        .fields()
        .try_for_each(|field| check_field(&template, field, parameters))
        .map_err(|error| at.wrap(error))?;
    Ok(template)
}

/// Reads a template that makes exactly one text.
pub(super) fn read_one(at: Located<'_>, parameters: &Parameters) -> Result<Template, Error> {
    let template = read(at, parameters)?;
    match template.as_spread() {
        Some(field) => {
            Err(at.error(format!("{{{}...}} would be several texts here", field.written)))
        }
        None => Ok(template),
    }
}

fn check_field(template: &Template, field: &Field, parameters: &Parameters) -> Result<(), Error> {
    let (parameter, written) = (parameter_of(field, parameters), &field.written);
    let shown = template.as_str();
    let Some(parameter) = parameter else {
        let name = field.path.first().map_or("", |name| &**name);
        let known = parameters.keys().map(String::as_str);
        return Err(Error::invalid(format!(
            "the template {shown:?} names no parameter: {written:?}"
        ))
        .hint(did_you_mean(name, known, "the parameters are")));
    };
    let whole = field.path.len() == 1;
    let wrong = match (parameter.kind.is_list(), field.spread, whole) {
        (true, false, true) => Some("is a list, written {name...}, alone"),
        (true, true, false) => Some("is one element of a list: it is written without ..."),
        (false, true, _) => Some("is not a list: it is written without ..."),
        (false, _, false) => Some("is one value with nothing below it"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(Error::invalid(format!("the template {shown:?}: {written:?} {wrong}")));
    }
    if parameter.may_be_absent() && field.default.is_none() {
        return Err(Error::invalid(format!("the template {shown:?}: {written:?} may be absent"))
            .hint(format!("write what stands for it then: {{{written}|none}}")));
    }
    Ok(())
}

/// Whether a template says what a secret is.
pub(super) fn tells_a_secret(template: &Template, parameters: &Parameters) -> bool {
    template.pieces().iter().any(|piece| match piece {
        Piece::Field(field) => parameter_of(field, parameters).is_some_and(Parameter::is_secret),
        Piece::Literal(_) => false,
    })
}

fn parameter_of<'p>(field: &Field, parameters: &'p Parameters) -> Option<&'p Parameter> {
    parameters.get(&**field.path.first()?)
}

/// The arguments the template makes of those values.
pub(super) fn render(
    template: &Template,
    parameters: &Parameters,
    values: &Map<String, Value>,
) -> Result<Vec<String>, Error> {
    let Some(field) = template.as_spread() else {
        return Ok(vec![render_one(template, parameters, values)?]);
    };
    let texts = template.render_all(values)?;
    let given = field.path.first().and_then(|name| values.get(&**name));
    if given.is_some_and(|value| !value.is_null()) {
        texts.iter().try_for_each(|text| check_part(field, parameters, "", text))?;
    }
    Ok(texts)
}

/// The one text the template makes of those values.
pub(super) fn render_one(
    template: &Template,
    parameters: &Parameters,
    values: &Map<String, Value>,
) -> Result<String, Error> {
    let mut argument = String::new();
    for piece in template.pieces() {
        match piece {
            Piece::Literal(text) => argument.push_str(text),
            Piece::Field(field) => {
                let text = template.text_of(field, values)?;
                if field.default.as_deref() != Some(&*text) {
                    check_part(field, parameters, &argument, &text)?;
                }
                argument.push_str(&text);
            }
        }
    }
    Ok(argument)
}

/// Checks one value that is put after `before` in an argument.
fn check_part(
    field: &Field,
    parameters: &Parameters,
    before: &str,
    text: &str,
) -> Result<(), Error> {
    let Some(parameter) = parameter_of(field, parameters) else { return Ok(()) };
    let refuse = |why: String, hint: &str| {
        let written = &field.written;
        let shown = if parameter.secret { "a secret".to_owned() } else { format!("{text:?}") };
        Err(Error::invalid(format!("the parameter {written:?} is {shown}, {why}")).hint(hint))
    };
    if before.is_empty() && text.starts_with('-') && !parameter.may_start_with_dash {
        return refuse(
            "which would be taken for an option".to_owned(),
            "if it may be one, the parameter says may_start_with_dash = true",
        );
    }
    let downwards = |part: &str| !matches!(part, "." | "..");
    match parameter.kind {
        ParameterKind::String | ParameterKind::Strings
            if text.contains('/') || text.contains("..") || text == "." =>
        {
            refuse(
                "which could lead to another place".to_owned(),
                "a path has the type \"path\", words that are never a path the type \"text\"",
            )
        }
        ParameterKind::Path | ParameterKind::Paths
            if !before.is_empty() && (text.starts_with('/') || !text.split('/').all(downwards)) =>
        {
            refuse(
                format!("which does not lead downwards from {before:?}"),
                "after something else, a path has to be relative, without . and ..",
            )
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::located::{Document, Format};
    use super::*;

    const DECLARED: &str = r#"
        name = "string"
        path = "path"
        text = "text"
        names = "strings"
        number = "integer"
        option = { type = "string", may_start_with_dash = true }
        maybe = { type = "string", required = false }
    "#;

    fn parameters() -> Parameters {
        let document = Document::parse("f", DECLARED, Format::Toml).unwrap();
        let entries = document.root().entries("a table").unwrap();
        let read = |name: &str, at| (name.to_owned(), Parameter::read(name, at).unwrap());
        entries.map(|(key, at)| read(key.as_str(), at)).collect()
    }

    fn template(text: &str) -> Result<Template, Error> {
        let document = Document::parse("f", &format!("t = {text:?}"), Format::Toml)?;
        let (_, at) = document.root().entries("a table")?.next().unwrap();
        read(at, &parameters())
    }

    fn arguments(text: &str, values: &Value) -> Result<Vec<String>, String> {
        let template = template(text).unwrap();
        render(&template, &parameters(), values.as_object().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_value_is_a_part_of_its_argument_whatever_is_in_it() {
        let spaces = json!({"text": "a b'; rm -rf / #", "name": "x y"});
        assert_eq!(arguments("{text}", &spaces).unwrap(), ["a b'; rm -rf / #"]);
        assert_eq!(arguments("--{name}", &spaces).unwrap(), ["--x y"]);
        assert_eq!(arguments("{names...}", &json!({"names": ["a", "b c"]})).unwrap(), ["a", "b c"]);
        assert_eq!(arguments("", &json!({})).unwrap(), [""]);
    }

    #[test]
    fn a_value_cannot_become_an_option() {
        for (text, values) in [
            ("{name}", json!({"name": "-rf"})),
            ("{name}.tar", json!({"name": "--to-command=x"})),
            ("{text}", json!({"text": "-"})),
            ("{path}", json!({"path": "-p"})),
            ("{number}", json!({"number": -1})),
            ("{names...}", json!({"names": ["a", "-b"]})),
            ("{names[1]}", json!({"names": ["a", "-b"]})),
            ("{maybe|}{name}", json!({"maybe": null, "name": "-x"})),
        ] {
            let error = arguments(text, &values).unwrap_err();
            assert!(error.contains("taken for an option"), "{text}: {error}");
        }
        assert_eq!(arguments("{option}", &json!({"option": "-v"})).unwrap(), ["-v"]);
        assert_eq!(arguments("-n{number}", &json!({"number": -1})).unwrap(), ["-n-1"]);
        assert_eq!(arguments("{maybe|-}", &json!({"maybe": null})).unwrap(), ["-"]);
    }

    #[test]
    fn a_value_cannot_lead_out_of_the_path_its_template_describes() {
        for (text, values) in [
            ("{name}", json!({"name": "../etc"})),
            ("{name}", json!({"name": "a/b"})),
            ("dir/{name}", json!({"name": ".."})),
            (".{name}", json!({"name": "."})),
            ("dir/{names[0]}", json!({"names": [".."]})),
            ("{names...}", json!({"names": ["/etc/passwd"]})),
            ("dir/{path}", json!({"path": "/etc/passwd"})),
            ("dir/{path}", json!({"path": "a/../../b"})),
            (".{path}", json!({"path": "./b"})),
            ("{number}{path}", json!({"number": 1, "path": "/../b"})),
        ] {
            assert!(arguments(text, &values).is_err(), "{text} {values}");
        }
        assert_eq!(arguments("{path}", &json!({"path": "/a/../b"})).unwrap(), ["/a/../b"]);
        assert_eq!(arguments("d/{path}", &json!({"path": "a/b..c"})).unwrap(), ["d/a/b..c"]);
    }

    #[test]
    fn a_template_that_could_not_be_rendered_is_refused_when_read() {
        for (text, complaint) in [
            ("{nam}", "names no parameter"),
            ("{names}", "is a list"),
            ("{name...}", "is not a list"),
            ("{name.x}", "nothing below"),
            ("{maybe}", "may be absent"),
            ("{name", "without its }"),
        ] {
            let error = template(text).unwrap_err().to_string();
            assert!(error.contains(complaint) && error.starts_with("f:1:5: "), "{error}");
        }
    }
}
