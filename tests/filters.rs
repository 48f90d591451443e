//! Filter rules and rate limits, as those who embed a master see them.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::num::NonZeroU32;

use lockmaster::runtime::{Bucket, Why};
use lockmaster::store::MemoryStore;
use lockmaster::vocabulary::{FilterAction, FilterId, NewFilter, RateLimit, Reason};
use lockmaster::{ErrorKind, JobId, Master, NewJob, Shutdown, Status, TypedOp};
use support::{Step, is_quiet, next_note, open};

fn job(gate: &str) -> NewJob {
    NewJob::of([Step { gate: gate.to_owned(), ..Step::default() }.opcode().unwrap()])
}

fn in_bucket(gate: &str, reason: &str) -> NewJob {
    let mut job = job(gate);
    let (source, text) = ("test".to_owned(), reason.to_owned());
    job.ops[0].reason.push(Reason { source, text, time_ns: 1 });
    job
}

fn rule(action: FilterAction) -> NewFilter {
    NewFilter { action, ..NewFilter::default() }
}

fn limit(most: u32) -> FilterAction {
    FilterAction::RateLimit(NonZeroU32::new(most).unwrap())
}

fn started() -> Master {
    Master::builder("").volatile().unit::<Step>().workers(4).start().unwrap()
}

fn submit(master: &Master, jobs: Vec<NewJob>) -> Vec<JobId> {
    master.submit(jobs).unwrap()
}

#[test]
fn a_pause_holds_what_has_not_begun_and_a_deleted_rule_lets_it_go() {
    let master = started();
    let ids = submit(&master, vec![job("pause-a")]);
    assert_eq!(next_note("pause-a"), "begin");
    let remark = Reason { source: "me".into(), text: "maintenance".into(), time_ns: 1 };
    let new = NewFilter { reason: vec![remark], ..rule(FilterAction::Pause) };
    let rule = master.add_filter(new).unwrap().value;
    let held = submit(&master, vec![job("pause-b")])[0];
    let why = master.why(held).unwrap();
    let remark = Some("maintenance".to_owned());
    assert_eq!(why, Why::Filter { rule, action: FilterAction::Pause, remark });
    open("pause-a");
    assert_eq!(master.wait(ids[0]).unwrap().status, Status::Success);
    assert!(is_quiet("pause-b"));
    master.delete_filter(rule).unwrap();
    assert_eq!(next_note("pause-b"), "begin");
    open("pause-b");
    assert_eq!(master.wait(held).unwrap().status, Status::Success);
    let gone = master.delete_filter(rule).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[test]
fn a_rejected_submission_is_cancelled_when_it_is_acknowledged_whatever_the_workers_do() {
    let master = Master::builder("").volatile().unit::<Step>().workers(1).start().unwrap();
    let ids = submit(&master, vec![job("reject-a"), job("reject-b")]);
    assert_eq!(next_note("reject-a"), "begin");
    let rule = master.add_filter(rule(FilterAction::Reject)).unwrap().value;
    let more = submit(&master, (0..2500).map(|_| job("reject-b")).collect());
    for id in [ids[1], more[0], more[2499]] {
        let view = master.job(id).unwrap().value;
        assert_eq!(view.status, Status::Canceled);
        let said = view.job.feedback.entries().next().unwrap();
        assert_eq!(*said.text, *format!("rejected by filter rule {rule}"));
    }
    assert_eq!(master.job(ids[0]).unwrap().value.status, Status::Running);
    open("reject-a");
    assert_eq!(master.wait(ids[0]).unwrap().status, Status::Success);
}

#[test]
fn a_limit_is_kept_and_says_who_is_in_the_way() {
    let master = started();
    let rule = master.add_filter(rule(limit(2))).unwrap().value;
    let ids = submit(&master, vec![job("limit"), job("limit"), job("limit"), job("limit")]);
    assert_eq!([next_note("limit"), next_note("limit")], ["begin", "begin"]);
    assert_eq!(
        master.why(ids[3]).unwrap(),
        Why::RateLimit {
            bucket: Bucket::Rule(rule),
            most: 2,
            running: 2,
            inside: vec![ids[0], ids[1]],
            before: 1,
        }
    );
    let steps = master.explain(ids[3]).unwrap().value.steps;
    assert!(matches!(&steps[1], (id, Why::Executing { .. }) if *id == ids[0]), "{steps:?}");
    let state = master.filters().value.remove(0);
    assert_eq!((state.rule.id, state.jobs, state.running), (rule, 4, 2));
    assert!(is_quiet("limit"));
    for _ in 0..4 {
        open("limit");
    }
    for id in ids {
        assert_eq!(master.wait(id).unwrap().status, Status::Success);
    }
}

#[test]
fn a_bucket_that_jobs_name_limits_them_without_any_rule() {
    let master = started();
    let tape = "rate-limit:1:tape";
    let jobs = vec![in_bucket("tape-a", tape), in_bucket("tape-b", tape), job("tape-c")];
    let ids = submit(&master, jobs);
    assert_eq!([next_note("tape-a"), next_note("tape-c")], ["begin", "begin"]);
    let bucket = Bucket::Label(RateLimit { most: NonZeroU32::MIN, name: "tape".to_owned() });
    let why = master.why(ids[1]).unwrap();
    assert!(matches!(why, Why::RateLimit { bucket: found, .. } if found == bucket));
    // A place becomes free also where its job is cancelled.
    master.cancel(ids[0]).unwrap();
    assert_eq!(next_note("tape-b"), "begin");
    open("tape-b");
    open("tape-c");
    assert_eq!(master.wait(ids[1]).unwrap().status, Status::Success);
    let wrong = master.submit(vec![in_bucket("", "rate-limit:0:tape")]).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Invalid);
}

#[test]
fn rules_survive_a_kill_at_any_point_and_a_log_made_short() {
    let store = MemoryStore::recording();
    let builder = Master::builder("").store(Box::new(store.clone()), Vec::new());
    // The log is copied again and again.
    let master = builder.unit::<Step>().workers(2).spare_log(1).start().unwrap();
    let id = FilterId::of_random(5);
    master.replace_filter(id, rule(FilterAction::Pause)).unwrap();
    let jobs = submit(&master, (0..20).map(|_| job("kill")).collect());
    let position = master.replace_filter(id, rule(limit(3))).unwrap().position;
    jobs.iter().for_each(|_| open("kill"));
    master.wait_durable(position).unwrap();
    jobs.iter().for_each(|id| assert_eq!(master.wait(*id).unwrap().status, Status::Success));
    let rules = master.filters().value;
    master.shutdown(Shutdown::Finish, None).unwrap();
    let log = store.transactions();
    for kept in 0..=log.len() {
        let kept = log[..kept].concat();
        let builder = Master::builder("").store(Box::new(MemoryStore::volatile()), kept.clone());
        let again = builder.unit::<Step>().paused().start().unwrap();
        let found = again.filters().value;
        assert!(found.len() <= 1, "one id, one rule");
        if kept.len() == log.concat().len() {
            assert_eq!(found, rules);
        }
    }
}

#[test]
fn a_rule_whose_reason_is_too_long_is_refused() {
    let master = started();
    let long = Reason { source: String::new(), text: "x".repeat(9000), time_ns: 1 };
    let refused = master.add_filter(NewFilter { reason: vec![long], ..NewFilter::default() });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(master.filters().value.is_empty());
}

#[test]
fn workers_are_busy_with_other_jobs_while_a_line_waits() {
    let master = started();
    let tape = "rate-limit:1:busy";
    let mut jobs: Vec<NewJob> = (0..500).map(|_| in_bucket("busy", tape)).collect();
    jobs.push(job("idle"));
    let ids = submit(&master, jobs);
    assert_eq!(next_note("busy"), "begin");
    assert_eq!(next_note("idle"), "begin");
    open("idle");
    assert_eq!(master.wait(ids[500]).unwrap().status, Status::Success);
    (0..500).for_each(|_| open("busy"));
    // One after the other: nobody begins before the one before it has ended.
    assert_eq!(next_note("busy"), "end");
    for _ in 1..500 {
        assert_eq!([next_note("busy"), next_note("busy")], ["begin", "end"]);
    }
}
