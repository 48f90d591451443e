//! What is allowed at most: of jobs, of what they bring along, and of what they leave behind.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use lockmaster::runtime::JobView;
use lockmaster::vocabulary::{OpState, Outcome, UndoState};
use lockmaster::{
    Context, CrashPolicy, DeclaredLocks, Error, ErrorKind, JobId, Limits, LogicalUnit, Master,
    MasterBuilder, NewJob, OpError, Status, TypedOp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use support::{Step, open};

/// An opcode that leaves much behind.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Verbose {
    lines: usize,
    line: usize,
    result: usize,
    error: usize,
    undo_error: usize,
    padding: String,
}

impl TypedOp for Verbose {
    const ID: &'static str = "OP_VERBOSE";
}

impl LogicalUnit for Verbose {
    fn declare_locks(&mut self, _: &str, _: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        Ok(())
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        (0..self.lines).for_each(|n| context.feedback(&format!("{n} {}", "é".repeat(self.line))));
        match self.error {
            0 => Ok("x".repeat(self.result).into()),
            bytes => Err(OpError::exec("é".repeat(bytes / 2)).with_code("c".repeat(bytes))),
        }
    }

    fn can_undo(&self) -> bool {
        self.undo_error > 0
    }

    fn undo(&mut self, _: &Context) -> Result<(), OpError> {
        Err(OpError::exec("u".repeat(self.undo_error)))
    }
}

fn limited(set: impl FnOnce(&mut Limits)) -> MasterBuilder {
    let mut limits = Limits::default();
    set(&mut limits);
    Master::builder("unused").unit::<Verbose>().unit::<Step>().volatile().workers(2).limits(limits)
}

fn run(master: &Master, unit: &Verbose) -> JobView {
    let id = master.submit_one(NewJob::of([unit.opcode().unwrap()])).unwrap();
    master.wait(id).unwrap()
}

fn gated(gate: &str) -> NewJob {
    NewJob::of([Step { gate: gate.to_owned(), ..Step::default() }.opcode().unwrap()])
}

fn padded(bytes: usize) -> NewJob {
    let padding = "x".repeat(bytes);
    NewJob::of([Verbose { padding, ..Verbose::default() }.opcode().unwrap()])
}

fn refused(master: &Master, jobs: Vec<NewJob>) -> Error {
    master.submit(jobs).unwrap_err()
}

#[test]
fn a_full_queue_refuses_jobs_and_takes_them_again_when_one_has_ended() {
    let master = limited(|limits| limits.queued_jobs = 2).start().unwrap();
    let ids = master.submit(vec![gated("full"), gated("full")]).unwrap();
    let error = refused(&master, vec![gated("full")]);
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), "the queue is full: 2 jobs are not finished; at most 2");
    assert!(error.hint_text().unwrap().contains("wait until jobs have ended"));
    open("full");
    open("full");
    ids.iter().for_each(|id| _ = master.wait(*id).unwrap());
    let again = master.submit(vec![NewJob::default(), gated("full")]).unwrap();
    assert_eq!(again[0], ids[1].plus(1));
    open("full");
}

#[test]
fn what_is_too_large_in_a_submission_is_said_and_nothing_of_it_is_taken() {
    let master = limited(|limits| {
        limits.batch_jobs = 3;
        limits.batch_bytes = 3000;
        limits.job_ops = 2;
        limits.job_bytes = 2000;
    });
    let master = master.start().unwrap();
    let op = || padded(0).ops[0].clone();
    let cases = [
        (vec![padded(0); 4], "the submission has 4 jobs; at most 3"),
        (vec![padded(0), NewJob::of([op(), op(), op()])], "job 1 of the submission has 3 opcodes"),
        (vec![padded(0), padded(2000)], "job 1 of the submission has "),
        (vec![padded(1200); 3], "the submission has "),
    ];
    for (jobs, words) in cases {
        let error = refused(&master, jobs);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().starts_with(words), "{error}");
        assert!(error.to_string().contains("at most"), "{error}");
        assert_eq!(error.hint_text(), Some("split it, or raise the limit"));
    }
    assert_eq!(master.jobs().value, []);
    assert_eq!(master.submit_one(padded(1500)).unwrap(), JobId::FIRST, "no id was used up");
}

#[test]
fn of_a_long_feedback_log_the_newest_lines_are_kept_and_the_others_counted() {
    let dir = tempfile::tempdir().unwrap();
    let builder = || {
        let mut limits = Limits::default();
        limits.feedback_bytes = 1000;
        Master::builder(dir.path()).unit::<Verbose>().limits(limits)
    };
    let master = builder().start().unwrap();
    let view = run(&master, &Verbose { lines: 500, line: 5, ..Verbose::default() });
    let log = view.job.feedback.clone();
    let kept = log.entries().count() as u64;
    assert!(log.bytes() <= 1000 && kept > 10, "{} bytes, {kept} lines", log.bytes());
    assert_eq!((log.last_serial(), log.dropped()), (500, 500 - kept));
    assert_eq!(&*log.entries().last().unwrap().text, "499 ééééé");
    drop(master);
    let master = builder().start().unwrap();
    assert_eq!(master.job(view.job.id).unwrap().value, view, "as it was, after a restart too");
}

#[test]
fn a_long_line_is_cut_between_characters() {
    let master = limited(|limits| limits.line_bytes = 9).start().unwrap();
    let view = run(&master, &Verbose { lines: 1, line: 50, ..Verbose::default() });
    let line = view.job.feedback.entries().next().unwrap();
    assert_eq!(&*line.text, "0 ééé", "9 bytes would end within a character");
}

#[test]
fn a_result_that_is_too_large_fails_its_opcode_and_says_that_the_work_was_done() {
    let master = limited(|limits| limits.result_bytes = 100).start().unwrap();
    let fits = run(&master, &Verbose { result: 98, ..Verbose::default() });
    assert_eq!(fits.status, Status::Success);
    let view = run(&master, &Verbose { result: 99, ..Verbose::default() });
    let OpState::Finished(Outcome::Error(error)) = &view.job.ops[0].state else {
        panic!("{view:?}")
    };
    let expected = "the work was done, but its result has 101 bytes; at most 100";
    assert_eq!(error.message, expected);
}

#[test]
fn of_a_long_error_the_beginning_is_kept_also_of_that_of_an_undo() {
    let master = limited(|limits| limits.result_bytes = 101).start().unwrap();
    let verbose = Verbose { error: 5000, undo_error: 3000, ..Verbose::default() };
    let view = run(&master, &verbose);
    let OpState::Finished(Outcome::Error(error)) = &view.job.ops[0].state else {
        panic!("{view:?}")
    };
    let expected = format!("{} ... (4900 more bytes were cut off)", "é".repeat(50));
    assert_eq!((error.message.as_str(), &error.code), (expected.as_str(), &None));
    let UndoState::Failed(error) = &view.job.ops[0].undo else { panic!("{view:?}") };
    assert!(error.message.ends_with("u ... (2899 more bytes were cut off)"), "{error}");
    assert_eq!(view.job.ops[0].on_crash, CrashPolicy::Fail);
}

#[test]
fn limits_that_do_not_fit_into_a_frame_of_the_log_are_refused_at_once() {
    for set in [
        |limits: &mut Limits| limits.batch_bytes = usize::MAX,
        |limits: &mut Limits| limits.job_bytes = 64 << 20,
        |limits: &mut Limits| limits.feedback_bytes = 64 << 20,
        |limits: &mut Limits| limits.result_bytes = 64 << 20,
        |limits: &mut Limits| limits.line_bytes = 64 << 20,
    ] {
        let error = limited(set).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.hint_text().unwrap().starts_with("lower "), "{error}");
    }
}
