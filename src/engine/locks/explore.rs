//! Every history of small universes: each owner plays a short script, in every interleaving.
//!
//! After every step the table is checked against the specification, and as long as somebody is
//! not done, somebody can move. States that were seen are not gone through again; the number of
//! histories they stand for is counted all the same.
//!
//! Three owners in every test run. Four, about a minute in a release build:
//! `LOCKMASTER_EXPLORE=4 cargo test --release --lib every_history -- --nocapture`

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::policy::{RequestOptions, WaitPolicy};
use super::table::{LockTable, OwnerId};
use crate::vocabulary::{Hierarchy, LockMode, LockRequest, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(0);

#[derive(Clone, Debug)]
enum Act {
    Ask(LockRequest),
    Downgrade(LockRequest),
    Narrow(LockRequest),
    Release,
}

/// What one owner does, step by step; whether it may lose patience and die while it waits.
#[derive(Clone, Debug)]
struct Script {
    acts: Vec<Act>,
    impatient: bool,
}

/// Ganeti's levels, and one of whose locks so many may be shared.
fn hierarchy(capacity: u8) -> Hierarchy {
    let levels = Hierarchy::builder().big_lock("cluster").level("instance").level("node");
    levels.level("slot").capacity(capacity).build().unwrap()
}

/// `"x"` is an instance, `"y"` and `"z"` are nodes, `"*"` all nodes, `"w"` a slot; `:s` is shared.
fn set(text: &str) -> LockRequest {
    let hierarchy = hierarchy(1);
    let mut request = LockRequest::new();
    for word in text.split_whitespace() {
        let (name, mode) = match word.strip_suffix(":s") {
            Some(name) => (name, LockMode::Shared),
            None => (word, LockMode::Exclusive),
        };
        let level = match name {
            "x" => "instance",
            "w" => "slot",
            _ => "node",
        };
        let level = hierarchy.level(level).unwrap();
        match name {
            "*" => request.add_all(level, mode).unwrap(),
            name => request.add(level, name, mode).unwrap(),
        };
    }
    request
}

/// `"x y > z"`: x and y at once, then z. `!` dies of impatience, `=` narrows, `-` downgrades.
fn script(text: &str) -> Script {
    let act = |stage: &str| match stage.trim().split_at_checked(1) {
        Some(("=", keep)) => Act::Narrow(set(keep)),
        Some(("-", locks)) => Act::Downgrade(set(locks)),
        _ => Act::Ask(set(stage)),
    };
    let (text, impatient) = match text.strip_suffix('!') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let acts = text.split('>').map(act).chain([Act::Release]).collect();
    Script { acts, impatient }
}

/// One universe: scripts, how they wait, and whether grants are handed out at once.
struct Universe {
    scripts: Vec<Script>,
    policy: WaitPolicy,
    eager: bool,
    seen: HashMap<u64, u128>,
}

#[derive(Clone)]
struct State {
    table: LockTable,
    progress: Vec<usize>,
}

impl Universe {
    /// The number of histories from that state on.
    fn histories(&mut self, state: &State) -> u128 {
        let fingerprint = self.fingerprint(state);
        if let Some(known) = self.seen.get(&fingerprint) {
            return *known;
        }
        let next = self.successors(state);
        let done = (0..self.scripts.len()).all(|owner| self.is_done(state, owner));
        assert!(done || !next.is_empty(), "somebody can move: {:?}", self.scripts);
        let histories = if done { 1 } else { next.iter().map(|s| self.histories(s)).sum() };
        self.seen.insert(fingerprint, histories);
        histories
    }

    fn is_done(&self, state: &State, owner: usize) -> bool {
        state.progress[owner] == self.scripts[owner].acts.len()
    }

    fn successors(&self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        for owner in 0..self.scripts.len() {
            if !self.is_done(state, owner) && self.may_move(state, owner) {
                let mut state = state.clone();
                self.act(&mut state, owner);
                next.push(state);
            }
        }
        if !self.eager {
            let mut state = state.clone();
            if !state.table.pump(1, NOW).is_empty() {
                self.check(&state.table);
                next.push(state);
            }
        }
        next
    }

    fn may_move(&self, state: &State, owner: usize) -> bool {
        !state.table.is_waiting(OwnerId(owner as u64)) || self.scripts[owner].impatient
    }

    fn act(&self, state: &mut State, owner: usize) {
        let (table, id) = (&mut state.table, OwnerId(owner as u64));
        if table.is_waiting(id) {
            table.release_all(id);
            state.progress[owner] = self.scripts[owner].acts.len();
        } else {
            let options = RequestOptions::default();
            match &self.scripts[owner].acts[state.progress[owner]] {
                Act::Ask(request) => _ = table.request(id, request, options, NOW).unwrap(),
                Act::Downgrade(locks) => table.downgrade(id, locks).unwrap(),
                Act::Narrow(keep) => table.narrow(id, keep).unwrap(),
                Act::Release => _ = table.release_all(id),
            }
            state.progress[owner] += 1;
        }
        if self.eager {
            _ = table.pump(usize::MAX, NOW);
        }
        self.check(table);
    }

    /// Debug builds check small tables by themselves.
    fn check(&self, table: &LockTable) {
        if !cfg!(debug_assertions) {
            table.check();
        }
    }

    /// All that decides what happens next, but for the numbers that locks and requests have.
    fn fingerprint(&self, state: &State) -> u64 {
        let table = &state.table;
        let mut hasher = DefaultHasher::new();
        let mut waiters: Vec<_> = table.waiters.by_age().collect();
        let lock =
            |lock| (table.slots.rank(lock), table.slots.name(lock), table.slots.is_set(lock));
        for (_, waiter) in &waiters {
            let passed = (table.grants - waiter.grants).min(self.policy.max_bypass);
            let open = table.watch.is_open(waiter.at);
            (waiter.owner, lock(waiter.at.lock()), passed, waiter.stage, open).hash(&mut hasher);
        }
        for reserver in &table.reservers {
            let passed = (table.grants - reserver.grants).min(self.policy.max_bypass);
            (table.waiters.get(reserver.id).owner, passed).hash(&mut hasher);
        }
        let rested = table.rested.map(|grants| (table.grants - grants).min(self.policy.rest));
        rested.hash(&mut hasher);
        waiters.sort_by_key(|(_, waiter)| waiter.key);
        for (owner, progress) in state.progress.iter().enumerate() {
            (progress, table.is_waiting(OwnerId(owner as u64))).hash(&mut hasher);
            let holding = table.holders.get(OwnerId(owner as u64));
            for entry in holding.into_iter().flat_map(|holding| &holding.entries) {
                (lock(entry.lock()), entry.mode()).hash(&mut hasher);
            }
        }
        let order: Vec<_> = waiters.iter().map(|(_, waiter)| waiter.owner).collect();
        order.hash(&mut hasher);
        hasher.finish()
    }
}

const SCRIPTS: [&str; 18] = [
    "y",
    "y:s",
    "x",
    "x y",
    "y z",
    "*:s",
    "*",
    "*:s y",
    "x > y",
    "x:s > y:s",
    "x > *:s",
    "x y > ",
    "y !",
    "* > =y",
    "y > -y",
    "w:s",
    "x w:s",
    "x > w:s",
];

/// All choices of `count` scripts, whatever their order.
fn choices(count: usize, from: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in from..SCRIPTS.len() {
        for mut rest in choices(count - 1, first) {
            rest.push(first);
            all.push(rest);
        }
    }
    all
}

/// How they wait, whether grants are handed out at once, and how many share a slot.
fn policies() -> impl Iterator<Item = (WaitPolicy, bool, u8)> {
    let policy = |max_bypass, window, rest| WaitPolicy {
        max_bypass,
        window,
        max_bypass_age: Duration::MAX,
        rest,
        ..WaitPolicy::default()
    };
    [(0, 1, 0, true, 1), (0, 2, 0, false, 2), (1, 1, 1, true, 1)].into_iter().map(
        move |(bypass, window, rest, eager, slots)| (policy(bypass, window, rest), eager, slots),
    )
}

/// Explores all universes of that many owners; how many histories and states there were.
fn explore(owners: usize) -> (u128, usize) {
    let (mut histories, mut states) = (0, 0);
    for chosen in choices(owners, 0) {
        for (policy, eager, slots) in policies() {
            let scripts = chosen.iter().map(|i| script(SCRIPTS[*i])).collect();
            let mut universe = Universe { scripts, policy, eager, seen: HashMap::new() };
            let table = LockTable::new(hierarchy(slots), policy);
            histories += universe.histories(&State { table, progress: vec![0; owners] });
            states += universe.seen.len();
        }
    }
    (histories, states)
}

#[test]
fn in_every_history_somebody_can_move_until_all_are_done() {
    let owners = std::env::var("LOCKMASTER_EXPLORE").map_or(3, |owners| owners.parse().unwrap());
    let (histories, states) = explore(owners);
    println!("{owners} owners: {histories} histories through {states} states, all of them");
    assert!(histories > 1000 && states > 1000, "the universes are not empty");
}
