//! What is true of every history that has come to its end.

use lockmaster::vocabulary::{Job, JobOp, Outcome, UndoState};
use lockmaster::{Dependency, JobRef, Status};

use crate::deed::{Deed, End, Note, World};

/// All laws, of a history without a crash.
pub(crate) fn check(world: &World, jobs: &[Job]) {
    world.assert_alone();
    assert_statuses(jobs);
    let notes = world.notes();
    for job in jobs {
        let of_job: Vec<(u32, Note)> = notes
            .iter()
            .filter(|note| note.0 == job.id.get())
            .map(|note| (note.1, note.2))
            .collect();
        assert_eq!(of_job, expected_notes(job), "{job:#?}");
        assert_undo_states(job);
    }
    assert_nobody_ran_before_whom_it_waits_for(jobs, &notes);
}

fn deed(op: &JobOp) -> Deed {
    serde_json::from_str(op.opcode.params.as_json()).unwrap()
}

fn status(op: &JobOp) -> Option<Status> {
    op.outcome().map(Outcome::status)
}

/// What its opcodes must have noted, from how they ended: those that began, in order, and then
/// what was taken back, in the reverse order, unless all went well.
fn expected_notes(job: &Job) -> Vec<(u32, Note)> {
    let mut notes = Vec::new();
    let mut undone = Vec::new();
    for (op, index) in job.ops.iter().zip(0u32..).filter(|(op, _)| has_begun(op)) {
        notes.push((index, Note::Began));
        let deed = deed(op);
        let whole = status(op) == Some(Status::Success) || deed.end == End::Error;
        notes.extend(whole.then_some((index, Note::Ended)));
        undone.extend(deed.undo.then_some((index, Note::Undone)));
    }
    if job.status() != Status::Success {
        notes.extend(undone.into_iter().rev());
    }
    notes
}

fn has_begun(op: &JobOp) -> bool {
    let too_early = [End::WrongArguments, End::WrongPrerequisites, End::PanicInLocks];
    op.exec_time.is_some() && !too_early.contains(&deed(op).end)
}

fn assert_undo_states(job: &Job) {
    for op in &job.ops {
        let deed = deed(op);
        let began = deed.undo && has_begun(op);
        let fits = match &op.undo {
            _ if job.status() == Status::Success => op.undo == possible(deed.undo),
            UndoState::None => !began,
            UndoState::Done => began && !deed.undo_fails,
            UndoState::Failed(_) => began && deed.undo_fails,
            UndoState::Possible | UndoState::Wanted => false,
        };
        assert!(fits, "{job:#?}");
    }
}

fn possible(undo: bool) -> UndoState {
    if undo { UndoState::Possible } else { UndoState::None }
}

fn assert_nobody_ran_before_whom_it_waits_for(jobs: &[Job], notes: &[(u64, u32, Note)]) {
    for (place, (job, op, note)) in notes.iter().enumerate() {
        let depends = &jobs[*job as usize - 1].ops[*op as usize].opcode.depends;
        for dependency in depends.iter().filter(|_| *note == Note::Began) {
            let on = on(dependency, jobs).id.get();
            let last = notes.iter().rposition(|note| note.0 == on);
            assert!(last.is_none_or(|last| last < place), "job {job} ran before {on} had ended");
        }
    }
}

/// Every job is final, and so by the table of dependencies and by what its deeds were to do. A
/// job that was cancelled has gone part of that way.
fn assert_statuses(jobs: &[Job]) {
    for job in jobs {
        assert!(job.status().is_final(), "{job:#?}");
        let expected = expected_statuses(job, jobs);
        let found: Vec<Status> = job.ops.iter().filter_map(status).collect();
        let mut pairs = found.iter().zip(&expected);
        let same = pairs.by_ref().take_while(|(found, expected)| found == expected).count();
        let rest_is_canceled = found[same..].iter().all(|status| *status == Status::Canceled);
        let fits = same == found.len() || (job.cancel_requested.is_some() && rest_is_canceled);
        assert!(fits, "expected {expected:?} of {job:#?}");
    }
}

fn expected_statuses(job: &Job, jobs: &[Job]) -> Vec<Status> {
    let mut before = Status::Success;
    let mut statuses = Vec::new();
    for op in &job.ops {
        if before == Status::Success {
            before = first_unmet(op, jobs).unwrap_or_else(|| own_end(op));
        }
        statuses.push(before);
    }
    statuses
}

/// What the first dependency that does not hold makes of the opcode.
fn first_unmet(op: &JobOp, jobs: &[Job]) -> Option<Status> {
    let met = |dependency: &&Dependency| {
        let status = on(dependency, jobs).status();
        let any = dependency.statuses.is_empty() && status != Status::Canceled;
        any || dependency.statuses.contains(&status)
    };
    let unmet = op.opcode.depends.iter().find(|dependency| !met(dependency))?;
    let canceled = on(unmet, jobs).status() == Status::Canceled;
    Some(if canceled { Status::Canceled } else { Status::Error })
}

fn own_end(op: &JobOp) -> Status {
    match deed(op).end {
        End::Well | End::Heeding => Status::Success,
        _ => Status::Error,
    }
}

fn on<'j>(dependency: &Dependency, jobs: &'j [Job]) -> &'j Job {
    let JobRef::Id(id) = dependency.on else { panic!("{dependency:?} was not resolved") };
    &jobs[id.get() as usize - 1]
}
