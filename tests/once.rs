//! A submission under a key is made once: across threads, restarts, archives and compaction.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use lockmaster::{Error, ErrorKind, JobId, Master, MasterBuilder, NewJob, SubmissionKey, TypedOp};
use support::Step;

fn builder(dir: &tempfile::TempDir) -> MasterBuilder {
    Master::builder(dir.path()).unit::<Step>().workers(2).spare_log(0)
}

fn job() -> NewJob {
    NewJob::of([Step::default().opcode().unwrap()])
}

fn once(master: &Master, key: &str, jobs: usize) -> Result<Vec<JobId>, Error> {
    master.submit_once(&SubmissionKey::new(key)?, vec![job(); jobs])
}

fn end_and_archive(master: &Master, ids: &[JobId]) {
    ids.iter().for_each(|id| _ = master.wait(*id).unwrap());
    master.auto_archive(Duration::ZERO, Duration::MAX).unwrap();
}

#[test]
fn a_key_is_known_after_its_jobs_are_archived_after_restarts_and_after_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let first = {
        let master = builder(&dir).start().unwrap();
        let first = once(&master, "first", 3).unwrap();
        end_and_archive(&master, &first);
        assert_eq!(once(&master, "first", 3).unwrap(), first);
        // The log is copied all the time, so that the segment the key was in is removed.
        while dir.path().join("log/00000001.log").exists() {
            let ids = master.submit(vec![job(); 10]).unwrap();
            end_and_archive(&master, &ids);
        }
        first
    };
    for _ in 0..2 {
        let master = builder(&dir).start().unwrap();
        assert_eq!(once(&master, "first", 3).unwrap(), first);
        master.set_drained(true).unwrap();
        assert_eq!(once(&master, "first", 3).unwrap(), first, "also where the queue is drained");
        assert_eq!(once(&master, "other", 1).unwrap_err().kind(), ErrorKind::Refused);
        let error = once(&master, "first", 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("belongs to another submission: 3 jobs"), "{error}");
        let drained = master.set_drained(false).unwrap();
        master.wait_durable(drained.position).unwrap();
    }
}

#[test]
fn of_many_who_submit_under_one_key_at_once_one_does() {
    let master = Master::builder("unused").unit::<Step>().volatile().start().unwrap();
    for round in 0..50 {
        let key = format!("round {round}");
        let mut all: Vec<Vec<JobId>> = std::thread::scope(|scope| {
            let submit = || once(&master, &key, 2).unwrap();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(submit)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        all.dedup();
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0][0].get(), 2 * round + 1, "nothing else was submitted");
    }
}
