//! What opcodes have in common in both notations: id, priority, remarks, parameters.

use serde_json::{Map, Value};

use super::super::catalogue::{COMMON_KEYS, Catalogue};
use super::super::located::{Key, Located};
use super::terms;
use crate::vocabulary::{Error, OpCode, OpId, Params, Priority, Reason};

/// The opcode at `at`, without its dependencies. `value_of` gives the value of a parameter.
pub(super) fn opcode(
    at: Located<'_>,
    catalogue: &Catalogue,
    default_priority: Priority,
    value_of: impl Fn(Located<'_>) -> Result<Value, Error>,
) -> Result<OpCode, Error> {
    let entries: Vec<_> = at.entries("an opcode: a table with OP_ID and parameters")?.collect();
    let id = entries.iter().find(|(key, _)| key.as_str() == "OP_ID").map(|(_, value)| *value);
    let id_at = id.ok_or_else(|| at.error("an opcode needs the field \"OP_ID\""))?;
    let id = OpId::new(id_at.text("the id of an opcode")?).map_err(|error| id_at.wrap(error))?;
    let described = catalogue.find(&id).map_err(|error| id_at.wrap(error))?;

    let mut opcode = OpCode::new(id, Params::default()).with_priority(default_priority);
    let mut parameters = Map::new();
    for (key, value) in entries {
        if COMMON_KEYS.contains(&key.as_str()) {
            read_common(&mut opcode, &key, value)?;
            continue;
        }
        let given = value_of(value)?;
        if let Some(described) = described {
            let parameter = described.parameter(key.as_str()).map_err(|error| key.wrap(error))?;
            parameter.check(key.as_str(), &given).map_err(|error| value.wrap(error))?;
        }
        parameters.insert(key.as_str().to_owned(), given);
    }
    if let Some(described) = described {
        described.check(&parameters).map_err(|error| at.wrap(error))?;
    }
    opcode.params = Params::from_object(&parameters);
    Ok(opcode)
}

fn read_common(opcode: &mut OpCode, key: &Key<'_>, value: Located<'_>) -> Result<(), Error> {
    if value.is_null() {
        return Ok(());
    }
    match key.as_str() {
        "priority" => opcode.priority = priority(value)?,
        "comment" => opcode.comment = Some(value.text("a remark")?.to_owned()),
        "dry_run" => opcode.dry_run = value.boolean()?,
        "reason" => opcode.reason = reasons(value)?,
        // Ganeti's clients send it; how much is logged is not decided by a job here.
        "debug_level" => _ = value.integer("a number")?,
        term => terms::read_of_op(&mut opcode.terms, term, value)?,
    }
    Ok(())
}

/// A priority as a number or a word.
pub(super) fn priority(at: Located<'_>) -> Result<Priority, Error> {
    match at.as_text() {
        Some("high") => Ok(Priority::HIGH),
        Some("normal") => Ok(Priority::NORMAL),
        Some("low") => Ok(Priority::LOW),
        _ => {
            let value = at.integer("a priority: -20 to 19, or \"high\", \"normal\", \"low\"")?;
            Priority::new(value).map_err(|error| at.wrap(error))
        }
    }
}

fn reasons(at: Located<'_>) -> Result<Vec<Reason>, Error> {
    let steps = at.list("a list of [source, text, nanoseconds]")?;
    steps
        .map(|step| {
            let parts: Vec<_> = step.list("[source, text, nanoseconds]")?.collect();
            let [source, text, time] = &parts[..] else {
                return Err(step.error("expected [source, text, nanoseconds]"));
            };
            Ok(Reason {
                source: source.text("who says it")?.to_owned(),
                text: text.text("what they say")?.to_owned(),
                time_ns: time.integer("nanoseconds since 1970")?,
            })
        })
        .collect()
}
