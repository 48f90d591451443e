//! Keeps the log about as long as the live queue is large: when it has grown enough, the queue
//! is copied to its end piece by piece, and what stands before the copy is forgotten.
//!
//! Belongs to the log writer. Pieces go along with what is written anyway, so nobody waits for
//! a copy; the queue lock is held for one piece at a time.

use crate::engine::queue::{CopyPlace, Queue};
use crate::store::{Mark, Store};
use crate::vocabulary::{JobId, Record};

/// A piece of a copy has at most so many jobs or keys.
const PIECE_JOBS: usize = 256;
/// A piece of a copy has about so many bytes, or one job.
const PIECE_BYTES: usize = 64 << 10;

/// When the log is to be made shorter, and how far that has come.
pub(super) struct Compaction {
    /// The log may grow by so many bytes beyond twice what the queue takes.
    spare: u64,
    /// The next copy begins when the log has so many bytes.
    due: u64,
    copy: Option<Copy>,
}

struct Copy {
    mark: Option<Mark>,
    place: CopyPlace,
    below: JobId,
}

/// What was added to the transactions that are to be written next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    /// A copy begins with this transaction: the place before it is to be marked.
    begins_at: Option<usize>,
    /// The last one ends the copy.
    ends: bool,
}

impl Added {
    /// Whether the copy is whole with it.
    pub(super) const fn ends(self) -> bool {
        self.ends
    }
}

impl Compaction {
    pub(super) fn new(queue: &Queue, spare: u64) -> Self {
        Self { spare, due: due(queue.bytes(), spare), copy: None }
    }

    /// Whether there is something to do where the log has so many bytes.
    pub(super) fn is_due(&self, bytes: u64) -> bool {
        self.copy.is_some() || bytes >= self.due
    }

    /// Adds what is to be copied next, if it is time. Under the queue lock.
    pub(super) fn add(
        &mut self,
        queue: &Queue,
        bytes: u64,
        transactions: &mut Vec<Vec<Record>>,
    ) -> Added {
        if !self.is_due(bytes) {
            return Added::default();
        }
        let Some(copy) = &mut self.copy else {
            let (record, below) = queue.begin_copy();
            self.copy = Some(Copy { mark: None, place: CopyPlace::START, below });
            let begins_at = Some(transactions.len());
            transactions.push(vec![record]);
            return Added { begins_at, ends: false };
        };
        let piece = queue.copy_some(copy.place, copy.below, PIECE_JOBS, PIECE_BYTES);
        let ends = piece.next.is_none();
        copy.place = piece.next.unwrap_or(copy.place);
        transactions.extend(piece.transactions);
        transactions.extend(ends.then(|| queue.end_copy()));
        Added { begins_at: None, ends }
    }

    /// Writes the transactions, and forgets what a copy that is whole by now makes superfluous.
    pub(super) fn write(
        &mut self,
        store: &mut dyn Store,
        transactions: &[Vec<Record>],
        added: Added,
    ) -> Result<(), crate::vocabulary::Error> {
        let (before, rest) = transactions.split_at(added.begins_at.unwrap_or(0));
        if added.begins_at.is_some() {
            if !before.is_empty() {
                store.append(before)?;
            }
            let mark = store.mark()?;
            self.copy.iter_mut().for_each(|copy| copy.mark = Some(mark));
        }
        store.append(rest)
    }

    /// To be called when everything written is durable and told.
    pub(super) fn after_write(&mut self, store: &mut dyn Store, added: Added) {
        if !added.ends {
            return;
        }
        let Some(mark) = self.copy.take().and_then(|copy| copy.mark) else { return };
        let before = store.bytes();
        if let Err(error) = store.forget_before(mark) {
            tracing::warn!(%error, "the log keeps what it does not need; it is tried again later");
        }
        self.due = due(store.bytes(), self.spare);
        tracing::debug!(before, after = store.bytes(), "made the log shorter");
    }
}

fn due(bytes: u64, spare: u64) -> u64 {
    bytes.saturating_mul(2).saturating_add(spare)
}
