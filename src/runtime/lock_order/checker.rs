//! One graph of lock orders, shared by all threads.

use std::fmt;

use crate::runtime::sync::raw::{self, AtomicU8, Ordering};

use super::book::Book;
use super::class::{ClassId, LockClass};
use super::held::{Acquisition, HeldSet};
use super::matrix::BitMatrix;
use super::report::Report;

/// What the process does about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reaction {
    /// Nothing; nothing is watched either.
    Off,
    /// A warning through `tracing`, once for each pair of classes.
    Warn,
    /// A panic in the thread that asked for the lock, before it gets it, once for each pair. A
    /// thread that panics already logs an error instead.
    Panic,
}

impl Reaction {
    /// The one that somebody calls `panic`, `warn` or `off`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "off" => Some(Self::Off),
            "warn" => Some(Self::Warn),
            "panic" => Some(Self::Panic),
            _ => None,
        }
    }
}

/// Which classes of locks are taken while which others are held, and who contradicted.
///
/// The process has one, which the functions of [this module](super) talk to. One of your own
/// checks a protocol by hand, apart from everything else:
///
/// ```
/// use lockmaster::runtime::lock_order::{Acquisition, Checker, HeldSet, LockClass};
///
/// let checker = Checker::new();
/// let [queue, table] = ["queue", "table"].map(LockClass::new);
/// let queue = checker.register(&queue).unwrap();
/// let table = checker.register(&table).unwrap();
///
/// let mut worker = HeldSet::of("worker");
/// worker.push(Acquisition::new(queue, 0));
/// assert!(checker.attempt(&worker, &Acquisition::new(table, 0)).is_none());
///
/// let mut client = HeldSet::of("client");
/// client.push(Acquisition::new(table, 0));
/// let report = checker.attempt(&client, &Acquisition::new(queue, 0)).unwrap();
/// assert!(report.to_string().contains("can deadlock"));
/// ```
pub struct Checker {
    known: BitMatrix,
    /// A [`Reaction`].
    reaction: AtomicU8,
    book: raw::Mutex<Book>,
}

impl Checker {
    /// The most classes a checker knows. One more turns it off.
    pub const MAX_CLASSES: usize = 256;

    /// One that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::MAX_CLASSES)
    }

    /// One that knows nothing, for that many classes at most.
    #[must_use]
    pub fn with_capacity(classes: usize) -> Self {
        let classes = classes.min(Self::MAX_CLASSES);
        Self {
            known: BitMatrix::new(classes),
            reaction: AtomicU8::new(Reaction::Warn as u8),
            book: raw::Mutex::new(Book::new(classes)),
        }
    }

    /// Adds a class. `None` where there is no room: the checker then says so once through
    /// `tracing` and is off from there on.
    pub fn register(&self, class: &LockClass) -> Option<ClassId> {
        let id = raw::lock(&self.book).register(class);
        if id.is_none() {
            self.turn_off(class.name);
        }
        id
    }

    /// There is no room for that class: says so, once.
    pub(super) fn turn_off(&self, class: &str) {
        if self.reaction() != Reaction::Off {
            self.set_reaction(Reaction::Off);
            tracing::warn!(class, "too many lock classes; the lock-order checker is off from here");
        }
    }

    /// What is wrong with waiting for `wanted` while holding `held`, the first time for each pair
    /// of classes; later times are only counted.
    ///
    /// To be asked before the wait, so that the one who deadlocks is the one who reports. Costs a
    /// bit test for each lock held where the order is known.
    pub fn attempt(&self, held: &HeldSet, wanted: &Acquisition) -> Option<Report> {
        if self.knows(held, wanted.class) { None } else { self.attempt_unknown(held, wanted) }
    }

    /// Whether taking a lock of that class while holding `held` is known to be fine.
    #[inline]
    pub(super) fn knows(&self, held: &HeldSet, wanted: ClassId) -> bool {
        held.held.iter().all(|one| self.known.contains(one.class, wanted))
    }

    /// Learns every new order before it reports, so that none is lost to the first finding.
    #[cold]
    fn attempt_unknown(&self, held: &HeldSet, wanted: &Acquisition) -> Option<Report> {
        let mut book = raw::lock(&self.book);
        let mut first = None;
        for one in &held.held {
            // Looked at again under the mutex, so that no order is learnt twice.
            if self.known.contains(one.class, wanted.class) {
                continue;
            }
            match book.take(one, wanted, held) {
                Ok(true) => self.known.insert(one.class, wanted.class),
                Ok(false) => {}
                Err(report) => first = first.or(Some(*report)),
            }
        }
        first
    }

    /// What is wrong with waiting for a notification that frees `waiting`, while holding `held`
    /// beside it: whoever has to notify may need one of those.
    pub fn wait(&self, held: &HeldSet, waiting: &Acquisition) -> Option<Report> {
        let other = held.held.iter().find(|one| one.owner == 0)?;
        raw::lock(&self.book).wait(other, waiting, held)
    }

    /// What is wrong with doing `activity` while holding `held`: a lock that a thread holds.
    pub fn idle(&self, held: &HeldSet, activity: &'static str) -> Option<Report> {
        let one = held.held.iter().find(|one| one.owner == 0)?;
        raw::lock(&self.book).busy(one, activity, held)
    }

    /// Takes waiting for `wanted` while holding `held` for safe from now on.
    pub fn allow(&self, held: ClassId, wanted: ClassId, why: &'static str) {
        raw::lock(&self.book).allow(held, wanted, why);
        self.known.insert(held, wanted);
    }

    /// What to do about findings.
    #[inline]
    pub fn reaction(&self) -> Reaction {
        match self.reaction.load(Ordering::Relaxed) {
            0 => Reaction::Off,
            1 => Reaction::Warn,
            _ => Reaction::Panic,
        }
    }

    /// Says what to do about findings.
    pub fn set_reaction(&self, reaction: Reaction) {
        self.reaction.store(reaction as u8, Ordering::Relaxed);
    }

    /// All findings so far, each with how often it was seen.
    pub fn reports(&self) -> Vec<Report> {
        raw::lock(&self.book).reports().to_vec()
    }

    /// How many orders between two classes were seen and found in order.
    pub fn edge_count(&self) -> usize {
        raw::lock(&self.book).edge_count()
    }

    /// The graph for graphviz: findings in red, exceptions dotted with their reason.
    pub fn dot(&self) -> String {
        raw::lock(&self.book).dot()
    }

    /// The graph and the findings as JSON.
    pub fn json(&self) -> serde_json::Value {
        raw::lock(&self.book).json()
    }
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("reaction", &self.reaction()).finish_non_exhaustive()
    }
}
