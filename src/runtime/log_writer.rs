//! Writing the log: one sync for all that waits, then everybody is told and what waited for the
//! disk goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::compaction::{Added, Compaction};
use super::inner::Inner;
use super::lock_order::assert_no_locks_held;
use super::metrics::micros;
use super::shell::{LogBuffer, Shell};
use super::sync::MutexGuard;
use super::worker_pool::Task;
use crate::store::Store;
use crate::vocabulary::{Error, JobId};

/// Who writes the log; one per master.
pub(super) struct LogWriter {
    store: Box<dyn Store>,
    compaction: Compaction,
}

/// What is written next.
struct Batch {
    log: LogBuffer,
    position: u64,
    added: Added,
}

impl LogWriter {
    pub(super) fn new(store: Box<dyn Store>, compaction: Compaction) -> Self {
        Self { store, compaction }
    }

    /// Writes what is appended until the log is closed and empty, or cannot be written.
    pub(super) fn run(mut self, inner: &Arc<Inner>) {
        while let Some(batch) = self.take(self.wait(inner)) {
            if !self.write(inner, &batch) {
                return;
            }
        }
    }

    /// Writes what has gathered, waiting for nothing but the disk. Whether there was something,
    /// and it could be written.
    pub(super) fn step(&mut self, inner: &Arc<Inner>) -> bool {
        self.take(inner.shell()).is_some_and(|batch| self.write(inner, &batch))
    }

    /// Returns when there is something to do, or the log is closed.
    fn wait<'a>(&self, inner: &'a Inner) -> MutexGuard<'a, Shell> {
        let (mut shell, bytes) = (inner.shell(), self.store.bytes());
        while shell.log.transactions.is_empty() && !shell.closed && !self.compaction.is_due(bytes) {
            shell = inner.appended.wait(shell);
        }
        shell
    }

    fn take(&mut self, mut shell: MutexGuard<'_, Shell>) -> Option<Batch> {
        let mut log = std::mem::take(&mut shell.log);
        let mut added = Added::default();
        if !shell.closed {
            let before = log.transactions.len();
            let bytes = self.store.bytes();
            added = self.compaction.add(&shell.queue, bytes, &mut log.transactions);
            shell.position += (log.transactions.len() - before) as u64;
        }
        (!log.transactions.is_empty()).then_some(Batch { log, position: shell.position, added })
    }

    /// Whether it could be written.
    fn write(&mut self, inner: &Arc<Inner>, batch: &Batch) -> bool {
        assert_no_locks_held("while the log is written");
        let Batch { log, position, added } = batch;
        let began = inner.now();
        if let Err(error) = self.compaction.write(&mut *self.store, &log.transactions, *added) {
            fail(inner, &error);
            return false;
        }
        inner.metrics.sync.add(micros(inner.now().since(began)));
        inner.metrics.batch.add(log.transactions.len() as u64);
        inner.end_reservations(&log.changed);
        let due = inner.shell().is_durable(*position);
        due.into_iter().for_each(|task| inner.send(task));
        inner.commits.advance(*position);
        inner.watch.notify(&log.changed);
        self.compaction.after_write(&mut *self.store, *added);
        true
    }
}

impl Inner {
    /// Gives back what jobs have reserved in the configuration that have come to their end. What
    /// they wrote down instead has been written by then; whoever hears of the end finds it free.
    fn end_reservations(&self, changed: &[JobId]) {
        let owners = self.config.reserving();
        let mut ended: BTreeSet<JobId> =
            changed.iter().copied().filter(|id| owners.contains(id)).collect();
        if ended.is_empty() {
            return;
        }
        let shell = self.shell();
        ended.retain(|id| shell.queue.get(*id).is_none_or(|job| job.status().is_final()));
        drop(shell);
        self.config.release_all(&ended);
    }
}

/// A write that failed is never tried again over what may be half a record: everything stops.
/// What executes may end, in memory; nobody is told of it. What waited for the disk is put back.
fn fail(inner: &Arc<Inner>, error: &Error) {
    tracing::error!(%error, "the log cannot be written; no more opcodes are started");
    let mut shell = inner.shell();
    shell.stopping = true;
    shell.closed = true;
    let waiting = shell.nothing_more_is_durable();
    drop(shell);
    inner.commits.fail(&error.to_string());
    waiting.iter().filter_map(Task::job).for_each(|id| _ = inner.let_go(id));
    inner.watch.notify_all();
}
