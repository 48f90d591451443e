//! Removing lock files that nobody holds.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::LockDir;
use super::name::FenceName;
use super::owner::OwnerRecord;
use super::places::{self, LINE, LOCK, Places};
use super::{failed, is_current, read_records, try_lock};
use crate::vocabulary::{Error, LockMode};

/// What a sweep found and did.
#[derive(Debug, Default)]
pub struct Swept {
    /// Of how many locks the files were removed. What belongs to a level as a whole, and to the
    /// lines of those who waited, is not counted.
    pub removed: usize,
    /// Locks that are held: their files stay. A level as a whole is among them where none of its
    /// single locks is.
    pub held: Vec<FenceName>,
    /// Locks whose owner died since the machine was started: their files stay, for the next owner
    /// to read.
    pub died: Vec<(FenceName, OwnerRecord)>,
    /// Locks whose owner was there when the machine went down: their files are gone.
    pub earlier: Vec<(FenceName, OwnerRecord)>,
    /// What could not be looked at or removed; the sweep went on.
    pub failed: Vec<Error>,
}

/// What became of one lock file.
enum Fate {
    Removed,
    Held,
    Died(OwnerRecord),
    Earlier(OwnerRecord),
}

impl LockDir {
    /// Removes the files of locks that nobody holds or waits for. Safe at any time: a file is
    /// removed only by who holds its lock, and who takes a lock looks whether its file is still
    /// there. Files that are not ours are left alone.
    ///
    /// # Errors
    ///
    /// `Io` where the directory cannot be read; what concerns single files is in the answer.
    pub fn sweep(&self) -> Result<Swept, Error> {
        self.sweep_those(&|_| true)
    }

    /// [`sweep`](Self::sweep), of some locks only: those of a thing that is gone, say.
    ///
    /// # Errors
    ///
    /// As for all.
    pub fn sweep_those(&self, wanted: &dyn Fn(&FenceName) -> bool) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let levels = entries(self.path());
        let levels = levels.map_err(|error| failed("cannot read", self.path(), error))?;
        for level in levels.into_iter().filter(|level| level.is_dir()) {
            self.sweep_below(&level, wanted, &mut swept);
        }
        swept.leave_out_what_is_implied();
        Ok(swept)
    }

    fn sweep_below(
        &self,
        directory: &Path,
        wanted: &dyn Fn(&FenceName) -> bool,
        swept: &mut Swept,
    ) {
        let found = match entries(directory) {
            Ok(found) => found,
            Err(error) => return swept.failed.push(failed("cannot read", directory, error)),
        };
        for path in found {
            if path.is_dir() {
                self.sweep_below(&path, wanted, swept);
                // Only where it is empty; where it is needed again, it is made again.
                let _ = std::fs::remove_dir(&path);
            } else if let Some(name) = self.name_of(&path, LOCK).filter(wanted) {
                self.sweep_lock(&path, name, swept);
            } else if self.name_of(&path, LINE).is_some_and(|name| wanted(&name)) {
                sweep_line(&path, swept);
            }
        }
    }

    fn sweep_lock(&self, path: &Path, name: FenceName, swept: &mut Swept) {
        match remove_unheld(path, Some(&Places::of(self.path(), &name).line)) {
            Ok(None) => {}
            Ok(Some(Fate::Removed)) => swept.removed += usize::from(name.name().is_some()),
            Ok(Some(Fate::Held)) => swept.held.push(name),
            Ok(Some(Fate::Died(record))) => swept.died.push((name, record)),
            Ok(Some(Fate::Earlier(record))) => {
                swept.removed += usize::from(name.name().is_some());
                swept.earlier.push((name, record));
            }
            Err(error) => swept.failed.push(failed("cannot remove", path, error)),
        }
    }
}

fn sweep_line(path: &Path, swept: &mut Swept) {
    if let Err(error) = remove_unheld(path, None) {
        swept.failed.push(failed("cannot remove", path, error));
    }
}

impl Swept {
    /// Whoever holds a single lock shares its level.
    fn leave_out_what_is_implied(&mut self) {
        let single = self.held.iter().filter(|lock| lock.name().is_some());
        let levels: BTreeSet<String> = single.map(|lock| lock.level().to_owned()).collect();
        self.held.retain(|lock| lock.name().is_some() || !levels.contains(lock.level()));
    }
}

/// Removes a file that nobody holds locked; none where it is gone already. With a line that
/// somebody stands in, it counts as held: it is about to be.
fn remove_unheld(path: &Path, line: Option<&Path>) -> io::Result<Option<Fate>> {
    let waited_for = match line {
        Some(line) => is_locked(line)?,
        None => false,
    };
    let Some(file) = places::open_if_there(path)? else { return Ok(None) };
    if waited_for || !try_lock(&file, LockMode::Exclusive)? {
        return Ok(Some(Fate::Held));
    }
    let removed = remove_held(&file, path);
    fs4::FileExt::unlock(&file)?;
    removed
}

/// Removes a file whose lock we hold, before the lock is given back: whoever opened it meanwhile
/// finds it without a name.
fn remove_held(file: &File, path: &Path) -> io::Result<Option<Fate>> {
    if !is_current(file, path)? {
        return Ok(None);
    }
    let record = read_records(file).into_iter().next();
    match record {
        Some(record) if record.is_of_this_boot() => Ok(Some(Fate::Died(record))),
        record => {
            std::fs::remove_file(path)?;
            Ok(Some(record.map_or(Fate::Removed, Fate::Earlier)))
        }
    }
}

fn is_locked(path: &Path) -> io::Result<bool> {
    let Some(file) = places::open_if_there(path)? else { return Ok(false) };
    let free = try_lock(&file, LockMode::Shared)?;
    if free {
        fs4::FileExt::unlock(&file)?;
    }
    Ok(!free)
}

pub(super) fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => {
            let paths: io::Result<Vec<PathBuf>> = entries.map(|e| Ok(e?.path())).collect();
            paths.map(|mut paths| {
                paths.sort();
                paths
            })
        }
        // Swept away by somebody else.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
