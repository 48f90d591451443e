//! A process that copies its queue all the time, killed in the middle of it, again and again.
//!
//! `LOCKMASTER_KILLS=500` kills it so often; a few seconds where nothing is said.

#![cfg(all(not(loom), feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lockmaster::store::LogStore;
use lockmaster::vocabulary::Record;
use lockmaster::{
    CrashPolicy, Dependency, JobId, JobRef, Master, MasterBuilder, NewJob, OpCode, Status,
    SubmissionKey, TypedOp,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use support::Step;

/// Says which state directory the test below, run again as a child, should fill.
const CHILD_FILLS: &str = "LOCKMASTER_TEST_CHILD_COPIES";
/// How many jobs stay in the queue: some pieces of a copy.
const KEPT: usize = 160;
const BATCH: usize = 20;

fn builder(dir: &Path) -> MasterBuilder {
    Master::builder(dir).unit::<Step>().workers(3).spare_log(0)
}

fn op(gate: &str) -> OpCode {
    let (say, on_crash) = (vec!["x".repeat(3000)], Some(CrashPolicy::Retry));
    Step { gate: gate.to_owned(), say, on_crash, ..Step::default() }.opcode().unwrap()
}

fn submit(master: &Master, name: &str, jobs: Vec<NewJob>) -> Vec<JobId> {
    let labelled = jobs.into_iter().enumerate();
    let jobs = labelled.map(|(place, job)| job.labelled(format!("{name}.{place}"))).collect();
    master.submit_once(&SubmissionKey::new(name).unwrap(), jobs).unwrap()
}

fn batch() -> Vec<NewJob> {
    vec![NewJob::of([op("")]); BATCH]
}

/// Jobs that stay: one that executes, and many that wait for it.
fn stay(master: &Master) {
    let waiting = NewJob::of([op("").after(Dependency::success(JobRef::Batch(0)))]);
    let all = [NewJob::of([op("never")])].into_iter().chain(vec![waiting; KEPT - 1]).collect();
    submit(master, "kept", all);
}

/// Submits and archives without end, and tells of each when it is acknowledged.
fn fill_until_killed(dir: &Path) -> ! {
    let master = builder(dir).start().unwrap();
    stay(&master);
    let newest = master.jobs().value.last().map_or(0, |view| view.job.id.get());
    for name in newest.. {
        let ids = submit(&master, &name.to_string(), batch());
        println!("\nsubmitted {name} {}", ids[0]);
        ids.iter().for_each(|id| _ = master.wait(*id).unwrap());
        let archived = master.auto_archive(Duration::ZERO, Duration::MAX).unwrap();
        master.wait_durable(archived.position).unwrap();
        println!("\narchived {name} {}", ids[0]);
    }
    unreachable!("there is always another one")
}

/// What the children have acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// The first job of each batch.
    submitted: BTreeMap<u64, u64>,
    /// Those that are archived.
    archived: BTreeSet<u64>,
}

impl Acknowledged {
    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words.first() {
            Some(&"submitted") => _ = self.submitted.insert(number(1), number(2)),
            Some(&"archived") => _ = self.archived.insert(number(1)),
            _ => {}
        }
    }
}

/// What happens to the files of a directory, as it happens.
struct Happenings {
    inotify: OwnedFd,
    buffer: Box<[MaybeUninit<u8>; 4096]>,
}

impl Happenings {
    fn of(dir: &Path) -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC).unwrap();
        let what = WatchFlags::MOVED_TO | WatchFlags::MODIFY;
        inotify::add_watch(&inotify, dir, what).unwrap();
        Self { inotify, buffer: Box::new([MaybeUninit::uninit(); 4096]) }
    }

    /// Waits until so many times that has happened.
    fn wait_for(&mut self, what: ReadFlags, times: usize) {
        let mut reader = inotify::Reader::new(&self.inotify, &mut *self.buffer);
        let mut left = times;
        while left > 0 {
            let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
            if reader.is_buffer_empty() {
                let ready = poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&patience));
                assert_eq!(ready, Ok(1), "the child does nothing");
            }
            left -= usize::from(reader.next().unwrap().events().contains(what));
        }
    }
}

/// Starts a child, and kills it when it has begun a copy and written some more.
fn kill_in_copy(dir: &Path, writes: usize, all: &mut Acknowledged) {
    std::fs::create_dir_all(dir.join("log")).unwrap();
    let mut happenings = Happenings::of(&dir.join("log"));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_killed_while_it_copies_loses_nothing", "--nocapture"])
        .env(CHILD_FILLS, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let lines = std::thread::spawn(|| BufReader::new(output).lines().collect::<Vec<_>>());
    // A new log begins with a segment too; every further one is begun for a copy.
    let first = !dir.join("log/00000001.log").exists() && all.submitted.is_empty();
    happenings.wait_for(ReadFlags::MOVED_TO, 1 + usize::from(first));
    happenings.wait_for(ReadFlags::MODIFY, writes);
    child.kill().unwrap();
    child.wait().unwrap();
    lines.join().unwrap().into_iter().map_while(Result::ok).for_each(|line| all.take(&line));
}

/// Whether the log ends in a copy that was begun and not ended, and whether its first segment
/// is gone.
fn cut_short(dir: &Path) -> (bool, bool) {
    let mut copying = false;
    LogStore::check(dir, "a test", &mut |record| match record {
        Record::CopyBegun { .. } => copying = true,
        Record::CopyDone { .. } => copying = false,
        _ => {}
    })
    .unwrap();
    (copying, !dir.join("log/00000001.log").exists())
}

fn check(dir: &Path, all: &Acknowledged) {
    let master = builder(dir).paused().start().unwrap();
    for (name, first) in &all.submitted {
        for place in 0..BATCH as u64 {
            let id = JobId::new(first + place).unwrap();
            let live = master.job(id).map(|answer| answer.value);
            let is_archived = live.is_none();
            let view = live.or_else(|| master.archived(id).unwrap()).expect("it is somewhere");
            assert_eq!(view.job.label, Some(format!("{name}.{place}")));
            if all.archived.contains(name) {
                assert!(is_archived && view.status == Status::Success, "job {id}");
            }
        }
        let again = submit(&master, &name.to_string(), batch());
        assert_eq!(again[0].get(), *first, "batch {name} is not submitted twice");
    }
    let mut labels: Vec<_> = master.jobs().value.into_iter().map(|view| view.job.label).collect();
    let there = labels.len();
    labels.sort();
    labels.dedup();
    // Whoever has told of a batch has submitted those that stay before it.
    let kept = if all.submitted.is_empty() { 0 } else { KEPT };
    assert!(labels.len() == there && there >= kept, "no job is there twice, none is missing");
}

#[test]
fn a_process_killed_while_it_copies_loses_nothing() {
    if let Some(dir) = std::env::var_os(CHILD_FILLS) {
        fill_until_killed(Path::new(&dir));
    }
    let kills = std::env::var("LOCKMASTER_KILLS").ok().and_then(|text| text.parse().ok());
    let (dir, mut all) = (tempfile::tempdir().unwrap(), Acknowledged::default());
    let (mut round, mut midway, mut shorter) = (0, 0, 0);
    while round < kills.unwrap_or(4) || midway == 0 || shorter == 0 {
        kill_in_copy(dir.path(), round * 3 % 8, &mut all);
        let (copying, forgot) = cut_short(dir.path());
        midway += usize::from(copying);
        shorter += usize::from(forgot);
        check(dir.path(), &all);
        round += 1;
        assert!(round < 100 || midway > 0 && shorter > 0, "{midway} and {shorter} of {round}");
    }
    let (batches, archived) = (all.submitted.len(), all.archived.len());
    println!("{round} kills, {midway} within a copy; {batches} batches, {archived} archived");
}
