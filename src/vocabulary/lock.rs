//! Names of locks, modes, and what one owner asks for at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::hierarchy::LevelId;

/// The name of a lock within its level: 1 to 255 bytes, no control characters, no braces.
///
/// A brace would be a template that nobody rendered. Cheap to clone. Order is plain byte order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LockName(Arc<str>);

/// Why a text cannot be the name of a lock.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LockNameError {
    /// The empty text.
    #[error("the name of a lock cannot be empty")]
    Empty,
    /// Longer than [`LockName::MAX_BYTES`].
    #[error("the name of a lock is {bytes} bytes long; at most 255")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A control character, such as a line feed.
    #[error("the name of the lock {name:?} contains a control character")]
    ControlCharacter {
        /// The text.
        name: String,
    },
    /// A brace: a template that was not rendered.
    #[error("the name of the lock {name:?} contains a brace: a template that was not rendered?")]
    Brace {
        /// The text.
        name: String,
    },
}

impl LockName {
    /// The most bytes a name can have.
    pub const MAX_BYTES: usize = 255;

    /// The name, checked.
    ///
    /// # Errors
    ///
    /// [`LockNameError`] where it is empty, too long, or has a control character or a brace.
    pub fn new(name: &str) -> Result<Self, LockNameError> {
        let owned = || name.to_owned();
        match name {
            "" => Err(LockNameError::Empty),
            _ if name.len() > Self::MAX_BYTES => Err(LockNameError::TooLong { bytes: name.len() }),
            _ if name.chars().any(char::is_control) => {
                Err(LockNameError::ControlCharacter { name: owned() })
            }
            _ if name.contains(['{', '}']) => Err(LockNameError::Brace { name: owned() }),
            _ => Ok(Self(name.into())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LockName {
    type Err = LockNameError;

    fn from_str(name: &str) -> Result<Self, LockNameError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for LockName {
    type Error = LockNameError;

    fn try_from(name: &str) -> Result<Self, LockNameError> {
        Self::new(name)
    }
}

impl<'de> Deserialize<'de> for LockName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Together with others that hold it shared.
    Shared,
    /// Alone.
    Exclusive,
}

impl LockMode {
    /// The word used on the wire, in files and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
        }
    }
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is asked for at one level: some names, or all there are and ever will be, or both.
///
/// `all` shared with some names exclusive is allowed: "everything stays, these change".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelLocks {
    all: Option<LockMode>,
    names: BTreeMap<LockName, LockMode>,
}

impl LevelLocks {
    /// The mode in which the whole level is asked for, if it is.
    #[must_use]
    pub const fn all(&self) -> Option<LockMode> {
        self.all
    }

    /// The names asked for, in order, each once.
    pub fn names(&self) -> impl ExactSizeIterator<Item = (&LockName, LockMode)> {
        self.names.iter().map(|(name, mode)| (name, *mode))
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.names.is_empty()
    }
}

/// Why a lock cannot be added to a [`LockRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LockRequestError {
    /// The name is malformed.
    #[error(transparent)]
    Name(#[from] LockNameError),
    /// One lock asked for shared and exclusive in the same request.
    #[error("the lock {name} is asked for both shared and exclusive in one request")]
    ConflictingModes {
        /// The lock.
        name: LockName,
    },
    /// A whole level asked for shared and exclusive in the same request.
    #[error("all locks of a level are asked for both shared and exclusive in one request")]
    ConflictingAll,
}

impl From<LockRequestError> for super::error::Error {
    fn from(error: LockRequestError) -> Self {
        Self::invalid(error.to_string()).caused_by(error)
    }
}

/// The locks one owner asks for at once, at one level or several; granted together or not at all.
///
/// Levels come out in order of rank, names in order within a level, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockRequest {
    levels: BTreeMap<LevelId, LevelLocks>,
}

impl LockRequest {
    /// A request for nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one lock.
    ///
    /// # Errors
    ///
    /// [`LockRequestError`] where the name is malformed or already asked for in the other mode.
    pub fn add(
        &mut self,
        level: LevelId,
        name: &str,
        mode: LockMode,
    ) -> Result<&mut Self, LockRequestError> {
        let name = LockName::new(name)?;
        match self.levels.entry(level).or_default().names.entry(name) {
            Entry::Vacant(vacant) => _ = vacant.insert(mode),
            Entry::Occupied(same) if *same.get() == mode => {}
            Entry::Occupied(other) => {
                return Err(LockRequestError::ConflictingModes { name: other.key().clone() });
            }
        }
        Ok(self)
    }

    /// Adds all locks of a level, those that do not exist yet included.
    ///
    /// # Errors
    ///
    /// [`LockRequestError::ConflictingAll`] where they are already asked for in the other mode.
    pub fn add_all(
        &mut self,
        level: LevelId,
        mode: LockMode,
    ) -> Result<&mut Self, LockRequestError> {
        let locks = self.levels.entry(level).or_default();
        if locks.all.is_some_and(|all| all != mode) {
            return Err(LockRequestError::ConflictingAll);
        }
        locks.all = Some(mode);
        Ok(self)
    }

    /// Adds all that is asked for at a level at which nothing is asked for yet.
    pub(crate) fn add_level(&mut self, level: LevelId, locks: LevelLocks) {
        self.levels.insert(level, locks);
    }

    /// Adds everything that `other` asks for; where both ask for one lock, the stronger mode.
    pub fn merge(&mut self, other: &Self) {
        for (level, theirs) in other.levels() {
            let ours = self.levels.entry(level).or_default();
            ours.all = ours.all.max(theirs.all);
            for (name, mode) in theirs.names() {
                let merged = ours.names.entry(name.clone()).or_insert(mode);
                *merged = mode.max(*merged);
            }
        }
    }

    /// The first lock that `other` asks for and this does not, or in a weaker mode: its level,
    /// and its name, or none for all locks of the level.
    #[must_use]
    pub fn lacks(&self, other: &Self) -> Option<(LevelId, Option<LockName>)> {
        other.levels().find_map(|(level, theirs)| {
            let ours = self.levels.get(&level).cloned().unwrap_or_default();
            if theirs.all > ours.all {
                return Some((level, None));
            }
            let held = |name: &LockName| ours.names.get(name).copied().max(ours.all);
            let mut names = theirs.names();
            names
                .find(|(name, mode)| held(name) < Some(*mode))
                .map(|(name, _)| (level, Some(name.clone())))
        })
    }

    /// What of it is of the levels of `other`.
    pub(crate) fn at_levels_of(&self, other: &Self) -> Self {
        let of = |level: &LevelId| other.levels.get(level).is_some_and(|locks| !locks.is_empty());
        let levels = self.levels.iter().filter(|(level, _)| of(level));
        Self { levels: levels.map(|(level, locks)| (*level, locks.clone())).collect() }
    }

    /// How many locks are asked for, all of a level counting as one.
    pub(crate) fn count(&self) -> usize {
        let all = |locks: &LevelLocks| usize::from(locks.all.is_some());
        self.levels.values().map(|locks| locks.names.len() + all(locks)).sum()
    }

    /// The levels at which something is asked for, in order of rank.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = (LevelId, &LevelLocks)> {
        self.levels.iter().filter(|(_, locks)| !locks.is_empty()).map(|(id, locks)| (*id, locks))
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Hierarchy;

    #[test]
    fn names_of_any_ordinary_shape_are_taken() {
        for name in ["a", "a/b", "ä b", "10.0.0.1:/export", &"x".repeat(255)] {
            assert_eq!(LockName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn each_malformed_name_has_its_own_error() {
        assert_eq!(LockName::new(""), Err(LockNameError::Empty));
        assert_eq!(LockName::new(&"x".repeat(256)), Err(LockNameError::TooLong { bytes: 256 }));
        assert!(matches!(LockName::new("a\n"), Err(LockNameError::ControlCharacter { .. })));
        assert!(matches!(LockName::new("{id}"), Err(LockNameError::Brace { .. })));
    }

    #[test]
    fn a_request_is_sorted_and_free_of_duplicates() {
        let hierarchy = Hierarchy::default();
        let (instance, node) =
            (hierarchy.level("instance").unwrap(), hierarchy.level("node").unwrap());
        let mut request = LockRequest::new();
        request.add(node, "n2", LockMode::Shared).unwrap();
        request.add(node, "n1", LockMode::Exclusive).unwrap();
        request.add(node, "n2", LockMode::Shared).unwrap();
        request.add(instance, "web", LockMode::Exclusive).unwrap();
        let flat: Vec<_> = request
            .levels()
            .flat_map(|(level, locks)| {
                locks.names().map(move |(n, m)| (level.rank(), n.to_string(), m))
            })
            .collect();
        let expected = [
            (1, "web".to_owned(), LockMode::Exclusive),
            (2, "n1".to_owned(), LockMode::Exclusive),
            (2, "n2".to_owned(), LockMode::Shared),
        ];
        assert_eq!(flat, expected);
    }

    #[test]
    fn one_lock_in_both_modes_is_refused() {
        let node = Hierarchy::default().level("node").unwrap();
        let mut request = LockRequest::new();
        request.add(node, "n", LockMode::Shared).unwrap();
        let refused = request.add(node, "n", LockMode::Exclusive).unwrap_err();
        assert!(matches!(refused, LockRequestError::ConflictingModes { .. }));
        request.add_all(node, LockMode::Shared).unwrap();
        let refused = request.add_all(node, LockMode::Exclusive).unwrap_err();
        assert_eq!(refused, LockRequestError::ConflictingAll);
    }
}
