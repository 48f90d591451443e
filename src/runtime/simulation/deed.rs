//! A unit that does as its parameters say, and notes it down.

use std::panic::resume_unwind;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::world::{Note, What, let_others_act, world};
use crate::runtime::{Context, DeclaredLocks, LogicalUnit, TypedOp};
use crate::vocabulary::{CrashPolicy, LockMode, NewJob, OpError, OpErrorKind, Retries};

/// Names at a level: enough for strife, few enough for `ALL` to matter.
pub(super) const NAMES: u8 = 3;

/// How a deed ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Well,
    Error,
    Panic,
    WrongArguments,
    WrongPrerequisites,
    PanicInLocks,
    /// Succeeds unless it is cancelled.
    Heeding,
}

/// What the hook makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Hooked {
    Fine,
    Refused,
    /// The hook panics before it.
    Panic,
    /// The hook fails after it.
    FailsAfter,
}

/// What it locks at a level: a name, or all of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Want {
    pub(super) level: String,
    pub(super) name: Option<u8>,
    pub(super) alone: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Deed {
    pub(super) wants: Vec<Want>,
    pub(super) cluster: bool,
    pub(super) at_once: bool,
    pub(super) end: End,
    pub(super) undo: bool,
    pub(super) undo_fails: bool,
    pub(super) on_crash: CrashPolicy,
    /// Something it reserves for its job.
    pub(super) reserves: Option<u8>,
    /// How often it is tried while something lacks.
    pub(super) lacks: u32,
    /// How often it finds, with its locks, that they are the wrong ones.
    pub(super) changes: u32,
    pub(super) hooked: Hooked,
    /// A job that follows its end.
    pub(super) child: Option<Box<Deed>>,
}

/// How often it is tried, in all, while something lacks.
pub(super) const TRIES: u32 = 3;

impl TypedOp for Deed {
    const ID: &'static str = "OP_DEED";
}

impl Deed {
    /// Where it is while it executes, and whether alone.
    pub(super) fn places(&self) -> Vec<(String, bool)> {
        let names = |want: &Want| match want.name {
            Some(name) => vec![name],
            None => (0..NAMES).collect(),
        };
        let place = |want: &Want, name| (format!("{}/{name}", want.level), want.alone);
        let wanted = self.wants.iter();
        let wanted = wanted.flat_map(|want| names(want).into_iter().map(|name| place(want, name)));
        wanted.chain([("cluster".to_owned(), self.cluster)]).collect()
    }

    /// Whether it comes as far as executing.
    pub(super) fn gets_to_work(&self) -> bool {
        let too_early = [End::WrongArguments, End::WrongPrerequisites, End::PanicInLocks];
        self.lacks < TRIES && !too_early.contains(&self.end) && self.passes_the_hook()
    }

    /// Whether the hook before it lets it pass.
    pub(super) fn passes_the_hook(&self) -> bool {
        matches!(self.hooked, Hooked::Fine | Hooked::FailsAfter)
    }
}

/// A panic that is not reported: there are too many of them.
pub(super) fn panic_quietly() -> ! {
    resume_unwind(Box::new("as asked"))
}

fn note(context: &Context, what: What) {
    let (job, op) = (context.job(), context.op_index() as usize);
    let token = context.fencing_token();
    world(|world| {
        let hooked = world.asked.get(&(job, op)) == Some(&token);
        world.notes.push(Note { job, op, token, what, hooked });
    });
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
        if self.end == End::PanicInLocks && level == "node" {
            panic_quietly();
        }
        for want in self.wants.iter().filter(|want| want.level == level) {
            let mode = if want.alone { LockMode::Exclusive } else { LockMode::Shared };
            match want.name {
                Some(name) => locks.add(&name.to_string(), mode)?,
                None => locks.all(mode)?,
            }
        }
        Ok(())
    }

    fn retries(&self) -> Retries {
        let seconds = Duration::from_secs;
        Retries { tries: TRIES, first: seconds(1), most: seconds(2) }
    }

    fn check_prereq(&mut self, context: &Context) -> Result<(), OpError> {
        let found = (context.job(), context.op_index() as usize);
        let changed = world(|world| std::mem::replace(world.changed.entry(found).or_default(), 0));
        if changed < self.changes {
            world(|world| world.changed.insert(found, changed + 1));
            return Err(OpError::changed("as asked"));
        }
        if context.tried() < self.lacks {
            return Err(OpError::temporary("as asked"));
        }
        match self.end {
            End::WrongPrerequisites => Err(OpError::prereq("as asked")),
            _ => Ok(()),
        }
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        note(context, What::Began);
        if let Some(name) = self.reserves {
            // That another job has it is an answer.
            _ = context.config().reserve(context.job(), "thing", &name.to_string(), |_| false);
        }
        context.feedback("at it");
        if let Some(child) = &self.child {
            let opcode = child.opcode().map_err(|error| OpError::exec(error.to_string()))?;
            _ = context.submit_with_end(NewJob::of([opcode]));
        }
        let_others_act();
        if world(|world| world.crash) {
            return Err(OpError::exec("nobody will hear of this"));
        }
        match self.end {
            End::Heeding if context.cancel_token().is_set() => {
                Err(OpError::new(OpErrorKind::Canceled, "as asked"))
            }
            End::Panic => panic_quietly(),
            End::Error => Err(OpError::exec("as asked")),
            _ => Ok(Value::Null),
        }
    }

    fn can_undo(&self) -> bool {
        self.undo
    }

    fn undo(&mut self, context: &Context) -> Result<(), OpError> {
        note(context, What::Undone);
        let_others_act();
        if self.undo_fails { Err(OpError::exec("as asked")) } else { Ok(()) }
    }

    fn on_crash(&self) -> CrashPolicy {
        self.on_crash
    }
}
