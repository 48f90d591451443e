//! Buckets, of whose jobs only so many run at once, and the lines in front of them.
//!
//! Jobs with the same set of buckets stand in one line, by priority and age; only the first of a
//! line is among the ready jobs, and only while the line is *open*. A line that meets a bucket
//! that is full, or whose free places are as good as taken by more urgent lines, is *parked*
//! there and costs nothing until it may have a chance: then the most urgent line parked there is
//! opened. A line that turns out to be blocked by another of its buckets is parked at that one,
//! and passes the chance on. So starting a job, ending one and joining a line cost O(log jobs),
//! whatever waits; beyond that, a line of several full buckets can be moved from one to another,
//! once for a place that becomes free.
//!
//! Invariant, asserted by [`check`](Gate::check): where lines are parked at a bucket with free
//! places, at least as many open lines lead to it. So no place stays free that could be taken.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::vocabulary::{FilterId, JobId, Priority, RateLimit};

/// What bounds how many jobs run at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// A rule with the action `RATE_LIMIT`.
    Rule(FilterId),
    /// A bucket that the jobs name in their reason trails.
    Label(RateLimit),
}

/// The buckets of a job, each once, in order. Never empty.
pub(super) type Buckets = Arc<[Bucket]>;

/// Ready jobs: the most urgent and then oldest first.
pub(in crate::engine::queue) type Order = BTreeSet<(Priority, JobId)>;

/// Who is in a bucket, and which lines are parked there.
#[derive(Clone, Debug)]
struct Room {
    most: usize,
    inside: BTreeSet<JobId>,
    /// The lines parked here, by the first job of each.
    parked: Order,
    /// The open lines that lead here, by the first job of each.
    open: Order,
    /// How many lines lead here.
    lines: usize,
}

impl Room {
    fn free(&self) -> usize {
        self.most.saturating_sub(self.inside.len())
    }

    fn is_full(&self) -> bool {
        self.free() == 0
    }

    /// Whether a line with that first job has no chance here: there is no place, or those there
    /// are will go to more urgent lines. O(free places) where it is more urgent than some of
    /// these, else O(log lines).
    fn has_no_chance(&self, first: &(Priority, JobId)) -> bool {
        let free = self.free();
        let among_last = self.open.last().is_none_or(|last| last < first);
        let before = || self.open.range(..first).take(free).count();
        free == 0 || (self.open.len() >= free && (among_last || before() >= free))
    }
}

/// Jobs with the same buckets that wait for their turn. Never empty.
#[derive(Clone, Debug, Default)]
struct Line {
    waiting: Order,
    parked: Option<Bucket>,
}

/// All buckets and lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    rooms: HashMap<Bucket, Room>,
    lines: HashMap<Buckets, Line>,
    /// The line a waiting job stands in, and how urgent it is.
    waiting: HashMap<JobId, (Buckets, Priority)>,
    /// The buckets a job is in.
    inside: HashMap<JobId, Buckets>,
}

/// How many jobs of a bucket are named to one that waits for it.
const NAMED: usize = 16;

/// What a waiting job is told: the bucket that its line is parked at, or the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) bucket: Bucket,
    pub(super) most: usize,
    /// The oldest of those that run.
    pub(super) inside: Vec<JobId>,
    /// How many run.
    pub(super) running: usize,
    /// How many of its line come before it.
    pub(super) before: usize,
}

impl Gate {
    pub(super) fn is_waiting(&self, id: JobId) -> bool {
        self.waiting.contains_key(&id)
    }

    pub(super) fn is_inside(&self, id: JobId) -> bool {
        self.inside.contains_key(&id)
    }

    /// How urgent a waiting job is.
    pub(super) fn priority(&self, id: JobId) -> Option<Priority> {
        self.waiting.get(&id).map(|(_, priority)| *priority)
    }

    /// Everybody who waits.
    pub(super) fn all_waiting(&self) -> impl Iterator<Item = &JobId> {
        self.waiting.keys()
    }

    /// Takes everybody out.
    pub(super) fn clear(&mut self, order: &mut Order) {
        for line in self.lines.values().filter(|line| line.parked.is_none()) {
            line.waiting.first().map(|first| order.remove(first));
        }
        *self = Self::default();
    }

    /// A job joins its line.
    pub(super) fn join(
        &mut self,
        order: &mut Order,
        id: JobId,
        priority: Priority,
        buckets: &Buckets,
        most: &dyn Fn(&Bucket) -> NonZeroU32,
    ) {
        if !self.lines.contains_key(buckets) {
            self.lines.insert(Arc::clone(buckets), Line::default());
            buckets.iter().for_each(|bucket| self.room(bucket, most).lines += 1);
        }
        self.hide(order, buckets);
        if let Some(line) = self.lines.get_mut(buckets) {
            line.waiting.insert((priority, id));
        }
        self.waiting.insert(id, (Arc::clone(buckets), priority));
        self.show(order, buckets);
        // The line may have left a bucket's parking for another's with a worse first job.
        self.pass_on(order, buckets);
    }

    /// A job leaves its line, if it stands in one.
    pub(super) fn leave(&mut self, order: &mut Order, id: JobId) {
        let Some(buckets) = self.step_out(order, id) else { return };
        self.pass_on(order, &buckets);
    }

    /// Whether it is the turn of this job, the first of an open line: where not, because a
    /// bucket has become full meanwhile, the line is parked there.
    pub(super) fn may_go(&mut self, order: &mut Order, id: JobId) -> bool {
        let Some((buckets, _)) = self.waiting.get(&id).cloned() else { return true };
        if self.full(&buckets).is_none() {
            return true;
        }
        self.hide(order, &buckets);
        self.show(order, &buckets);
        self.pass_on(order, &buckets);
        false
    }

    /// A job is in its buckets from now on, whether they are full or not.
    pub(super) fn enter(
        &mut self,
        order: &mut Order,
        id: JobId,
        buckets: &Buckets,
        most: &dyn Fn(&Bucket) -> NonZeroU32,
    ) {
        if self.inside.contains_key(&id) {
            return;
        }
        for bucket in buckets.iter() {
            self.room(bucket, most).inside.insert(id);
        }
        self.inside.insert(id, Arc::clone(buckets));
        self.leave(order, id);
    }

    /// A job is in its buckets no longer.
    pub(super) fn exit(&mut self, order: &mut Order, id: JobId) {
        let Some(buckets) = self.inside.remove(&id) else { return };
        for bucket in buckets.iter() {
            if let Some(room) = self.rooms.get_mut(bucket) {
                room.inside.remove(&id);
            }
        }
        self.pass_on(order, &buckets);
        self.forget_empty(&buckets);
    }

    /// What the job waits for, if it stands in a line and it is not its turn.
    pub(super) fn turn(&self, id: JobId) -> Option<Turn> {
        let (buckets, priority) = self.waiting.get(&id)?;
        let line = self.lines.get(buckets)?;
        let before = line.waiting.range(..(*priority, id)).count();
        let blocker = self.full(buckets).or_else(|| line.parked.clone());
        let first = buckets.first().filter(|_| before > 0).cloned();
        let bucket = blocker.or(first)?;
        let room = self.rooms.get(&bucket)?;
        let inside = room.inside.iter().take(NAMED).copied().collect();
        Some(Turn { most: room.most, inside, running: room.inside.len(), before, bucket })
    }

    fn room(&mut self, bucket: &Bucket, most: &dyn Fn(&Bucket) -> NonZeroU32) -> &mut Room {
        self.rooms.entry(bucket.clone()).or_insert_with(|| Room {
            most: most(bucket).get() as usize,
            inside: BTreeSet::new(),
            parked: Order::new(),
            open: Order::new(),
            lines: 0,
        })
    }

    fn full(&self, buckets: &Buckets) -> Option<Bucket> {
        let full = |bucket: &&Bucket| self.rooms.get(*bucket).is_some_and(Room::is_full);
        buckets.iter().find(full).cloned()
    }

    /// Takes the first of a line out of where it is shown.
    fn hide(&mut self, order: &mut Order, buckets: &Buckets) {
        let Some(line) = self.lines.get_mut(buckets) else { return };
        let Some(first) = line.waiting.first() else { return };
        if let Some(bucket) = line.parked.take() {
            self.rooms.entry(bucket).and_modify(|room| _ = room.parked.remove(first));
            return;
        }
        order.remove(first);
        for bucket in buckets.iter() {
            self.rooms.entry(bucket.clone()).and_modify(|room| _ = room.open.remove(first));
        }
    }

    /// Shows the first of a line: at a bucket where it has no chance, else among the ready jobs.
    /// A line in which nobody is left is forgotten.
    fn show(&mut self, order: &mut Order, buckets: &Buckets) {
        let Some(line) = self.lines.get_mut(buckets) else { return };
        let Some(first) = line.waiting.first().copied() else {
            self.lines.remove(buckets);
            for bucket in buckets.iter() {
                self.rooms.entry(bucket.clone()).and_modify(|room| room.lines -= 1);
            }
            return self.forget_empty(buckets);
        };
        let blocks = |bucket: &&Bucket| {
            self.rooms.get(*bucket).is_some_and(|room| room.has_no_chance(&first))
        };
        line.parked = buckets.iter().find(blocks).cloned();
        if let Some(bucket) = line.parked.clone() {
            self.rooms.entry(bucket).and_modify(|room| _ = room.parked.insert(first));
            return;
        }
        order.insert(first);
        for bucket in buckets.iter() {
            self.rooms.entry(bucket.clone()).and_modify(|room| _ = room.open.insert(first));
        }
    }

    fn step_out(&mut self, order: &mut Order, id: JobId) -> Option<Buckets> {
        let (buckets, priority) = self.waiting.remove(&id)?;
        self.hide(order, &buckets);
        if let Some(line) = self.lines.get_mut(&buckets) {
            line.waiting.remove(&(priority, id));
        }
        self.show(order, &buckets);
        Some(buckets)
    }

    /// A line that led to these buckets may lead there no longer, or a place has become free:
    /// the next line has its chance at each that is not full.
    fn pass_on(&mut self, order: &mut Order, buckets: &Buckets) {
        buckets.iter().for_each(|bucket| self.open_one(order, bucket));
    }

    /// Opens the most urgent line parked at a bucket, where it has a chance there. Lines that
    /// another bucket blocks are parked at that one instead.
    fn open_one(&mut self, order: &mut Order, bucket: &Bucket) {
        loop {
            let Some(room) = self.rooms.get(bucket) else { return };
            let Some(first) = room.parked.first().filter(|it| !room.has_no_chance(it)) else {
                return;
            };
            let Some((buckets, _)) = self.waiting.get(&first.1).cloned() else { return };
            self.hide(order, &buckets);
            self.show(order, &buckets);
            if self.lines.get(&buckets).is_some_and(|line| line.parked.is_none()) {
                return;
            }
        }
    }

    fn forget_empty(&mut self, buckets: &Buckets) {
        for bucket in buckets.iter() {
            let unused = |room: &Room| room.lines == 0 && room.inside.is_empty();
            if self.rooms.get(bucket).is_some_and(unused) {
                self.rooms.remove(bucket);
            }
        }
    }

    /// Asserts what holds between any two calls; gives how many lines are open.
    pub(super) fn check(&self, order: &Order) -> usize {
        let waiting: usize = self.lines.values().map(|line| line.waiting.len()).sum();
        assert_eq!(waiting, self.waiting.len(), "who waits stands in one line");
        for (buckets, line) in &self.lines {
            let first = line.waiting.first();
            let first = first.unwrap_or_else(|| unreachable!("a line is not empty: {self:?}"));
            let shown = line.parked.as_ref().map(|bucket| &self.rooms[bucket].parked);
            assert!(shown.unwrap_or(order).contains(first), "the first of a line is shown");
            for bucket in buckets.iter() {
                let open = self.rooms[bucket].open.contains(first);
                assert_eq!(open, line.parked.is_none(), "an open line is known where it leads");
            }
        }
        self.rooms.iter().for_each(|(bucket, room)| self.check_room(bucket, room));
        self.lines.values().filter(|line| line.parked.is_none()).count()
    }

    fn check_room(&self, bucket: &Bucket, room: &Room) {
        let lines = || self.lines.iter().filter(|(buckets, _)| buckets.contains(bucket));
        let at = |line: &Line, place: Option<&Bucket>| line.parked.as_ref() == place;
        let parked = lines().filter(|(_, line)| at(line, Some(bucket))).count();
        let open = lines().filter(|(_, line)| at(line, None)).count();
        assert_eq!(open, room.open.len(), "open lines are counted");
        assert_eq!(lines().count(), room.lines, "lines are counted");
        assert_eq!(parked, room.parked.len(), "who is parked at a bucket knows it");
        assert!(parked == 0 || open >= room.free(), "no free place is withheld: {self:?}");
        assert!(room.lines > 0 || !room.inside.is_empty(), "a bucket is somebody's");
    }
}
