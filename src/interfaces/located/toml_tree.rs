//! TOML into the tree, by the spans the `toml` crate keeps.

use std::ops::Range;

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{Data, Entry, MAX_DEPTH, Node, Source};
use crate::vocabulary::Error;

pub(super) fn parse(source: &Source) -> Result<Node, Error> {
    let document = DeTable::parse(&source.text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        source.error(at, error.message().replace('\n', ", "))
    })?;
    let span = document.span();
    Ok(Node { span, data: table(source, document.get_ref(), 0)? })
}

fn node(source: &Source, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Error> {
    let span = value.span();
    if depth > MAX_DEPTH {
        return Err(source.error(span.start, "values are nested too deep"));
    }
    let data = match value.get_ref() {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(integer) => Data::Number(whole(source, integer, &span)?),
        DeValue::Float(float) => Data::Number(real(source, float.as_str(), &span)?),
        DeValue::Boolean(yes) => Data::Boolean(*yes),
        DeValue::Datetime(_) => {
            return Err(source.error(span.start, "a date has to be a text, in quotes"));
        }
        DeValue::Array(elements) => {
            let nodes = elements.iter().map(|element| node(source, element, depth + 1));
            Data::List(nodes.collect::<Result<_, _>>()?)
        }
        DeValue::Table(entries) => table(source, entries, depth + 1)?,
    };
    Ok(Node { span, data })
}

/// The parser sorts tables by key; the file's order is what people expect to be read in.
fn table(source: &Source, table: &DeTable<'_>, depth: usize) -> Result<Data, Error> {
    let mut entries = table
        .iter()
        .map(|(key, value)| {
            let value = node(source, value, depth)?;
            Ok(Entry { key: key.get_ref().to_string(), key_span: key.span(), value })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    entries.sort_by_key(|entry| entry.key_span.start);
    Ok(Data::Table(entries))
}

fn whole(source: &Source, integer: &DeInteger<'_>, span: &Range<usize>) -> Result<Number, Error> {
    i64::from_str_radix(integer.as_str(), integer.radix())
        .map(Number::from)
        .map_err(|_| source.error(span.start, "this number is too large"))
}

fn real(source: &Source, float: &str, span: &Range<usize>) -> Result<Number, Error> {
    float
        .parse()
        .ok()
        .and_then(Number::from_f64)
        .ok_or_else(|| source.error(span.start, "a number has to be finite"))
}
