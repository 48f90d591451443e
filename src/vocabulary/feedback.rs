//! The feedback log of a job: what its opcodes had to say while they ran.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// What sort of line a feedback entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FeedbackKind {
    /// Something said by the logical unit.
    Message,
    /// A line a command wrote to its standard output.
    Stdout,
    /// A line a command wrote to its standard error.
    Stderr,
    /// A structured notification; the text is JSON (Ganeti's `jqueue-test`, `delay-test`).
    JqueueTest,
    /// A structured notification of an interruptible delay; the text is JSON.
    DelayTest,
}

/// One line of a [`FeedbackLog`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackEntry {
    /// Its number within the job, from 1, strictly increasing over all opcodes.
    pub serial: u64,
    /// When it was said.
    pub time: Timestamp,
    /// Which opcode of the job said it, from 0.
    pub op: u32,
    /// What sort of line it is.
    pub kind: FeedbackKind,
    /// The line.
    pub text: Box<str>,
}

/// The newest lines of a job, oldest first, within a bound of bytes.
///
/// Invariant: serials strictly increase; `bytes` is the sum of the cost of the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackLog {
    entries: VecDeque<FeedbackEntry>,
    last_serial: u64,
    bytes: usize,
    dropped: u64,
}

impl FeedbackLog {
    /// What one entry counts for beside its text: about its size in memory. Sums of it are on
    /// disk, so it is the same everywhere.
    const ENTRY_BYTES: usize = 40;

    /// Adds a line, dropping the oldest ones where the log would exceed `max_bytes`.
    ///
    /// Entries whose serial is not above the last are ignored: they are known already.
    pub fn push(&mut self, entry: FeedbackEntry, max_bytes: usize) {
        if entry.serial <= self.last_serial {
            return;
        }
        self.last_serial = entry.serial;
        self.bytes += Self::cost(&entry);
        self.entries.push_back(entry);
        while self.bytes > max_bytes {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(Self::cost(&oldest));
            self.dropped += 1;
        }
    }

    fn cost(entry: &FeedbackEntry) -> usize {
        Self::ENTRY_BYTES + entry.text.len()
    }

    /// All lines still there, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &FeedbackEntry> {
        self.entries.iter()
    }

    /// The lines with a serial above `serial`, oldest first.
    pub fn after(&self, serial: u64) -> impl Iterator<Item = &FeedbackEntry> {
        let start = self.entries.partition_point(|entry| entry.serial <= serial);
        self.entries.range(start..)
    }

    /// How many bytes the lines still there count for.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The serial of the newest line ever added; 0 where there was none.
    #[must_use]
    pub const fn last_serial(&self) -> u64 {
        self.last_serial
    }

    /// How many of the oldest lines were dropped to stay within the bound.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(serial: u64, text: &str) -> FeedbackEntry {
        let time = Timestamp::from_micros(0);
        FeedbackEntry { serial, time, op: 0, kind: FeedbackKind::Message, text: text.into() }
    }

    #[test]
    fn the_oldest_lines_go_first_and_are_counted() {
        let mut log = FeedbackLog::default();
        let bound = 2 * (FeedbackLog::ENTRY_BYTES + 1);
        for serial in 1..=5 {
            log.push(entry(serial, "x"), bound);
        }
        let left: Vec<u64> = log.entries().map(|entry| entry.serial).collect();
        assert_eq!((left, log.dropped(), log.last_serial()), (vec![4, 5], 3, 5));
    }

    #[test]
    fn a_reader_gets_only_what_is_newer_than_what_it_has() {
        let mut log = FeedbackLog::default();
        (1..=4).for_each(|serial| log.push(entry(serial, "x"), usize::MAX));
        log.push(entry(4, "again"), usize::MAX);
        let newer: Vec<u64> = log.after(2).map(|entry| entry.serial).collect();
        assert_eq!(newer, [3, 4]);
        assert_eq!(log.after(9).count(), 0);
    }

    #[test]
    fn a_line_larger_than_the_bound_leaves_an_empty_log() {
        let mut log = FeedbackLog::default();
        log.push(entry(1, "a long line"), 5);
        assert_eq!((log.entries().count(), log.dropped(), log.last_serial()), (0, 1, 1));
    }
}
