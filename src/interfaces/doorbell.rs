//! A socket that an opcode makes for somebody to connect to, and waits at.

use std::fs::DirBuilder;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::runtime::{CancelToken, OnCancel};

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    /// Somebody has connected, or has sent or closed what it had.
    ByClient,
    /// The opcode is to stop.
    Canceled,
    /// Nothing has happened for as long as was to be waited.
    TimeIsUp,
}

/// A directory of its own with a socket in it, both removed when dropped.
#[derive(Debug)]
pub(super) struct Doorbell {
    directory: PathBuf,
    listener: UnixListener,
    /// Can be read from as soon as the opcode is to stop.
    canceled: UnixStream,
    _listening: OnCancel,
}

impl Doorbell {
    /// Makes the socket; only this user can connect. Its path is new.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub(super) fn hang(cancel: &CancelToken) -> io::Result<Self> {
        let (wake, canceled) = UnixStream::pair()?;
        let random = RandomState::new().hash_one(std::process::id());
        let directory = std::env::temp_dir().join(format!("lockmaster-{random:016x}"));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let listener = UnixListener::bind(directory.join("sock")).inspect_err(|_| {
            // Nothing is in it; the error about the socket is the one to tell.
            let _ = std::fs::remove_dir(&directory);
        })?;
        // Dropping its end makes the other one readable.
        let listening = cancel.on_cancel(move || drop(wake));
        Ok(Self { directory, listener, canceled, _listening: listening })
    }

    /// Where to connect to.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("sock")
    }

    /// Waits until somebody connects.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub(super) fn wait(&self, patience: Duration) -> io::Result<Rung> {
        wait_readable(&self.listener, &self.canceled, patience)
    }

    /// Waits until the first who has connected sends something or leaves.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub(super) fn wait_for_reply(&self, patience: Duration) -> io::Result<Rung> {
        let (client, _) = self.listener.accept()?;
        wait_readable(&client, &self.canceled, patience)
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        // Left-overs in the temporary directory harm nobody.
        let _ = std::fs::remove_file(self.path());
        let _ = std::fs::remove_dir(&self.directory);
    }
}

/// Returns when one of the two can be read or accepted from, or when time is up.
fn wait_readable(one: impl AsFd, canceled: impl AsFd, patience: Duration) -> io::Result<Rung> {
    let deadline = Instant::now().checked_add(patience);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut polled = [PollFd::new(&canceled, PollFlags::IN), PollFd::new(&one, PollFlags::IN)];
        match poll(&mut polled, left.as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) => return Ok(Rung::TimeIsUp),
            Ok(_) if polled[0].revents().is_empty() => return Ok(Rung::ByClient),
            Ok(_) => return Ok(Rung::Canceled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::CancelCause;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_connection_ends_the_wait_and_leaving_is_a_reply() {
        let bell = Doorbell::hang(&CancelToken::new()).unwrap();
        let client = UnixStream::connect(bell.path()).unwrap();
        assert_eq!(bell.wait(LONG).unwrap(), Rung::ByClient);
        drop(client);
        assert_eq!(bell.wait_for_reply(LONG).unwrap(), Rung::ByClient);
    }

    #[test]
    fn nobody_who_comes_is_waited_for_as_long_as_was_said() {
        let bell = Doorbell::hang(&CancelToken::new()).unwrap();
        assert_eq!(bell.wait(Duration::from_millis(1)).unwrap(), Rung::TimeIsUp);
        let _client = UnixStream::connect(bell.path()).unwrap();
        assert_eq!(bell.wait_for_reply(Duration::from_millis(1)).unwrap(), Rung::TimeIsUp);
    }

    #[test]
    fn cancelling_ends_a_wait_and_nothing_is_left_behind() {
        let cancel = CancelToken::new();
        let bell = Doorbell::hang(&cancel).unwrap();
        cancel.set(CancelCause::Requested);
        assert_eq!(bell.wait(LONG).unwrap(), Rung::Canceled);
        let directory = bell.directory.clone();
        drop(bell);
        assert!(!directory.exists());
    }
}
