//! Queue, compaction and log together on a simulated disk: whatever fails, whenever the power
//! goes, what is read back is a state the queue had, and none older than what was acknowledged.

use std::path::PathBuf;

use super::compaction::Compaction;
use crate::engine::queue::{Bounds, Next, Queue, Start};
use crate::store::sim::{Fault, SimDisk};
use crate::store::{LogStore, Sizes, Store};
use crate::vocabulary::{
    CrashPolicy, Dependency, Error, JobId, JobRef, NewJob, OpCode, OpId, Outcome, Params, Record,
    Timestamp,
};

const NOW: Timestamp = Timestamp::from_micros(1);
const SIZES: Sizes = Sizes { segment: 600, fill: 64 };

fn open(disk: &SimDisk) -> Result<(LogStore, Queue), Error> {
    let mut queue = Queue::new(1000);
    let mut replay = |record: Record| queue.apply(&record).unwrap();
    let (disk, path) = (Box::new(disk.clone()), PathBuf::from("log"));
    let (store, _) = LogStore::open_in(disk, path, SIZES, &mut replay)?;
    queue.replayed()?;
    queue.check();
    Ok((store, queue))
}

/// A master without threads: jobs go through, some stay, and all that have ended are archived.
struct Life {
    queue: Queue,
    store: LogStore,
    compaction: Compaction,
    /// The queue as it was acknowledged last.
    acknowledged: Queue,
    copies: usize,
}

impl Life {
    fn begin(disk: &SimDisk) -> Result<Self, Error> {
        let (store, queue) = open(disk)?;
        let compaction = Compaction::new(&queue, 700);
        let acknowledged = queue.clone();
        Ok(Self { queue, store, compaction, acknowledged, copies: 0 })
    }

    fn submit(&mut self, on: Option<JobId>) -> Vec<Record> {
        let mut op = OpCode::new(OpId::new("OP_X").unwrap(), Params::default());
        op.depends.extend(on.map(|on| Dependency::success(JobRef::Id(on))));
        let most = usize::MAX;
        let bounds = Bounds {
            queued_jobs: most,
            batch_jobs: most,
            batch_bytes: most,
            job_ops: most,
            job_bytes: most,
        };
        self.queue.submit(vec![NewJob::of([op])], None, &bounds, NOW).unwrap().1
    }

    /// Runs and archives the next job, unless it is one of those that stay.
    fn run_one(&mut self) -> Vec<Record> {
        let Some(Next::Take(id)) = self.queue.take_next(NOW) else { return Vec::new() };
        if id.get() % 7 == 1 {
            return Vec::new();
        }
        let start = Start { taken: NOW, undo: false, on_crash: CrashPolicy::Fail };
        let Some((_, mut records)) = self.queue.start(id, start, NOW) else { return Vec::new() };
        let outcome = Outcome::Success("true".into());
        records.extend(self.queue.finish(id, outcome, false, NOW));
        self.queue.put_back(id);
        records.extend(self.queue.archive([id]));
        records
    }

    /// What the log writer does with what was decided.
    fn write(&mut self, decided: Vec<Vec<Record>>) -> Result<(), Error> {
        let mut transactions = decided;
        let bytes = self.store.bytes();
        let added = self.compaction.add(&self.queue, bytes, &mut transactions);
        self.compaction.write(&mut self.store, &transactions, added)?;
        self.acknowledged = self.queue.clone();
        self.compaction.after_write(&mut self.store, added);
        self.copies += usize::from(self.store.bytes() < bytes);
        Ok(())
    }

    fn step(&mut self, number: u64) -> Result<(), Error> {
        let on = (number % 3 == 0).then(|| self.queue.jobs().next().map(|job| job.id)).flatten();
        let decided = vec![self.submit(on), self.submit(None), self.run_one(), self.run_one()];
        self.write(decided)
    }
}

const STEPS: u64 = 30;

fn live(disk: &SimDisk, steps: u64) -> (Option<Life>, bool) {
    let Ok(mut life) = Life::begin(disk) else { return (None, false) };
    let whole = (0..steps).all(|number| life.step(number).is_ok());
    (Some(life), whole)
}

/// What is read back is what was acknowledged, or what was being written.
fn check(disk: &SimDisk, life: Option<&Life>, context: &str) -> Queue {
    let (_, read) = open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    if let Some(life) = life {
        let fits = read == life.acknowledged || read == life.queue;
        assert!(fits, "{context}");
    }
    read
}

#[test]
fn the_log_follows_the_queue_and_reads_back_as_it_is() {
    let disk = SimDisk::default();
    let (life, whole) = live(&disk, 200);
    let life = life.unwrap();
    assert!(whole && life.copies >= 3, "{} copies", life.copies);
    let bound = 4 * life.queue.bytes() + 4000;
    assert!(life.store.bytes() < bound, "{} of {bound} bytes", life.store.bytes());
    drop(life.store);
    assert_eq!(open(&disk).unwrap().1, life.queue);
}

#[test]
fn whatever_fails_and_whenever_the_power_goes_nothing_acknowledged_is_lost() {
    let clean = SimDisk::default();
    let (life, whole) = live(&clean, STEPS);
    assert!(whole && life.unwrap().copies >= 2);
    for at in 0..clean.operations() {
        for fault in [Fault::Stop, Fault::Refuse, Fault::Tear(7)] {
            let disk = SimDisk::default();
            disk.set_fault(Some((at, fault)));
            let (life, _) = live(&disk, STEPS);
            for seed in 0..3 {
                let disk = disk.copy();
                disk.set_fault(None);
                if seed > 0 {
                    disk.lose_power(seed);
                }
                let context = format!("operation {at}, {fault:?}, seed {seed}");
                let read = check(&disk, life.as_ref(), &context);
                // The next life begins where the last one ended, and goes on.
                let mut next = Life::begin(&disk).unwrap();
                assert_eq!(next.queue, read, "{context}");
                (0..5).for_each(|number| next.step(number).unwrap());
                drop(next.store);
                assert_eq!(open(&disk).unwrap().1, next.queue, "{context}");
            }
        }
    }
}
