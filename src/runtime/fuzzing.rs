//! What the fuzzer of the queue calls (`fuzz/`): whatever a log says, it is a queue or an error.

use crate::engine::queue::{CopyPlace, Queue};
use crate::store::fuzzing::log;
use crate::vocabulary::{Record, Timestamp};

/// A log as [`log`] reads it, replayed as far as it fits, recovered and copied.
///
/// # Panics
///
/// Where a copy of the queue is not the queue.
pub fn queue(data: &[u8]) {
    let (mut queue, mut fits) = (Queue::new(1000), true);
    log(data, &mut |record| fits = fits && queue.apply(&record).is_ok());
    if fits && queue.replayed().is_ok() {
        queue.recover(Timestamp::from_micros(1));
        let mut again = Queue::new(1000);
        let whole = copy(&queue).iter().try_for_each(|record| again.apply(record));
        assert!(whole.is_ok() && again.replayed().is_ok(), "a copy can be read: {whole:?}");
    }
}

fn copy(queue: &Queue) -> Vec<Record> {
    let (begun, below) = queue.begin_copy();
    let (mut records, mut place) = (vec![begun], Some(CopyPlace::START));
    while let Some(from) = place {
        let piece = queue.copy_some(from, below, 7, 1000);
        records.extend(piece.transactions.concat());
        place = piece.next;
    }
    records.extend(queue.end_copy());
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_log_is_a_queue_or_an_error() {
        crate::vocabulary::corpus::replay("queue", queue);
    }
}
