//! Locks among the processes of a machine: one file for each, in one directory.
//!
//! The lock is the kernel's (`flock` on an open file), so it ends with its process however that
//! ends; what is written in the file only tells who holds it. `design/fences.md` says what a
//! fence is safe against, and how.
//!
//! Two files belong to a lock: the lock itself, and (made only by those who have to wait) the
//! *line*: whoever waits holds the line exclusively while it waits for the lock, and whoever
//! finds the line taken does not pass. That keeps a stream of sharers from starving one who wants
//! the lock for itself, and gives the lock in the order of arrival.

mod directory;
mod foreign;
mod levels;
mod listing;
mod name;
mod network;
mod owner;
mod places;
mod sweep;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt};
use std::path::{Path, PathBuf};

use fs4::{FileExt, TryLockError};

pub use directory::LockDir;
pub use foreign::ForeignLocks;
pub use listing::FenceReport;
pub use name::FenceName;
pub use owner::OwnerRecord;
pub use sweep::Swept;

use crate::vocabulary::{Error, LockMode};
use foreign::ForeignFence;

/// How many dead owners' records are handed down at most: those that died one after the other
/// before anybody had released the lock in peace.
const GENERATIONS: usize = 4;
/// More is not read of what stands in a lock file.
const RECORD_BYTES: usize = 64 << 10;
/// What the first byte of a file is where its last owner has released it in peace. The rest stays:
/// cutting a file costs more than all the rest of a lock.
const RELEASED: &[u8] = b"-";

/// A lock that this process holds among the processes of the machine; released when dropped.
///
/// Released by unlocking, not only by closing: a child that is just being started still has the
/// file open, and with it the lock. A child made by `fork` that drops a copy of this only closes
/// its file: the lock is its parent's.
#[derive(Debug)]
pub struct Fence {
    name: FenceName,
    mode: LockMode,
    file: File,
    path: PathBuf,
    /// Who made it: a forked child must not release it.
    pid: u32,
    record: Option<OwnerRecord>,
    died: Vec<OwnerRecord>,
    /// Held only to be released after the file's own lock.
    foreign: Option<ForeignFence>,
}

impl Fence {
    /// Makes a fence of a lock that was just taken: reads who died with it, writes who has it.
    fn new(
        name: FenceName,
        mode: LockMode,
        (file, path): (File, PathBuf),
        owner: &OwnerRecord,
        foreign: Option<ForeignFence>,
    ) -> Result<Self, Error> {
        let died = read_records(&file);
        let record = (mode == LockMode::Exclusive).then(|| owner.clone());
        let pid = std::process::id();
        let mut fence = Self { name, mode, file, path, pid, record, died, foreign };
        fence.write_records()?;
        Ok(fence)
    }

    /// Which lock it is.
    #[must_use]
    pub fn name(&self) -> &FenceName {
        &self.name
    }

    /// How it is held.
    #[must_use]
    pub const fn mode(&self) -> LockMode {
        self.mode
    }

    /// Those who held it exclusively and died with it, the last one first; empty where the last
    /// owner released it in peace.
    #[must_use]
    pub fn died(&self) -> &[OwnerRecord] {
        &self.died
    }

    /// Writes into the file what this owner is about to do, for whoever comes if it dies. Does
    /// nothing where the lock is shared: its file has room for one owner.
    ///
    /// # Errors
    ///
    /// `Io` where it cannot be written.
    pub fn note(&mut self, note: &str) -> Result<(), Error> {
        if let Some(record) = &mut self.record {
            record.note = note.to_owned();
        }
        self.write_records()
    }

    /// What this owner has written into the file; sharers write nothing.
    #[must_use]
    pub const fn record(&self) -> Option<&OwnerRecord> {
        self.record.as_ref()
    }

    /// Shares the lock from now on. The kernel does so in one step on the file systems of one
    /// machine: nobody else has it alone in between.
    ///
    /// # Errors
    ///
    /// `Io`; `Refused` where the file system did it in two steps, and somebody came in between:
    /// the lock is lost then.
    pub fn downgrade(&mut self) -> Result<(), Error> {
        if self.mode == LockMode::Shared {
            return Ok(());
        }
        // Before anybody else shares it and takes the record for a dead one's.
        let cleared = self.file.write_all_at(RELEASED, 0);
        cleared.map_err(|error| failed("cannot write", &self.path, error))?;
        (self.mode, self.record) = (LockMode::Shared, None);
        match try_lock(&self.file, LockMode::Shared) {
            Ok(true) => self.foreign.as_ref().map_or(Ok(()), ForeignFence::downgrade),
            Ok(false) => Err(lost_to_another(&self.path)),
            Err(error) => Err(failed("cannot share", &self.path, error)),
        }
    }

    /// Has programs that this process starts from now on keep the lock, too: should this process be
    /// killed, the lock lasts as long as they do. Releasing it releases it for them all.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn keep_in_children(&self) -> Result<(), Error> {
        rustix::io::fcntl_setfd(&self.file, rustix::io::FdFlags::empty())
            .map_err(|error| failed("cannot pass on", &self.path, error.into()))
    }

    /// Looks whether the file is still the one that others would open: it is not where somebody
    /// has removed it or cleared the directory, and then others may hold the lock as well.
    ///
    /// # Errors
    ///
    /// `Refused` where it is not.
    pub fn verify(&self) -> Result<(), Error> {
        match is_current(&self.file, &self.path) {
            Ok(true) => Ok(()),
            found => Err(lost(&self.path, found.err())),
        }
    }

    fn write_records(&mut self) -> Result<(), Error> {
        let Some(record) = &self.record else { return Ok(()) };
        let mut text = String::new();
        // What was longer before goes on behind an empty line.
        for record in [record].into_iter().chain(&self.died).take(GENERATIONS) {
            text.push_str(&record.to_line());
        }
        text.push('\n');
        let written = self.file.write_all_at(text.as_bytes(), 0);
        written.map_err(|error| failed("cannot write", &self.path, error))
    }
}

impl Drop for Fence {
    /// Errors change nothing: the file is closed next, and with it the lock.
    fn drop(&mut self) {
        if std::process::id() != self.pid {
            return;
        }
        if self.record.is_some() {
            let _ = self.file.write_all_at(RELEASED, 0);
        }
        let _ = FileExt::unlock(&self.file);
    }
}

/// The head of those who wait for a lock among the processes of the machine.
#[derive(Debug)]
pub struct Line {
    file: File,
}

impl Line {
    /// Lets the next one come to the head, whoever waits for the lock meanwhile.
    pub fn leave(&self) {
        // An error changes nothing: the line is left when the file is closed.
        let _ = FileExt::unlock(&self.file);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Takes a lock on that file, or says that somebody is in the way.
fn try_lock(file: &File, mode: LockMode) -> io::Result<bool> {
    let tried = match mode {
        LockMode::Shared => FileExt::try_lock_shared(file),
        LockMode::Exclusive => FileExt::try_lock(file),
    };
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes a lock on that file as soon as it is free. Signals do not end the wait.
fn lock(file: &File, mode: LockMode) -> io::Result<()> {
    through_signals(|| match mode {
        LockMode::Shared => FileExt::lock_shared(file),
        LockMode::Exclusive => FileExt::lock(file),
    })
}

/// Calls the system again as long as a signal ends the call.
fn through_signals(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Whether that path leads to that file: locks belong to the file, not to its name.
fn is_current(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The records in a lock file. What cannot be read is not there: they are a help, no more.
fn read_records(file: &File) -> Vec<OwnerRecord> {
    let mut content = Vec::new();
    let mut chunk = [0; 4096];
    while content.len() < RECORD_BYTES {
        match file.read_at(&mut chunk, content.len() as u64) {
            Ok(count) if count > 0 => content.extend(&chunk[..count]),
            _ => break,
        }
    }
    if content.starts_with(RELEASED) {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&content);
    text.lines().take_while(|line| !line.is_empty()).filter_map(OwnerRecord::parse).collect()
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "see who owns it with ls -l; locks of one node need \
                                            one directory that all who use them may write"
        }
        io::ErrorKind::StorageFull => "make room there: a lock needs a file",
        _ => "the lock directory has to be on a local file system that can be written",
    };
    Error::io(format!("{what} {}", path.display()), error).hint(hint)
}

fn lost_to_another(path: &Path) -> Error {
    let message = format!("the lock {} went to another process as it was shared", path.display());
    Error::new(crate::vocabulary::ErrorKind::Refused, message)
        .hint("put the lock directory on a local file system")
}

fn lost(path: &Path, cause: Option<io::Error>) -> Error {
    let message = format!("the lock file {} was removed while its lock was held", path.display());
    let error = Error::new(crate::vocabulary::ErrorKind::Refused, message).hint(
        "others may hold the lock by now; clear lock directories with lockmaster locks --sweep",
    );
    match cause {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_a_signal_ends_is_begun_again() {
        let mut calls = 0;
        let done = through_signals(|| {
            calls += 1;
            if calls < 3 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        assert!(done.is_ok() && calls == 3);
        let failed = through_signals(|| Err(io::ErrorKind::Unsupported.into()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
