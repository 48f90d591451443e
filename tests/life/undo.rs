//! Undo, and a master that is killed between every two transactions of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use lockmaster::vocabulary::{Job, Record, UndoState};
use lockmaster::{CrashPolicy, JobId, NewJob, OpError, Status};
use serde_json::Value;

use super::stage::{Script, Stage};

/// What has been done and not taken back. Outlives masters that are killed.
type World = Arc<Mutex<BTreeSet<&'static str>>>;

/// Does something to the world; takes it back, as often as it is asked to.
fn deed(world: &World, name: &'static str) -> Script {
    let (done, undone) = (Arc::clone(world), Arc::clone(world));
    let mut script = Script::default()
        .locking(&["a"])
        .does(move |_| {
            done.lock().unwrap().insert(name);
            Ok(Value::Null)
        })
        .undoes(move |_| {
            undone.lock().unwrap().remove(name);
            Ok(())
        });
    script.on_crash = CrashPolicy::Undo;
    script
}

/// A job of three deeds, the last of which is done halfway and fails.
fn submit(stage: &Stage, world: &World) -> JobId {
    let halfway = Arc::clone(world);
    let failing = deed(world, "third").does(move |_| {
        halfway.lock().unwrap().insert("third");
        Err(OpError::exec("halfway"))
    });
    stage.submit(NewJob::of([
        stage.op("first", deed(world, "first")),
        stage.op("second", deed(world, "second")),
        stage.op("third", failing),
    ]))
}

/// What a job has come to, but for times and tokens.
fn outcome(job: &Job) -> Vec<(Option<lockmaster::vocabulary::Outcome>, UndoState)> {
    job.ops.iter().map(|op| (op.outcome().cloned(), op.undo.clone())).collect()
}

/// Whether the failure is among the first so many transactions.
fn has_failed(transactions: &[Vec<Record>], cut: usize) -> bool {
    let mut records = transactions[..cut].iter().flatten();
    records.any(|record| matches!(record, Record::UndoWanted { .. }))
}

/// Plays the job, killed after `cut` transactions are on disk, with the next deed or undo already
/// done to the world or not; how the next master ends it.
fn killed(cut: usize, ahead: bool) -> (Stage, JobId, World) {
    let (mut stage, world) = (Stage::new(), World::default());
    let id = submit(&stage, &world);
    let mut written = 0;
    while written < cut {
        stage.work_one_or_write(&mut written);
    }
    if ahead {
        stage.work();
    }
    (stage.killed_after(cut), id, world)
}

impl Stage {
    /// Makes one step, and counts the transactions written.
    fn work_one_or_write(&mut self, written: &mut usize) {
        if !self.core.work(0) {
            assert!(self.core.write_log(), "there is something to do");
            *written = self.log.transactions().len();
        }
    }
}

#[test]
fn wherever_the_master_is_killed_all_that_was_done_is_taken_back() {
    let (mut whole, world) = (Stage::new(), World::default());
    let id = submit(&whole, &world);
    whole.run();
    assert_eq!((whole.status(id), world.lock().unwrap().len()), (Status::Error, 0));
    let (transactions, expected) = (whole.log.transactions(), outcome(&whole.view(id).job));
    assert!(transactions.len() >= 10, "{transactions:#?}");
    for cut in 1..=transactions.len() {
        for ahead in [false, true] {
            let (mut stage, id, world) = killed(cut, ahead);
            stage.run();
            let left = world.lock().unwrap().clone();
            assert_eq!(
                (stage.status(id), left.len()),
                (Status::Error, 0),
                "cut {cut} {ahead}: {left:?}"
            );
            assert!(stage.held().is_empty());
            let job = stage.view(id).job;
            let undone = job.ops.iter().filter(|op| op.exec_time.is_some());
            assert!(undone.into_iter().all(|op| op.undo == UndoState::Done), "cut {cut}: {job:?}");
            if has_failed(&transactions, cut) {
                assert_eq!(outcome(&job), expected, "cut {cut}: as if nobody had been killed");
            }
        }
    }
}

#[test]
fn wherever_recovery_itself_is_killed_the_next_one_ends_the_undo() {
    let (mut whole, world) = (Stage::new(), World::default());
    let id = submit(&whole, &world);
    whole.run();
    let transactions = whole.log.transactions().len();
    for cut in 1..=transactions {
        let (mut second, ..) = killed(cut, true);
        second.run();
        for second_cut in 0..=second.log.transactions().len() {
            let (before, id_, world) = killed(cut, true);
            assert_eq!(id_, id);
            let mut again = before;
            let mut written = 0;
            while written < second_cut {
                again.work_one_or_write(&mut written);
            }
            let kept: Vec<Record> = whole
                .log
                .transactions()
                .into_iter()
                .take(cut)
                .chain(again.log.transactions())
                .flatten()
                .collect();
            let mut third = again.resumed_from(kept);
            third.run();
            let left = world.lock().unwrap().len();
            assert_eq!((third.status(id), left), (Status::Error, 0), "cuts {cut} and {second_cut}");
        }
    }
}

#[test]
fn every_undo_is_tried_the_first_error_is_that_of_the_job_and_the_others_stay_with_their_opcodes() {
    let (mut stage, world) = (Stage::new(), World::default());
    let broken = |name: &'static str| {
        deed(&world, name).undoes(move |_| Err(OpError::exec(format!("cannot undo {name}"))))
    };
    let id = stage.submit(NewJob::of([
        stage.op("first", broken("first")),
        stage.op("second", deed(&world, "second")),
        stage.op("third", broken("third")),
        stage.op("fails", Script::default().fails()),
    ]));
    stage.run();
    assert_eq!(stage.error(id, 3).message, "as asked");
    let job = stage.view(id).job;
    let errors: Vec<(usize, &str)> =
        job.undo_errors().map(|(op, error)| (op, error.message.as_str())).collect();
    assert_eq!(errors, [(0, "cannot undo first"), (2, "cannot undo third")]);
    assert_eq!(job.ops[1].undo, UndoState::Done, "between two that failed");
}

#[test]
fn what_may_be_repeated_but_also_undone_waits_until_its_start_is_on_disk() {
    let (mut stage, world) = (Stage::new(), World::default());
    let script = Script { on_crash: CrashPolicy::Retry, ..deed(&world, "first") };
    let op = stage.op("first", script);
    let id = stage.submit(NewJob::of([op]));
    stage.core.write_log();
    stage.work();
    assert!(world.lock().unwrap().is_empty(), "its submission is on disk, its start is not");
    // Killed now, and cancelled before it runs again: nobody would know that there is something
    // to take back.
    let mut next = stage.killed();
    next.core.master().cancel(id).unwrap();
    next.run();
    assert_eq!((next.status(id), world.lock().unwrap().len()), (Status::Canceled, 0));
}

/// Every token that a deed or an undo was given, in the order in which they were done.
type Tokens = Arc<Mutex<Vec<u64>>>;

/// As a deed that can be undone, and writes its tokens down.
fn fenced(tokens: &Tokens, fails: bool) -> Script {
    let (doing, undoing) = (Arc::clone(tokens), Arc::clone(tokens));
    let mut script = Script::default()
        .locking(&["a"])
        .does(move |context| {
            doing.lock().unwrap().push(context.fencing_token());
            if fails { Err(OpError::exec("halfway")) } else { Ok(Value::Null) }
        })
        .undoes(move |context| {
            undoing.lock().unwrap().push(context.fencing_token());
            Ok(())
        });
    script.on_crash = CrashPolicy::Undo;
    script
}

/// A job of two fenced deeds, the second of which fails.
fn submit_fenced(stage: &Stage, tokens: &Tokens) -> JobId {
    stage.submit(NewJob::of([
        stage.op("first", fenced(tokens, false)),
        stage.op("second", fenced(tokens, true)),
    ]))
}

#[test]
fn an_undo_has_a_fencing_token_of_its_own_that_is_on_disk_before_it_runs() {
    let (mut stage, tokens) = (Stage::new(), Tokens::default());
    let id = submit_fenced(&stage, &tokens);
    stage.run();
    let written = stage.log.transactions().into_iter().flatten();
    let given: Vec<u64> = written.filter_map(|record| record.token()).collect();
    assert_eq!(given.len(), 4, "two deeds, and an undo of each");
    assert_eq!(*tokens.lock().unwrap(), given);
    assert!(given.is_sorted_by(|one, next| one < next), "{given:?}");
    let seen = |stage: &Stage| {
        let ops = stage.view(id).job.ops;
        ops.iter().map(|op| op.fencing_token).collect::<Vec<_>>()
    };
    let of_undos = [Some(given[3]), Some(given[2])];
    assert_eq!([seen(&stage), seen(&stage.killed())], [of_undos, of_undos]);
}

/// Makes so many steps, each a task or a write. Whether there were as many.
fn steps(stage: &mut Stage, steps: usize) -> bool {
    (0..steps).all(|_| stage.core.work(0) || stage.core.write_log())
}

#[test]
fn wherever_the_master_is_killed_no_token_is_given_again_and_they_grow() {
    let (mut kills, mut undone_again) = (0, 0);
    // The submission is on disk with the second step.
    for first in 2.. {
        let (mut stage, tokens) = (Stage::new(), Tokens::default());
        let id = submit_fenced(&stage, &tokens);
        if !steps(&mut stage, first) {
            break;
        }
        for second in 0..8 {
            let before = tokens.lock().unwrap().clone();
            let mut next = stage.killed();
            steps(&mut next, second);
            let mut last = next.killed();
            last.run();
            assert_eq!(last.status(id), Status::Error);
            let found = std::mem::replace(&mut *tokens.lock().unwrap(), before);
            assert!(found.is_sorted_by(|a, b| a < b), "{first}, {second} steps: {found:?}");
            kills += 2;
            undone_again += usize::from(found.len() > 4);
        }
    }
    assert!(kills > 100 && undone_again > 10, "{kills} {undone_again}");
}
