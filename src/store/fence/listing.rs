//! Who holds the locks of a directory, and who waits for them, as the kernel and the files tell.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::directory::LockDir;
use super::name::FenceName;
use super::owner::OwnerRecord;
use super::places::{LOCK, Places};
use super::{failed, sweep};
use crate::vocabulary::{Error, LockMode};

/// A lock that somebody holds or waits for, or died with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceReport {
    /// Which lock it is.
    pub name: FenceName,
    /// What its last exclusive owner wrote into the file and has not cleared.
    pub record: Option<OwnerRecord>,
    /// The processes that hold it, and how; as their own namespace numbers them, 0 where they are
    /// in another one.
    pub holders: Vec<(u32, LockMode)>,
    /// The processes that wait for it, the next one first.
    pub waiters: Vec<u32>,
}

impl LockDir {
    /// The locks that somebody holds or waits for, or died with, in order. A look at what goes on:
    /// it takes no lock, and is old when it is there. Reads the directory and the kernel's list.
    ///
    /// # Errors
    ///
    /// `Io` where the directory cannot be read.
    pub fn list(&self) -> Result<Vec<FenceReport>, Error> {
        let (mut reports, kernel) = (Vec::new(), Kernel::read());
        let levels = sweep::entries(self.path());
        let levels = levels.map_err(|error| failed("cannot read", self.path(), error))?;
        for level in levels.iter().filter(|level| level.is_dir()) {
            self.list_below(level, &kernel, &mut reports)?;
        }
        reports.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(reports)
    }

    fn list_below(
        &self,
        directory: &Path,
        kernel: &Kernel,
        reports: &mut Vec<FenceReport>,
    ) -> Result<(), Error> {
        let found = sweep::entries(directory);
        for path in found.map_err(|error| failed("cannot read", directory, error))? {
            if path.is_dir() {
                self.list_below(&path, kernel, reports)?;
            } else if let Some(name) = self.name_of(&path, LOCK) {
                reports.extend(self.report(name, kernel));
            }
        }
        Ok(())
    }

    /// None where nobody has anything to do with it.
    fn report(&self, name: FenceName, kernel: &Kernel) -> Option<FenceReport> {
        let places = Places::of(self.path(), &name);
        let (lock, line) = (kernel.of(&places.lock), kernel.of(&places.line));
        // The head of the line waits for the lock itself; the others wait for the line.
        let waiters = lock.waiters.iter().chain(&line.waiters).copied().collect();
        let record = self.record(&name);
        let report = FenceReport { name, record, holders: lock.holders.clone(), waiters };
        let empty =
            report.record.is_none() && report.holders.is_empty() && report.waiters.is_empty();
        (!empty).then_some(report)
    }
}

/// Those who hold a file locked, and those who wait for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Locked {
    pub(super) holders: Vec<(u32, LockMode)>,
    waiters: Vec<u32>,
}

/// What the kernel knows of locks, by device and number of the file.
pub(super) struct Kernel(HashMap<(u64, u64), Locked>);

impl Kernel {
    pub(super) fn read() -> Self {
        let text = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        let mut files: HashMap<_, Locked> = HashMap::new();
        for (file, pid, mode, waits) in text.lines().filter_map(parse) {
            let locked = files.entry(file).or_default();
            match waits {
                true => locked.waiters.push(pid),
                false => locked.holders.push((pid, mode)),
            }
        }
        Self(files)
    }

    pub(super) fn of(&self, path: &Path) -> Locked {
        let found = path.metadata().ok();
        let known = found.and_then(|found| self.0.get(&(found.dev(), found.ino())));
        known.cloned().unwrap_or_default()
    }
}

/// A line such as `1: FLOCK  ADVISORY  WRITE 12 00:2d:345 0 EOF`, or `1: -> FLOCK ...` of who
/// waits: the file, the process, the mode, and whether it waits.
fn parse(line: &str) -> Option<((u64, u64), u32, LockMode, bool)> {
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let (waits, words) = match words.split_first()? {
        (&"->", rest) => (true, rest),
        _ => (false, &words[..]),
    };
    let ["FLOCK", _, kind, pid, file, ..] = words else { return None };
    let mode = if *kind == "READ" { LockMode::Shared } else { LockMode::Exclusive };
    let mut numbers = file.split(':');
    let major = u32::from_str_radix(numbers.next()?, 16).ok()?;
    let minor = u32::from_str_radix(numbers.next()?, 16).ok()?;
    let file = (rustix::fs::makedev(major, minor), numbers.next()?.parse().ok()?);
    // Of another namespace: the kernel says 0, or -1 for a lock of no process.
    Some((file, pid.parse().unwrap_or(0), mode, waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_tells_file_process_mode_and_whether_it_waits() {
        let file = (rustix::fs::makedev(0, 0x2d), 345);
        for (line, expected) in [
            (
                "1: FLOCK  ADVISORY  WRITE 12 00:2d:345 0 EOF",
                Some((12, LockMode::Exclusive, false)),
            ),
            ("1: -> FLOCK  ADVISORY  READ 13 00:2d:345 0 EOF", Some((13, LockMode::Shared, true))),
            ("1: FLOCK ADVISORY READ 0 00:2d:345 0 EOF", Some((0, LockMode::Shared, false))),
            ("2: POSIX  ADVISORY  WRITE 12 00:2d:345 0 EOF", None),
            ("3: FLOCK", None),
            ("", None),
        ] {
            let found = parse(line);
            assert_eq!(found.map(|(_, pid, mode, waits)| (pid, mode, waits)), expected, "{line}");
            assert!(found.is_none_or(|(of, ..)| of == file));
        }
    }
}
