//! What opcodes have in common in both notations: id, priority, remarks, parameters.

use serde_json::{Map, Value};

use super::super::catalogue::{COMMON_KEYS, Catalogue};
use super::super::located::{Key, Located};
use super::terms;
use crate::vocabulary::{Error, OpCode, OpId, Params, Priority, RateLimit, Reason};

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

/// Who says what is only a text.
const SOURCE: &str = "job file";
const STEP: &str = "a text, or [source, text, nanoseconds]";

/// The reason trail: texts, or steps as Ganeti's clients write them.
fn reasons(at: Located<'_>) -> Result<Vec<Reason>, Error> {
    let steps = at.list("a list of texts, or of [source, text, nanoseconds]")?;
    steps
        .map(|step| {
            let (reason, text) = reason(step)?;
            RateLimit::in_reason(&reason.text).map_err(|error| text.wrap(error))?;
            Ok(reason)
        })
        .collect()
}

/// A step of the trail, and where its text stands.
fn reason(step: Located<'_>) -> Result<(Reason, Located<'_>), Error> {
    if let Some(text) = step.as_text() {
        let reason = Reason { source: SOURCE.to_owned(), text: text.to_owned(), time_ns: 0 };
        return Ok((reason, step));
    }
    let parts: Vec<_> = step.list(STEP)?.collect();
    let [source, text, time] = &parts[..] else {
        return Err(step.error(format!("expected {STEP}")));
    };
    let reason = Reason {
        source: source.text("who says it")?.to_owned(),
        text: text.text("what they say")?.to_owned(),
        time_ns: time.integer("nanoseconds since 1970")?,
    };
    Ok((reason, *text))
}

#[cfg(test)]
mod tests {
    use super::super::JobFile;
    use super::*;
    use crate::interfaces::catalogue::Catalogue;

    fn read(name: &str, text: &str) -> Result<Vec<Reason>, String> {
        let known = Catalogue::new(Default::default()).with_any_other();
        let file = JobFile::parse(name, text, known).map_err(|error| error.to_string())?;
        Ok(file.jobs[0].ops[0].reason.clone())
    }

    fn step(source: &str, text: &str, time_ns: i64) -> Reason {
        Reason { source: source.into(), text: text.into(), time_ns }
    }

    #[test]
    fn a_reason_is_a_text_or_a_step_in_both_notations() {
        let expected = vec![step("job file", "night", 0), step("me", "rate-limit:2:tape", 7)];
        let steps = "['night', ['me', 'rate-limit:2:tape', 7]]";
        let toml = format!("[[job]]\nop = [{{ OP_ID = 'OP_X', reason = {steps} }}]\n");
        assert_eq!(read("f.toml", &toml), Ok(expected.clone()));
        let steps = steps.replace('\'', "\"");
        let json = format!("[{{\"OP_ID\": \"OP_X\", \"reason\": {steps}}}]");
        assert_eq!(read("f.json", &json), Ok(expected));
    }

    #[test]
    fn reasons_that_cannot_be_are_refused_with_their_place() {
        for (reason, place, expected) in [
            ("'night'", "2:34", "expected a list of texts"),
            ("[7]", "2:35", "expected a text, or [source, text, nanoseconds]"),
            ("[['me', 'night']]", "2:35", "expected a text, or [source, text, nanoseconds]"),
            ("['rate-limit:few:tape']", "2:35", "is not a rate limit"),
            ("[['me', 'rate-limit:few:tape', 7]]", "2:42", "is not a rate limit"),
        ] {
            let text = format!("[[job]]\nop = [{{ OP_ID = 'OP_X', reason = {reason} }}]\n");
            let error = read("f.toml", &text).unwrap_err();
            assert!(error.starts_with(&format!("f.toml:{place}: ")), "{text}{error}");
            assert!(error.contains(expected), "{text}{error}");
        }
    }
}
