//! Jobs whose locks other processes have.

use std::path::Path;

use lockmaster::runtime::{CancelAnswer, JobView, LockDir, Why};
use lockmaster::{
    Context, DeclaredLocks, Hierarchy, JobId, LogicalUnit, Master, NewJob, OpError, Shutdown,
    Status, TypedOp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::helper::{Helper, hierarchy, wait_until, waits_in_kernel};

/// Holds the locks it names for a moment.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Under {
    pool: Vec<String>,
    disk: Vec<String>,
}

impl TypedOp for Under {
    const ID: &'static str = "OP_UNDER";
}

impl LogicalUnit for Under {
    fn locks_known_at_once(&self) -> bool {
        true
    }

    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        let names = match level {
            "pool" => &self.pool,
            "disk" => &self.disk,
            _ => return Ok(()),
        };
        names.iter().try_for_each(|name| locks.exclusive(name))
    }

    fn execute(&mut self, _: &Context) -> Result<Value, OpError> {
        Ok(Value::Null)
    }
}

fn under(pool: &[&str], disk: &[&str]) -> NewJob {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NewJob::of([Under { pool: owned(pool), disk: owned(disk) }.opcode().unwrap()])
}

fn master(directory: &Path, workers: usize) -> Master {
    let builder = Master::builder(directory.join("state")).volatile().unit::<Under>();
    let dir = LockDir::open(directory).unwrap();
    builder.hierarchy(hierarchy()).lock_dir(dir).workers(workers).start().unwrap()
}

fn view(master: &Master, id: JobId) -> JobView {
    master.job(id).unwrap().value
}

fn wait_for(master: &Master, id: JobId, status: Status) {
    wait_until("the job gets there", || view(master, id).status == status);
}

fn wait_for_process(master: &Master, id: JobId) -> String {
    let mut told = String::new();
    wait_until("the job waits for the other process", || match master.why(id) {
        Some(Why::OtherProcess { lock, holder, .. }) => {
            told = format!("{lock}: {holder}");
            true
        }
        _ => false,
    });
    told
}

#[test]
fn a_job_waits_for_another_process_without_a_worker_and_goes_on_when_it_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let mut other = Helper::start(directory.path());
    other.lock("disk/x");
    let master = master(directory.path(), 1);
    let waits = master.submit_one(under(&["p"], &["x"])).unwrap();
    let told = wait_for_process(&master, waits);
    assert!(told.starts_with(&format!("disk/x: process {}", other.pid())), "{told}");
    let meanwhile = master.submit_one(under(&[], &["y"])).unwrap();
    wait_for(&master, meanwhile, Status::Success);
    other.unlock();
    wait_for(&master, waits, Status::Success);
    other.lock("pool/p disk/x");
    wait_until("all is released", || master.locks(false).value.locks.is_empty());
}

#[test]
fn a_wait_for_another_process_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut other = Helper::start(directory.path());
    other.lock("disk/x");
    let master = master(directory.path(), 1);
    let waits = master.submit_one(under(&["p"], &["x"])).unwrap();
    wait_for_process(&master, waits);
    let counts = || {
        let levels = master.stats().levels.into_iter().map(|(_, waited, _)| waited.count());
        levels.collect::<Vec<_>>()
    };
    assert_eq!(counts(), [1, 0, 0], "it does not have the disk yet");
    other.unlock();
    wait_for(&master, waits, Status::Success);
    assert_eq!(counts(), [1, 0, 1]);
}

#[test]
fn jobs_keep_their_locks_from_other_processes_level_by_level() {
    let directory = tempfile::tempdir().unwrap();
    let mut other = Helper::start(directory.path());
    other.lock("disk/x");
    let master = master(directory.path(), 2);
    let waits = master.submit_one(under(&["p"], &["x"])).unwrap();
    wait_for_process(&master, waits);
    let mut third = Helper::start(directory.path());
    third.tell("try pool/p");
    let told = third.hear();
    assert!(told.contains(&format!("held by process {}", std::process::id())), "{told}");
    assert!(told.contains("job 1, OP_UNDER"), "{told}");
}

#[test]
fn a_job_that_waits_for_another_process_can_be_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let mut other = Helper::start(directory.path());
    other.lock("disk/x");
    let master = master(directory.path(), 1);
    let waits = master.submit_one(under(&["p"], &["x"])).unwrap();
    wait_for_process(&master, waits);
    assert_eq!(master.cancel(waits).unwrap().value, CancelAnswer::StoppedWaiting);
    wait_for(&master, waits, Status::Canceled);
    let mut third = Helper::start(directory.path());
    third.lock("pool/p");
    // The thread that waited for it is still there, and gives it back at once when it gets it.
    let pid = std::process::id();
    wait_until("it waits in the kernel", || waits_in_kernel(pid));
    other.unlock();
    third.lock("disk/x");
}

#[test]
fn a_master_stops_although_jobs_wait_for_other_processes() {
    let directory = tempfile::tempdir().unwrap();
    let mut other = Helper::start(directory.path());
    other.lock("disk/x");
    let master = master(directory.path(), 1);
    let waits = master.submit_one(under(&[], &["x"])).unwrap();
    wait_for_process(&master, waits);
    master.shutdown(Shutdown::Finish, None).unwrap();
    assert_eq!(view(&master, waits).status, Status::Queued);
}

#[test]
fn a_job_is_told_who_died_with_its_lock() {
    let directory = tempfile::tempdir().unwrap();
    let mut dying = Helper::start(directory.path());
    dying.lock("disk/x");
    let pid = dying.kill();
    let master = master(directory.path(), 1);
    let job = master.submit_one(under(&[], &["x"])).unwrap();
    wait_for(&master, job, Status::Success);
    let said: Vec<String> =
        view(&master, job).job.feedback.after(0).map(|entry| entry.text.to_string()).collect();
    assert_eq!(said, [format!("process {pid} (a test) died while it held disk/x")]);
}

#[test]
fn jobs_and_processes_in_each_others_way_all_come_through() {
    let directory = tempfile::tempdir().unwrap();
    let mut helpers: Vec<Helper> = (0..2).map(|_| Helper::start(directory.path())).collect();
    helpers.iter_mut().zip(1..).for_each(|(helper, seed)| helper.tell(&format!("random {seed}")));
    let master = master(directory.path(), 2);
    let names = ["0", "1", "2"];
    let jobs = (0..60).map(|n| under(&names[..n % 4], &names[n % 3..]));
    let ids = master.submit(jobs.collect()).unwrap();
    helpers.iter().for_each(Helper::hear_of_the_end);
    ids.into_iter().for_each(|id| wait_for(&master, id, Status::Success));
    wait_until("all is released", || master.locks(false).value.locks.is_empty());
}

#[test]
fn a_master_does_not_start_without_the_directory_that_its_levels_need() {
    let directory = tempfile::tempdir().unwrap();
    let start = |hierarchy: Hierarchy| {
        Master::builder(directory.path()).volatile().hierarchy(hierarchy).start()
    };
    let refused = start(hierarchy()).unwrap_err();
    assert!(refused.to_string().contains("the level pool"), "{refused}");
    start(Hierarchy::default()).unwrap();
}
