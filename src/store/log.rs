//! The embedded log: transactions in frames, frames in segments, one sync per append.
//!
//! Format, commit rule and recovery are described in `design/log.md`.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};

use super::file::{Directory, RealDirectory};
use super::frame::{self, Draft};
use super::recovery::{Recovered, ReplayReport, check, recover};
use super::segment::{Header, Segment, Sizes};
use super::state_dir::StateDir;
use super::{MAX_TRANSACTION_BYTES, Mark, Store, codec, segment};
use crate::vocabulary::{Error, ErrorKind, Record};

/// A log in a state directory, which belongs to this process until the store is dropped.
pub struct LogStore {
    directory: Box<dyn Directory>,
    path: PathBuf,
    sizes: Sizes,
    segment: Segment,
    /// The segments before it, from where the log begins: their numbers and bytes.
    full: VecDeque<(u64, u64)>,
    /// The number of the next frame.
    next: u64,
    /// Whether the last frame holds records, so that damage to it would look like a torn tail.
    open_ended: bool,
    /// What went wrong first; nothing is written after that.
    failure: Option<String>,
    /// Keeps other processes out. Last, so that it outlives everything above.
    _state_dir: Option<StateDir>,
}

impl LogStore {
    /// Opens the state directory `dir`, creating it where its parent exists, and hands every
    /// record kept to `replay`, in order. `owner` says who opens it, for those who come second:
    /// the name of the program and what it does; process, host and time are added.
    ///
    /// When this returns, everything replayed is durable, and a torn tail has been cut.
    /// Takes memory for one segment (at most 129 MiB) and time in proportion to the log.
    ///
    /// # Errors
    ///
    /// `InUse` where another process holds the directory; `Corrupt` where the log is damaged or
    /// newer than this program (nothing is changed then); `Invalid` where `dir` is no directory;
    /// `Io` where the system refuses.
    pub fn open(
        dir: &Path,
        owner: &str,
        replay: &mut dyn FnMut(Record),
    ) -> Result<(Self, ReplayReport), Error> {
        let state_dir = StateDir::open(dir, owner)?;
        let path = state_dir.log_path();
        let directory = Box::new(RealDirectory::new(&path));
        let (mut store, report) = Self::open_in(directory, path, Sizes::REAL, replay)?;
        store._state_dir = Some(state_dir);
        Ok((store, report))
    }

    /// Reads the log of the state directory `dir` and changes nothing of it; hands every record
    /// to `each`. The directory is locked meanwhile, in the name of `owner`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `NotFound` where there is no log.
    pub fn check(
        dir: &Path,
        owner: &str,
        each: &mut dyn FnMut(Record),
    ) -> Result<ReplayReport, Error> {
        if !dir.join("log").is_dir() {
            let message = format!("there is no log in {}", dir.display());
            return Err(Error::new(ErrorKind::NotFound, message).hint("is it a state directory?"));
        }
        let state_dir = StateDir::open(dir, owner)?;
        let path = state_dir.log_path();
        check(&RealDirectory::new(&path), &path, Sizes::REAL, each)
    }

    /// Opens a log in any directory.
    pub(crate) fn open_in(
        directory: Box<dyn Directory>,
        path: PathBuf,
        sizes: Sizes,
        replay: &mut dyn FnMut(Record),
    ) -> Result<(Self, ReplayReport), Error> {
        let Recovered { segment, full, next, open_ended, report } =
            recover(&*directory, &path, sizes, replay)?;
        if let Some(torn) = &report.torn {
            let segment = torn.segment.display();
            tracing::warn!(%segment, torn.offset, torn.bytes, "cut a half-written end off the log");
        }
        let store = Self {
            directory,
            path,
            sizes,
            segment,
            full,
            next,
            open_ended,
            failure: None,
            _state_dir: None,
        };
        Ok((store, report))
    }

    /// Encodes transactions into as few frames as hold them; usually one.
    fn frames(transactions: &[Vec<Record>]) -> Result<Vec<Draft>, Error> {
        let mut frames = Vec::new();
        let mut frame = Draft::new();
        for transaction in transactions.iter().filter(|transaction| !transaction.is_empty()) {
            let before = frame.len();
            codec::encode(transaction, frame.bytes_mut())?;
            if frame.len() > frame::MAX_BYTES {
                frame.cut(before);
                let full = std::mem::replace(&mut frame, Draft::new());
                frames.extend((!full.is_empty()).then_some(full));
                codec::encode(transaction, frame.bytes_mut())?;
                refuse_too_large(&frame)?;
            }
        }
        frames.extend((!frame.is_empty()).then_some(frame));
        Ok(frames)
    }

    /// Writes one frame and makes it durable, in a new segment where this one is full.
    fn write(&mut self, frame: Draft) -> Result<(), Error> {
        self.open_ended = !frame.is_empty();
        let written = self.make_room(frame.len()).and_then(|()| {
            let bytes = frame.finish(self.segment.header.salt, self.next);
            self.segment.append(bytes, self.sizes)
        });
        self.next += 1;
        written.map_err(|error| self.poison(error))
    }

    fn make_room(&mut self, frame: usize) -> std::io::Result<()> {
        if self.segment.has_room(frame, self.sizes) {
            return Ok(());
        }
        self.begin_segment(Header::new(self.segment.header.number + 1, self.next))
    }

    fn begin_segment(&mut self, header: Header) -> std::io::Result<()> {
        let next = Segment::create(&*self.directory, header, self.sizes)?;
        let mut full = std::mem::replace(&mut self.segment, next);
        self.full.push_back((full.header.number, full.bytes()));
        full.trim()
    }

    /// Removes the segments before that one, the oldest first: those that are left follow each
    /// other, so that recovery finds where the log begins whenever this is cut short.
    fn remove_before(&mut self, first: u64) -> std::io::Result<()> {
        let names = self.directory.list()?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number(name)).collect();
        numbers.sort_unstable();
        for number in numbers.into_iter().filter(|number| *number < first) {
            self.directory.remove(&segment::name(number))?;
            self.full.retain(|(full, _)| *full != number);
        }
        Ok(())
    }

    /// Remembers the first failure and words it.
    fn poison(&mut self, error: std::io::Error) -> Error {
        let error = Error::io(format!("cannot write the log in {}", self.path.display()), error);
        self.failure = Some(error.to_string());
        error.hint(POISONED_HINT)
    }

    fn refuse_if_poisoned(&self) -> Result<(), Error> {
        let Some(failure) = &self.failure else { return Ok(()) };
        let message = format!("the log takes nothing more since it failed: {failure}");
        Err(Error::new(ErrorKind::Io, message).hint(POISONED_HINT))
    }
}

const POISONED_HINT: &str = "everything acknowledged before is safe; make room on the disk or \
                             see to its trouble, then start again";

pub(super) fn refuse_too_large(frame: &Draft) -> Result<(), Error> {
    if frame.len() <= frame::MAX_BYTES {
        return Ok(());
    }
    let (is, most) = (frame.len() - frame::HEADER_BYTES, MAX_TRANSACTION_BYTES);
    Err(Error::invalid(format!("one transaction of {is} bytes; the log takes {most} at most"))
        .hint("submit fewer jobs at a time"))
}

impl Store for LogStore {
    fn append(&mut self, transactions: &[Vec<Record>]) -> Result<(), Error> {
        self.refuse_if_poisoned()?;
        Self::frames(transactions)?.into_iter().try_for_each(|frame| self.write(frame))
    }

    fn bytes(&self) -> u64 {
        self.full.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.segment.bytes()
    }

    /// Begins a segment. The mark is its number.
    fn mark(&mut self) -> Result<Mark, Error> {
        self.refuse_if_poisoned()?;
        let number = self.segment.header.number + 1;
        let begun = self.begin_segment(Header::beginning(number, self.next));
        begun.map_err(|error| self.poison(error))?;
        Ok(Mark(number))
    }

    fn forget_before(&mut self, mark: Mark) -> Result<(), Error> {
        self.refuse_if_poisoned()?;
        let first = mark.0.min(self.segment.header.number);
        self.remove_before(first).map_err(|error| {
            Error::io(format!("cannot remove old segments in {}", self.path.display()), error)
        })
    }
}

impl Drop for LogStore {
    /// Closes the log with an empty frame, so that damage to the last records is not taken for
    /// a torn tail. A log without it is as good, but for that.
    fn drop(&mut self) {
        if self.open_ended && self.failure.is_none() {
            // Nobody is left to tell, and nothing depends on it.
            let _ = self.write(Draft::new());
        }
    }
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("path", &self.path).field("next", &self.next).finish()
    }
}
