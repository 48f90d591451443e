//! Archived jobs, and copies of the queue: what is kept, and that a queue made from a copy is
//! the one that was copied.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::vocabulary::{
    CrashPolicy, Dependency, FilterAction, FilterId, JobRef, NewFilter, NewJob, OpCode, OpError,
    OpId, Outcome, Params, SubmissionKey, Timestamp,
};

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn bounds() -> Bounds {
    let most = usize::MAX;
    Bounds {
        queued_jobs: most,
        batch_jobs: most,
        batch_bytes: most,
        job_ops: most,
        job_bytes: most,
    }
}

fn job(ops: usize) -> NewJob {
    let op = || OpCode::new(OpId::new("OP_X").unwrap(), Params::default());
    NewJob::of((0..ops).map(|_| op()))
}

fn after(on: JobId, statuses: &[Status]) -> NewJob {
    let mut job = job(1);
    job.ops[0].depends.push(Dependency { on: JobRef::Id(on), statuses: statuses.to_vec() });
    job
}

fn id(number: u64) -> JobId {
    JobId::new(number).unwrap()
}

/// A queue that remembers few keys of submissions that are gone.
fn empty() -> Queue {
    let mut queue = Queue::new(500);
    queue.remember_keys(3);
    queue
}

/// A queue, all its records, and how archived jobs ended, which is what an archive knows.
struct World {
    queue: Queue,
    records: Vec<Record>,
    archive: BTreeMap<JobId, Status>,
}

impl World {
    fn new() -> Self {
        Self { queue: empty(), records: Vec::new(), archive: BTreeMap::new() }
    }

    fn keep(&mut self, records: Vec<Record>) {
        self.records.extend(records);
        self.queue.check();
    }

    fn submit(&mut self, jobs: Vec<NewJob>) -> Vec<JobId> {
        let (ids, records) =
            self.queue.submit_recalling(jobs, &self.archive, None, &bounds(), NOW).unwrap();
        self.keep(records);
        ids
    }

    fn submit_once(&mut self, key: &str, jobs: Vec<NewJob>) -> Result<Vec<JobId>, Refusal> {
        let key = SubmissionKey::new(key).unwrap();
        let submitted = self.queue.submit_once(&key, jobs, &self.archive, None, &bounds(), NOW);
        let (ids, records) = submitted?;
        self.keep(records);
        Ok(ids)
    }

    /// Takes the next job up and ends its opcode; nothing where there is none.
    fn run(&mut self, outcome: Outcome) -> Option<JobId> {
        self.run_one(outcome, false)
    }

    /// The same, of an opcode that can be undone or not; or the undo that is due.
    fn run_one(&mut self, outcome: Outcome, undo: bool) -> Option<JobId> {
        match self.queue.take_next(NOW)? {
            Next::Ended(id, records) => {
                self.keep(records);
                Some(id)
            }
            Next::Take(id) if self.queue.get(id).is_some_and(|job| job.to_undo().is_some()) => {
                self.undo(id, outcome == success());
                Some(id)
            }
            Next::Take(id) => {
                let start = Start { taken: NOW, undo, on_crash: CrashPolicy::Fail };
                let (_, records) = self.queue.start(id, start, NOW).unwrap();
                self.keep(records);
                let records = self.queue.finish(id, outcome, true, NOW);
                self.keep(records);
                self.queue.put_back(id);
                Some(id)
            }
        }
    }

    /// Begins the undo that is due, and ends it or leaves it, as an orderly end would.
    fn undo(&mut self, id: JobId, ends: bool) {
        let (_, records) = self.queue.start_undo(id, NOW).unwrap();
        self.keep(records);
        let records = if ends { self.queue.undone(id, None, NOW) } else { Vec::new() };
        self.keep(records);
        self.queue.put_back(id);
    }

    fn archive(&mut self, id: JobId) {
        if let Ok(job) = self.queue.ended_job(id) {
            self.archive.insert(id, job.status());
            let records = self.queue.archive([id]);
            self.keep(records);
        }
    }

    fn replayed(&self, from: usize) -> Queue {
        let mut queue = empty();
        for record in &self.records[from..] {
            queue.apply(record).unwrap();
        }
        queue.replayed().unwrap();
        queue.check();
        queue
    }
}

fn success() -> Outcome {
    Outcome::Success("1".into())
}

fn failure() -> Outcome {
    Outcome::Error(OpError::exec("no luck"))
}

#[test]
fn only_ended_jobs_can_be_archived_and_are_gone_then() {
    let mut world = World::new();
    let ids = world.submit(vec![job(1), job(1)]);
    assert_eq!(
        world.queue.ended_job(ids[0]).unwrap_err(),
        Refusal::NotEnded { id: ids[0], status: Status::Queued }
    );
    assert_eq!(world.queue.ended_job(id(9)).unwrap_err(), Refusal::NoSuchJob { id: id(9) });
    assert_eq!(world.queue.archive(ids.clone()), [], "neither has ended");
    world.run(success());
    world.archive(ids[0]);
    assert_eq!(world.queue.len(), 1);
    assert!(world.queue.was_archived(ids[0]) && !world.queue.was_archived(id(9)));
    assert_eq!(world.replayed(0), world.queue);
}

#[test]
fn all_ended_jobs_are_older_than_zero_and_empty_ones_count_from_their_submission() {
    let mut world = World::new();
    world.submit(vec![job(0), job(1), job(1)]);
    world.run(success());
    let search = |older_than| Search { after: None, older_than, look_at: 9, bytes: 10_000 };
    let found = |age, now| {
        let found = world.queue.old_jobs(&search(Duration::from_secs(age)), now);
        found.jobs.iter().map(|job| job.id.get()).collect::<Vec<_>>()
    };
    assert_eq!(found(0, Timestamp::from_micros(0)), [1, 2], "also where the clock went back");
    assert_eq!(found(1, NOW), [0; 0]);
    assert_eq!(found(1, NOW.plus(Duration::from_secs(1))), [1, 2]);
}

#[test]
fn a_search_goes_on_where_the_last_one_ended() {
    let mut world = World::new();
    world.submit(vec![job(0); 10]);
    let mut search =
        Search { after: None, older_than: Duration::ZERO, look_at: 4, bytes: usize::MAX };
    let mut counts = Vec::new();
    loop {
        let found = world.queue.old_jobs(&search, NOW);
        counts.push(found.jobs.len());
        let Some(last) = found.last else { break };
        search.after = Some(last);
    }
    assert_eq!(counts, [4, 4, 2, 0]);
    let bounded = Search { after: None, bytes: 0, ..search };
    assert_eq!(world.queue.old_jobs(&bounded, NOW).jobs.len(), 1, "at least one, however large");
}

#[test]
fn a_dependency_on_an_archived_job_is_decided_as_if_it_were_there() {
    let table = [
        (success(), &[Status::Success][..], Status::Success),
        (failure(), &[Status::Success], Status::Error),
        (failure(), &[], Status::Success),
        (Outcome::Canceled, &[], Status::Canceled),
    ];
    for (outcome, statuses, expected) in table {
        for archived_first in [false, true] {
            let mut world = World::new();
            let first = world.submit(vec![job(1)])[0];
            world.run(outcome.clone());
            if archived_first {
                world.archive(first);
            }
            let second = world.submit(vec![after(first, statuses)])[0];
            world.archive(first);
            assert_eq!(world.replayed(0), world.queue);
            world.run(success());
            let status = world.queue.get(second).unwrap().status();
            assert_eq!(status, expected, "{outcome:?} {statuses:?} {archived_first}");
            assert!(world.queue.ended.is_empty(), "nobody needs it any more");
            assert_eq!(world.replayed(0), world.queue);
        }
    }
}

#[test]
fn a_dependency_on_an_archived_job_nobody_knows_of_is_refused() {
    let mut world = World::new();
    let first = world.submit(vec![job(0)])[0];
    world.archive(first);
    let jobs = vec![after(first, &[])];
    assert_eq!(world.queue.unknown_ends(&jobs), [first]);
    let refusal = world.queue.submit(jobs, None, &bounds(), NOW).unwrap_err();
    assert_eq!(refusal, Refusal::ArchivedDependency { index: 0, on: first });
}

#[test]
fn a_copy_that_is_not_whole_is_no_queue() {
    let mut world = World::new();
    world.submit(vec![job(1); 3]);
    let (begun, below) = world.queue.begin_copy();
    let piece = world.queue.copy_some(CopyPlace::START, below, 2, usize::MAX);
    let copied: Vec<Record> = piece.transactions.concat();
    let mut queue = Queue::new(500);
    for record in [begun].iter().chain(&copied) {
        queue.apply(record).unwrap();
        assert!(queue.replayed().is_err());
    }
    let misfit = queue.apply(&copied[0]).unwrap_err();
    assert!(misfit.to_string().contains("not this job's turn"), "{misfit}");
}

#[test]
fn a_large_job_is_copied_in_pieces_and_is_whole_again() {
    let mut world = World::new();
    world.submit(vec![job(7)]);
    let original = world.queue.get(id(1)).unwrap().clone();
    let records = Record::copies_of(&original, 200);
    assert!(records.len() > 2, "{}", records.len());
    let mut queue = Queue::new(500);
    let (begun, _) = world.queue.begin_copy();
    let records = records.iter().flatten();
    for record in [begun].iter().chain(records).chain(&world.queue.end_copy()) {
        queue.apply(record).unwrap();
    }
    queue.check();
    assert_eq!(queue, world.queue);
    assert_eq!(Record::copies_of(&original, usize::MAX).len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Submit(usize),
    SubmitOnce { key: u8, jobs: usize },
    SubmitAfter { back: u64, any: bool },
    Run { succeeds: bool, undo: bool },
    Cancel(u64),
    Say(u64),
    Archive(u64),
    Drain(bool),
    Filter { which: u128, kind: usize },
    Unfilter(u128),
    BeginCopy,
    Copy(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..3_usize).prop_map(Step::Submit),
        3 => (0..12_u8, 1..3_usize).prop_map(|(key, jobs)| Step::SubmitOnce { key, jobs }),
        3 => (1..6_u64, any::<bool>()).prop_map(|(back, any)| Step::SubmitAfter { back, any }),
        5 => any::<(bool, bool)>().prop_map(|(succeeds, undo)| Step::Run { succeeds, undo }),
        1 => (0..9_u64).prop_map(Step::Cancel),
        1 => (0..9_u64).prop_map(Step::Say),
        4 => (0..9_u64).prop_map(Step::Archive),
        1 => any::<bool>().prop_map(Step::Drain),
        1 => (0..3_u128, 0..4_usize).prop_map(|(which, kind)| Step::Filter { which, kind }),
        1 => (0..3_u128).prop_map(Step::Unfilter),
        1 => Just(Step::BeginCopy),
        4 => (1..3_usize).prop_map(Step::Copy),
    ]
}

/// A copy that is being made: where it begins in the records, and how far it is.
struct InCopy {
    from: usize,
    place: CopyPlace,
    below: JobId,
}

struct Play {
    world: World,
    next: u64,
    copy: Option<InCopy>,
    /// Where copies begin that are whole, and those after which one is.
    begins: Vec<usize>,
    abandoned: Vec<usize>,
}

impl Play {
    fn back(&self, by: u64) -> Option<JobId> {
        JobId::new(self.next.checked_sub(by)?)
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Submit(ops) => self.submit(job(*ops)),
            Step::SubmitOnce { key, jobs } => self.submit_once(*key, *jobs),
            Step::SubmitAfter { back, any } => {
                let statuses = if *any { &[][..] } else { &[Status::Success] };
                if let Some(on) = self.back(*back) {
                    self.submit(after(on, statuses));
                }
            }
            Step::Run { succeeds, undo } => {
                self.world.run_one(if *succeeds { success() } else { failure() }, *undo);
            }
            Step::Cancel(back) => {
                let canceled = self.back(*back).map(|id| self.world.queue.cancel(id, NOW));
                if let Some(Ok((_, records))) = canceled {
                    self.world.keep(records);
                }
            }
            Step::Say(back) => self.say(*back),
            Step::Archive(back) => {
                if let Some(id) = self.back(*back) {
                    self.world.archive(id);
                }
            }
            Step::Drain(drained) => {
                let records = self.world.queue.set_drained(*drained, NOW);
                self.world.keep(records);
            }
            Step::Filter { which, kind } => self.filter(*which, *kind),
            Step::Unfilter(which) => {
                let id = FilterId::of_random(*which);
                let records = self.world.queue.delete_filter(id, NOW).unwrap_or_default();
                self.world.keep(records);
            }
            Step::BeginCopy => self.begin(),
            Step::Copy(jobs) => self.go_on(*jobs),
        }
    }

    fn submit(&mut self, job: NewJob) {
        self.world.submit(vec![job]);
        self.next += 1;
    }

    fn filter(&mut self, which: u128, kind: usize) {
        let limit = FilterAction::RateLimit(NonZeroU32::MIN);
        let actions = [FilterAction::Pause, limit, FilterAction::Reject, FilterAction::Accept];
        let predicates = r#"[["jobid", [">", "id", "watermark"]]]"#.parse().unwrap();
        let new = NewFilter { predicates, action: actions[kind], ..NewFilter::default() };
        let set = self.world.queue.set_filter(FilterId::of_random(which), new, NOW);
        self.world.keep(set.unwrap());
        let records = self.world.queue.end_rejected(usize::MAX, NOW);
        self.world.keep(records);
    }

    fn submit_once(&mut self, key: u8, jobs: usize) {
        let before = self.world.queue.len();
        // Refused where the key belongs to another submission.
        _ = self.world.submit_once(&format!("key {key}"), vec![job(1); jobs]);
        self.next += (self.world.queue.len() - before) as u64;
    }

    fn say(&mut self, back: u64) {
        let Some(id) = self.back(back) else { return };
        let kind = crate::vocabulary::FeedbackKind::Message;
        let entry = crate::vocabulary::FeedbackEntry {
            serial: 0,
            time: NOW,
            op: 0,
            kind,
            text: "x".repeat(90).into(),
        };
        let records = self.world.queue.feedback(id, vec![entry]);
        self.world.keep(records);
    }

    /// Begins a copy; one that is on its way is given up, as where the master dies.
    fn begin(&mut self) {
        self.abandoned.extend(self.copy.as_ref().map(|copy| copy.from));
        let (record, below) = self.world.queue.begin_copy();
        self.copy = Some(InCopy { from: self.world.records.len(), place: CopyPlace::START, below });
        self.world.keep(vec![record]);
    }

    fn go_on(&mut self, jobs: usize) {
        let Some(copy) = &mut self.copy else { return };
        let piece = self.world.queue.copy_some(copy.place, copy.below, jobs, usize::MAX);
        let ends = piece.next.is_none().then(|| self.world.queue.end_copy());
        copy.place = piece.next.unwrap_or(copy.place);
        if ends.is_some() {
            self.begins.push(copy.from);
            self.begins.append(&mut self.abandoned);
            self.copy = None;
        }
        self.world.keep(
            piece.transactions.concat().into_iter().chain(ends.into_iter().flatten()).collect(),
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_made_from_any_copy_is_the_live_one(steps in proptest::collection::vec(step(), 1..80)) {
        let mut play = Play {
            world: World::new(), next: 0, copy: None, begins: vec![0], abandoned: vec![],
        };
        for step in &steps {
            play.take(step);
            for from in &play.begins {
                let replayed = play.world.replayed(*from);
                prop_assert_eq!(&replayed, &play.world.queue, "from record {}", from);
            }
        }
        // And it goes on as the live one does.
        let mut again = play.world.replayed(*play.begins.last().unwrap());
        let mut live = play.world.queue;
        loop {
            let next = live.take_next(NOW);
            prop_assert_eq!(&again.take_next(NOW), &next);
            if next.is_none() { break }
        }
    }
}
