//! A unit that does as its parameters say, and notes what happens to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lockmaster::vocabulary::OpErrorKind;
use lockmaster::{Context, CrashPolicy, DeclaredLocks, LockMode, LogicalUnit, OpError, TypedOp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Names at a level: enough for strife, few enough for `ALL` to matter.
pub(crate) const NAMES: u8 = 3;

/// How a deed ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    #[default]
    Well,
    Error,
    Panic,
    WrongArguments,
    WrongPrerequisites,
    PanicInLocks,
    /// Succeeds unless it is cancelled.
    Heeding,
}

/// What it locks at a level: a name, or all of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Want {
    pub(crate) level: String,
    pub(crate) name: Option<u8>,
    pub(crate) alone: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deed {
    pub(crate) world: u64,
    pub(crate) wants: Vec<Want>,
    pub(crate) cluster: bool,
    pub(crate) at_once: bool,
    pub(crate) end: End,
    pub(crate) undo: bool,
    pub(crate) undo_fails: bool,
    pub(crate) on_crash: CrashPolicy,
    pub(crate) turns: usize,
}

impl TypedOp for Deed {
    const ID: &'static str = "OP_DEED";
}

/// What is noted, in the order in which it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    Began,
    Ended,
    Undone,
}

#[derive(Default)]
struct Seen {
    /// Who is in: shared, alone.
    inside: HashMap<String, (usize, usize)>,
    notes: Vec<(u64, u32, Note)>,
    wrongs: Vec<String>,
}

/// What one history's deeds see of each other.
#[derive(Default)]
pub(crate) struct World(Mutex<Seen>);

impl World {
    /// The world of that number.
    pub(crate) fn of(number: u64) -> Arc<Self> {
        static WORLDS: OnceLock<Mutex<HashMap<u64, Arc<World>>>> = OnceLock::new();
        let worlds = WORLDS.get_or_init(Mutex::default).lock();
        Arc::clone(worlds.unwrap_or_else(PoisonError::into_inner).entry(number).or_default())
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, context: &Context, note: Note) {
        self.seen(|seen| seen.notes.push((context.job().get(), context.op_index(), note)));
    }

    pub(crate) fn notes(&self) -> Vec<(u64, u32, Note)> {
        self.seen(|seen| seen.notes.clone())
    }

    /// No two were ever where one has to be alone, and everybody has left.
    pub(crate) fn assert_alone(&self) {
        self.seen(|seen| {
            assert_eq!(seen.wrongs, Vec::<String>::new());
            assert!(seen.inside.values().all(|who| *who == (0, 0)), "{:?}", seen.inside);
        });
    }

    fn enter(&self, places: &[(String, bool)]) {
        self.seen(|seen| {
            for (place, alone) in places {
                let (shared, exclusive) = seen.inside.entry(place.clone()).or_default();
                if *exclusive > 0 || (*alone && *shared > 0) {
                    seen.wrongs.push(format!("{place}: {shared} and {exclusive} are in"));
                }
                *if *alone { exclusive } else { shared } += 1;
            }
        });
    }

    fn leave(&self, places: &[(String, bool)]) {
        self.seen(|seen| {
            for (place, alone) in places {
                let (shared, exclusive) = seen.inside.entry(place.clone()).or_default();
                *if *alone { exclusive } else { shared } -= 1;
            }
        });
    }
}

/// In its places, until it is dropped: also by a panic.
struct Inside<'a>(&'a World, Vec<(String, bool)>);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.leave(&self.1);
    }
}

impl Deed {
    fn places(&self) -> Vec<(String, bool)> {
        let names = |want: &Want| match want.name {
            Some(name) => vec![name],
            None => (0..NAMES).collect(),
        };
        let place = |want: &Want, name| (format!("{}/{name}", want.level), want.alone);
        let wanted = self.wants.iter();
        let wanted = wanted.flat_map(|want| names(want).into_iter().map(|name| place(want, name)));
        wanted.chain([("cluster".to_owned(), self.cluster)]).collect()
    }

    fn enter<'a>(&self, world: &'a World) -> Inside<'a> {
        let places = self.places();
        world.enter(&places);
        let inside = Inside(world, places);
        (0..self.turns).for_each(|_| std::thread::yield_now());
        inside
    }
}

impl LogicalUnit for Deed {
    fn check_arguments(&mut self) -> Result<(), OpError> {
        match self.end {
            End::WrongArguments => Err(OpError::prereq("as asked")),
            _ => Ok(()),
        }
    }

    fn big_lock(&self) -> LockMode {
        if self.cluster { LockMode::Exclusive } else { LockMode::Shared }
    }

    fn locks_known_at_once(&self) -> bool {
        self.at_once
    }

    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        assert!(self.end != End::PanicInLocks || level != "node", "as asked");
        for want in self.wants.iter().filter(|want| want.level == level) {
            let mode = if want.alone { LockMode::Exclusive } else { LockMode::Shared };
            match want.name {
                Some(name) => locks.add(&name.to_string(), mode)?,
                None => locks.all(mode)?,
            }
        }
        Ok(())
    }

    fn check_prereq(&mut self, _: &Context) -> Result<(), OpError> {
        match self.end {
            End::WrongPrerequisites => Err(OpError::prereq("as asked")),
            _ => Ok(()),
        }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        let world = World::of(self.world);
        let _inside = self.enter(&world);
        world.note(context, Note::Began);
        context.feedback("at it");
        if self.end == End::Heeding && context.cancel_token().is_set() {
            return Err(OpError::new(OpErrorKind::Canceled, "as asked"));
        }
        assert!(self.end != End::Panic, "as asked");
        world.note(context, Note::Ended);
        if self.end == End::Error { Err(OpError::exec("as asked")) } else { Ok(Value::Null) }
    }

    fn can_undo(&self) -> bool {
        self.undo
    }

    fn undo(&mut self, context: &Context) -> Result<(), OpError> {
        let world = World::of(self.world);
        let _inside = self.enter(&world);
        world.note(context, Note::Undone);
        if self.undo_fails { Err(OpError::exec("as asked")) } else { Ok(()) }
    }

    fn on_crash(&self) -> CrashPolicy {
        self.on_crash
    }
}
