//! What the lock table should do, written from the specification as plainly as possible: lists,
//! searched from end to end, and no intention modes.

use std::time::Duration;

use lockmaster::engine::locks::{OwnerId, RequestKind, RequestOptions, WaitPolicy};
use lockmaster::vocabulary::{
    Hierarchy, LevelId, LockMode, LockName, LockRequest, Priority, Timestamp,
};

/// One lock, or a whole level, in a mode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) level: LevelId,
    pub(crate) name: Option<LockName>,
    pub(crate) mode: LockMode,
}

impl Claim {
    /// The whole rule: the same lock, or one of them the whole level, and one of them alone.
    pub(crate) fn conflicts_with(&self, other: &Self) -> bool {
        let overlap = self.name.is_none() || other.name.is_none() || self.name == other.name;
        let alone = [self.mode, other.mode].contains(&LockMode::Exclusive);
        self.level == other.level && overlap && alone
    }

    /// Whether holding this includes holding the other.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let includes = self.name.is_none() || self.name == other.name;
        self.level == other.level && includes && self.mode >= other.mode
    }
}

/// A request's claims, without those that another one of them covers.
pub(crate) fn claims(request: &LockRequest) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (level, locks) in request.levels() {
        claims.extend(locks.all().map(|mode| Claim { level, name: None, mode }));
        let name = |(name, mode): (&LockName, _)| Claim { level, name: Some(name.clone()), mode };
        claims.extend(locks.names().map(name));
    }
    let covered = |claim: &Claim| claims.iter().any(|c| c != claim && c.covers(claim));
    claims.iter().filter(|claim| !covered(claim)).cloned().collect()
}

fn depth(claims: &[Claim]) -> i32 {
    claims.iter().map(|claim| claim.level.rank() as i32 + 1).max().unwrap_or(0)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    OutOfOrder,
    AlreadyHeld,
    AlreadyWaiting,
    SharedWhole,
    WouldDeadlock,
    LockedAgain,
    NotHeld,
    Busy,
    TooFew,
}

#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) owner: OwnerId,
    pub(crate) claims: Vec<Claim>,
    pub(crate) since: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
    priority: Priority,
    depth: i32,
    seq: u64,
    grants: u64,
    /// 0 waits, 1 reserves, 2 closes.
    pub(crate) stage: u32,
    /// When it began to reserve, in grants and time.
    reserved: (u64, Timestamp),
}

/// Everything there is to know, in the order of arrival.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    policy: WaitPolicy,
    pub(crate) held: Vec<(OwnerId, Claim)>,
    /// What was locked again, as often as it was.
    again: Vec<(OwnerId, LevelId)>,
    pub(crate) waiting: Vec<Waiting>,
    grants: u64,
    seq: u64,
    /// The grants there had been when a reservation ended last.
    rested: Option<u64>,
}

impl Model {
    pub(crate) fn new(policy: WaitPolicy) -> Self {
        Self {
            policy,
            held: Vec::new(),
            again: Vec::new(),
            waiting: Vec::new(),
            grants: 0,
            seq: 0,
            rested: None,
        }
    }

    pub(crate) fn held_by(&self, owner: OwnerId) -> Vec<Claim> {
        let mut claims: Vec<_> =
            self.held.iter().filter(|(o, _)| *o == owner).map(|(_, c)| c.clone()).collect();
        claims.sort();
        claims
    }

    pub(crate) fn is_waiting(&self, owner: OwnerId) -> bool {
        self.waiting.iter().any(|waiting| waiting.owner == owner)
    }

    fn due(&self, waiting: &Waiting) -> i64 {
        let step = self.policy.quantum.as_micros() as i64;
        waiting.since.as_micros() + step * i64::from(waiting.priority.get())
    }

    /// The order in which requests are granted.
    fn key(&self, waiting: &Waiting) -> (i32, i64, u64) {
        (-waiting.depth, self.due(waiting), waiting.seq)
    }

    /// Whether nobody is in the way: neither by what is held nor by what is reserved.
    pub(crate) fn is_grantable(&self, request: &Waiting) -> bool {
        let held = self.held.iter().any(|(owner, claim)| {
            *owner != request.owner && request.claims.iter().any(|c| c.conflicts_with(claim))
        });
        let room = request.claims.iter().all(|claim| self.has_room(claim, self.key(request)));
        !held && room && !self.is_held_back(request)
    }

    /// Whether one more may share a lock, beside those who do and those before who have reserved
    /// a place.
    fn has_room(&self, claim: &Claim, key: (i32, i64, u64)) -> bool {
        if claim.level.rank() != COUNTED || claim.mode == LockMode::Exclusive {
            return true;
        }
        let holding = self.held.iter().filter(|(_, held)| held == claim).count();
        let before = self.waiting.iter().filter(|r| r.stage > 0 && self.key(r) < key);
        let reserved = before.filter(|r| r.claims.contains(claim)).count();
        holding + reserved < CAPACITY
    }

    fn is_held_back(&self, request: &Waiting) -> bool {
        let ahead = self.waiting.iter().filter(|r| r.stage > 0 && self.key(r) < self.key(request));
        ahead.into_iter().any(|reserver| {
            let conflict = |claim: &Claim| request.claims.iter().any(|c| c.conflicts_with(claim));
            let comes_back = depth(&request.claims) < depth(&reserver.claims);
            reserver.claims.iter().any(conflict) || reserver.stage == 2 && comes_back
        })
    }

    fn reserve(&mut self, now: Timestamp) {
        let over = |model: &Self, (grants, since): (u64, Timestamp)| {
            model.grants - grants >= model.policy.max_bypass
                || now.since(since) >= model.policy.max_bypass_age
        };
        let rested = self.rested.is_none_or(|grants| self.grants - grants >= self.policy.rest);
        for i in 0..self.waiting.len() {
            let reserving = self.waiting.iter().filter(|r| r.stage > 0).count();
            if self.waiting[i].stage == 0 {
                // Only the oldest may begin: nobody younger before it.
                let asked = (self.waiting[i].grants, self.waiting[i].since);
                if !rested || reserving >= self.policy.window || !over(self, asked) {
                    break;
                }
                self.waiting[i].stage = 1;
                self.waiting[i].reserved = (self.grants, now);
            }
        }
        for i in 0..self.waiting.len() {
            if self.waiting[i].stage == 1 && over(self, self.waiting[i].reserved) {
                self.waiting[i].stage = 2;
            }
        }
    }

    /// Requests that satisfy the condition wait no longer.
    fn leave(&mut self, leaves: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let (gone, left) = std::mem::take(&mut self.waiting).into_iter().partition(leaves);
        self.waiting = left;
        let gone: Vec<Waiting> = gone;
        if gone.iter().any(|request| request.stage > 0) {
            self.rested = Some(self.grants);
        }
        gone
    }

    fn grant(&mut self, request: Waiting, now: Timestamp) {
        self.held.extend(request.claims.into_iter().map(|claim| (request.owner, claim)));
        self.grants += 1;
        self.reserve(now);
    }

    /// Whether it was granted.
    pub(crate) fn request(
        &mut self,
        owner: OwnerId,
        request: &LockRequest,
        options: RequestOptions,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        if self.is_waiting(owner) {
            return Err(Refusal::AlreadyWaiting);
        }
        let held = self.held_by(owner);
        if let Err(refused) = self.refuse_disorder(&held, request) {
            return self.lock_again(owner, &held, request).ok_or(refused);
        }
        self.reserve(now);
        self.seq += 1;
        let mut waiting = Waiting {
            owner,
            claims: claims(request),
            since: now,
            deadline: options.deadline,
            priority: options.priority,
            depth: depth(&held),
            seq: self.seq,
            grants: self.grants,
            stage: 0,
            reserved: (0, now),
        };
        if let RequestKind::Opportunistic { min_count } = options.kind {
            return self.take_free(waiting, request, min_count, now);
        }
        if request.is_empty() {
            return Ok(true);
        }
        if self.is_grantable(&waiting) {
            self.grant(waiting, now);
            return Ok(true);
        }
        if options.kind == RequestKind::Try || options.deadline.is_some_and(|end| end <= now) {
            return Err(Refusal::Busy);
        }
        waiting.stage = 0;
        self.waiting.push(waiting);
        self.reserve(now);
        Ok(false)
    }

    fn lock_again(
        &mut self,
        owner: OwnerId,
        held: &[Claim],
        request: &LockRequest,
    ) -> Option<bool> {
        let reentrant = request.levels().all(|(level, _)| level.rank() == REENTRANT);
        let covered = claims(request).iter().all(|c| held.iter().any(|other| other.covers(c)));
        (reentrant && covered).then(|| {
            self.again.extend(request.levels().map(|(level, _)| (owner, level)));
            true
        })
    }

    fn is_locked_again(&self, owner: OwnerId, level: LevelId) -> bool {
        self.again.contains(&(owner, level))
    }

    fn refuse_disorder(&self, held: &[Claim], request: &LockRequest) -> Result<(), Refusal> {
        refuse_sharing(request)?;
        let Some((level, locks)) = request.levels().next() else { return Ok(()) };
        if level.rank() as i32 >= depth(held) {
            return Ok(());
        }
        let all = locks.all().map(|mode| (None, mode));
        let names = locks.names().map(|(name, mode)| (Some(name.clone()), mode));
        for (name, mode) in all.into_iter().chain(names) {
            let shared = Claim { level, name: name.clone(), mode: LockMode::Shared };
            let wanted = Claim { level, name, mode };
            if held.iter().any(|claim| claim.covers(&wanted)) {
                return Err(Refusal::AlreadyHeld);
            }
            if held.iter().any(|claim| claim.covers(&shared)) {
                return Err(Refusal::WouldDeadlock);
            }
        }
        Err(Refusal::OutOfOrder)
    }

    fn take_free(
        &mut self,
        mut waiting: Waiting,
        request: &LockRequest,
        min_count: usize,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        let mut free: Vec<Claim> = Vec::new();
        for (level, locks) in request.levels() {
            let all = locks.all().map(|mode| Claim { level, name: None, mode });
            let name = |(n, mode): (&LockName, _)| Claim { level, name: Some(n.clone()), mode };
            for claim in all.into_iter().chain(locks.names().map(name)) {
                // Closed gates are looked at once, for all that was found free.
                let probe = Waiting { claims: vec![claim.clone()], ..waiting.clone() };
                let held_back = self.waiting.iter().any(|r| {
                    r.stage > 0
                        && self.key(r) < self.key(&probe)
                        && r.claims.iter().any(|c| c.conflicts_with(&claim))
                });
                let busy = self.held.iter().any(|(_, other)| other.conflicts_with(&claim))
                    || !self.has_room(&claim, self.key(&probe));
                if !busy && !held_back && !free.iter().any(|other| other.covers(&claim)) {
                    free.push(claim);
                }
            }
        }
        waiting.claims = free;
        if self.is_held_back(&waiting) {
            waiting.claims.clear();
        }
        if waiting.claims.len() < min_count {
            return Err(Refusal::TooFew);
        }
        if !waiting.claims.is_empty() {
            self.grant(waiting, now);
        }
        Ok(true)
    }

    /// Grants the first in the order that can be granted, again and again.
    pub(crate) fn pump(&mut self, want: usize, now: Timestamp) -> Vec<OwnerId> {
        let mut granted = Vec::new();
        self.reserve(now);
        while granted.len() < want {
            let mut able: Vec<usize> = (0..self.waiting.len()).collect();
            able.retain(|i| self.is_grantable(&self.waiting[*i]));
            let Some(i) = able.into_iter().min_by_key(|i| self.key(&self.waiting[*i])) else {
                break;
            };
            let owner = self.waiting[i].owner;
            granted.push(owner);
            for request in self.leave(|request| request.owner == owner) {
                self.grant(request, now);
            }
        }
        granted
    }

    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<OwnerId> {
        let over = |request: &Waiting| request.deadline.is_some_and(|end| end <= now);
        self.leave(over).into_iter().map(|request| request.owner).collect()
    }

    pub(crate) fn withdraw(&mut self, owner: OwnerId) -> bool {
        !self.leave(|request| request.owner == owner).is_empty()
    }

    pub(crate) fn release_all(&mut self, owner: OwnerId) -> bool {
        let before = self.held.len();
        self.held.retain(|(other, _)| *other != owner);
        self.again.retain(|(other, _)| *other != owner);
        self.withdraw(owner) || self.held.len() < before
    }

    /// Replaces what an owner holds.
    fn replace(&mut self, owner: OwnerId, claims: &[Claim]) {
        self.held.retain(|(other, _)| *other != owner);
        for claim in claims {
            let covered = |other: &Claim| other != claim && other.covers(claim);
            if !claims.iter().any(covered) {
                self.held.push((owner, claim.clone()));
            }
        }
    }

    pub(crate) fn release(&mut self, owner: OwnerId, what: &LockRequest) -> Result<(), Refusal> {
        let named = self.named(owner, what)?;
        let mut kept = self.held_by(owner);
        kept.retain(|claim| !named(claim));
        self.replace(owner, &kept);
        Ok(())
    }

    pub(crate) fn release_levels(
        &mut self,
        owner: OwnerId,
        levels: &[LevelId],
    ) -> Result<(), Refusal> {
        if self.is_waiting(owner) {
            return Err(Refusal::AlreadyWaiting);
        }
        for level in levels {
            let again = self.again.iter().position(|again| *again == (owner, *level));
            match again {
                Some(again) => _ = self.again.remove(again),
                None => self.held.retain(|(o, claim)| *o != owner || claim.level != *level),
            }
        }
        Ok(())
    }

    pub(crate) fn downgrade(&mut self, owner: OwnerId, what: &LockRequest) -> Result<(), Refusal> {
        let named = self.named(owner, what)?;
        let mut held = self.held_by(owner);
        let whole = |claim: &Claim| claim.name.is_none() && claim.level.rank() == COUNTED;
        if held.iter().any(|claim| named(claim) && whole(claim)) {
            return Err(Refusal::SharedWhole);
        }
        for claim in held.iter_mut().filter(|claim| named(claim)) {
            claim.mode = LockMode::Shared;
        }
        self.replace(owner, &held);
        Ok(())
    }

    pub(crate) fn narrow(&mut self, owner: OwnerId, keep: &LockRequest) -> Result<(), Refusal> {
        if self.is_waiting(owner) {
            return Err(Refusal::AlreadyWaiting);
        }
        refuse_sharing(keep)?;
        let mut held = self.held_by(owner);
        for (level, locks) in keep.levels() {
            let all = locks.all().map(|mode| Claim { level, name: None, mode });
            let name = |(n, mode): (&LockName, _)| Claim { level, name: Some(n.clone()), mode };
            for claim in all.into_iter().chain(locks.names().map(name)) {
                let shared = Claim { mode: LockMode::Shared, ..claim.clone() };
                if !held.iter().any(|other| other.covers(&shared)) {
                    return Err(Refusal::NotHeld);
                }
                if !held.iter().any(|other| other.covers(&claim)) {
                    return Err(Refusal::WouldDeadlock);
                }
            }
        }
        if keep.levels().any(|(level, _)| self.is_locked_again(owner, level)) {
            return Err(Refusal::LockedAgain);
        }
        held.retain(|claim| keep.levels().all(|(level, _)| level != claim.level));
        held.extend(claims(keep));
        self.replace(owner, &held);
        Ok(())
    }

    /// Which claims a request names: its locks, or everything at a level.
    fn named(
        &self,
        owner: OwnerId,
        what: &LockRequest,
    ) -> Result<impl Fn(&Claim) -> bool + use<>, Refusal> {
        if self.is_waiting(owner) {
            return Err(Refusal::AlreadyWaiting);
        }
        let held = self.held_by(owner);
        let mut named = Vec::new();
        for (level, locks) in what.levels() {
            let here = || held.iter().filter(move |claim| claim.level == level);
            if here().next().is_none() {
                return Err(Refusal::NotHeld);
            }
            if self.is_locked_again(owner, level) {
                return Err(Refusal::LockedAgain);
            }
            for (name, _) in locks.names().filter(|_| locks.all().is_none()) {
                if !here().any(|claim| claim.name.as_ref() == Some(name)) {
                    return Err(Refusal::NotHeld);
                }
            }
            named.extend(locks.all().map(|_| (level, None)));
            named.extend(locks.names().map(|(name, _)| (level, Some(name.clone()))));
        }
        Ok(move |claim: &Claim| {
            named.iter().any(|(level, name)| {
                *level == claim.level && (name.is_none() || *name == claim.name)
            })
        })
    }

    pub(crate) fn set_priority(&mut self, owner: OwnerId, priority: Priority) -> bool {
        let request = self.waiting.iter_mut().find(|request| request.owner == owner);
        request.map(|request| request.priority = priority).is_some()
    }
}

/// The level at which an owner may lock again.
pub(crate) const REENTRANT: usize = 1;

/// The level of which only so many may share a lock.
pub(crate) const COUNTED: usize = 3;
const CAPACITY: usize = 2;

/// Ganeti's levels, the second of which is reentrant, and one whose locks are counted.
pub(crate) fn hierarchy() -> Hierarchy {
    let levels = Hierarchy::builder().big_lock("cluster").level("instance").reentrant();
    levels.level("node").level("slot").capacity(CAPACITY as u8).build().unwrap()
}

/// Nobody shares the whole of a level whose locks are counted.
fn refuse_sharing(request: &LockRequest) -> Result<(), Refusal> {
    let mut levels = request.levels();
    match levels.any(|(l, locks)| l.rank() == COUNTED && locks.all() == Some(LockMode::Shared)) {
        true => Err(Refusal::SharedWhole),
        false => Ok(()),
    }
}

/// The levels and names everything here is about.
pub(crate) fn request_of(words: &[(u8, Option<u8>, bool)]) -> LockRequest {
    let hierarchy = hierarchy();
    let mut request = LockRequest::new();
    for (level, name, shared) in words {
        let level = hierarchy.at(usize::from(*level)).unwrap();
        let mode = if *shared { LockMode::Shared } else { LockMode::Exclusive };
        // A lock asked for in both modes stays as it was asked for first.
        _ = match name {
            Some(name) => request.add(level, &format!("n{name}"), mode).map(drop),
            None => request.add_all(level, mode).map(drop),
        };
    }
    request
}

/// Times small enough to meet the policy's limits.
pub(crate) const TICK: Duration = Duration::from_secs(10);
