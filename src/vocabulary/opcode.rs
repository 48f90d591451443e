//! Opcodes: what a job is made of. An id, parameters, and how it relates to other jobs.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::error::Error;
use super::job::JobId;
use super::priority::Priority;
use super::status::Status;
use super::terms::OpTerms;

/// The stable name of a kind of opcode: `OP_` and then `A-Z`, `0-9` and `_`, 64 bytes at most.
///
/// Clones share the text, and so do most ids that one thread makes of the same text: there are
/// many opcodes and few kinds of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct OpId(Arc<str>);

thread_local! {
    /// The ids this thread met last.
    static MET: RefCell<Vec<OpId>> = const { RefCell::new(Vec::new()) };
}

/// How many ids a thread remembers.
const MOST_MET: usize = 16;

impl OpId {
    /// The id, checked.
    ///
    /// # Errors
    ///
    /// `Invalid` where it does not have the form `OP_NAME`.
    pub fn new(id: &str) -> Result<Self, Error> {
        let known = MET.with_borrow(|met| met.iter().find(|known| *known.0 == *id).cloned());
        known.map_or_else(|| Self::unknown(id), Ok)
    }

    fn unknown(id: &str) -> Result<Self, Error> {
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let well_formed = id
            .strip_prefix("OP_")
            .is_some_and(|rest| !rest.is_empty() && id.len() <= 64 && rest.chars().all(plain));
        if well_formed {
            let id = Self(id.into());
            MET.with_borrow_mut(|met| {
                met.truncate(MOST_MET - 1);
                met.insert(0, id.clone());
            });
            return Ok(id);
        }
        Err(Error::invalid(format!("{id:?} is not the id of an opcode"))
            .hint("an opcode id is OP_ and then capital letters, digits and _, 64 at most"))
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for OpId {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self, Error> {
        Self::new(id)
    }
}

impl<'de> Deserialize<'de> for OpId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let made = deserializer.deserialize_str(Text(Self::new))?;
        made.map_err(serde::de::Error::custom)
    }
}

/// Reads a text without copying it where it need not be, and makes something of it.
struct Text<F>(F);

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(self.0(text))
    }
}

/// The parameters of an opcode: a JSON object, kept as its text.
///
/// Text because the log is not self-describing, and because a queued job should cost few bytes.
/// Clones share it.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Params(Arc<str>);

impl Default for Params {
    fn default() -> Self {
        Self("{}".into())
    }
}

impl Params {
    /// The parameters in that object.
    #[must_use]
    pub fn from_object(object: &Map<String, Value>) -> Self {
        // Serializing a map of JSON values cannot fail; the fallback keeps the invariant anyway.
        serde_json::to_string(object).map(|text| Self(text.into())).unwrap_or_default()
    }

    /// The parameters that `value` serializes to.
    ///
    /// # Errors
    ///
    /// `Invalid` where it does not serialize to a JSON object.
    pub fn from_serialize<T: Serialize>(value: &T) -> Result<Self, Error> {
        match serde_json::to_value(value) {
            Ok(Value::Object(object)) => Ok(Self::from_object(&object)),
            Ok(Value::Null) => Ok(Self::default()),
            Ok(other) => Err(Error::invalid(format!(
                "the parameters of an opcode have to be an object, not {other}"
            ))),
            Err(error) => Err(Error::invalid(format!("parameters cannot be written: {error}"))),
        }
    }

    /// The parameters in that JSON text.
    ///
    /// # Errors
    ///
    /// `Invalid` where it is not a JSON object.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let object: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("parameters are not an object: {error}")))?;
        Ok(Self::from_object(&object))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The parameters as an object.
    #[must_use]
    pub fn to_object(&self) -> Map<String, Value> {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Params {
    /// Takes any text: the log's checksum vouches for it, and reading a million jobs back
    /// should not parse a million objects. Text from elsewhere goes through [`Params::from_json`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(|text: &str| Self(text.into())))
    }
}

/// Another job, by its id or by its place in the same submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobRef {
    /// The job of that id.
    Id(JobId),
    /// The job at that place of the same batch, counted from 0. Resolved when submitted.
    Batch(u32),
}

/// What has to have become of another job before an opcode may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The job to wait for.
    pub on: JobRef,
    /// The final statuses that satisfy it; empty means any but canceled.
    pub statuses: Vec<Status>,
}

impl Dependency {
    /// Wait until `on` has succeeded.
    #[must_use]
    pub fn success(on: JobRef) -> Self {
        Self { on, statuses: vec![Status::Success] }
    }
}

/// One step of the trail that tells why an opcode exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Who says it, such as `gnt:client:gnt-job`.
    pub source: String,
    /// What they say.
    pub text: String,
    /// When, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
}

impl Reason {
    /// About how many bytes it takes in the log, and not less than its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.source.len() + self.text.len() + ENTRY_BYTES
    }
}

/// What becomes of an opcode that was executing when the master died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrashPolicy {
    /// It fails; nobody knows what it had done.
    #[default]
    Fail,
    /// It runs again: running it twice does what running it once does.
    Retry,
    /// It fails and its undo runs, which has to cope with work half done.
    Undo,
}

/// What an opcode, a dependency or a reason takes beside its texts, with room to spare.
const ENTRY_BYTES: usize = 32;

/// One step of a job: which logical unit, with what parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpCode {
    /// Which logical unit carries it out.
    pub id: OpId,
    /// Its parameters.
    pub params: Params,
    /// How urgent it is.
    pub priority: Priority,
    /// The jobs it waits for.
    pub depends: Vec<Dependency>,
    /// A remark by the submitter.
    pub comment: Option<String>,
    /// Why it exists, oldest first.
    pub reason: Vec<Reason>,
    /// Stop before executing: check arguments, locks and prerequisites only.
    pub dry_run: bool,
    /// Until when, and how often. Kept in records of their own.
    #[serde(skip)]
    pub terms: OpTerms,
}

impl OpCode {
    /// An opcode of normal priority that waits for nothing.
    #[must_use]
    pub fn new(id: OpId, params: Params) -> Self {
        Self {
            id,
            params,
            priority: Priority::NORMAL,
            depends: Vec::new(),
            comment: None,
            reason: Vec::new(),
            dry_run: false,
            terms: OpTerms::default(),
        }
    }

    /// About how many bytes it takes in the log, and not less than its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let reasons: usize = self.reason.iter().map(Reason::bytes).sum();
        let comment = self.comment.as_ref().map_or(0, String::len);
        let entries = ENTRY_BYTES * self.depends.len();
        Self::plain_bytes(&self.id, &self.params) + comment + reasons + entries
    }

    /// The same of an opcode with nothing to it but that.
    pub(crate) fn plain_bytes(id: &OpId, params: &Params) -> usize {
        ENTRY_BYTES + id.as_str().len() + params.as_json().len()
    }

    /// The same opcode, also waiting for that.
    #[must_use]
    pub fn after(mut self, dependency: Dependency) -> Self {
        self.depends.push(dependency);
        self
    }

    /// The same opcode, on terms of its own.
    #[must_use]
    pub fn on_terms(mut self, terms: OpTerms) -> Self {
        self.terms = terms;
        self
    }

    /// The same opcode with another priority.
    #[must_use]
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_form() {
        for good in ["OP_X", "OP_TEST_DELAY", "OP_A9"] {
            assert_eq!(OpId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "OP_", "op_x", "OP_x", "TEST", "OP_A-B", &format!("OP_{}", "A".repeat(62))]
        {
            assert!(OpId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_that_a_thread_has_met_share_their_text_and_others_are_right_all_the_same() {
        let make = |number: usize| OpId::new(&format!("OP_SHARED_{number}")).unwrap();
        let (first, again) = (make(0), make(0));
        assert!(Arc::ptr_eq(&first.0, &again.0));
        (1..2 * MOST_MET).for_each(|number| assert_ne!(make(number), first));
        assert_eq!(make(0), first, "forgotten, and made again");
        MET.with_borrow(|met| assert_eq!(met.len(), MOST_MET));
        assert!(serde_json::from_str::<OpId>("\"OP_shared\"").is_err());
        assert_eq!(serde_json::from_str::<OpId>("\"OP_SHARED_0\"").unwrap(), first);
    }

    #[test]
    fn parameters_are_an_object_or_refused() {
        assert_eq!(Params::from_json(r#" {"a": 1} "#).unwrap().as_json(), r#"{"a":1}"#);
        assert!(Params::from_json("[1]").is_err());
        assert!(Params::from_serialize(&5).is_err());
        assert_eq!(Params::from_serialize(&()).unwrap(), Params::default());
    }
}
