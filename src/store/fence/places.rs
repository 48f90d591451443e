//! Opening the files of locks.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::is_current;
use super::name::FenceName;

/// The lock itself.
pub(super) const LOCK: &str = "lock";
/// The line of those who wait for it.
pub(super) const LINE: &str = "line";

/// The paths of a lock's files.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) lock: PathBuf,
    pub(super) line: PathBuf,
}

impl Places {
    pub(super) fn of(directory: &Path, name: &FenceName) -> Self {
        // Not `with_extension`: a name may have dots in it.
        let stem = directory.join(name.stem()).into_os_string();
        let with = |extension: &str| {
            let mut path = stem.clone();
            path.push(".");
            path.push(extension);
            PathBuf::from(path)
        };
        Self { lock: with(LOCK), line: with(LINE) }
    }
}

/// How lock files are made: who may use the directory may use them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modes {
    pub(super) file: u32,
    pub(super) directory: u32,
}

/// Opens a file that may be there, made if need be; not through a symbolic link, and never
/// inherited by programs that are started (std sees to that).
pub(super) fn open(path: &Path, modes: Modes) -> io::Result<File> {
    match options().create(true).mode(modes.file).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(path);
            DirBuilder::new().recursive(true).mode(modes.directory).create(parent)?;
            options().create(true).mode(modes.file).open(path)
        }
        opened => opened,
    }
}

/// Opens a file if it is there.
pub(super) fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match options().open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // A flag; its bits are the same, signed or not.
    let no_follow = OFlags::NOFOLLOW.bits() as i32;
    options.read(true).write(true).truncate(false).custom_flags(no_follow);
    options
}

/// Opens and locks a file until it is locked under its name: whoever removes a lock file holds
/// it, so that a lock on a file without a name is a lock on nothing.
///
/// `lock` says whether it got the lock; None is passed on where it did not.
pub(super) fn locked(
    path: &Path,
    modes: Modes,
    mut lock: impl FnMut(&File) -> io::Result<bool>,
) -> io::Result<Option<File>> {
    loop {
        let file = match open(path, modes) {
            // The directory of a long name was swept away between making and opening.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        if !lock(&file)? {
            return Ok(None);
        }
        if is_current(&file, path)? {
            return Ok(Some(file));
        }
        fs4::FileExt::unlock(&file)?;
    }
}
