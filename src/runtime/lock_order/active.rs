//! The process-wide checker, and what locks and jobs carry for it.

mod owner;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::Value;

use super::checker::{Checker, Reaction};
use super::class::{ClassId, LockClass};
use super::held::{Access, Acquisition, HeldSet};
use super::report::Report;
use crate::runtime::sync::raw;

pub use owner::{Entered, Owner};

static CHECKER: LazyLock<Checker> = LazyLock::new(|| {
    let checker = Checker::new();
    checker.set_reaction(reaction_from_environment());
    checker
});

fn reaction_from_environment() -> Reaction {
    let default = if cfg!(debug_assertions) { Reaction::Panic } else { Reaction::Warn };
    let Ok(name) = std::env::var("LOCKMASTER_LOCK_ORDER") else { return default };
    Reaction::from_name(&name).unwrap_or_else(|| {
        // Not through `tracing`, whose subscriber may take a watched lock and so come back here.
        eprintln!("LOCKMASTER_LOCK_ORDER is {name:?}, none of panic, warn and off; ignored");
        default
    })
}

/// What the process-wide checker calls a class; `None` inside where it had no room.
pub(super) type Slot = OnceLock<Option<ClassId>>;

pub(super) const fn slot() -> Slot {
    OnceLock::new()
}

impl LockClass {
    #[inline]
    fn id(&self) -> Option<ClassId> {
        *self.id.get_or_init(|| CHECKER.register(self))
    }
}

/// The class of all locks of a level of that name, which somebody takes in ascending order of
/// their names. The same for the same arguments; `among` tells levels of one name apart whose
/// hierarchies differ.
///
/// For levels, whose names are not known before the program runs. In builds that watch nothing,
/// one class stands for all.
#[must_use]
pub fn level_class(name: &str, among: &str) -> &'static LockClass {
    static LEVELS: raw::Mutex<BTreeMap<(String, String), &'static LockClass>> =
        raw::Mutex::new(BTreeMap::new());
    static FURTHER: LockClass = LockClass::new("further levels");
    let key = (name.to_owned(), among.to_owned());
    let mut levels = raw::lock(&LEVELS);
    if let Some(class) = levels.get(&key) {
        return class;
    }
    if levels.len() == Checker::MAX_CLASSES {
        CHECKER.turn_off(name);
        return &FURTHER;
    }
    // Never freed, like a `static`: there are at most as many as the checker takes.
    let class = LockClass::new(name.to_owned().leak()).ordered_by(str::cmp);
    let class: &'static LockClass = Box::leak(Box::new(class));
    levels.insert(key, class);
    class
}

/// Marks what a thread holds through a job or a guard of the lock table, in the place of an
/// [`Owner`]'s number. Such a lock may be held while waiting or writing.
const LOGICAL: u64 = u64::MAX;

/// Takes note that this thread asks for a set of locks of a class, from the name `first` to the
/// name `last`, and then holds it. `waits` says whether it may have to wait.
///
/// # Panics
///
/// Where this order of acquisition can deadlock and the reaction is to panic.
#[track_caller]
pub(in crate::runtime) fn take_set(
    class: &'static LockClass,
    (first, last): (&str, &str),
    access: Access,
    waits: bool,
) -> Held {
    // Odd, so that it is the address of no `Tracked`.
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let at = Location::caller();
    if CHECKER.reaction() == Reaction::Off {
        return Held::NOTHING;
    }
    let Some(class) = class.id() else { return Held::NOTHING };
    let lock = NEXT.fetch_add(2, Ordering::Relaxed);
    let name = Some(Arc::from(first));
    let held = Held::note(Acquisition { class, lock, name, access, at, owner: LOGICAL }, waits);
    with_held(|held| held.rename(lock, last));
    held
}

/// What this thread holds.
struct Thread {
    held: RefCell<HeldSet>,
    /// The [`Owner`] this thread works for; 0 for none.
    owner: Cell<u64>,
    /// Whether a finding is being logged: the log's own locks are not watched then.
    reporting: Cell<bool>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            held: RefCell::new(HeldSet::new()),
            owner: Cell::new(0),
            reporting: Cell::new(false),
        }
    };
}

/// Runs `f` on this thread's set; not where the thread is ending or logs a finding.
#[inline]
fn with_held<R>(f: impl FnOnce(&mut HeldSet) -> R) -> Option<R> {
    THREAD
        .try_with(|thread| (!thread.reporting.get()).then(|| f(&mut thread.held.borrow_mut())))
        .ok()
        .flatten()
}

/// Does about a finding what the reaction says.
#[track_caller]
fn react(report: Option<Report>) {
    let Some(report) = report else { return };
    if CHECKER.reaction() == Reaction::Panic && !std::thread::panicking() {
        // That is what the reaction promises; nothing has been locked yet.
        panic!("{report}");
    }
    let _ = THREAD.try_with(|thread| {
        thread.reporting.set(true);
        if std::thread::panicking() {
            tracing::error!("{report}");
        } else {
            tracing::warn!("{report}");
        }
        thread.reporting.set(false);
    });
}

/// Says what a finding does from now on.
pub fn set_reaction(reaction: Reaction) {
    CHECKER.set_reaction(reaction);
}

/// All findings of this process so far, each with how often it was seen.
#[must_use]
pub fn reports() -> Vec<Report> {
    CHECKER.reports()
}

/// The orders seen in this process for graphviz: findings in red, exceptions dotted.
#[must_use]
pub fn dot() -> String {
    CHECKER.dot()
}

/// The orders seen in this process and the findings as JSON.
#[must_use]
pub fn json() -> Value {
    CHECKER.json()
}

/// Says that taking `wanted` while holding `held` is safe. See [`allow_edge!`](crate::allow_edge).
pub fn allow(held: &'static LockClass, wanted: &'static LockClass, why: &'static str) {
    if let (Some(held), Some(wanted)) = (held.id(), wanted.id()) {
        CHECKER.allow(held, wanted, why);
    }
}

/// Reports where this thread holds a lock. `activity` completes "is held ...": `"before fsync"`.
///
/// Called before what may take long or calls out of our code: writing to a disk or a socket,
/// callbacks, opcodes. Locks held by the job the thread works for are its business.
///
/// # Panics
///
/// Where a lock is held and the reaction is to panic.
#[track_caller]
pub fn assert_no_locks_held(activity: &'static str) {
    if CHECKER.reaction() != Reaction::Off {
        react(with_held(|held| CHECKER.idle(held, activity)).flatten());
    }
}

/// What a lock carries for the checker: its class and, where it has one, its name.
#[derive(Debug)]
pub struct Tracked {
    class: &'static LockClass,
    name: Option<Arc<str>>,
}

impl Tracked {
    /// For a lock of that class.
    #[must_use]
    pub const fn new(class: &'static LockClass) -> Self {
        Self { class, name: None }
    }

    /// For a lock of that class with that name.
    #[must_use]
    pub fn named(class: &'static LockClass, name: &str) -> Self {
        Self { class, name: Some(name.into()) }
    }

    /// Takes note that this thread is about to wait for the lock and then holds it. To be called
    /// before the lock is taken; the returned value is dropped after it was released.
    ///
    /// # Panics
    ///
    /// Where this order of acquisition can deadlock and the reaction is to panic.
    #[inline]
    #[track_caller]
    pub fn attempt(&self, access: Access) -> Held {
        self.take(access, Location::caller(), true)
    }

    /// Takes note that this thread got the lock without waiting.
    #[inline]
    #[track_caller]
    pub fn hold(&self, access: Access) -> Held {
        self.take(access, Location::caller(), false)
    }

    #[inline]
    #[track_caller]
    fn take(&self, access: Access, at: &'static Location<'static>, waits: bool) -> Held {
        let checker = &*CHECKER;
        if checker.reaction() == Reaction::Off {
            return Held::NOTHING;
        }
        let Some(class) = self.class.id() else { return Held::NOTHING };
        let lock = std::ptr::from_ref(self).addr();
        let name = self.name.clone();
        Held::note(Acquisition { class, lock, name, access, at, owner: 0 }, waits)
    }
}

/// Has the checker look at what this thread took last, and reacts. The thread counts as holding
/// it already, so that a panic takes it out again where the lock would have.
#[cold]
#[track_caller]
fn ask_about_last() {
    let report = with_held(|held| {
        let wanted = held.held.pop()?;
        let report = CHECKER.attempt(held, &wanted);
        held.push(wanted);
        report
    });
    react(report.flatten());
}

/// That a thread holds a lock, until dropped.
#[derive(Debug)]
#[must_use = "the lock counts as released when this is dropped"]
pub struct Held {
    /// The address of its [`Tracked`]; 0 where nothing was noted.
    lock: usize,
    /// It has to be dropped by the thread that holds the lock.
    not_send: PhantomData<*const ()>,
}

impl Held {
    const NOTHING: Self = Self { lock: 0, not_send: PhantomData };

    /// Has the thread hold it, and asks the checker where it waits for it.
    #[inline]
    #[track_caller]
    fn note(taken: Acquisition, waits: bool) -> Self {
        let own = Self { lock: taken.lock, not_send: PhantomData };
        let fine = with_held(|held| {
            let fine = !waits || CHECKER.knows(held, taken.class);
            held.push(taken);
            fine
        });
        if fine == Some(false) {
            ask_about_last();
        }
        own
    }

    /// Takes note that the lock is released while this thread waits for a notification.
    ///
    /// # Panics
    ///
    /// Where the thread holds another lock and the reaction is to panic.
    #[track_caller]
    pub fn suspend(mut self) -> Suspended {
        let lock = std::mem::take(&mut self.lock);
        if lock == 0 {
            return Suspended { held: None };
        }
        let taken = with_held(|held| {
            let own = take_lock(held, lock)?;
            let report = CHECKER.wait(held, &own);
            Some((own, report))
        });
        let Some((own, report)) = taken.flatten() else { return Suspended { held: None } };
        react(report);
        Suspended { held: Some(own) }
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        if self.lock != 0 {
            with_held(|held| match held.held.last() {
                Some(last) if last.lock == self.lock => held.held.truncate(held.held.len() - 1),
                _ => drop(take_lock(held, self.lock)),
            });
        }
    }
}

fn take_lock(held: &mut HeldSet, lock: usize) -> Option<Acquisition> {
    held.take(|one| one.lock == lock)
}

/// A lock that is released for as long as its thread waits.
#[derive(Debug)]
#[must_use = "the lock is held again once the wait is over"]
pub struct Suspended {
    held: Option<Acquisition>,
}

impl Suspended {
    /// Takes note that the wait is over and the lock is held again.
    pub fn resume(self) -> Held {
        let Some(own) = self.held else { return Held::NOTHING };
        let lock = own.lock;
        with_held(|held| held.push(own));
        Held { lock, not_send: PhantomData }
    }
}
