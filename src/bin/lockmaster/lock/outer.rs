//! Calls within calls, and within commands of jobs: what those hold that run this one, as they say
//! in a variable of the environment.
//!
//! What an outer call holds is not asked for again, and whoever asks for more asks for deeper
//! levels only: otherwise a call would wait for the one that waits for it.

use lockmaster::engine::locks::LockError;
use lockmaster::interfaces::held::{self, HeldLock, Holder};
use lockmaster::vocabulary::{Error, ErrorKind, Hierarchy, LevelId, LockMode, LockRequest, Scope};

/// The calls around this one, and what is special about this one.
#[derive(Debug)]
pub(super) struct Outer<'a> {
    calls: Vec<Holder>,
    hierarchy: &'a Hierarchy,
    place: String,
    on_this_node: bool,
}

impl<'a> Outer<'a> {
    /// The calls around this one that still hold their locks.
    pub(super) fn calls(hierarchy: &'a Hierarchy, place: String, on_this_node: bool) -> Self {
        let calls = held::parse(&std::env::var(held::VARIABLE).unwrap_or_default());
        Self { calls, hierarchy, place, on_this_node }
    }

    /// What of a request they do not hold.
    ///
    /// # Errors
    ///
    /// Where waiting for it could be waiting for ourselves.
    pub(super) fn rest_of(&self, request: &LockRequest) -> Result<LockRequest, Error> {
        let mut rest = LockRequest::new();
        for (level, locks) in request.levels() {
            for (name, mode) in locks.names() {
                if !self.hold(level, name.as_str(), mode)? {
                    self.refuse_disorder(level, name.as_str())?;
                    rest.add(level, name.as_str(), mode)?;
                }
            }
        }
        Ok(rest)
    }

    /// Whether one of them holds a lock so that this call need not.
    fn hold(&self, level: LevelId, name: &str, mode: LockMode) -> Result<bool, Error> {
        let reaches = |call: &Holder| {
            let of_node = self.hierarchy.get(level).scope() == Scope::Node;
            of_node || self.on_this_node || !call.on_this_node
        };
        let level_name = self.hierarchy.name(level);
        let held =
            self.locks().find(|(call, lock)| is_part(lock, level_name, name) && reaches(call));
        match held {
            Some((call, held)) if held.mode < mode => {
                let error =
                    Error::from(LockError::WouldDeadlock { lock: format!("{level_name}/{name}") });
                Err(error.hint(format!("have {} take it exclusively", call.who)))
            }
            held => Ok(held.is_some()),
        }
    }

    fn refuse_disorder(&self, level: LevelId, name: &str) -> Result<(), Error> {
        let held = self.locks().find(|(_, lock)| self.level(lock) >= Some(level));
        let Some((call, held)) = held else { return Ok(()) };
        let requested = format!("{}/{name}", self.hierarchy.name(level));
        let error = LockError::OutOfOrder { requested, held: title(held) };
        Err(Error::new(ErrorKind::Refused, error.to_string())
            .hint(format!("{}, which runs this one, holds it: have that one name both", call.who)))
    }

    /// The deepest level at which they hold anything.
    pub(super) fn deepest(&self) -> Option<LevelId> {
        self.locks().filter_map(|(_, lock)| self.level(lock)).max()
    }

    fn level(&self, lock: &HeldLock) -> Option<LevelId> {
        self.hierarchy.level(&lock.level).ok()
    }

    fn locks(&self) -> impl Iterator<Item = (&Holder, &HeldLock)> {
        let here = self.calls.iter().filter(|call| call.place == self.place);
        here.flat_map(|call| call.locks.iter().map(move |lock| (call, lock)))
    }

    /// Looks whether those who hold what this call does not have to ask for still run.
    ///
    /// # Errors
    ///
    /// `Refused` where they do not.
    pub(super) fn verify(&self) -> Result<(), Error> {
        let ended = self.locks().find(|(call, _)| !call.who.is_alive());
        ended.map_or(Ok(()), |(call, lock)| {
            let message = format!("{} held {} and has ended", call.who, title(lock));
            Err(Error::new(ErrorKind::Refused, message).hint("have it wait for its children"))
        })
    }

    /// What the command is told: the same, and that this call holds `request`.
    pub(super) fn with(&self, what: &str, request: &LockRequest) -> String {
        let place = self.place.clone();
        let ours = Holder::this_process(what, place, self.on_this_node, self.hierarchy, request);
        let mut calls = self.calls.clone();
        calls.push(ours);
        held::to_text(&calls)
    }
}

/// Whether who holds that lock has that name of that level.
fn is_part(held: &HeldLock, level: &str, name: &str) -> bool {
    held.level == level && held.name.as_deref().is_none_or(|held| held == name)
}

fn title(held: &HeldLock) -> String {
    format!("{}/{}", held.level, held.name.as_deref().unwrap_or("[lockset]"))
}
