//! Any history, played to the table and to the model: they agree at every step, and the laws
//! hold whatever the model says.

use std::collections::{BTreeMap, BTreeSet};

use lockmaster::engine::locks::{
    LockError, LockReport, LockTable, Mode, Outcome, OwnerId, OwnerReport, RequestKind,
    RequestOptions, Reserves, WaitPolicy,
};
use lockmaster::vocabulary::{LevelId, LockMode, LockRequest, Priority, Timestamp};
use proptest::prelude::*;

use crate::model::{Claim, Model, Refusal, TICK, claims, hierarchy, request_of};

const OWNERS: u64 = 5;

type Words = Vec<(u8, Option<u8>, bool)>;

#[derive(Clone, Debug)]
enum Step {
    Request(u64, Words, i64, Option<u32>, Kind),
    Release(u64, Words),
    Downgrade(u64, Words),
    Narrow(u64, Words),
    ReleaseLevels(u64, Vec<u8>),
    ReleaseAll(u64),
    Withdraw(u64),
    SetPriority(u64, i64),
    Pump(usize),
    Wait(u32),
}

#[derive(Clone, Debug)]
enum Kind {
    Exact,
    Try,
    Opportunistic(usize),
}

fn words() -> impl Strategy<Value = Words> {
    let name = prop_oneof![6 => (0..3u8).prop_map(Some), 1 => Just(None)];
    prop::collection::vec((0..4u8, name, any::<bool>()), 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    let owner = || 0..OWNERS;
    let kind = prop_oneof![
        6 => Just(Kind::Exact),
        1 => Just(Kind::Try),
        1 => (0..3usize).prop_map(Kind::Opportunistic),
    ];
    let deadline = prop::option::weighted(0.3, 0..8u32);
    prop_oneof![
        12 => (owner(), words(), -20..20i64, deadline, kind)
            .prop_map(|(o, w, p, d, k)| Step::Request(o, w, p, d, k)),
        2 => (owner(), words()).prop_map(|(o, w)| Step::Release(o, w)),
        1 => (owner(), words()).prop_map(|(o, w)| Step::Downgrade(o, w)),
        1 => (owner(), words()).prop_map(|(o, w)| Step::Narrow(o, w)),
        3 => (owner(), prop::collection::vec(0..4u8, 0..3))
            .prop_map(|(o, l)| Step::ReleaseLevels(o, l)),
        6 => owner().prop_map(Step::ReleaseAll),
        1 => owner().prop_map(Step::Withdraw),
        1 => (owner(), -20..20i64).prop_map(|(o, p)| Step::SetPriority(o, p)),
        6 => prop_oneof![Just(usize::MAX), 0..3usize].prop_map(Step::Pump),
        2 => (0..6u32).prop_map(Step::Wait),
    ]
}

fn policy() -> impl Strategy<Value = WaitPolicy> {
    let max_bypass = prop_oneof![0..2u64, 0..6u64];
    (max_bypass, 1..20u32, 0..4usize, 0..4u64).prop_map(|(max_bypass, age, window, rest)| {
        WaitPolicy { max_bypass, max_bypass_age: TICK * age, window, rest, ..WaitPolicy::default() }
    })
}

/// The table, the model, and the time.
struct Both {
    table: LockTable,
    model: Model,
    now: Timestamp,
    /// Whether the last request was looked up beforehand.
    prepares: bool,
}

/// Who holds and who waits. Who reserves is left out: that changes with time, whoever asks.
type Seen = (Vec<LockReport>, Vec<Option<OwnerReport>>);

fn seen(table: &LockTable, now: Timestamp) -> Seen {
    let report = |owner| {
        let mut report = table.explain(OwnerId(owner), now)?;
        if let Some(waits) = &mut report.waits {
            waits.in_the_way.clear();
            waits.chain.clear();
            waits.reserves = Reserves::Never;
        }
        Some(report)
    };
    (table.locks(), (0..OWNERS).map(report).collect())
}

fn refusal(error: &LockError) -> Refusal {
    match error {
        LockError::OutOfOrder { .. } => Refusal::OutOfOrder,
        LockError::AlreadyHeld { .. } => Refusal::AlreadyHeld,
        LockError::AlreadyWaiting { .. } => Refusal::AlreadyWaiting,
        LockError::SharedWhole { .. } => Refusal::SharedWhole,
        LockError::WouldDeadlock { .. } => Refusal::WouldDeadlock,
        LockError::LockedAgain { .. } => Refusal::LockedAgain,
        LockError::NotHeld { .. } => Refusal::NotHeld,
        LockError::Busy { .. } => Refusal::Busy,
        LockError::TooFew { .. } => Refusal::TooFew,
        other => panic!("{other}"),
    }
}

fn options(priority: i64, deadline: Option<Timestamp>, kind: &Kind) -> RequestOptions {
    let kind = match kind {
        Kind::Exact => RequestKind::Exact,
        Kind::Try => RequestKind::Try,
        Kind::Opportunistic(min_count) => RequestKind::Opportunistic { min_count: *min_count },
    };
    RequestOptions { priority: Priority::new(priority).unwrap(), deadline, kind, beneath: None }
}

impl Both {
    fn new(policy: WaitPolicy) -> Self {
        Self {
            table: LockTable::new(hierarchy(), policy),
            model: Model::new(policy),
            now: Timestamp::default(),
            prepares: false,
        }
    }

    fn held(&self, owner: OwnerId) -> Vec<Claim> {
        let mut held = claims(&self.table.held(owner));
        held.sort();
        held
    }

    /// Plays a step to both. Refused steps change nothing.
    fn play(&mut self, step: &Step) {
        let before = seen(&self.table, self.now);
        let others: Vec<_> = (0..OWNERS).map(|owner| self.held(OwnerId(owner))).collect();
        if self.apply(step) {
            assert!(seen(&self.table, self.now) == before, "a refusal changes nothing: {step:?}");
        }
        self.stable(step, &others);
        self.table.check();
        self.agree();
        self.sound();
    }

    /// Whether it was refused.
    fn apply(&mut self, step: &Step) -> bool {
        let now = self.now;
        match step {
            Step::Request(owner, words, priority, deadline, kind) => {
                let deadline = deadline.map(|ticks| now.plus(TICK * ticks));
                let options = options(*priority, deadline, kind);
                self.request(OwnerId(*owner), &request_of(words), options)
            }
            Step::Release(owner, words) => {
                let (owner, what) = (OwnerId(*owner), request_of(words));
                same(self.table.release(owner, &what), self.model.release(owner, &what))
            }
            Step::Downgrade(owner, words) => {
                let (owner, what) = (OwnerId(*owner), request_of(words));
                same(self.table.downgrade(owner, &what), self.model.downgrade(owner, &what))
            }
            Step::Narrow(owner, words) => {
                let (owner, keep) = (OwnerId(*owner), request_of(words));
                same(self.table.narrow(owner, &keep), self.model.narrow(owner, &keep))
            }
            Step::ReleaseLevels(owner, levels) => {
                let owner = OwnerId(*owner);
                let level = |rank: &u8| hierarchy().at(usize::from(*rank)).unwrap();
                let levels: Vec<LevelId> = levels.iter().map(level).collect();
                let table = self.table.release_levels(owner, &levels);
                same(table, self.model.release_levels(owner, &levels))
            }
            Step::ReleaseAll(owner) => {
                let owner = OwnerId(*owner);
                equal(self.table.release_all(owner), self.model.release_all(owner))
            }
            Step::Withdraw(owner) => {
                let owner = OwnerId(*owner);
                equal(self.table.withdraw(owner), self.model.withdraw(owner))
            }
            Step::SetPriority(owner, priority) => {
                let (owner, priority) = (OwnerId(*owner), Priority::new(*priority).unwrap());
                let known = self.table.set_priority(owner, priority);
                equal(known, self.model.set_priority(owner, priority))
            }
            Step::Pump(want) => {
                self.pump(*want);
                false
            }
            Step::Wait(ticks) => {
                self.now = now.plus(TICK * *ticks);
                let expired: BTreeSet<_> = self.table.expire(self.now).into_iter().collect();
                assert_eq!(expired, self.model.expire(self.now).into_iter().collect());
                false
            }
        }
    }

    fn request(&mut self, owner: OwnerId, what: &LockRequest, options: RequestOptions) -> bool {
        let held = self.held(owner);
        let answer = self.ask(owner, what, options);
        let expected = self.model.request(owner, what, options, self.now);
        let refused = answer.is_err();
        let answer = answer.map(|a| a == Outcome::Granted).map_err(|error| refusal(&error));
        assert_eq!(answer, expected);
        let taken = self.held(owner);
        let again = held.iter().map(|claim| claim.level).max()
            >= what.levels().next().map(|(l, _)| l)
            && !held.is_empty()
            && answer == Ok(true);
        match (answer, options.kind) {
            _ if again => {
                assert_eq!(taken, held);
                assert!(flat(what).iter().all(|c| held.iter().any(|h| h.covers(c))));
            }
            (Ok(true), RequestKind::Opportunistic { min_count }) => {
                assert!(taken.len() >= held.len() + min_count);
                let wanted: Vec<_> = flat(what);
                assert!(taken.iter().all(|c| held.contains(c) || wanted.contains(c)));
                assert!(held.iter().all(|c| taken.contains(c)), "nothing held is lost");
            }
            (Ok(true), _) => assert_eq!(taken.len(), held.len() + claims(what).len()),
            (Ok(false), _) => assert!(self.table.is_waiting(owner)),
            (Err(_), _) => {}
        }
        if self.table.is_waiting(owner) && !refused {
            self.repeat(owner, what, options);
            self.blockers_matter(owner);
        }
        refused
    }

    /// Asks by name, or every other time with the names looked up before, which is the same.
    fn ask(
        &mut self,
        owner: OwnerId,
        what: &LockRequest,
        options: RequestOptions,
    ) -> Result<Outcome, LockError> {
        self.prepares = !self.prepares;
        let prepared = self.prepares.then(|| self.table.prepare(what.clone()));
        let Some(Ok(prepared)) = prepared else {
            return self.table.request(owner, what, options, self.now);
        };
        self.table.check();
        let answer = self.table.request_prepared(owner, &prepared, options, self.now);
        self.table.check();
        self.table.discard(prepared);
        answer
    }

    /// Asking again while waiting is refused and changes nothing.
    fn repeat(&mut self, owner: OwnerId, what: &LockRequest, options: RequestOptions) {
        let before = seen(&self.table, self.now);
        let again = self.table.request(owner, what, options, self.now).unwrap_err();
        assert!(matches!(again, LockError::AlreadyWaiting { .. }));
        assert_eq!(seen(&self.table, self.now), before);
    }

    /// Each of those reported in the way is in the way alone, or together with the others that
    /// share the lock where only so many may; without them and those whose turn comes before, the
    /// request is granted.
    fn blockers_matter(&self, owner: OwnerId) {
        let waits = self.table.explain(owner, self.now).unwrap().waits.unwrap();
        assert!(!waits.in_the_way.is_empty(), "somebody is in the way of a new request");
        let counted = waits.capacity.is_some() && waits.mode == Mode::Shared;
        for blocker in &waits.in_the_way {
            let mut table = self.table.clone();
            let stays = |other: OwnerId| {
                let sharer = waits.in_the_way.iter().find(|b| b.owner == other);
                let together = sharer.is_some_and(|s| counted && s.mode == Mode::Shared);
                other == owner || other == blocker.owner || together
            };
            for other in (0..OWNERS).map(OwnerId).filter(|other| !stays(*other)) {
                table.release_all(other);
            }
            if blocker.since.is_some() {
                assert!(!table.pump(usize::MAX, self.now).contains(&owner));
            }
        }
        let mut table = self.table.clone();
        for other in (0..OWNERS).map(OwnerId).filter(|other| *other != owner) {
            table.release_all(other);
        }
        assert_eq!(table.pump(usize::MAX, self.now), [owner]);
    }

    fn pump(&mut self, want: usize) {
        let waiting: BTreeSet<_> =
            (0..OWNERS).map(OwnerId).filter(|o| self.table.is_waiting(*o)).collect();
        let wanted: BTreeMap<_, _> =
            self.model.waiting.iter().map(|w| (w.owner, w.claims.clone())).collect();
        let granted = self.table.pump(want, self.now);
        assert_eq!(granted, self.model.pump(want, self.now));
        for owner in &granted {
            assert!(waiting.contains(owner) && !self.table.is_waiting(*owner));
            let held = self.held(*owner);
            assert!(wanted[owner].iter().all(|claim| held.contains(claim)));
        }
        if granted.len() < want {
            let idle = self.model.waiting.iter().find(|w| self.model.is_grantable(w));
            assert!(idle.is_none(), "nobody waits in vain: {idle:?}");
        }
    }

    /// What others hold is not changed by what one does.
    fn stable(&self, step: &Step, before: &[Vec<Claim>]) {
        let actor = match step {
            Step::Request(owner, ..)
            | Step::Release(owner, _)
            | Step::Downgrade(owner, _)
            | Step::Narrow(owner, _)
            | Step::ReleaseLevels(owner, _)
            | Step::ReleaseAll(owner)
            | Step::Withdraw(owner)
            | Step::SetPriority(owner, _) => Some(*owner),
            Step::Pump(_) | Step::Wait(_) => None,
        };
        for (owner, before) in
            (0..OWNERS).zip(before).filter(|(o, _)| actor.is_some_and(|a| a != *o))
        {
            assert_eq!(&self.held(OwnerId(owner)), before);
        }
    }

    fn agree(&self) {
        for owner in (0..OWNERS).map(OwnerId) {
            assert_eq!(self.held(owner), self.model.held_by(owner), "what {owner} holds");
            assert_eq!(self.table.is_waiting(owner), self.model.is_waiting(owner));
        }
        let deadline = self.model.waiting.iter().filter_map(|w| w.deadline).min();
        assert_eq!(self.table.next_deadline(), deadline);
    }

    /// No two hold in conflict; the list of locks is complete and true.
    fn sound(&self) {
        let held: Vec<_> = (0..OWNERS)
            .map(OwnerId)
            .flat_map(|o| self.held(o).into_iter().map(move |c| (o, c)))
            .collect();
        for (owner, claim) in &held {
            let other = held.iter().find(|(o, c)| o != owner && c.conflicts_with(claim));
            assert_eq!(other, None, "{owner} holds {claim:?}");
        }
        let listed: BTreeSet<_> = self
            .table
            .locks()
            .into_iter()
            .flat_map(|report| {
                report.holders.into_iter().map(move |h| (h.owner, report.lock.clone(), h.mode))
            })
            .filter(|(_, _, mode)| !matches!(mode, Mode::IntentShared | Mode::IntentExclusive))
            .collect();
        let expected = held.iter().map(|(owner, claim)| {
            let level = hierarchy().name(claim.level).to_owned();
            let name = claim.name.as_ref().map_or("[lockset]".to_owned(), ToString::to_string);
            let some = |c: &Claim| c.level == claim.level && c.mode == LockMode::Exclusive;
            let mixed = claim.name.is_none()
                && claim.mode == LockMode::Shared
                && held.iter().any(|(o, c)| o == owner && some(c));
            let mode = if mixed { Mode::SharedIntentExclusive } else { claim.mode.into() };
            (*owner, format!("{level}/{name}"), mode)
        });
        assert_eq!(listed, expected.collect());
    }

    /// When everybody who holds something lets go of it, again and again, nobody is left.
    fn everybody_is_served_in_the_end(mut self) {
        self.pump(usize::MAX);
        for _ in 0..=OWNERS {
            for owner in (0..OWNERS).map(OwnerId) {
                if self.table.is_waiting(owner) {
                    continue;
                }
                self.table.release_all(owner);
                self.model.release_all(owner);
                self.pump(usize::MAX);
                self.agree();
            }
        }
        assert!(self.table.is_idle());
        assert_eq!(self.table.locks(), []);
    }
}

fn flat(request: &LockRequest) -> Vec<Claim> {
    let mut flat = Vec::new();
    for (level, locks) in request.levels() {
        flat.extend(locks.all().map(|mode| Claim { level, name: None, mode }));
        flat.extend(locks.names().map(|(n, mode)| Claim { level, name: Some(n.clone()), mode }));
    }
    flat
}

/// Asserts that both say the same; whether they refused.
fn same(table: Result<(), LockError>, model: Result<(), Refusal>) -> bool {
    let refused = table.is_err();
    assert_eq!(table.map_err(|error| refusal(&error)).err(), model.err());
    refused
}

/// Asserts that both say the same; whether nothing was done.
fn equal(table: bool, model: bool) -> bool {
    assert_eq!(table, model);
    !table
}

proptest! {
    #[test]
    fn the_table_does_what_the_specification_says(
        policy in policy(),
        history in prop::collection::vec(step(), 1..60),
    ) {
        let mut both = Both::new(policy);
        for step in &history {
            both.play(step);
        }
        both.everybody_is_served_in_the_end();
    }
}
