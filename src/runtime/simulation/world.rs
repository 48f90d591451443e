//! What is outside of the master: what deeds have done there, which no crash takes back.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::runtime::Master;
use crate::vocabulary::{JobId, Priority};

/// What was seen of a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Began,
    Undone,
}

/// Something that a deed did, in the order in which it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) job: JobId,
    pub(super) op: usize,
    pub(super) token: u64,
    pub(super) what: What,
    /// Whether the hook was asked about this very start.
    pub(super) hooked: bool,
}

/// What a client does while an opcode executes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meanwhile {
    Cancel(JobId),
    Hurry(JobId, Priority),
    Interrupt,
}

/// What deeds see.
#[derive(Default)]
pub(super) struct World {
    pub(super) notes: Vec<Note>,
    /// About which starts the hook was asked, by their fencing tokens, and of which it was told
    /// that they have succeeded.
    pub(super) asked: HashMap<(JobId, usize), u64>,
    pub(super) succeeded: Vec<(JobId, usize, u64)>,
    pub(super) meanwhile: Option<(Master, Meanwhile)>,
    /// How often a deed has found that its locks are the wrong ones, since it last went on.
    pub(super) changed: HashMap<(JobId, usize), u32>,
    /// The next deed is not to come to its end.
    pub(super) crash: bool,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Looks at the world of this thread.
pub(super) fn world<T>(look: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(look)
}

/// What a client does while a deed is done, if anything; with nothing of the world held.
pub(super) fn let_others_act() {
    let Some((master, meanwhile)) = world(|world| world.meanwhile.take()) else { return };
    // That there is no such job, or that it has ended, is an answer.
    match meanwhile {
        Meanwhile::Cancel(id) => _ = master.cancel(id),
        Meanwhile::Hurry(id, priority) => _ = master.change_priority(id, priority),
        Meanwhile::Interrupt => {
            master.stop_starting();
            master.interrupt();
        }
    }
}
