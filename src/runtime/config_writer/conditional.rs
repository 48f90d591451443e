//! Conditional updates: change these values, if those are as expected, in one step.
//!
//! As `conditional_update` of Cinder's database, which does not say what was in the way; this
//! one does, since it looks and writes under one mutex.

use std::fmt;

use serde_json::Value;

use super::serials::ObjectSerial;
use super::{ConfigSnapshot, pointer};
use crate::vocabulary::{Error, ErrorKind, OpError};

/// What to change, and on what condition. Places are JSON pointers, such as `/volumes/7/status`.
///
/// ```
/// use lockmaster::runtime::{ConditionalUpdate, ConfigWriter};
/// use serde_json::json;
///
/// # fn main() -> Result<(), lockmaster::Error> {
/// let config = ConfigWriter::in_memory();
/// config.update_where(ConditionalUpdate::new().set("/volume", json!({"status": "available"})))?;
/// let reserve = ConditionalUpdate::new()
///     .expect("/volume/status", json!("available"))
///     .set("/volume/status", json!("attaching"));
/// config.update_where(reserve.clone())?;
/// let refusal = config.update_where(reserve).unwrap_err();
/// assert_eq!(refusal.mismatch().unwrap().unmet[0].current, Some(json!("attaching")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is updated until it is handed to the config writer"]
pub struct ConditionalUpdate {
    conditions: Vec<(String, Expected)>,
    changes: Vec<(String, Option<Value>)>,
}

/// What has to be at a place.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Expected {
    /// One of these values.
    OneOf(Vec<Value>),
    /// Something, but none of these values.
    NoneOf(Vec<Value>),
    /// Nothing.
    Absent,
    /// An object that has not changed since it had this serial.
    Unchanged(ObjectSerial),
}

impl ConditionalUpdate {
    /// No conditions and no changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if this value is there.
    pub fn expect(self, place: &str, value: Value) -> Self {
        self.expect_one_of(place, [value])
    }

    /// Only if one of these values is there.
    pub fn expect_one_of(self, place: &str, values: impl IntoIterator<Item = Value>) -> Self {
        self.expecting(place, Expected::OneOf(values.into_iter().collect()))
    }

    /// Only if something is there, but none of these values.
    pub fn expect_none_of(self, place: &str, values: impl IntoIterator<Item = Value>) -> Self {
        self.expecting(place, Expected::NoneOf(values.into_iter().collect()))
    }

    /// Only if nothing is there.
    pub fn expect_absent(self, place: &str) -> Self {
        self.expecting(place, Expected::Absent)
    }

    /// Only if the object there has not changed since it had that serial
    /// ([`ConfigSnapshot::serial`]).
    pub fn expect_unchanged(self, place: &str, since: ObjectSerial) -> Self {
        self.expecting(place, Expected::Unchanged(since))
    }

    fn expecting(mut self, place: &str, expected: Expected) -> Self {
        self.conditions.push((place.to_owned(), expected));
        self
    }

    /// Puts a value there; what it is put in has to be there by then. Changes are made in the
    /// order in which they are given.
    pub fn set(mut self, place: &str, value: Value) -> Self {
        self.changes.push((place.to_owned(), Some(value)));
        self
    }

    /// Removes the member there, if there is one.
    pub fn remove(mut self, place: &str) -> Self {
        self.changes.push((place.to_owned(), None));
        self
    }

    /// Looks at `now`, and changes `value`, which is a copy of its value.
    pub(super) fn apply(self, now: &ConfigSnapshot, value: &mut Value) -> Result<(), UpdateError> {
        self.conditions.iter().try_for_each(|(place, _)| pointer::check(place))?;
        let unmet: Vec<Unmet> = self
            .conditions
            .into_iter()
            .filter(|(place, expected)| !expected.is_met(now, place))
            .map(|(place, expected)| Unmet::of(now, place, expected))
            .collect();
        if !unmet.is_empty() {
            return Err(UpdateError::Mismatch(Mismatch { version: now.version, unmet }));
        }
        for (place, new) in self.changes {
            match new {
                Some(new) => pointer::set(value, &place, new)?,
                None => pointer::remove(value, &place)?,
            }
        }
        Ok(())
    }
}

impl Expected {
    fn is_met(&self, now: &ConfigSnapshot, place: &str) -> bool {
        let current = now.value.pointer(place);
        match self {
            Self::OneOf(values) => current.is_some_and(|current| values.contains(current)),
            Self::NoneOf(values) => current.is_some_and(|current| !values.contains(current)),
            Self::Absent => current.is_none(),
            Self::Unchanged(since) => now.serial(place) == Some(*since),
        }
    }
}

/// Why a conditional update was refused: nothing was changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Mismatch {
    /// The version that was looked at.
    pub version: u64,
    /// Every condition that was not met, in the order in which they were given.
    pub unmet: Vec<Unmet>,
}

/// A condition that was not met.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Unmet {
    /// Where.
    pub place: String,
    /// What should have been there.
    pub expected: Expected,
    /// What is there; none where nothing is.
    pub current: Option<Value>,
    /// The serial of the object there, where it is one.
    pub serial: Option<ObjectSerial>,
}

impl Unmet {
    fn of(now: &ConfigSnapshot, place: String, expected: Expected) -> Self {
        let (current, serial) = (now.value.pointer(&place).cloned(), now.serial(&place));
        Self { place, expected, current, serial }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration (version {}) is not as expected: ", self.version)?;
        for (index, unmet) in self.unmet.iter().enumerate() {
            write!(f, "{}{unmet}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match (&self.expected, self.serial) {
            (Expected::Unchanged(since), Some(serial)) => {
                return write!(
                    f,
                    "{place} has changed: serial {}, not {}",
                    serial.serial, since.serial
                );
            }
            (Expected::Unchanged(_), None) => return write!(f, "{place} is not there any more"),
            _ => {}
        }
        match &self.current {
            Some(current) => write!(f, "{place} is {}", short(current))?,
            None => write!(f, "{place} is not there")?,
        }
        match &self.expected {
            Expected::OneOf(values) => write!(f, ", not {}", list(values)),
            Expected::NoneOf(values) if self.current.is_none() => {
                write!(f, "; it should be, and not {}", list(values))
            }
            Expected::NoneOf(_) => f.write_str(", which it must not be"),
            _ => f.write_str(", and should not be there"),
        }
    }
}

fn list(values: &[Value]) -> String {
    values.iter().map(short).collect::<Vec<_>>().join(" or ")
}

/// A value as JSON, or the beginning of a long one.
fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Why a conditional update did not come about.
#[derive(Debug)]
pub enum UpdateError {
    /// A condition was not met.
    Mismatch(Mismatch),
    /// Anything else.
    Failed(Error),
}

impl UpdateError {
    /// Which conditions were not met, where that was the reason.
    #[must_use]
    pub fn mismatch(&self) -> Option<&Mismatch> {
        match self {
            Self::Mismatch(mismatch) => Some(mismatch),
            Self::Failed(_) => None,
        }
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch(mismatch) => mismatch.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UpdateError {}

impl From<Error> for UpdateError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<UpdateError> for Error {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Failed(error) => error,
            UpdateError::Mismatch(mismatch) => Self::new(ErrorKind::Refused, mismatch.to_string())
                .hint(
                    "somebody else was quicker, or it is in another state: look, and decide anew",
                ),
        }
    }
}

impl From<UpdateError> for OpError {
    fn from(error: UpdateError) -> Self {
        Error::from(error).into()
    }
}
