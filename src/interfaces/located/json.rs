//! JSON into the tree. Serde keeps no positions, but a raw value borrows the text it stands in,
//! so where it begins is the difference of two addresses.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Data, Entry, MAX_DEPTH, Node, Source};
use crate::vocabulary::Error;

pub(super) fn parse(source: &Source) -> Result<Node, Error> {
    let root: &RawValue = serde_json::from_str(&source.text).map_err(|error| {
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(&*message, |(what, _)| what);
        Error::invalid(message).at(format!(
            "{}:{}:{}",
            source.name,
            error.line().max(1),
            error.column().max(1)
        ))
    })?;
    node(source, root, 0)
}

fn span(source: &Source, raw: &str) -> Range<usize> {
    let start = (raw.as_ptr() as usize).saturating_sub(source.text.as_ptr() as usize);
    start..start + raw.len()
}

/// `raw` was parsed already, so the errors of reading it again are ours to report, not to expect.
fn node(source: &Source, raw: &RawValue, depth: usize) -> Result<Node, Error> {
    let text = raw.get();
    let span = span(source, text);
    if depth > MAX_DEPTH {
        return Err(source.error(span.start, "values are nested too deep"));
    }
    let malformed = |error: serde_json::Error| source.error(span.start, error.to_string());
    let data = match text.as_bytes().first() {
        Some(b'{') => table(source, serde_json::from_str(text).map_err(malformed)?, depth)?,
        Some(b'[') => {
            let elements: Elements<'_> = serde_json::from_str(text).map_err(malformed)?;
            let nodes = elements.0.into_iter().map(|element| node(source, element, depth + 1));
            Data::List(nodes.collect::<Result<_, _>>()?)
        }
        Some(b'"') => Data::Text(serde_json::from_str(text).map_err(malformed)?),
        Some(b'n') => Data::Null,
        Some(b't') => Data::Boolean(true),
        Some(b'f') => Data::Boolean(false),
        _ => Data::Number(serde_json::from_str(text).map_err(malformed)?),
    };
    Ok(Node { span, data })
}

fn table(source: &Source, pairs: Pairs<'_>, depth: usize) -> Result<Data, Error> {
    let mut seen = std::collections::HashSet::new();
    let mut entries = Vec::with_capacity(pairs.0.len());
    for (key, value) in pairs.0 {
        let key_span = span(source, key.get());
        let key: String = serde_json::from_str(key.get())
            .map_err(|error| source.error(key_span.start, error.to_string()))?;
        if !seen.insert(key.clone()) {
            return Err(source.error(key_span.start, format!("the key {key:?} stands here twice")));
        }
        entries.push(Entry { key, key_span, value: node(source, value, depth + 1)? });
    }
    Ok(Data::Table(entries))
}

struct Elements<'t>(Vec<&'t RawValue>);
struct Pairs<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'t> Deserialize<'t> for Elements<'t> {
    fn deserialize<D: serde::Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Collect).map(Elements)
    }
}

impl<'t> Deserialize<'t> for Pairs<'t> {
    fn deserialize<D: serde::Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CollectPairs).map(Pairs)
    }
}

struct Collect;
struct CollectPairs;

impl<'t> Visitor<'t> for Collect {
    type Value = Vec<&'t RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(elements)
    }
}

impl<'t> Visitor<'t> for CollectPairs {
    type Value = Vec<(&'t RawValue, &'t RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// Not into a map: that would lose the order and hide keys that stand there twice.
    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
