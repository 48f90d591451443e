//! What the stories pass over: statuses while a job is cancelled or undone, the places it is
//! in, feedback, comparison.

use super::*;
use crate::vocabulary::{FeedbackEntry, FeedbackKind};

fn canceled(live: &mut Live, id: JobId) -> Cancelled {
    let (how, records) = live.queue.cancel(id, NOW).unwrap();
    live.keep(records);
    how
}

#[test]
fn an_opcode_that_is_told_to_stop_is_canceling_whether_it_waits_or_runs() {
    let mut live = Live::new();
    let id = live.submit(vec![job(3)])[0];
    live.take();
    assert_eq!(live.op_status(id), [Status::Waiting, Status::Queued, Status::Queued]);
    live.start(id, false, CrashPolicy::Fail);
    assert_eq!(live.op_status(id), [Status::Running, Status::Queued, Status::Queued]);
    assert_eq!(canceled(&mut live, id), Cancelled::Running);
    assert_eq!(live.op_status(id), [Status::Canceling, Status::Queued, Status::Queued]);
    live.finish(id, success());
    assert_eq!(live.op_status(id), [Status::Success, Status::Canceled, Status::Canceled]);
}

#[test]
fn nothing_of_a_job_waits_while_it_is_undone_and_a_cancel_then_comes_too_late() {
    let mut live = Live::new();
    let id = live.submit(vec![job(3)])[0];
    live.take();
    live.start(id, true, CrashPolicy::Fail);
    live.finish(id, success());
    live.start(id, false, CrashPolicy::Fail);
    live.finish(id, failure());
    assert_eq!(live.op_status(id), [Status::Success, Status::Error, Status::Queued]);
    live.queue.put_back(id);
    assert_eq!(canceled(&mut live, id), Cancelled::Running);
    assert_eq!(live.take(), Some(Next::Take(id)));
    assert_eq!(live.op_status(id), [Status::Success, Status::Error, Status::Queued]);
    let records = live.queue.undone(id, None, NOW);
    live.keep(records);
    assert_eq!(live.op_status(id), [Status::Success, Status::Error, Status::Error]);
}

#[test]
fn jobs_that_are_not_final_are_counted_and_each_is_in_one_place() {
    let mut live = Live::new();
    let jobs = vec![job(1), job(1), after(JobRef::Batch(0), &[])];
    let ids = live.submit(jobs);
    assert_eq!(live.queue.unfinished(), 3);
    assert_eq!(live.queue.waits_on(ids[2]), Some(ids[0]));
    assert_eq!(ids.iter().map(|id| live.queue.ready_before(*id)).collect::<Vec<_>>(), [0, 1, 0]);
    live.take();
    assert_eq!(live.queue.ready_before(ids[1]), 0);
    assert_eq!(ids.iter().filter(|id| live.queue.is_taken(**id)).collect::<Vec<_>>(), [&ids[0]]);
    live.start(ids[0], false, CrashPolicy::Fail);
    live.finish(ids[0], success());
    assert_eq!(live.queue.unfinished(), 2);
}

#[test]
fn who_is_cancelled_by_the_end_of_another_ends_at_that_time_and_who_failed_before_it_does_not() {
    let mut live = Live::new();
    let ids = live.submit(vec![job(2), job(2)]);
    canceled(&mut live, ids[0]);
    live.run(ids[1], failure());
    let ends = |id| live.queue.get(id).unwrap().ops.iter().map(|op| op.end_time).collect();
    let (canceled, failed): (Vec<_>, Vec<_>) = (ends(ids[0]), ends(ids[1]));
    assert_eq!(canceled, [Some(NOW), Some(NOW)]);
    assert_eq!(failed, [Some(NOW), None], "an opcode that never ran has no end");
}

#[test]
fn a_cancelled_job_does_not_wait_for_others_to_be_undone() {
    let mut live = Live::new();
    let first = job(1);
    let mut second = job(1);
    second.ops.push(op().after(Dependency { on: JobRef::Batch(0), statuses: Vec::new() }));
    let ids = live.submit(vec![first, second]);
    assert_eq!(live.take(), Some(Next::Take(ids[0])));
    assert_eq!(live.take(), Some(Next::Take(ids[1])));
    live.start(ids[1], true, CrashPolicy::Fail);
    canceled(&mut live, ids[1]);
    live.finish(ids[1], success());
    live.queue.put_back(ids[1]);
    assert_eq!(live.queue.waits_on(ids[1]), None);
    assert_eq!(live.take(), Some(Next::Take(ids[1])), "its undo is due");
}

#[test]
fn an_undo_does_not_wait_for_what_a_later_opcode_would_have_waited_for() {
    let mut live = Live::new();
    let mut second = job(2);
    second.ops.push(op().after(Dependency { on: JobRef::Batch(0), statuses: Vec::new() }));
    let ids = live.submit(vec![job(1), second]);
    assert_eq!(live.take(), Some(Next::Take(ids[0])));
    assert_eq!(live.take(), Some(Next::Take(ids[1])));
    live.start(ids[1], true, CrashPolicy::Fail);
    live.finish(ids[1], success());
    live.start(ids[1], false, CrashPolicy::Fail);
    live.finish(ids[1], failure());
    live.queue.put_back(ids[1]);
    assert_eq!(live.queue.waits_on(ids[1]), None);
    assert_eq!(live.take(), Some(Next::Take(ids[1])), "its undo is due");
}

#[test]
fn a_cancel_of_which_the_log_knows_nothing_more_is_carried_out_at_the_next_start() {
    let mut live = Live::new();
    let id = live.submit(vec![job(1)])[0];
    let record = Record::CancelRequested { job: id, time: NOW };
    live.queue.apply(&record).unwrap();
    live.keep(vec![record]);
    let records = live.queue.recover(NOW);
    live.keep(records);
    assert_eq!(live.status(id), Status::Canceled);
}

#[test]
fn lines_of_feedback_are_numbered_from_one_and_on() {
    let mut live = Live::new();
    let id = live.submit(vec![job(1)])[0];
    let line = |text: &str| FeedbackEntry {
        serial: 0,
        time: NOW,
        op: 0,
        kind: FeedbackKind::Message,
        text: text.into(),
    };
    for lines in [vec![line("a"), line("b")], vec![line("c")]] {
        let records = live.queue.feedback(id, lines);
        assert_eq!(records.len(), 1);
        live.keep(records);
    }
    let log = &live.queue.get(id).unwrap().feedback;
    let serials: Vec<(u64, &str)> = log.entries().map(|e| (e.serial, &*e.text)).collect();
    assert_eq!(serials, [(1, "a"), (2, "b"), (3, "c")]);
}

#[test]
fn queues_that_differ_in_a_job_or_in_what_was_given_out_are_not_equal() {
    let mut live = Live::new();
    let id = live.submit(vec![job(1)])[0];
    let before = live.queue.clone();
    live.take();
    assert_eq!(live.queue, before, "who is taken up does not count");
    live.start(id, false, CrashPolicy::Fail);
    assert_ne!(live.queue, before);
    let mut token = live.queue.clone();
    token.last_token += 1;
    assert_ne!(token, live.queue);
    let mut jobs = live.queue.clone();
    jobs.jobs.get_mut(&id).unwrap().label = Some("other".to_owned());
    assert_ne!(jobs, live.queue);
}

#[test]
#[should_panic(expected = "is in one place")]
fn a_job_in_two_places_is_a_bug_that_the_check_finds() {
    let mut live = Live::new();
    let id = live.submit(vec![job(1)])[0];
    let mut other = Queue::new(0);
    std::mem::swap(&mut other.ready, &mut live.queue.ready);
    assert!(live.queue.get(id).is_some());
    live.queue.check();
}
