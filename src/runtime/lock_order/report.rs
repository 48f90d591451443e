//! What was found, in words.

use std::backtrace::Backtrace;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::held::{Access, Acquisition};

/// What is wrong with an acquisition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Classes are taken in an order that contradicts others seen before.
    Inversion,
    /// Two locks of one class are held, and nothing says in which order.
    SameClass,
    /// A lock is taken by the one who holds it.
    SameLock,
    /// A lock held shared is wanted alone: two who do that wait for each other.
    Upgrade,
    /// A thread waits for a notification while holding another lock.
    WaitWhileHolding,
    /// A lock is held during something that must not be done with locks held.
    HeldDuring(&'static str),
}

impl Problem {
    /// Whether it is about two locks taken one after the other.
    pub(super) const fn is_about_order(self) -> bool {
        !matches!(self, Self::WaitWhileHolding | Self::HeldDuring(_))
    }
}

/// That somebody asked for one lock while holding another, where and when first.
#[derive(Debug)]
pub struct Order {
    /// The class of the lock held.
    pub held: &'static str,
    /// Its name, where it has one.
    pub held_name: Option<Arc<str>>,
    /// Where it was taken.
    pub held_at: &'static Location<'static>,
    /// The class of the lock asked for.
    pub wanted: &'static str,
    /// Its name, where it has one.
    pub wanted_name: Option<Arc<str>>,
    /// Where it was asked for.
    pub wanted_at: &'static Location<'static>,
    /// Whether it was asked for shared.
    pub access: Access,
    /// The thread or job.
    pub by: String,
    /// The classes of everything it held, oldest first.
    pub holding: Vec<&'static str>,
    /// How it got there.
    pub backtrace: Backtrace,
}

impl Order {
    pub(super) fn new(
        held: &'static str,
        held_as: &Acquisition,
        wanted: &'static str,
        wanted_as: &Acquisition,
    ) -> Self {
        Self {
            held,
            held_name: held_as.name.clone(),
            held_at: held_as.at,
            wanted,
            wanted_name: wanted_as.name.clone(),
            wanted_at: wanted_as.at,
            access: wanted_as.access,
            by: String::new(),
            holding: Vec::new(),
            backtrace: Backtrace::disabled(),
        }
    }

    /// Adds who does it. loom's threads have small stacks, so no backtrace there.
    pub(super) fn seen(
        mut self,
        by: String,
        holding: Vec<&'static str>,
        with_backtrace: bool,
    ) -> Self {
        self.by = by;
        self.holding = holding;
        if with_backtrace && !cfg!(loom) {
            self.backtrace = Backtrace::force_capture();
        }
        self
    }

    fn held_lock(&self) -> Lock<'_> {
        Lock { class: self.held, name: self.held_name.as_deref() }
    }

    fn wanted_lock(&self) -> Lock<'_> {
        Lock { class: self.wanted, name: self.wanted_name.as_deref() }
    }
}

/// A lock as people call it.
struct Lock<'a> {
    class: &'a str,
    name: Option<&'a str>,
}

impl fmt::Display for Lock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "{:?} ({name})", self.class),
            None => write!(f, "{:?}", self.class),
        }
    }
}

/// Something that can deadlock.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) problem: Problem,
    /// The finding itself; for an inversion followed by the shortest chain that contradicts it.
    pub(super) orders: Vec<Arc<Order>>,
    pub(super) count: u64,
}

impl Report {
    /// What is wrong.
    #[must_use]
    pub const fn problem(&self) -> Problem {
        self.problem
    }

    /// Who did what: first the acquisition found, then, for an inversion, the shortest chain of
    /// earlier ones that contradicts it, so that the last ends where the first began.
    #[must_use]
    pub fn orders(&self) -> &[Arc<Order>] {
        &self.orders
    }

    /// How often it was seen so far; 1 in a report that was just made.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The classes around the cycle, the first one again at the end.
    #[must_use]
    pub fn cycle(&self) -> Vec<&'static str> {
        let held = self.orders.iter().map(|order| order.held);
        held.chain(self.orders.last().map(|order| order.wanted)).collect()
    }

    /// What it comes down to, in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let Some(new) = self.orders.first() else { return String::new() };
        let (held, wanted) = (new.held_lock(), new.wanted_lock());
        match self.problem {
            Problem::Inversion => format!(
                "lock order that can deadlock: {wanted} is asked for while holding {held}, \
                 elsewhere the other way round ({})",
                self.cycle().join(" -> ")
            ),
            Problem::SameClass => format!(
                "lock order that can deadlock: {wanted} is asked for while holding {held} of the \
                 same class, and not in ascending order of an order function"
            ),
            Problem::SameLock => format!("{wanted} is asked for by the one who holds it"),
            Problem::Upgrade => {
                format!("{wanted} is asked for alone while held shared: two who do that deadlock")
            }
            Problem::WaitWhileHolding => format!(
                "a notification under {wanted} is waited for while holding {held}, which whoever \
                 notifies may need"
            ),
            Problem::HeldDuring(activity) => format!("{held} is held {activity}"),
        }
    }

    fn hint(&self) -> &'static str {
        match self.problem {
            Problem::Inversion => {
                "take the locks in one order everywhere, or say with allow_edge! why it is safe"
            }
            Problem::SameClass => "give the class an order function and the locks names",
            Problem::SameLock => "pass what is behind the lock on instead of locking it again",
            Problem::Upgrade => "take the lock alone from the start, or release it in between",
            Problem::WaitWhileHolding | Problem::HeldDuring(_) => "release the lock before",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        for (number, order) in self.orders.iter().enumerate() {
            let (held, wanted) = (order.held_lock(), order.wanted_lock());
            writeln!(f, "{:>3}. {}, holding {}:", number + 1, order.by, order.holding.join(", "))?;
            writeln!(f, "     held  {held}, taken at {}", order.held_at)?;
            if !matches!(self.problem, Problem::HeldDuring(_)) {
                writeln!(f, "     asked {wanted}, at {}", order.wanted_at)?;
            }
            order.backtrace.to_string().lines().try_for_each(|line| writeln!(f, "     {line}"))?;
        }
        if self.count > 1 {
            writeln!(f, "seen {} times", self.count)?;
        }
        write!(f, "hint: {}", self.hint())
    }
}
