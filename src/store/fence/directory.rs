//! The lock directory of a machine, and how a lock in it is taken.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::foreign::{ForeignFence, ForeignLocks};
use super::listing::Kernel;
use super::name::FenceName;
use super::network::network_file_system;
use super::owner::OwnerRecord;
use super::places::{self, Modes, Places};
use super::{Fence, Line, failed, lock, read_records, try_lock};
use crate::vocabulary::{Error, LockMode};

/// The lock directory of a machine: processes that open the same one keep each other out.
///
/// It belongs on a local file system, best one that is empty after a start of the machine
/// (`/run`). Everybody who uses it has to be able to write in it.
#[derive(Debug)]
pub struct LockDir {
    path: PathBuf,
    modes: Modes,
    pub(super) foreign: Vec<ForeignLocks>,
    warnings: Vec<String>,
}

impl LockDir {
    /// Opens the directory; makes it, with mode 0700, where it is missing.
    ///
    /// # Errors
    ///
    /// `Invalid` where there is something else than a directory, `Io` where it cannot be made or
    /// looked at.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| failed("cannot make the lock directory", path, error))?;
        let found = path.metadata().map_err(|error| failed("cannot look at", path, error))?;
        if !found.is_dir() {
            return Err(Error::invalid(format!("{} is not a directory", path.display())));
        }
        let directory = found.mode() & 0o777;
        let modes = Modes { file: directory & 0o666, directory };
        let warnings = warnings(path, directory)?;
        Ok(Self { path: path.to_owned(), modes, foreign: Vec::new(), warnings })
    }

    /// Has locks of a level also keep out programs that lock with `fcntl`.
    #[must_use]
    pub fn with_foreign(mut self, foreign: ForeignLocks) -> Self {
        self.foreign.push(foreign);
        self
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is doubtful about it: a network file system, or that anybody may write there.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Takes a lock unless somebody is in the way: one who holds it in conflict, or one who waits
    /// for it. Some ten calls of the system.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn try_lock(
        &self,
        name: &FenceName,
        mode: LockMode,
        owner: &OwnerRecord,
    ) -> Result<Option<Fence>, Error> {
        let places = Places::of(&self.path, name);
        let free = self.line_is_free(&places.line);
        if !free.map_err(|error| failed("cannot look at", &places.line, error))? {
            return Ok(None);
        }
        self.take(name, mode, owner, places, Wait::No)
    }

    /// Waits in line for a lock; returns at its head. Blocks the thread, and nothing ends that but
    /// the line's moving on.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn join_line(&self, name: &FenceName) -> Result<Line, Error> {
        let path = Places::of(&self.path, name).line;
        let wait = |file: &std::fs::File| lock(file, LockMode::Exclusive).map(|()| true);
        match places::locked(&path, self.modes, wait) {
            Ok(Some(file)) => Ok(Line { file }),
            Ok(None) => Err(failed("cannot lock", &path, io::ErrorKind::WouldBlock.into())),
            Err(error) => Err(failed("cannot lock", &path, error)),
        }
    }

    /// Takes a lock as soon as it is free. For the head of the line; blocks the thread, and nothing
    /// ends that but the lock's becoming free.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn lock(
        &self,
        name: &FenceName,
        mode: LockMode,
        owner: &OwnerRecord,
    ) -> Result<Fence, Error> {
        let places = Places::of(&self.path, name);
        let path = places.lock.clone();
        let taken = self.take(name, mode, owner, places, Wait::Yes)?;
        taken.ok_or_else(|| failed("cannot lock", &path, io::ErrorKind::WouldBlock.into()))
    }

    fn take(
        &self,
        name: &FenceName,
        mode: LockMode,
        owner: &OwnerRecord,
        places: Places,
        wait: Wait,
    ) -> Result<Option<Fence>, Error> {
        let path = places.lock;
        let file = places::locked(&path, self.modes, |file| match wait {
            Wait::No => try_lock(file, mode),
            Wait::Yes => lock(file, mode).map(|()| true),
        });
        let Some(file) = file.map_err(|error| failed("cannot lock", &path, error))? else {
            return Ok(None);
        };
        let foreign = match self.foreign_fence(name, mode, wait)? {
            Foreign::Nothing => None,
            Foreign::Held(fence) => Some(fence),
            // The file was locked in vain; unlocked, so that a child just being started does not
            // keep it locked.
            Foreign::Busy => {
                let unlocked = fs4::FileExt::unlock(&file);
                unlocked.map_err(|error| failed("cannot unlock", &path, error))?;
                return Ok(None);
            }
        };
        Fence::new(name.clone(), mode, (file, path), owner, foreign).map(Some)
    }

    fn foreign_fence(
        &self,
        name: &FenceName,
        mode: LockMode,
        wait: Wait,
    ) -> Result<Foreign, Error> {
        let Some(foreign) = self.foreign.iter().find(|foreign| foreign.level == name.level())
        else {
            return Ok(Foreign::Nothing);
        };
        let Some(lock) = name.name() else { return Ok(Foreign::Nothing) };
        let fence = ForeignFence::take(foreign, lock, mode, wait == Wait::Yes)?;
        Ok(fence.map_or(Foreign::Busy, Foreign::Held))
    }

    /// Whether nobody waits. Those who wait hold the line, whose file is made by the first.
    fn line_is_free(&self, path: &Path) -> io::Result<bool> {
        let Some(file) = places::open_if_there(path)? else { return Ok(true) };
        let free = try_lock(&file, LockMode::Shared)?;
        if free {
            fs4::FileExt::unlock(&file)?;
        }
        Ok(free)
    }

    /// What the last one who held a lock exclusively wrote into its file, and has not cleared: it
    /// holds the lock, or died with it. Only a help; sharers do not write.
    #[must_use]
    pub fn record(&self, name: &FenceName) -> Option<OwnerRecord> {
        let file = std::fs::File::open(Places::of(&self.path, name).lock).ok()?;
        read_records(&file).into_iter().next()
    }

    /// The process numbers of those who hold a lock, as far as the kernel tells us; for the files
    /// of some file systems it tells nothing.
    #[must_use]
    pub fn holding_processes(&self, name: &FenceName) -> Vec<u32> {
        let locked = Kernel::read().of(&Places::of(&self.path, name).lock);
        locked.holders.into_iter().map(|(pid, _)| pid).filter(|pid| *pid > 0).collect()
    }

    /// The path of a lock's file: for who wants to look.
    #[must_use]
    pub fn file_of(&self, name: &FenceName) -> PathBuf {
        Places::of(&self.path, name).lock
    }

    /// The lock whose file of that kind that is, if it is one.
    pub(super) fn name_of(&self, path: &Path, kind: &str) -> Option<FenceName> {
        let below = path.strip_prefix(&self.path).ok()?.to_str()?;
        FenceName::from_stem(Path::new(below.strip_suffix(kind)?.strip_suffix('.')?))
    }
}

/// Whether to wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    No,
    Yes,
}

/// What became of the lock that keeps foreign programs out.
enum Foreign {
    Nothing,
    Held(ForeignFence),
    Busy,
}

fn warnings(path: &Path, mode: u32) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    let shown = path.display();
    let network = network_file_system(path);
    if let Some(kind) = network.map_err(|error| failed("cannot look at", path, error))? {
        warnings.push(format!(
            "the lock directory {shown} is on {kind}: its locks may not keep anybody out, or may \
             be lost when the server is; name a directory on a local file system"
        ));
    }
    if mode & 0o002 != 0 {
        warnings.push(format!(
            "anybody may write in the lock directory {shown}, and so keep its locks for ever"
        ));
    }
    Ok(warnings)
}
