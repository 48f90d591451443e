//! The state directory: made where it is not there yet, and locked against a second process.
//!
//! The only place that uses fs4. The lock is the kernel's: it ends with the process, however
//! that ends; the file's content only tells who holds it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fs4::{FileExt, TryLockError};

use super::file::{self, FILE_MODE};
use crate::vocabulary::{Error, ErrorKind};

/// The permissions of the state directory and what is in it.
const DIRECTORY_MODE: u32 = 0o750;
/// The directory of the archive, within the state directory.
pub(crate) const ARCHIVE: &str = "archive";
/// More is not read of who holds the lock.
const HOLDER_BYTES: u64 = 4096;
/// How long the lock of a process that is dead is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A state directory that is this process's own until dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    lock: File,
}

impl StateDir {
    /// Opens or makes the state directory and locks it, in the name of `owner`.
    pub(crate) fn open(path: &Path, owner: &str) -> Result<Self, Error> {
        make_directory(path)?;
        let lock = lock(path, owner)?;
        let opened = Self { path: path.to_owned(), lock };
        make_directory(&opened.log_path())?;
        make_directory(&opened.path.join(ARCHIVE))?;
        opened.sync().map_err(|error| refused(path, "cannot sync", error))?;
        Ok(opened)
    }

    /// Where the segments are.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Makes the names of the directories durable.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        // A parent that may not be read cannot be synced either; whoever made the directory
        // there had more rights than this process and made it earlier.
        match File::open(parent(&self.path)) {
            Ok(parent) => parent.sync_all(),
            Err(_) => Ok(()),
        }
    }
}

impl Drop for StateDir {
    /// Takes the holder's name out, which would be wrong from here on, and gives the lock back.
    ///
    /// Unlocked and not only closed: a child that is just being started still has the file open,
    /// and with it the lock. Errors change nothing, since the file is closed next.
    fn drop(&mut self) {
        let _ = self.lock.set_len(0);
        let _ = FileExt::unlock(&self.lock);
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a directory unless it is there.
fn make_directory(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().mode(DIRECTORY_MODE).create(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_directory(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !parent(path).exists() => {
            Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "there is no directory {} to make {} in",
                    parent(path).display(),
                    path.display()
                ),
            )
            .hint(format!("mkdir -p {}, or name another state directory", parent(path).display())))
        }
        made => made.map_err(|error| refused(path, "cannot make the directory", error)),
    }
}

fn check_directory(path: &Path) -> Result<(), Error> {
    let found = path.metadata().map_err(|error| refused(path, "cannot look at", error))?;
    if found.is_dir() {
        return Ok(());
    }
    Err(Error::invalid(format!("{} is not a directory", path.display()))
        .hint("name a directory for the state, or one that is not there yet"))
}

/// Takes the lock, or says who has it.
fn lock(path: &Path, owner: &str) -> Result<File, Error> {
    let place = path.join("lock");
    // Not truncated when opened: the content belongs to the process that holds the lock.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let mut file = options.open(&place).map_err(|error| refused(&place, "cannot open", error))?;
    match FileExt::try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = holder(&mut file);
            let left_behind = if is_dead(&holder) { lock_within(file, PATIENCE) } else { None };
            file = left_behind.ok_or_else(|| in_use(path, &holder))?;
        }
        Err(TryLockError::Error(error)) => return Err(refused(&place, "cannot lock", error)),
    }
    write_holder(&mut file, owner).map_err(|error| refused(&place, "cannot write", error))?;
    Ok(file)
}

fn write_holder(file: &mut File, owner: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let owner = owner.replace(char::is_control, " ");
    let (pid, host, since) = (std::process::id(), host(), utc_now());
    file.write_all(format!("{owner}\npid {pid}\nhost {host}\nsince {since}\n").as_bytes())
}

/// Whether that process, which holds the lock as the file says, is dead.
///
/// It happens: a process that is killed while it starts another one leaves the lock to that, up
/// to the moment at which the other's program is loaded.
fn is_dead(holder: &str) -> bool {
    let pid = holder.lines().find_map(|line| line.strip_prefix("pid ")).unwrap_or_default();
    let here = holder.lines().any(|line| line.strip_prefix("host ") == Some(&host()));
    let proc = Path::new("/proc");
    here && !pid.is_empty() && proc.join("self").exists() && !proc.join(pid).exists()
}

/// Takes the lock as soon as it is free, if that is soon. Where it is not, it is given back by
/// the thread that waits for it, whenever it gets it.
fn lock_within(file: File, patience: Duration) -> Option<File> {
    let (sender, locked) = mpsc::channel();
    let wait = move || {
        if FileExt::lock(&file).is_ok() {
            // Nobody listens any more where it took too long.
            let _ = sender.send(file);
        }
    };
    thread::Builder::new().name("lock".to_owned()).spawn(wait).ok()?;
    locked.recv_timeout(patience).ok()
}

/// What the file says of who holds the lock.
fn holder(file: &mut File) -> String {
    let mut content = Vec::new();
    // What cannot be read is not told.
    let _ = file.take(HOLDER_BYTES).read_to_end(&mut content);
    String::from_utf8_lossy(&content).trim_end().to_owned()
}

/// The refusal for who comes second, naming the first.
fn in_use(path: &Path, holder: &str) -> Error {
    let holder = match holder {
        "" => "another process".to_owned(),
        known => known.replace('\n', ", "),
    };
    Error::new(
        ErrorKind::InUse,
        format!("the state directory {} is in use by {holder}", path.display()),
    )
    .hint("wait until it is done, stop it, or name another state directory")
}

fn refused(path: &Path, what: &str, error: io::Error) -> Error {
    file::refused(format!("{what} {}", path.display()), error)
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}

fn utc_now() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// A time as `2026-01-31T12:30:05Z`, from seconds since the Unix epoch.
///
/// The date is computed as in Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state directory that is locked by somebody, while the file says that it is `pid`.
    fn locked_by(pid: u32) -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let lock = lock(dir.path(), "another").unwrap();
        let text = format!("another\npid {pid}\nhost {}\nsince once\n", host());
        std::fs::write(dir.path().join("lock"), text).unwrap();
        (dir, lock)
    }

    #[test]
    fn a_lock_that_a_dead_process_left_to_its_child_is_waited_for() {
        let (dir, held) = locked_by(u32::MAX);
        thread::scope(|scope| {
            let opening = scope.spawn(|| StateDir::open(dir.path(), "a test"));
            FileExt::unlock(&held).unwrap();
            let opened = opening.join().unwrap().unwrap();
            let holder = std::fs::read_to_string(dir.path().join("lock")).unwrap();
            assert!(holder.starts_with("a test\npid "), "{holder:?}");
            drop(opened);
        });
    }

    #[test]
    fn waiting_for_it_has_an_end_and_leaves_no_lock_behind() {
        let (dir, held) = locked_by(u32::MAX);
        let second = || File::open(dir.path().join("lock")).unwrap();
        assert!(lock_within(second(), Duration::ZERO).is_none());
        FileExt::unlock(&held).unwrap();
        assert!(lock_within(second(), PATIENCE).is_some(), "the first who waited gave it back");
    }

    #[test]
    fn a_lock_of_a_living_process_is_not_waited_for() {
        let (dir, _held) = locked_by(std::process::id());
        let error = StateDir::open(dir.path(), "a test").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InUse);
        assert!(error.to_string().contains("in use by another, pid"), "{error}");
        assert!(!is_dead("another\npid 1\nhost elsewhere"), "of others nothing is known");
    }

    #[test]
    fn times_are_written_as_dates() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }
}
