//! The levels locks live at, and their order.

mod pairs;

use std::fmt;
use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// The name of the one lock at the big-lock level: every opcode holds it, most of them shared.
pub const BIG_LOCK: &str = "BGL";

/// A level, by its rank: levels with a lower rank are taken first.
///
/// Only meaningful together with the [`Hierarchy`] it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LevelId(u8);

impl LevelId {
    /// The rank, 0 for the first level.
    #[must_use]
    pub const fn rank(self) -> usize {
        self.0 as usize
    }
}

/// How far a level's locks reach. An attribute of the level, never part of the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Among the threads and jobs of this process.
    #[default]
    Process,
    /// Among all processes of this machine.
    Node,
    /// Among all machines.
    Global,
}

/// One level of a [`Hierarchy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    name: String,
    scope: Scope,
    reentrant: bool,
    capacity: Option<NonZeroU8>,
}

impl Level {
    /// The level's name, such as `instance`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far its locks reach.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether an owner may lock again what it holds here; see [`HierarchyBuilder::reentrant`].
    #[must_use]
    pub const fn is_reentrant(&self) -> bool {
        self.reentrant
    }

    /// How many owners may share one lock of the level, where there is a limit; see
    /// [`HierarchyBuilder::capacity`].
    #[must_use]
    pub const fn capacity(&self) -> Option<NonZeroU8> {
        self.capacity
    }

    fn new(name: &str, scope: Scope) -> Self {
        Self { name: name.to_owned(), scope, reentrant: false, capacity: None }
    }
}

/// The levels of locks in the order they are taken, lowest rank first.
///
/// The default is Ganeti's: `cluster` (with the big lock), `instance`, `node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    levels: Vec<Level>,
    big_lock: bool,
}

impl Default for Hierarchy {
    fn default() -> Self {
        let name = |name: &str| Level::new(name, Scope::Process);
        Self { levels: vec![name("cluster"), name("instance"), name("node")], big_lock: true }
    }
}

impl Hierarchy {
    /// The most levels a hierarchy can have.
    pub const MAX_LEVELS: usize = 64;

    /// Starts a hierarchy of the embedder's own.
    ///
    /// ```
    /// use lockmaster::vocabulary::Hierarchy;
    /// let storage = Hierarchy::builder().big_lock("site").level("pool").level("volume").build()?;
    /// assert!(storage.level("pool")? < storage.level("volume")?);
    /// # Ok::<(), lockmaster::vocabulary::Error>(())
    /// ```
    #[must_use]
    pub fn builder() -> HierarchyBuilder {
        HierarchyBuilder { levels: Vec::new(), big_lock: false, error: None }
    }

    /// The same levels, one of them with another reach.
    ///
    /// # Errors
    ///
    /// `Invalid` where there is no level of that name.
    pub fn with_scope(mut self, name: &str, scope: Scope) -> Result<Self, Error> {
        let rank = self.level(name)?.rank();
        self.levels[rank].scope = scope;
        Ok(self)
    }

    /// The same levels, and a deeper one.
    ///
    /// # Errors
    ///
    /// `Invalid` where there is a level of that name, or no room for another.
    pub fn with_level(self, name: &str, scope: Scope) -> Result<Self, Error> {
        let Self { levels, big_lock } = self;
        HierarchyBuilder { levels, big_lock, error: None }.scoped_level(name, scope).build()
    }

    /// The level of that name.
    ///
    /// # Errors
    ///
    /// `Invalid` where there is none; the hint lists those there are.
    pub fn level(&self, name: &str) -> Result<LevelId, Error> {
        let rank = self.levels.iter().position(|level| level.name == name);
        rank.and_then(|rank| self.at(rank)).ok_or_else(|| {
            Error::invalid(format!("there is no lock level {name:?}"))
                .hint(format!("the levels are {self}"))
        })
    }

    /// The level of that rank, if there is one.
    #[must_use]
    pub fn at(&self, rank: usize) -> Option<LevelId> {
        (rank < self.levels.len()).then(|| u8::try_from(rank).ok().map(LevelId)).flatten()
    }

    /// What is known of a level.
    ///
    /// # Panics
    ///
    /// Where `level` came from another, longer hierarchy.
    #[must_use]
    pub fn get(&self, level: LevelId) -> &Level {
        &self.levels[level.rank()]
    }

    /// The name of a level.
    ///
    /// # Panics
    ///
    /// Where `level` came from another, longer hierarchy.
    #[must_use]
    pub fn name(&self, level: LevelId) -> &str {
        self.get(level).name()
    }

    /// All levels in order.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = LevelId> + use<> {
        (0..u8::try_from(self.levels.len()).unwrap_or(u8::MAX)).map(LevelId)
    }

    /// The level that holds nothing but the big lock, if the hierarchy has one.
    #[must_use]
    pub fn big_lock_level(&self) -> Option<LevelId> {
        self.big_lock.then_some(LevelId(0))
    }
}

impl fmt::Display for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.levels.iter().map(Level::name).collect();
        f.write_str(&names.join(", "))
    }
}

/// Declares the levels of a [`Hierarchy`], first to last.
#[derive(Clone, Debug)]
pub struct HierarchyBuilder {
    levels: Vec<Level>,
    big_lock: bool,
    error: Option<String>,
}

impl HierarchyBuilder {
    /// The level of the big lock, which every opcode holds shared or exclusive. Must come first.
    #[must_use]
    pub fn big_lock(mut self, name: &str) -> Self {
        if !self.levels.is_empty() {
            self.error = Some(format!("the big lock's level {name:?} has to be the first"));
        }
        self.big_lock = true;
        self.level(name)
    }

    /// The next level, for locks within this process.
    #[must_use]
    pub fn level(self, name: &str) -> Self {
        self.scoped_level(name, Scope::Process)
    }

    /// The next level, with its reach.
    #[must_use]
    pub fn scoped_level(mut self, name: &str, scope: Scope) -> Self {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            self.error = Some(format!(
                "level name {name:?} has to be 1 to 64 of the characters a-z, 0-9, - and _"
            ));
        } else if self.levels.iter().any(|level| level.name == name) {
            self.error = Some(format!("level {name:?} is declared twice"));
        }
        self.levels.push(Level::new(name, scope));
        self
    }

    /// Makes the level declared last reentrant: an owner that holds locks of it may ask for some
    /// of them again, not more strongly, and releases them as often. Elsewhere that is an error,
    /// since it is mostly a mistake.
    #[must_use]
    pub fn reentrant(mut self) -> Self {
        match self.levels.last_mut() {
            Some(level) => level.reentrant = true,
            None => self.error = Some("no level is declared yet that could be reentrant".into()),
        }
        self
    }

    /// Lets at most so many owners share one lock of the level declared last: what a node's disks
    /// or a host's transfer slots can bear at once. An exclusive lock is held alone as ever; all
    /// locks of the level together can be had exclusive only.
    ///
    /// ```
    /// use lockmaster::vocabulary::Hierarchy;
    /// let cluster = Hierarchy::builder().level("node").level("node-res").capacity(4).build()?;
    /// assert_eq!(cluster.get(cluster.level("node-res")?).capacity().map(u8::from), Some(4));
    /// # Ok::<(), lockmaster::vocabulary::Error>(())
    /// ```
    #[must_use]
    pub fn capacity(mut self, most: u8) -> Self {
        match (self.levels.last_mut(), NonZeroU8::new(most)) {
            (Some(level), Some(most)) => level.capacity = Some(most),
            (None, _) => self.error = Some("no level is declared yet that could have one".into()),
            (Some(_), None) => {
                self.error = Some("with a capacity of 0 nobody could share a lock".into());
            }
        }
        self
    }

    /// The finished hierarchy.
    ///
    /// # Errors
    ///
    /// `Invalid` where there is no level, more than [`Hierarchy::MAX_LEVELS`], a name twice or
    /// malformed, or the big lock not first.
    pub fn build(self) -> Result<Hierarchy, Error> {
        if let Some(error) = self.error {
            return Err(Error::invalid(error));
        }
        match self.levels.len() {
            0 => Err(Error::invalid("a hierarchy needs at least one level")),
            n if n > Hierarchy::MAX_LEVELS => {
                Err(Error::invalid(format!("{n} levels; at most {}", Hierarchy::MAX_LEVELS)))
            }
            _ => Ok(Hierarchy { levels: self.levels, big_lock: self.big_lock }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_ganetis_order() {
        let hierarchy = Hierarchy::default();
        assert_eq!(hierarchy.to_string(), "cluster, instance, node");
        assert_eq!(hierarchy.big_lock_level(), hierarchy.level("cluster").ok());
        assert!(hierarchy.level("instance").unwrap() < hierarchy.level("node").unwrap());
    }

    #[test]
    fn malformed_hierarchies_are_refused_with_the_reason() {
        let message = |builder: HierarchyBuilder| builder.build().unwrap_err().to_string();
        assert!(message(Hierarchy::builder()).contains("at least one"));
        assert!(message(Hierarchy::builder().reentrant()).contains("no level is declared yet"));
        assert!(message(Hierarchy::builder().capacity(2)).contains("no level is declared yet"));
        assert!(message(Hierarchy::builder().level("a").capacity(0)).contains("nobody could"));
        assert!(message(Hierarchy::builder().level("a").level("a")).contains("twice"));
        assert!(message(Hierarchy::builder().level("A b")).contains("a-z"));
        assert!(message(Hierarchy::builder().level("a").big_lock("b")).contains("first"));
        let many = (0..65).fold(Hierarchy::builder(), |b, i| b.level(&format!("l{i}")));
        assert!(message(many).contains("at most 64"));
    }
}
