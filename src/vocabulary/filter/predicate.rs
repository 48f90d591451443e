//! Predicates: for which jobs a rule is meant.

use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::expression::{Expression, Facts};
use super::field::{Field, Found, Scope};
use super::reading::{Place, Reader, short};
use crate::vocabulary::error::Error;
use crate::vocabulary::job::Job;
use crate::vocabulary::opcode::{OpCode, Reason};

/// How many predicates a rule may have.
const PREDICATES: usize = 64;
/// How long their JSON may be.
const BYTES: usize = 64 << 10;

/// Which jobs a rule is meant for: those for which every one of a list of predicates holds.
///
/// A predicate is an expression about the job's id (`jobid`), about an opcode (`opcode`: one of
/// the job's has to satisfy it), or about an entry of the reason trails (`reason`: one has to).
/// Kept, compared and stored as its JSON, in which each operator has one name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Predicates {
    list: Arc<[Predicate]>,
    json: Arc<str>,
}

#[derive(Debug)]
struct Predicate {
    scope: Scope,
    expression: Expression,
}

impl Predicates {
    /// Reads a list of predicates such as `[["jobid", [">", "id", "watermark"]]]`.
    ///
    /// # Errors
    ///
    /// `Invalid` with the place of what is wrong: no such predicate, field or operator; an
    /// operator that a field is not for; too many or too deeply nested.
    pub fn from_json(value: &Value) -> Result<Self, Error> {
        let Some(entries) = value.as_array() else {
            let hint = "it is a JSON list of [NAME, EXPRESSION]; [] is meant for every job";
            return Err(
                Error::invalid(format!("{} is no list of predicates", short(value))).hint(hint)
            );
        };
        if entries.len() > PREDICATES {
            let many = entries.len();
            return Err(Error::invalid(format!("{many} predicates; at most {PREDICATES}")));
        }
        let mut reader = Reader::new();
        let entries = entries.iter().enumerate();
        let list = entries.map(|(index, entry)| Predicate::read(&mut reader, entry, index));
        Self::of(list.collect::<Result<_, _>>()?)
    }

    fn of(list: Vec<Predicate>) -> Result<Self, Error> {
        let json = list.iter().map(Predicate::to_json).collect::<Value>().to_string();
        if json.len() > BYTES {
            let bytes = json.len();
            return Err(Error::invalid(format!("predicates of {bytes} bytes; at most {BYTES}")));
        }
        Ok(Self { list: list.into(), json: json.into() })
    }

    /// The list as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.list.iter().map(Predicate::to_json).collect()
    }

    /// The same as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.json
    }

    /// Whether all of them hold. O(opcodes and reasons of the job) for each.
    pub(super) fn hold(&self, candidate: &Candidate<'_>, watermark: u64) -> bool {
        self.list.iter().all(|predicate| predicate.holds(candidate, watermark))
    }
}

impl Default for Predicates {
    /// Those of a rule that is meant for every job.
    fn default() -> Self {
        Self { list: Arc::new([]), json: "[]".into() }
    }
}

impl PartialEq for Predicates {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for Predicates {}

impl fmt::Debug for Predicates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json)
    }
}

impl From<Predicates> for String {
    fn from(predicates: Predicates) -> Self {
        predicates.json.as_ref().to_owned()
    }
}

impl TryFrom<String> for Predicates {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let value = serde_json::from_str(&text)
            .map_err(|error| Error::invalid(format!("predicates are not JSON: {error}")))?;
        Self::from_json(&value)
    }
}

impl std::str::FromStr for Predicates {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.to_owned().try_into()
    }
}

impl Predicate {
    fn read(reader: &mut Reader, entry: &Value, index: usize) -> Result<Self, Error> {
        let place = Place::top(index);
        let Some((Value::String(name), params)) =
            entry.as_array().and_then(|list| list.split_first())
        else {
            return Err(place.fault(format!("expected [NAME, EXPRESSION], got {}", short(entry))));
        };
        let scope = Scope::ALL.into_iter().find(|scope| scope.name() == name);
        let (Some(scope), [expression]) = (scope, params) else {
            return Err(malformed(name, params));
        };
        let expression = reader.expression(scope, expression, place.within(1))?;
        Ok(Self { scope, expression })
    }

    fn to_json(&self) -> Value {
        Value::Array(vec![self.scope.name().into(), self.expression.to_json()])
    }

    fn holds(&self, candidate: &Candidate<'_>, watermark: u64) -> bool {
        match self.scope {
            Scope::Job => self.of(watermark, |field| candidate.job_field(field)),
            Scope::Op => (0..candidate.job.ops.len())
                .any(|op| self.of(watermark, |field| candidate.op_field(op, field))),
            Scope::Reason => candidate
                .reasons()
                .any(|reason| self.of(watermark, |field| reason_field(&reason, field))),
        }
    }

    fn of<'a>(&self, watermark: u64, value: impl Fn(&Field) -> Option<Found<'a>>) -> bool {
        self.expression.holds(&Facts { value: &value, watermark })
    }
}

/// Ganeti's sentence.
fn malformed(name: &str, params: &[Value]) -> Error {
    let params = short(&Value::Array(params.to_vec()));
    Error::invalid(format!(
        "malformed FilterPredicate: bad parameter list for '{name}' predicate: {params}"
    ))
    .hint("there are \"jobid\", \"opcode\" and \"reason\", each with one expression")
}

/// A job that rules are asked about. Parameters are read when they are first looked at.
#[derive(Debug)]
pub struct Candidate<'a> {
    job: &'a Job,
    params: Vec<OnceCell<Map<String, Value>>>,
}

impl<'a> Candidate<'a> {
    /// That job.
    #[must_use]
    pub fn new(job: &'a Job) -> Self {
        Self { job, params: job.ops.iter().map(|_| OnceCell::new()).collect() }
    }

    fn job_field(&self, field: &Field) -> Option<Found<'_>> {
        (*field == Field::JobId).then(|| Found::number(self.job.id.get()))
    }

    fn op_field(&self, op: usize, field: &Field) -> Option<Found<'_>> {
        let opcode: &OpCode = &self.job.ops[op].opcode;
        match field {
            Field::OpId => Some(Found::Text(opcode.id.as_str())),
            Field::Priority => Some(Found::number(opcode.priority.get())),
            Field::DryRun => Some(Found::Bool(opcode.dry_run)),
            Field::DebugLevel => Some(Found::number(0)),
            Field::Comment => opcode.comment.as_deref().map(Found::Text),
            Field::Param(path) => self.param(op, path),
            _ => None,
        }
    }

    fn param(&self, op: usize, path: &[String]) -> Option<Found<'_>> {
        let params = self.params[op].get_or_init(|| self.job.ops[op].opcode.params.to_object());
        let (first, rest) = path.split_first()?;
        let value = rest.iter().try_fold(params.get(first)?, |value, key| value.get(key))?;
        Found::of(value)
    }

    /// All entries of the reason trails, with those that the queue adds.
    fn reasons(&self) -> impl Iterator<Item = std::borrow::Cow<'_, Reason>> {
        use std::borrow::Cow;
        self.job.ops.iter().enumerate().flat_map(move |(index, op)| {
            let added = std::iter::once_with(move || Cow::Owned(self.job.place_as_reason(index)));
            op.opcode.reason.iter().map(Cow::Borrowed).chain(added)
        })
    }
}

fn reason_field<'r>(reason: &'r Reason, field: &Field) -> Option<Found<'r>> {
    match field {
        Field::Source => Some(Found::Text(&reason.source)),
        Field::Text => Some(Found::Text(&reason.text)),
        Field::Time => Some(Found::number(reason.time_ns)),
        _ => None,
    }
}
