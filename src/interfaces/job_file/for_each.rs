//! One table for several jobs: `for_each` gives rows of names, and texts are templates over them.

use serde_json::{Map, Value};

use super::super::located::{Fields, Located, did_you_mean};
use super::super::template::{Piece, Template};
use crate::vocabulary::Error;

/// What the names of one repetition stand for; none where the job is not repeated, and its
/// texts are then taken as they are.
pub(super) type Row = Option<Map<String, Value>>;

/// The rows of a job: those it lists, those of the set it names, or one without names.
pub(super) fn rows(job: &Fields<'_>, sets: Option<Located<'_>>) -> Result<Vec<Row>, Error> {
    let Some(at) = job.get("for_each") else { return Ok(vec![None]) };
    let Some(name) = at.as_text() else { return read_rows(at) };
    let sets: Vec<_> = match sets {
        Some(sets) => sets.entries("a table of sets")?.collect(),
        None => Vec::new(),
    };
    let found = sets.iter().find(|(key, _)| key.as_str() == name);
    let (_, rows) = found.ok_or_else(|| {
        let known = sets.iter().map(|(key, _)| key.as_str());
        at.wrap(Error::invalid(format!("there is no set {name:?}")).hint(did_you_mean(
            name,
            known,
            "[sets] has",
        )))
    })?;
    read_rows(*rows)
}

fn read_rows(at: Located<'_>) -> Result<Vec<Row>, Error> {
    let what = "a list of tables, such as [{ instance = \"web1\" }], or the name of a set";
    at.list(what)?
        .map(|row| {
            let mut names = Map::new();
            for (key, value) in row.entries("a table of names and values")? {
                if value.is_table() || value.is_list() {
                    return Err(value.error(format!("expected one value, found {}", value.kind())));
                }
                names.insert(key.as_str().to_owned(), value.to_json());
            }
            Ok(Some(names))
        })
        .collect()
}

/// The text at that place, with the row in it.
pub(super) fn text(at: Located<'_>, what: &str, row: &Row) -> Result<String, Error> {
    let text = at.text(what)?;
    match row {
        Some(names) if !text.is_empty() => Template::parse(text)
            .and_then(|template| template.render(names))
            .map_err(|error| at.wrap(error)),
        _ => Ok(text.to_owned()),
    }
}

/// The value at that place, with the row in all its texts. A text that is one field becomes
/// the value itself, so a number stays a number.
pub(super) fn value(at: Located<'_>, row: &Row) -> Result<Value, Error> {
    let Some(names) = row else { return Ok(at.to_json()) };
    if at.is_list() {
        return at.list("a list")?.map(|element| value(element, row)).collect();
    }
    if at.as_text().is_none_or(str::is_empty) {
        return Ok(at.to_json());
    }
    let rendered = text(at, "a text", row)?;
    Ok(whole_field(at, names).unwrap_or(Value::String(rendered)))
}

fn whole_field(at: Located<'_>, names: &Map<String, Value>) -> Option<Value> {
    let template = Template::parse(at.as_text()?).ok()?;
    match template.pieces() {
        [Piece::Field(field)] if field.path.len() == 1 => {
            names.get(&*field.path[0]).filter(|value| !value.is_null()).cloned()
        }
        _ => None,
    }
}
