//! Programs that lock with `fcntl`, as fasteners, oslo.concurrency and tooz do.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Mutex;

use lockmaster::runtime::{ForeignLocks, LockDir, LockOptions, Locks};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::helper::{Helper, PATIENCE, hierarchy, set, wait_until};

/// Takes a lock without waiting, in the way of those programs: `F_SETLK`, the lock of the process.
pub(crate) fn as_fasteners_do(path: &Path) -> &'static str {
    // Closing the file would give the lock up.
    static FILES: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let locked = fcntl(&file, FcntlArg::F_SETLK(&whole));
    FILES.lock().unwrap().push(file);
    match locked {
        Ok(_) => "locked",
        Err(Errno::EAGAIN | Errno::EACCES) => "busy",
        Err(error) => panic!("{error}"),
    }
}

fn both(directory: &Path, theirs: &Path) -> Locks {
    let foreign = ForeignLocks {
        level: "disk".to_owned(),
        directory: theirs.to_owned(),
        prefix: "cinder-".to_owned(),
    };
    let dir = LockDir::open(directory).unwrap().with_foreign(foreign);
    Locks::builder(hierarchy()).dir(dir).open()
}

#[test]
fn a_lock_keeps_out_programs_that_lock_with_fcntl_and_is_kept_out_by_them() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    let (locks, mut other) = (both(&ours, &theirs), Helper::start(&ours));
    let file = theirs.join("cinder-a_b");
    let request = format!("fcntl {}", file.display());
    locks
        .with(&set("disk/a/b"), LockOptions::default(), |_| {
            other.tell(&request);
            assert_eq!(other.hear(), "busy");
            // Reading their file here does not give our lock up, as it would theirs.
            std::fs::read(&file).unwrap();
            other.tell(&request);
            assert_eq!(other.hear(), "busy");
        })
        .unwrap();
    other.tell(&request);
    assert_eq!(other.hear(), "locked");
    assert!(locks.with(&set("disk/a/b"), LockOptions::asap(), |_| ()).is_err());
    // What was taken in vain was given back.
    let alone = super::helper::locks(&ours);
    alone.with(&set("disk/a/b"), LockOptions::asap(), |_| ()).unwrap();
    std::thread::scope(|scope| {
        let waiter =
            scope.spawn(|| locks.with(&set("disk/a/b"), LockOptions::within(PATIENCE), |_| ()));
        wait_until("it waits for the other program", || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            locks.lines().any(|line| line.contains("-> OFDLCK"))
        });
        other.kill();
        waiter.join().unwrap().unwrap();
    });
}
