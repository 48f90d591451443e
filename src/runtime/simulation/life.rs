//! One life of a master, from its opening to its end, on a disk that may lose what is not synced.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::deed::Deed;
use super::hook::Watching;
use crate::engine::queue::Queue;
use crate::runtime::inner::Inner;
use crate::runtime::sync::Mutex;
use crate::runtime::{Clock, Core, Limits, Master, Registry};
use crate::store::sim::SimDisk;
use crate::store::{Archive, LogStore, Sizes};
use crate::vocabulary::{Error, JobId, Record, Timestamp};

/// Small, so that jobs of one bucket come into several files.
const PART_BYTES: u64 = 3000;
const SIZES: Sizes = Sizes { segment: 2000, fill: 64 };

/// Time, as the history makes it.
#[derive(Clone, Default)]
pub(super) struct Time(Arc<AtomicI64>);

impl Time {
    pub(super) fn pass(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }

    /// It is that late now, if it was not before.
    pub(super) fn reach(&self, at: Timestamp) {
        self.0.fetch_max(at.as_micros(), Ordering::Relaxed);
    }

    fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Clock::of(move || Timestamp::from_micros(time.load(Ordering::Relaxed)))
    }
}

/// How a master is started.
pub(super) struct Start {
    pub(super) workers: usize,
    pub(super) spare_log: u64,
}

/// A master, and the queue as it was read back.
pub(super) struct Life {
    pub(super) core: Core,
}

impl Life {
    /// Reads the log; gives the store and the queue it makes.
    pub(super) fn read(disk: &SimDisk) -> Result<(LogStore, Vec<Record>, Queue), Error> {
        let mut records = Vec::new();
        let mut keep = |record: Record| records.push(record);
        let (disk, path) = (Box::new(disk.clone()), PathBuf::from("log"));
        let (store, _) = LogStore::open_in(disk, path, SIZES, &mut keep)?;
        let mut queue = Queue::new(Limits::default().feedback_bytes);
        records.iter().try_for_each(|record| queue.apply(record))?;
        queue.replayed()?;
        queue.check();
        Ok((store, records, queue))
    }

    pub(super) fn begin(
        (store, records): (LogStore, Vec<Record>),
        archive: &SimDisk,
        start: &Start,
        time: &Time,
    ) -> Self {
        let builder = Master::builder("").store(Box::new(store), records);
        let builder = builder.units(Registry::add_typed::<Deed>).clock(time.clock());
        let builder = builder.workers(start.workers).spare_log(start.spare_log);
        let archive = Archive::open_in(Box::new(archive.clone()), "archive".into(), PART_BYTES);
        Self { core: builder.hook(Watching).with_archive(Some(archive)).unwrap() }
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.core.master().inner
    }

    /// Another handle, for who acts while an opcode executes.
    pub(super) fn handle(&self) -> Master {
        let threads = Mutex::new(&crate::runtime::master::THREADS, None);
        Master { inner: Arc::clone(self.inner()), threads }
    }

    /// What is applied and not yet being written.
    pub(super) fn unwritten(&self) -> Vec<Vec<Record>> {
        self.inner().shell().log.transactions.clone()
    }

    pub(super) fn job_ids(&self) -> Vec<JobId> {
        self.inner().shell().queue.jobs().map(|job| job.id).collect()
    }
}
