//! The thread that writes the log: one sync for all that waits, then everybody is told.

use std::sync::Arc;

use super::compaction::{Added, Compaction};
use super::inner::Inner;
use super::lock_order::assert_no_locks_held;

use super::shell::LogBuffer;
use crate::store::Store;
use crate::vocabulary::Error;

/// Writes what is appended until the log is closed and empty.
pub(super) fn run(inner: &Arc<Inner>, mut store: Box<dyn Store>, mut compaction: Compaction) {
    while let Some(batch) = next_batch(inner, &mut compaction, store.bytes()) {
        assert_no_locks_held("while the log is written");
        match compaction.write(&mut *store, &batch.log.transactions, batch.added) {
            Ok(()) => inner.commits.advance(batch.position),
            Err(error) => return fail(inner, &error),
        }
        inner.watch.notify(&batch.log.changed);
        compaction.after_write(&mut *store, batch.added);
    }
}

/// What is written next.
struct Batch {
    log: LogBuffer,
    position: u64,
    added: Added,
}

fn next_batch(inner: &Inner, compaction: &mut Compaction, bytes: u64) -> Option<Batch> {
    let mut shell = inner.shell();
    while shell.log.transactions.is_empty() && !shell.closed && !compaction.is_due(bytes) {
        shell = inner.appended.wait(shell);
    }
    let mut log = std::mem::take(&mut shell.log);
    let mut added = Added::default();
    if !shell.closed {
        let before = log.transactions.len();
        added = compaction.add(&shell.queue, bytes, &mut log.transactions);
        shell.position += (log.transactions.len() - before) as u64;
    }
    (!log.transactions.is_empty()).then_some(Batch { log, position: shell.position, added })
}

/// A write that failed is never tried again over what may be half a record: everything stops.
/// What executes may end, in memory; nobody is told of it.
fn fail(inner: &Inner, error: &Error) {
    tracing::error!(%error, "the log cannot be written; no more opcodes are started");
    let mut shell = inner.shell();
    shell.stopping = true;
    shell.closed = true;
    drop(shell);
    inner.commits.fail(&error.to_string());
    inner.watch.notify_all();
}
