//! The queue as it would be read back after a crash: made of records alone, as they get to disk.

use crate::engine::queue::Queue;
use crate::vocabulary::Record;

/// What is surely on disk.
pub(super) struct Shadow {
    queue: Queue,
}

impl Shadow {
    pub(super) fn new(feedback_bytes: usize) -> Self {
        Self { queue: Queue::new(feedback_bytes) }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// These are on disk now.
    pub(super) fn extend(&mut self, transactions: &[Vec<Record>]) {
        for record in transactions.iter().flatten() {
            self.queue.apply(record).unwrap();
        }
    }

    /// What was read back after a crash: what is surely on disk, and of what was being written
    /// any number of whole transactions, in order.
    pub(super) fn assert_read_back(&self, found: &Queue, being_written: &[Vec<Record>]) {
        let mut queue = self.queue.clone();
        if queue == *found {
            return;
        }
        for transaction in being_written {
            transaction.iter().for_each(|record| queue.apply(record).unwrap());
            if queue == *found {
                return;
            }
        }
        panic!("read back {found:#?}, which it never was since {:#?}", self.queue);
    }

    /// This is what is on disk.
    pub(super) fn become_(&mut self, queue: Queue) {
        self.queue = queue;
    }
}
