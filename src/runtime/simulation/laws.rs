//! What has to be true after every step, and at the end.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::deed::{Deed, End, TRIES};
use super::rules::{Gate, is_rejected};
use super::shadow::Shadow;
use super::world::{Note, What};
use crate::engine::queue::Queue;
use crate::vocabulary::{
    CrashPolicy, Dependency, Job, JobId, JobOp, JobRef, OpErrorKind, OpState, Outcome, Status,
    UndoState,
};

/// What was asked for, by job and place in it.
pub(super) type Deeds = BTreeMap<JobId, Vec<Deed>>;

/// What was asked for in a job.
pub(super) fn deeds_of(job: &Job) -> Vec<Deed> {
    let deed = |op: &JobOp| serde_json::from_str(op.opcode.params.as_json()).unwrap();
    job.ops.iter().map(deed).collect()
}

/// What is known of jobs from the step before.
#[derive(Default)]
pub(super) struct Before(HashMap<JobId, Job>);

impl Before {
    /// Forgets: a crash may have taken back what was not on disk.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Nothing that was final has changed, nothing that has ended was taken back, and what was
    /// said is still there, with serials that grow.
    pub(super) fn compare(&mut self, queue: &Queue) {
        for job in queue.jobs() {
            if let Some(before) = self.0.get(&job.id) {
                if *before == *job {
                    continue;
                }
                assert_follows(before, &job);
            }
            self.0.insert(job.id, job.into_owned());
        }
    }
}

fn assert_follows(before: &Job, now: &Job) {
    let (old, new) = (before.status(), now.status());
    assert!(!old.is_final(), "job {} was {old}, and has changed: {now:#?}", now.id);
    assert!(
        old != Status::Canceling || new == Status::Canceling || new.is_final(),
        "job {} is {new} after {old}",
        now.id
    );
    for (old, new) in before.ops.iter().zip(&now.ops) {
        assert!(
            old.outcome().is_none() || old.outcome() == new.outcome(),
            "{old:?} became {new:?}"
        );
        assert!(old.fencing_token <= new.fencing_token, "{old:?} became {new:?}");
    }
    let said = |job: &Job| job.feedback.entries().map(|entry| entry.serial).collect::<Vec<_>>();
    let (old, new) = (said(before), said(now));
    assert!(new.starts_with(&old), "{old:?} became {new:?}");
    assert!(new.is_sorted_by(|one, next| one < next), "{new:?}");
}

/// No two opcodes execute where one of them has to be alone.
pub(super) fn assert_alone(queue: &Queue, deeds: &Deeds) {
    let mut inside: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for job in queue.jobs().filter(|job| !job.status().is_final()) {
        let Some(op) = job.ops.iter().position(|op| op.state == OpState::Running) else { continue };
        for (place, alone) in deeds[&job.id][op].places() {
            let (shared, exclusive) = inside.entry(place).or_default();
            *if alone { exclusive } else { shared } += 1;
        }
    }
    for (place, (shared, exclusive)) in inside {
        assert!(exclusive == 0 || exclusive + shared == 1, "{place}: {shared} and {exclusive}");
    }
}

/// What was known when a deed was done.
pub(super) struct Moment<'a> {
    pub(super) shadow: &'a Shadow,
    pub(super) archived: &'a BTreeMap<JobId, Job>,
    pub(super) gate: &'a Gate,
    pub(super) deeds: &'a Deeds,
    /// What deeds did before, and before the last crash.
    pub(super) earlier: &'a [Note],
    pub(super) in_this_life: usize,
    pub(super) crashed: bool,
    /// Jobs that were told that they were cancelled before anything of theirs ran.
    pub(super) stopped: &'a BTreeSet<JobId>,
}

impl Moment<'_> {
    /// What has to be on disk before that, is; and nothing is done again that has ended.
    pub(super) fn assert_allowed(&self, note: &Note) {
        let Some(job) = self.shadow.queue().get(note.job) else {
            panic!("{note:?}, and its job is not on disk");
        };
        match note.what {
            What::Began => self.assert_may_begin(note, job),
            What::Undone => self.assert_may_be_undone(note, job),
        }
    }

    fn assert_may_begin(&self, note: &Note, job: &Job) {
        assert!(!self.stopped.contains(&note.job), "{note:?}, and it was cancelled");
        assert!(note.hooked, "{note:?}, and the hook was not asked about this start");
        self.gate.assert_may_begin(note.job);
        let op = &job.ops[note.op];
        assert!(op.outcome().is_none(), "{note:?}, and it has ended: {job:#?}");
        assert!(!op.opcode.dry_run, "{note:?} in a dry run");
        let passes = self.deeds[&note.job][note.op].passes_the_hook();
        assert!(passes, "{note:?}, and the hook did not let it pass");
        let succeeded = |op: &JobOp| op.outcome().map(Outcome::status) == Some(Status::Success);
        assert!(job.ops[..note.op].iter().all(succeeded), "{note:?}, out of turn: {job:#?}");
        for dependency in &op.opcode.depends {
            let on = on(dependency, self.shadow.queue(), self.archived);
            let ended = on.is_some_and(|on| on.status().is_final());
            assert!(ended, "{note:?}, before what it waits for: {dependency:?}");
        }
        self.assert_token(note);
        let same = |earlier: &&Note| (earlier.job, earlier.op) == (note.job, note.op);
        let (before, here) = self.earlier.split_at(self.in_this_life);
        let began = |notes: &[Note]| notes.iter().filter(same).any(|note| note.what == What::Began);
        let again = before.iter().filter(same).count() > 0;
        assert!(!began(here), "{note:?} for the second time in one life");
        let repeatable = self.deeds[&note.job][note.op].on_crash == CrashPolicy::Retry;
        assert!(!again || repeatable, "{note:?}, which may not be repeated");
    }

    /// No start, of a deed or of an undo, has the token of another, and of two that have to be
    /// alone somewhere, the later one has the greater.
    fn assert_token(&self, note: &Note) {
        let places = self.deeds[&note.job][note.op].places();
        let collides = |other: &Note| {
            let theirs = self.deeds[&other.job][other.op].places();
            let pairs = places.iter().flat_map(|one| theirs.iter().map(move |other| (one, other)));
            pairs.into_iter().any(|((one, alone), (other, also))| one == other && (*alone || *also))
        };
        for other in self.earlier {
            assert_ne!(other.token, note.token, "{note:?} after {other:?}");
            let grows = other.token < note.token || !collides(other);
            assert!(grows, "{note:?} after {other:?}");
        }
    }

    fn assert_may_be_undone(&self, note: &Note, job: &Job) {
        let op = &job.ops[note.op];
        assert_eq!(op.undo, UndoState::Wanted, "{note:?}, and nobody on disk wants that: {job:#?}");
        let same = |earlier: &&Note| (earlier.job, earlier.op) == (note.job, note.op);
        assert_eq!(op.fencing_token, Some(note.token), "{note:?}: its token is not on disk");
        self.assert_token(note);
        let began = self.earlier.iter().filter(same).any(|note| note.what == What::Began);
        // One that was to begin when the master died may not have come to it.
        let perhaps = self.crashed && op.on_crash != CrashPolicy::Fail;
        assert!(began || perhaps, "{note:?}, which has done nothing");
        let here = &self.earlier[self.in_this_life..];
        let again = here.iter().filter(same).any(|note| note.what == What::Undone);
        assert!(!again, "{note:?} for the second time in one life");
        let later = job.ops[note.op + 1..].iter().zip(note.op + 1..);
        for (op, place) in later.filter(|(op, _)| op.undo == UndoState::Wanted) {
            let undone = here
                .iter()
                .any(|note| (note.job, note.op, note.what) == (job.id, place, What::Undone));
            assert!(undone, "{note:?} before {op:?}");
        }
    }
}

/// The hook hears of a success once it is one: of the deed that was done under that token.
pub(super) fn assert_told_rightly(deeds: &Deeds, notes: &[Note], told: (JobId, usize, u64)) {
    let (job, op, token) = told;
    let done =
        |note: &Note| (note.job, note.op, note.token, note.what) == (job, op, token, What::Began);
    assert!(notes.iter().any(done), "the hook hears of {told:?}");
    let well = [End::Well, End::Heeding].contains(&deeds[&job][op].end);
    assert!(well, "the hook hears of {told:?} as a success");
}

fn on<'q>(
    dependency: &Dependency,
    queue: &'q Queue,
    archived: &'q BTreeMap<JobId, Job>,
) -> Option<&'q Job> {
    let JobRef::Id(id) = dependency.on else { panic!("{dependency:?} was not resolved") };
    queue.get(id).or_else(|| archived.get(&id))
}

/// Every job has ended, and so by the table of dependencies and by what its deeds were to do. A
/// job that was cancelled has gone part of that way.
pub(super) fn assert_ended_rightly(
    queue: &Queue,
    archived: &BTreeMap<JobId, Job>,
    deeds: &Deeds,
    notes: &[Note],
) {
    for job in queue.jobs().chain(archived.values().map(Cow::Borrowed)) {
        assert!(job.status().is_final(), "nothing goes on, and there is {job:#?}");
        if is_entangled(&job, &deeds[&job.id]) {
            continue;
        }
        let status = |dependency: &Dependency| on(dependency, queue, archived).map(Job::status);
        let expected = expected_statuses(&job, &status, &deeds[&job.id]);
        let found: Vec<Status> =
            job.ops.iter().filter_map(|op| op.outcome().map(Outcome::status)).collect();
        let same = found.iter().zip(&expected).take_while(|(one, other)| one == other).count();
        let rest_is_canceled = found[same..].iter().all(|status| *status == Status::Canceled);
        let fits = same == found.len()
            || is_rejected(&job)
            || (job.cancel_requested.is_some() && rest_is_canceled)
            || (is_late(&job, same) && !found[same..].contains(&Status::Success));
        assert!(fits, "expected {expected:?} of {job:#?}");
        let began = |op| {
            let what = (job.id, op, What::Began);
            notes.iter().any(|note| (note.job, note.op, note.what) == what)
        };
        assert_undone_rightly(&job, &deeds[&job.id], began);
    }
}

/// Whether what is wrong with a later opcode ends an earlier one: where the locks of all are taken
/// at the start.
fn is_entangled(job: &Job, deeds: &[Deed]) -> bool {
    let ends = [End::WrongArguments, End::PanicInLocks];
    let wrong = |deed: &Deed| ends.contains(&deed.end);
    let waits = |op: &JobOp| !op.opcode.depends.is_empty();
    job.terms.keep_locks && (deeds.iter().any(wrong) || job.ops.iter().any(waits))
}

/// Whether a deadline has passed at that opcode.
fn is_late(job: &Job, op: usize) -> bool {
    let JobOp { opcode, .. } = &job.ops[op];
    let due = job.terms.within.or(opcode.terms.within).is_some();
    due && matches!(job.ops[op].outcome(), Some(Outcome::Error(error))
        if error.kind == OpErrorKind::TimedOut)
}

/// How the job of a dependency has ended.
type Ends<'a> = &'a dyn Fn(&Dependency) -> Option<Status>;

fn expected_statuses(job: &Job, ends: Ends<'_>, deeds: &[Deed]) -> Vec<Status> {
    let mut before = Status::Success;
    let mut statuses = Vec::new();
    for (op, deed) in job.ops.iter().zip(deeds) {
        if before == Status::Success {
            before = first_unmet(op, ends).unwrap_or_else(|| own_end(op, deed));
        }
        statuses.push(before);
    }
    statuses
}

/// What the first dependency that does not hold makes of the opcode.
fn first_unmet(op: &JobOp, status: Ends<'_>) -> Option<Status> {
    let met = |dependency: &&Dependency| {
        let status = status(dependency);
        let any = dependency.statuses.is_empty() && status != Some(Status::Canceled);
        any || status.is_some_and(|status| dependency.statuses.contains(&status))
    };
    let unmet = op.opcode.depends.iter().find(|dependency| !met(dependency))?;
    let canceled = status(unmet) == Some(Status::Canceled);
    Some(if canceled { Status::Canceled } else { Status::Error })
}

fn own_end(op: &JobOp, deed: &Deed) -> Status {
    let interrupted = matches!(op.outcome(), Some(Outcome::Error(error))
        if error.kind == OpErrorKind::Interrupted);
    match deed.end {
        _ if interrupted && deed.on_crash != CrashPolicy::Retry => Status::Error,
        _ if deed.lacks >= TRIES => Status::Error,
        End::WrongArguments | End::WrongPrerequisites | End::PanicInLocks => Status::Error,
        _ if !deed.passes_the_hook() => Status::Error,
        End::Well | End::Heeding => Status::Success,
        _ if op.opcode.dry_run => Status::Success,
        _ => Status::Error,
    }
}

/// What has begun was taken back, unless all went well; and what it cannot take back was not.
fn assert_undone_rightly(job: &Job, deeds: &[Deed], began: impl Fn(usize) -> bool) {
    for ((op, deed), place) in job.ops.iter().zip(deeds).zip(0..) {
        let began = deed.undo && deed.gets_to_work() && began(place);
        // Nobody knows what it did, and its policy says not to touch that.
        let unknown = matches!(op.outcome(), Some(Outcome::Error(error))
            if error.kind == OpErrorKind::Interrupted)
            && deed.on_crash == CrashPolicy::Fail;
        let perhaps = deed.undo && op.on_crash != CrashPolicy::Fail && !op.opcode.dry_run;
        let fits = match &op.undo {
            UndoState::Possible => deed.undo && job.status() == Status::Success,
            UndoState::None => !began || unknown,
            UndoState::Done => (began || perhaps) && !deed.undo_fails,
            UndoState::Failed(_) => (began || perhaps) && deed.undo_fails,
            UndoState::Wanted => false,
        };
        assert!(fits, "{:?} of {job:#?}", op.undo);
    }
}
