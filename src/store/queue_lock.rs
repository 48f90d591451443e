//! The state directory as a process beside the master sees it: a node daemon, a tool.
//!
//! Whoever has the lock on the directory has checked what is in it. A process that comes second
//! relies on that, may read, and refuses to write.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::durable_file::replace_file;
use super::file::RealDirectory;
use super::recovery::check;
use super::segment::Sizes;
use super::state_dir::StateDir;
use crate::vocabulary::{Error, ErrorKind};

/// Names in the state directory that are the log's.
const RESERVED: [&str; 3] = ["lock", "log", super::state_dir::ARCHIVE];

/// A state directory that this process has for itself, or shares with who has it.
///
/// Taken for as long as the process lives, or for one operation at a time: a master can start
/// only while nobody has it.
#[derive(Debug)]
#[must_use = "the directory is given back when this is dropped"]
pub struct QueueLock {
    path: PathBuf,
    /// What is known of who has it; nothing where this process does.
    holder: Option<String>,
    /// Keeps other processes out.
    _held: Option<StateDir>,
}

impl QueueLock {
    /// Takes the lock on the state directory, creating that where its parent exists, and checks
    /// the log. Where another process has it, that one has done so: nothing is checked or changed.
    /// Never waits.
    ///
    /// `owner` says who takes it, as for [`LogStore::open`](super::LogStore::open).
    ///
    /// # Errors
    ///
    /// `Corrupt` where the log is damaged or of a newer version; `Invalid` where `dir` is no
    /// directory; `Io`. The lock is not held then.
    pub fn open(dir: &Path, owner: &str) -> Result<Self, Error> {
        let path = dir.to_owned();
        match StateDir::open(dir, owner) {
            Ok(state_dir) => {
                let log = state_dir.log_path();
                check(&RealDirectory::new(&log), &log, Sizes::REAL, &mut |_| {})?;
                Ok(Self { path, holder: None, _held: Some(state_dir) })
            }
            Err(error) if error.kind() == ErrorKind::InUse => {
                Ok(Self { path, holder: Some(error.to_string()), _held: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether this process has the directory for itself, and may write.
    #[must_use]
    pub const fn is_exclusive(&self) -> bool {
        self.holder.is_none()
    }

    /// Puts a file into the directory, in the place of one that may be there; atomically, and
    /// durable when this returns `Ok`. Not from two threads at once.
    ///
    /// # Errors
    ///
    /// `InUse` where another process had the directory when this was opened, also if it has gone
    /// since: open again. `Invalid` where the name is no name of a file, or the log's; `Io`.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let place = self.place(name)?;
        match &self.holder {
            None => replace_file(&place, content),
            Some(holder) => {
                Err(Error::new(ErrorKind::InUse, format!("{name} is not written: {holder}"))
                    .hint("have that process write it, or try again when it has ended"))
            }
        }
    }

    /// The content of a file of the directory; nothing where there is none.
    ///
    /// # Errors
    ///
    /// `Invalid` where the name is no name of a file, or the log's, or it has more than `most`
    /// bytes; `Io`.
    pub fn read(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>, Error> {
        let place = self.place(name)?;
        let mut content = Vec::new();
        let read = File::open(&place)
            .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut content));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("cannot read {}", place.display()), error)),
            Ok(bytes) if bytes > most => {
                Err(Error::invalid(format!("{} is longer than {most} bytes", place.display())))
            }
            Ok(_) => Ok(Some(content)),
        }
    }

    fn place(&self, name: &str) -> Result<PathBuf, Error> {
        let is_name = Path::new(name).file_name().is_some_and(|last| last == name);
        if is_name && !RESERVED.contains(&name) {
            return Ok(self.path.join(name));
        }
        Err(Error::invalid(format!("{name:?} is not the name of a file beside the log")))
    }
}
