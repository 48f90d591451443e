//! What the log asks of a file system, and the real one.
//!
//! Two small traits, so that tests can put a file system under the log that loses what was not
//! synced. Nothing here decides anything.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;

use crate::vocabulary::Error;

/// The permissions of every file in a state directory.
pub(crate) const FILE_MODE: u32 = 0o600;

/// What the operating system has refused, with what to do about it.
pub(crate) fn refused(what: impl Into<String>, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "see who owns it with ls -ld, or name another directory",
        io::ErrorKind::ReadOnlyFilesystem => {
            "name a state directory on a file system that can be written"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room on the disk, or raise the limit; then start again: nothing is lost"
        }
        _ => "name another state directory if this one cannot be used",
    };
    Error::io(what, error).hint(hint)
}

/// One directory of files.
pub(crate) trait Directory: Send + Sync {
    /// The names of what is in it.
    fn list(&self) -> io::Result<Vec<String>>;
    /// The content of a file, of which no more than `at_most` bytes are read.
    fn read(&self, name: &str, at_most: u64) -> io::Result<Vec<u8>>;
    /// How long a file is; none where there is none.
    fn len(&self, name: &str) -> io::Result<Option<u64>>;
    /// A file that exists, for writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// A new, empty file, in place of one that may exist.
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable: what was created, renamed and removed.
    fn sync(&self) -> io::Result<()>;
}

/// One file open for writing.
pub(crate) trait LogFile: Send {
    /// Writes all bytes at that offset, growing the file where they reach beyond its end.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// A directory of the operating system's.
#[derive(Debug)]
pub(crate) struct RealDirectory(PathBuf);

impl RealDirectory {
    /// The directory at that path, which exists.
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Directory for RealDirectory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name()));
        names.map(|name: io::Result<_>| Ok(name?.to_string_lossy().into_owned())).collect()
    }

    fn read(&self, name: &str, at_most: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.0.join(name))?;
        let expected = file.metadata()?.len().min(at_most);
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        file.take(at_most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn len(&self, name: &str) -> io::Result<Option<u64>> {
        match self.0.join(name).metadata() {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().write(true).open(self.0.join(name))?;
        Ok(Box::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(FILE_MODE);
        Ok(Box::new(options.open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl LogFile for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)?;
        // A file without a name is gone when it is closed, however well it is synced.
        match names(self)? {
            0 => Err(io::Error::other("somebody has deleted the file that is written")),
            _ => Ok(()),
        }
    }
}

/// How many names a file has.
///
/// Asks for nothing else: whoever asks when a file was written has the system note the next write
/// more exactly, and that note then goes to the disk with each sync, which takes half as long again.
fn names(file: &File) -> io::Result<u64> {
    match statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::NLINK) {
        Ok(found) => Ok(found.stx_nlink.into()),
        // Before Linux 4.11.
        Err(Errno::NOSYS) => Ok(file.metadata()?.nlink()),
        Err(error) => Err(error.into()),
    }
}
