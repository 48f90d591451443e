//! What the master promises of archived jobs, and of the size of its log.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::time::Duration;

use lockmaster::runtime::{AutoArchived, JobView};
use lockmaster::{
    Dependency, ErrorKind, JobId, JobRef, Master, MasterBuilder, NewJob, OpCode, Status, TypedOp,
};
use support::{Step, next_note, open};
use tempfile::TempDir;

const BUDGET: Duration = Duration::from_secs(60);

fn builder(dir: &TempDir) -> MasterBuilder {
    Master::builder(dir.path()).unit::<Step>().workers(4)
}

fn job(step: &Step) -> NewJob {
    NewJob::of([step.opcode().unwrap()])
}

fn gated(gate: &str) -> NewJob {
    job(&Step { gate: gate.to_owned(), ..Step::default() })
}

fn after(on: JobId) -> NewJob {
    NewJob::of([Step::default().opcode().unwrap().after(Dependency::success(JobRef::Id(on)))])
}

fn archive_all(master: &Master) -> AutoArchived {
    let answer = master.auto_archive(Duration::ZERO, BUDGET).unwrap();
    master.wait_durable(answer.position).unwrap();
    answer.value
}

fn live(master: &Master) -> Vec<JobId> {
    master.jobs().value.iter().map(|view| view.job.id).collect()
}

#[test]
fn an_archived_job_has_left_the_queue_and_can_still_be_read_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).start().unwrap();
    let step = Step { say: vec!["hello".to_owned()], ..Step::default() };
    let id = master.submit_one(job(&step)).unwrap();
    let view = master.wait(id).unwrap();
    assert_eq!(master.archived(id).unwrap(), None, "it is live");
    let answer = master.archive(id).unwrap();
    assert!(answer.value);
    assert!(master.job(id).is_none());
    let view = JobView { archived: true, ..view };
    assert_eq!(master.archived(id).unwrap().as_ref(), Some(&view));
    assert_eq!(master.wait(id).unwrap(), view);
    assert!(!master.archive(id).unwrap().value, "it was archived before");
    master.wait_durable(answer.position).unwrap();
    drop(master);
    let master = builder(&dir).start().unwrap();
    assert!(master.job(id).is_none());
    assert_eq!(master.wait(id).unwrap(), view);
    assert_eq!(master.submit_one(gated("")).unwrap(), id.plus(1), "ids are not given again");
}

#[test]
fn jobs_that_have_not_ended_or_never_were_cannot_be_archived() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).start().unwrap();
    let id = master.submit_one(gated("not-yet")).unwrap();
    assert_eq!(next_note("not-yet"), "begin");
    let error = master.archive(id).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("has not ended (running)"), "{error}");
    assert_eq!(master.archive(id.plus(5)).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(master.archived(id.plus(5)).unwrap(), None);
    assert_eq!(master.wait(id.plus(5)).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(archive_all(&master), AutoArchived::default());
    open("not-yet");
    master.wait(id).unwrap();
    assert_eq!(archive_all(&master).archived, 1);
}

#[test]
fn archiving_all_archives_all_that_have_ended_and_old_ones_only_those_that_are_old() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).start().unwrap();
    let mut ids = master.submit(vec![gated(""); 50]).unwrap();
    // A job without opcodes ends when it is submitted; Ganeti never archives it.
    ids.push(master.submit_one(NewJob::default()).unwrap());
    ids.iter().for_each(|id| _ = master.wait(*id).unwrap());
    let running = master.submit_one(gated("all-runs")).unwrap();
    assert_eq!(next_note("all-runs"), "begin");
    let hour = master.auto_archive(Duration::from_secs(3600), BUDGET).unwrap();
    assert_eq!(hour.value, AutoArchived::default());
    assert_eq!(archive_all(&master), AutoArchived { archived: 51, left: 0 });
    assert_eq!(live(&master), [running]);
    open("all-runs");
    for id in ids {
        assert_eq!(master.archived(id).unwrap().unwrap().status, Status::Success);
    }
}

#[test]
fn auto_archive_stops_when_its_time_is_over_and_says_how_much_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).start().unwrap();
    let ids = master.submit(vec![NewJob::default(); 3000]).unwrap();
    master.wait(*ids.last().unwrap()).unwrap();
    let once = master.auto_archive(Duration::ZERO, Duration::ZERO).unwrap().value;
    assert!(once.archived > 0 && once.left > 0, "{once:?}");
    assert_eq!(once.archived + once.left, 3000);
    assert_eq!(archive_all(&master), AutoArchived { archived: once.left, left: 0 });
}

#[test]
fn dependencies_on_archived_jobs_keep_working() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).start().unwrap();
    let good = master.submit_one(job(&Step::default())).unwrap();
    let bad = master.submit_one(job(&Step { fail: true, ..Step::default() })).unwrap();
    let gate = master.submit_one(gated("dep-gate")).unwrap();
    let waiting = NewJob::of([Step::default()
        .opcode()
        .unwrap()
        .after(Dependency::success(JobRef::Id(gate)))
        .after(Dependency::success(JobRef::Id(good)))]);
    let before = master.submit_one(waiting).unwrap();
    [good, bad].iter().for_each(|id| _ = master.wait(*id).unwrap());
    assert_eq!(archive_all(&master).archived, 2);
    let late = master.submit(vec![after(good), after(bad)]).unwrap();
    assert_eq!(master.wait(late[0]).unwrap().status, Status::Success);
    assert_eq!(master.wait(late[1]).unwrap().status, Status::Error);
    master.stop_starting();
    open("dep-gate");
    drop(master);

    let master = builder(&dir).start().unwrap();
    open("dep-gate");
    assert_eq!(master.wait(before).unwrap().status, Status::Success);
    std::fs::remove_dir_all(dir.path().join("archive")).unwrap();
    let error = master.submit_one(after(good)).unwrap_err();
    assert!(error.to_string().contains("which the archive does not have"), "{error}");
}

fn log_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("log")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn the_log_stays_small_however_many_jobs_go_through_and_nothing_live_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let spare = 64 << 10;
    let master = builder(&dir).spare_log(spare).start().unwrap();
    let held = master.submit_one(gated("log-held")).unwrap();
    assert_eq!(next_note("log-held"), "begin");
    let waiting = master.submit_one(after(held)).unwrap();
    let (mut most, mut all) = (0, Vec::new());
    for _ in 0..20 {
        let talkative = Step { say: vec!["x".repeat(4000)], ..Step::default() };
        let ids = master.submit(vec![job(&talkative); 100]).unwrap();
        ids.iter().for_each(|id| _ = master.wait(*id).unwrap());
        assert_eq!(archive_all(&master).archived, 100);
        all.extend(ids);
        most = most.max(log_bytes(dir.path()));
    }
    // 8 MB went through. A segment is filled with zeros in steps of 1 MiB, and two may be there
    // for a moment.
    assert!(most <= 3 << 20, "{most} bytes");
    assert!(!dir.path().join("log/00000001.log").exists(), "old segments are removed");
    assert_eq!(live(&master), [held, waiting]);
    master.stop_starting();
    open("log-held");
    drop(master);

    let master = builder(&dir).spare_log(spare).start().unwrap();
    assert_eq!(live(&master), [held, waiting]);
    assert_eq!(master.wait(waiting).unwrap().status, Status::Success);
    for id in all.iter().step_by(37) {
        assert_eq!(master.archived(*id).unwrap().unwrap().status, Status::Success);
    }
    assert_eq!(master.submit_one(gated("")).unwrap(), all.last().unwrap().plus(1));
}

/// The ids of the live jobs, asked for a piece at a time, and how many pieces there were.
fn in_pieces(master: &Master) -> (Vec<u64>, usize) {
    let (mut ids, mut after, mut pieces) = (Vec::new(), None, 0);
    loop {
        let piece = master.jobs_after(after).value;
        let Some(last) = piece.last() else { return (ids, pieces) };
        after = Some(last.job.id);
        ids.extend(piece.iter().map(|view| view.job.id.get()));
        pieces += 1;
    }
}

#[test]
fn all_jobs_are_seen_a_piece_at_a_time_and_archived_ones_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let master = builder(&dir).start().unwrap();
    assert_eq!((master.last_id(), in_pieces(&master)), (None, (Vec::new(), 0)));
    master.submit(vec![NewJob::of([]); 1200]).unwrap();
    let comment = Some("x".repeat(100_000));
    let big = NewJob::of([OpCode { comment, ..Step::default().opcode().unwrap() }]);
    master.submit(vec![big; 10]).unwrap();
    let (ids, pieces) = in_pieces(&master);
    assert_eq!(ids, (1..=1210).collect::<Vec<_>>());
    assert!(pieces > 1200 / 256 + 2, "pieces are bounded by bytes too: {pieces}");
    assert_eq!(master.last_id(), JobId::new(1210));
    for id in [3, 999, 1001] {
        master.archive(JobId::new(id).unwrap()).unwrap();
    }
    let archived = |from: u64| {
        let mut ids = Vec::new();
        let each = &mut |view: JobView| {
            assert!(view.archived);
            ids.push(view.job.id.get());
            Ok(())
        };
        master.archived_from(JobId::new(from).unwrap(), each).unwrap();
        (ids, master.archived_together(JobId::new(from).unwrap()).get())
    };
    assert_eq!(archived(1), (vec![3, 999], 999));
    assert_eq!(archived(4), (vec![999], 999), "jobs before that id are not wanted");
    assert_eq!(archived(1000), (vec![1001], 1999));
    assert_eq!(archived(2000), (Vec::new(), 2999));
    assert_eq!(in_pieces(&master).0.len(), 1207);
}
