//! Keeping out programs that lock with `fcntl`: fasteners, oslo.concurrency, tooz.
//!
//! Their locks and `flock` do not see each other. While a system moves from them to this crate,
//! piece by piece, a level can take their lock beside its own: the same file, locked as an open
//! file description (`F_OFD_SETLK`), which conflicts with theirs but, unlike theirs, is not lost
//! when somebody else in the process closes the file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::places::{Modes, locked};
use crate::vocabulary::{Error, LockMode, LockName};

/// Where other programs have the lock files that belong to the locks of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignLocks {
    /// The level whose locks also take theirs.
    pub level: String,
    /// The directory of their lock files, such as the `lock_path` of oslo.concurrency.
    pub directory: PathBuf,
    /// What their file names begin with, such as `cinder-`; a `/` in a name is a `_` in theirs.
    pub prefix: String,
}

impl ForeignLocks {
    /// Those whose files are called `path` and the name of the lock: `/var/lib/cinder/cinder-`.
    #[must_use]
    pub fn at(level: &str, path: &Path) -> Self {
        let text = path.as_os_str().as_encoded_bytes();
        let (directory, prefix) = match text.ends_with(b"/") {
            true => (path.to_owned(), String::new()),
            false => (
                path.parent().map(Path::to_owned).unwrap_or_default(),
                path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            ),
        };
        Self { level: level.to_owned(), directory, prefix }
    }

    /// The path that, with the name of a lock, is their file.
    pub(super) fn path(&self) -> PathBuf {
        // Joined as text: an empty prefix leaves the `/` at the end.
        self.directory.join(&self.prefix)
    }

    fn file_of(&self, name: &LockName) -> PathBuf {
        self.directory.join(format!("{}{}", self.prefix, name.as_str().replace('/', "_")))
    }
}

/// A lock that keeps such programs out; released when dropped.
#[derive(Debug)]
pub(super) struct ForeignFence {
    file: File,
    path: PathBuf,
}

impl ForeignFence {
    /// Takes it; none where it is busy and not to be waited for.
    pub(super) fn take(
        foreign: &ForeignLocks,
        name: &LockName,
        mode: LockMode,
        wait: bool,
    ) -> Result<Option<Self>, Error> {
        let path = foreign.file_of(name);
        let modes = Modes { file: 0o660, directory: 0o750 };
        let file = locked(&path, modes, |file| set(file, kind(mode), wait));
        let file = file.map_err(|error| refused(&path, error))?;
        Ok(file.map(|file| Self { file, path }))
    }

    /// Shares it from now on, in one step.
    pub(super) fn downgrade(&self) -> Result<(), Error> {
        let shared = set(&self.file, libc::F_RDLCK, false);
        shared.map(drop).map_err(|error| refused(&self.path, error))
    }
}

impl Drop for ForeignFence {
    fn drop(&mut self) {
        // An error changes nothing: the file is closed next.
        let _ = set(&self.file, libc::F_UNLCK, false);
    }
}

const fn kind(mode: LockMode) -> i32 {
    match mode {
        LockMode::Shared => libc::F_RDLCK,
        LockMode::Exclusive => libc::F_WRLCK,
    }
}

/// Locks or unlocks the whole file; whether that was possible at once, or was waited for.
fn set(file: &File, kind: i32, wait: bool) -> io::Result<bool> {
    // The constants are small; the fields are 16 bits wide.
    let whole = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    loop {
        let argument = match wait {
            true => FcntlArg::F_OFD_SETLKW(&whole),
            false => FcntlArg::F_OFD_SETLK(&whole),
        };
        match fcntl(file, argument) {
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::EACCES) if !wait => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn refused(path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot lock {} against other programs", path.display()), error)
        .hint("it has to be the directory where they have their lock files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn their_files_are_a_path_and_the_name_of_the_lock() {
        let name = LockName::new("a/b").unwrap();
        for (path, file) in [
            ("/var/lib/cinder/cinder-", "/var/lib/cinder/cinder-a_b"),
            ("/var/lib/locks/", "/var/lib/locks/a_b"),
            ("locks-", "locks-a_b"),
        ] {
            let foreign = ForeignLocks::at("volume", Path::new(path));
            assert_eq!(foreign.file_of(&name), Path::new(file));
        }
    }
}
