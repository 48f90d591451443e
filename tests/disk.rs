//! What the master promises when the disk is slow, full or broken.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockmaster::store::{MemoryStore, Store};
use lockmaster::vocabulary::{OpError, Record, UndoState};
use lockmaster::{
    Context, CrashPolicy, DeclaredLocks, Error, ErrorKind, LogicalUnit, Master, MasterBuilder,
    NewJob, Shutdown, Status, SubmissionKey, TypedOp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use support::{PATIENCE, Step, is_quiet, next_note, open};

type Kept = Arc<Mutex<Vec<Record>>>;
type Verdict = Result<(), &'static str>;

/// A disk that says what it is about to write, and waits until the test says how that ends.
struct SlowDisk {
    asked: Sender<Vec<Record>>,
    verdicts: Receiver<Verdict>,
    kept: Kept,
}

impl Store for SlowDisk {
    fn append(&mut self, transactions: &[Vec<Record>]) -> Result<(), Error> {
        let records: Vec<Record> = transactions.iter().flatten().cloned().collect();
        // Once the test has let go of the disk, everything is written.
        let verdict = match self.asked.send(records.clone()) {
            Ok(()) => match self.verdicts.recv_timeout(PATIENCE) {
                Err(RecvTimeoutError::Timeout) => Err("nobody lets it write"),
                verdict => verdict.unwrap_or(Ok(())),
            },
            Err(_) => Ok(()),
        };
        verdict.map_err(|why| Error::new(ErrorKind::Io, why))?;
        self.kept.lock().unwrap().extend(records);
        Ok(())
    }
}

struct Disk {
    asked: Receiver<Vec<Record>>,
    verdicts: Sender<Verdict>,
    kept: Kept,
}

impl Disk {
    /// Lets everything be written up to, but not with, the first write of such a record.
    fn write_until(&self, stop: fn(&Record) -> bool) {
        while !self.asked.recv_timeout(PATIENCE).unwrap().iter().any(stop) {
            self.verdicts.send(Ok(())).unwrap();
        }
    }

    fn allow(&self) {
        self.verdicts.send(Ok(())).unwrap();
    }

    fn break_down(&self) {
        self.verdicts.send(Err("no space left on device")).unwrap();
    }

    /// What a master finds that starts on what this disk has kept so far.
    fn restart(&self) -> Master {
        let kept = self.kept.lock().unwrap().clone();
        builder().store(Box::new(MemoryStore::volatile()), kept).start().unwrap()
    }
}

fn builder() -> MasterBuilder {
    Master::builder("unused").unit::<Step>().workers(2)
}

fn on_slow_disk() -> (Disk, Master) {
    let ((asking, asked), (verdicts, receiver)) = (channel(), channel());
    let kept = Kept::default();
    let store = SlowDisk { asked: asking, verdicts: receiver, kept: Arc::clone(&kept) };
    let master = builder().store(Box::new(store), Vec::new()).start().unwrap();
    (Disk { asked, verdicts, kept }, master)
}

fn is_submission(record: &Record) -> bool {
    matches!(record, Record::Submitted { .. })
}

fn is_end(record: &Record) -> bool {
    matches!(record, Record::Finished { .. })
}

fn steps(gates: &[&str], on_crash: CrashPolicy) -> NewJob {
    let step = |gate: &&str| Step {
        gate: (*gate).to_owned(),
        on_crash: Some(on_crash),
        instance: vec!["i".to_owned()],
        ..Step::default()
    };
    NewJob::of(gates.iter().map(|gate| step(gate).opcode().unwrap()))
}

#[test]
fn nothing_executes_before_its_submission_is_on_disk() {
    for (policy, gate) in [(CrashPolicy::Fail, "sub-fail"), (CrashPolicy::Retry, "sub-retry")] {
        let (disk, master) = on_slow_disk();
        let answer = master.begin_submit(vec![steps(&[gate], policy)], None).unwrap();
        disk.write_until(is_submission);
        assert!(is_quiet(gate));
        drop(disk);
        assert_eq!(next_note(gate), "begin");
        open(gate);
        assert_eq!(master.wait(answer.value[0]).unwrap().status, Status::Success);
    }
}

#[test]
fn an_opcode_that_may_be_repeated_still_waits_for_the_end_of_the_one_before_it() {
    let (disk, master) = on_slow_disk();
    let job = steps(&["chain-1", "chain-2"], CrashPolicy::Retry);
    let id = master.begin_submit(vec![job], None).unwrap().value[0];
    open("chain-1");
    disk.write_until(is_end);
    assert_eq!((next_note("chain-1"), next_note("chain-1")), ("begin", "end"));
    let after_crash = disk.restart();
    open("chain-1");
    open("chain-2");
    assert_eq!(after_crash.wait(id).unwrap().status, Status::Success);
    assert_eq!((next_note("chain-1"), next_note("chain-1")), ("begin", "end"));
    assert_eq!((next_note("chain-2"), next_note("chain-2")), ("begin", "end"));
    drop(disk);
    assert_eq!(next_note("chain-2"), "begin", "only now does the first master go on");
    open("chain-2");
    assert_eq!(master.wait(id).unwrap().status, Status::Success);
}

#[test]
fn nobody_hears_of_what_is_not_on_disk() {
    let (disk, master) = on_slow_disk();
    let job = steps(&["hear"], CrashPolicy::Fail);
    let id = master.begin_submit(vec![job], None).unwrap().value[0];
    open("hear");
    disk.write_until(is_end);
    let answer = master.job(id).unwrap();
    assert_eq!(answer.value.status, Status::Success);
    let (sender, told) = channel();
    let (early, changed) = (sender.clone(), sender);
    master.on_durable(answer.position, move |durable| early.send(durable.is_ok()).unwrap());
    master.on_change(id, move || changed.send(true).unwrap());
    assert!(told.try_recv().is_err(), "the end is not on disk yet");
    disk.allow();
    assert!(told.recv_timeout(PATIENCE).unwrap());
    assert!(told.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn a_full_disk_refuses_submissions_with_the_reason_and_stops_starting() {
    let (disk, master) = on_slow_disk();
    let refused = std::thread::scope(|scope| {
        let submitting = scope.spawn(|| master.submit(vec![steps(&["full"], CrashPolicy::Fail)]));
        disk.write_until(is_submission);
        disk.break_down();
        submitting.join().unwrap().unwrap_err()
    });
    assert_eq!(refused.kind(), ErrorKind::Stopped);
    assert!(refused.to_string().contains("no space left on device"), "{refused}");
    let again = master.submit(vec![steps(&["full"], CrashPolicy::Fail)]).unwrap_err();
    assert!(again.to_string().contains("no space left on device"), "{again}");
    assert!(master.has_failed());
    let shutdown = master.shutdown(Shutdown::Finish, Some(PATIENCE)).unwrap_err();
    assert!(shutdown.to_string().contains("no space left on device"), "{shutdown}");
    assert!(is_quiet("full"));
}

#[test]
fn an_undo_waits_until_the_failure_it_takes_back_is_on_disk() {
    let (disk, master) = on_slow_disk();
    let step = Step { gate: "undo-disk".to_owned(), fail: true, undo: true, ..Step::default() };
    let job = NewJob::of([step.opcode().unwrap()]);
    let id = master.begin_submit(vec![job], None).unwrap().value[0];
    open("undo-disk");
    disk.write_until(is_end);
    assert_eq!((next_note("undo-disk"), next_note("undo-disk")), ("begin", "end"));
    assert!(is_quiet("undo-disk"));
    drop(disk);
    assert_eq!(next_note("undo-disk"), "undo");
    let view = master.wait(id).unwrap();
    assert_eq!((view.status, &view.job.ops[0].undo), (Status::Error, &UndoState::Done));
}

/// A disk that is full when such a record is to be written, and grows by every one before.
struct Filling {
    full_at: fn(&Record) -> bool,
    bytes: u64,
    kept: Kept,
}

impl Store for Filling {
    fn append(&mut self, transactions: &[Vec<Record>]) -> Result<(), Error> {
        let records: Vec<Record> = transactions.iter().flatten().cloned().collect();
        if records.iter().any(self.full_at) {
            return Err(Error::new(ErrorKind::Io, "no space left on device"));
        }
        self.bytes += 500 * records.len() as u64;
        self.kept.lock().unwrap().extend(records);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[test]
fn a_disk_that_fills_up_while_the_queue_is_copied_loses_nothing_that_was_acknowledged() {
    let stages: [fn(&Record) -> bool; 3] = [
        |record| matches!(record, Record::CopyBegun { last_token: 1.., .. }),
        |record| matches!(record, Record::Copied { .. }),
        |record| matches!(record, Record::CopyDone { .. }),
    ];
    for (stage, full_at) in stages.into_iter().enumerate() {
        let kept = Kept::default();
        let store = Filling { full_at, bytes: 0, kept: Arc::clone(&kept) };
        let master = builder().spare_log(0).store(Box::new(store), Vec::new()).start().unwrap();
        let mut acknowledged = Vec::new();
        let refused = loop {
            let key = SubmissionKey::new(format!("{}", acknowledged.len())).unwrap();
            match master.submit_once(&key, vec![steps(&[""], CrashPolicy::Retry)]) {
                Ok(ids) => acknowledged.push((key, ids)),
                Err(error) => break error,
            }
            assert!(acknowledged.len() < 10_000, "the queue is never copied");
        };
        assert!(refused.to_string().contains("no space left on device"), "{stage}: {refused}");
        assert!(refused.hint_text().unwrap().contains("nothing acknowledged is lost"));
        drop(master);
        let kept = kept.lock().unwrap().clone();
        let store = Box::new(MemoryStore::volatile());
        let again = builder().store(store, kept).start().unwrap();
        for (key, ids) in acknowledged {
            let job = steps(&[""], CrashPolicy::Retry);
            assert_eq!(again.submit_once(&key, vec![job]).unwrap(), ids, "{stage}");
            assert_eq!(again.wait(ids[0]).unwrap().status, Status::Success, "{stage}");
        }
    }
}

/// How many lines have been said.
static SAID: AtomicU64 = AtomicU64::new(0);

/// Says more lines than fit between it and the disk.
#[derive(Serialize, Deserialize)]
struct Talker {}

impl TypedOp for Talker {
    const ID: &'static str = "OP_TALKER";
}

impl LogicalUnit for Talker {
    fn declare_locks(&mut self, _: &str, _: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        Ok(())
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        for line in 0..20_000 {
            context.feedback(&format!("line {line}"));
            SAID.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Value::Null)
    }
}

#[test]
fn who_says_more_than_the_disk_takes_waits_for_the_disk() {
    let is_line = |record: &Record| matches!(record, Record::Feedback { .. });
    let (asking, asked) = channel();
    let (verdicts, receiver) = channel();
    let store = SlowDisk { asked: asking, verdicts: receiver, kept: Kept::default() };
    let builder = Master::builder("unused").unit::<Talker>();
    let master = builder.store(Box::new(store), Vec::new()).start().unwrap();
    let job = NewJob::of([Talker {}.opcode().unwrap()]);
    let id = master.begin_submit(vec![job], None).unwrap().value[0];
    loop {
        let records = asked.recv_timeout(PATIENCE).unwrap();
        assert!(records.iter().filter(|record| is_line(record)).count() <= 4097, "too many");
        if records.iter().any(is_end) {
            break;
        }
        // While the disk is held up, it says no more at some time.
        let mut said = (u64::MAX, 0);
        while said.1 < 1000 {
            let now = SAID.load(Ordering::SeqCst);
            said = if now == said.0 { (now, said.1 + 1) } else { (now, 0) };
            std::thread::yield_now();
        }
        verdicts.send(Ok(())).unwrap();
    }
    drop((asked, verdicts));
    assert_eq!(master.wait(id).unwrap().status, Status::Success);
    assert_eq!(SAID.load(Ordering::SeqCst), 20_000);
}

#[test]
fn a_job_that_cannot_be_archived_stays_in_the_queue_and_everything_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::builder(dir.path()).unit::<Step>().workers(2).start().unwrap();
    let id = master.submit_one(NewJob::default()).unwrap();
    master.wait(id).unwrap();
    let archive = dir.path().join("archive");
    std::fs::remove_dir(&archive).unwrap();
    std::fs::write(&archive, "in the way").unwrap();
    for _ in 0..2 {
        let error = master.archive(id).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("00000000.jobs"), "{error}");
        assert!(error.hint_text().unwrap().contains("the jobs stay in the queue"), "{error:?}");
        assert_eq!(master.job(id).unwrap().value.status, Status::Success);
    }
    let next = master.submit_one(NewJob::default()).unwrap();
    assert_eq!(master.wait(next).unwrap().status, Status::Success);
    std::fs::remove_file(&archive).unwrap();
    std::fs::create_dir(&archive).unwrap();
    let all = master.auto_archive(Duration::ZERO, PATIENCE).unwrap().value;
    assert_eq!((all.archived, all.left), (2, 0));
}
