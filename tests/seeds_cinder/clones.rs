//! Clones share their source while a delete waits: C-15 to C-18.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex};
use std::thread;

use lockmaster::engine::locks::WaitPolicy;
use lockmaster::interfaces::lock_spec::LockSpec;
use lockmaster::runtime::{GlobalLocks, LockDir, LockOptions, Locks};
use lockmaster::{Error, ErrorKind};
use serde_json::json;
use tempfile::TempDir;

use crate::cinder_drivers::hierarchy;
use crate::helper::wait_until;

/// The volumes there are, by name, in which state, and their locks.
struct Manager {
    directory: TempDir,
    locks: Locks,
    /// Where sources of clones are locked: `volume` or `snapshot`.
    level: &'static str,
    there: Mutex<BTreeMap<String, &'static str>>,
    /// Whether the driver makes one clone of a source at a time.
    is_serial: bool,
    is_locked: bool,
    inside: AtomicU32,
}

/// Locks that nobody gets before who came earlier and wants them, too. By default, some may pass.
fn in_order_of_arrival(directory: &Path) -> Locks {
    let policy = WaitPolicy { max_bypass: 0, rest: 0, window: usize::MAX, ..WaitPolicy::default() };
    let builder = Locks::builder(hierarchy().unwrap()).wait_policy(policy);
    builder.dir(LockDir::open(directory).unwrap()).global(GlobalLocks::OnThisNode).open()
}

impl Manager {
    fn new(level: &'static str, is_serial: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let locks = in_order_of_arrival(directory.path());
        let there = Mutex::new(BTreeMap::from([("source".to_owned(), "available")]));
        let inside = AtomicU32::new(0);
        Self { directory, locks, level, there, is_serial, is_locked: true, inside }
    }

    fn state(&self, volume: &str) -> Option<&'static str> {
        self.there.lock().unwrap().get(volume).copied()
    }

    fn set(&self, volume: &str, state: &'static str) {
        self.there.lock().unwrap().insert(volume.to_owned(), state);
    }

    /// Makes a volume of another: shares the source, and has the new one to itself. The new one is
    /// in error where that fails.
    fn clone_to(&self, volume: &str, driver: impl FnOnce()) -> Result<(), Error> {
        let spec =
            LockSpec::new().shared(self.level, "{source}")?.exclusive("volume", "{volume}")?;
        self.set(volume, "creating");
        self.with(&spec, volume, || self.create(volume, driver))?
    }

    /// Makes a volume of what the image cache keeps: another way to the same driver, on which
    /// nobody shares the source.
    fn clone_from_image_cache_to(&self, volume: &str, driver: impl FnOnce()) -> Result<(), Error> {
        let spec = LockSpec::new().exclusive("volume", "{volume}")?;
        self.set(volume, "creating");
        self.with(&spec, volume, || self.create(volume, driver))?
    }

    fn create(&self, volume: &str, driver: impl FnOnce()) -> Result<(), Error> {
        let made = self.driver_clones(volume, driver);
        self.set(volume, if made.is_ok() { "available" } else { "error" });
        made
    }

    /// The driver: one that cannot make clones of one source together locks the source at a level
    /// of its own, whichever way it is called.
    fn driver_clones(&self, volume: &str, driver: impl FnOnce()) -> Result<(), Error> {
        let spec = LockSpec::new().exclusive("backend-map", "clone-{source}")?.when("serial");
        let body = || {
            if self.state("source").is_none() {
                return Err(Error::new(ErrorKind::NotFound, "VolumeNotFound: source"));
            }
            self.inside.fetch_add(1, Ordering::SeqCst);
            driver();
            self.inside.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        self.with(&spec, volume, body)?
    }

    /// How many clones were being made meanwhile.
    fn delete_source(&self) -> Result<u32, Error> {
        let spec = LockSpec::new().exclusive(self.level, "{source}")?;
        let body = || {
            assert!(self.there.lock().unwrap().remove("source").is_some());
            self.inside.load(Ordering::SeqCst)
        };
        self.with(&spec, "", body)
    }

    fn with<R>(&self, spec: &LockSpec, volume: &str, body: impl FnOnce() -> R) -> Result<R, Error> {
        if !self.is_locked {
            return Ok(body());
        }
        let fields = json!({
            "source": "source",
            "volume": volume,
            "serial": self.is_serial,
        });
        let fields = fields.as_object().unwrap();
        let (locks, options) = (&self.locks, LockOptions::default());
        spec.with(locks, fields, options, |_| body())
    }

    /// How many wait. Whoever would come to the source later may be held up before.
    fn waiting(&self) -> usize {
        let reports = self.locks.locks();
        let waiters = reports.iter().flat_map(|report| &report.waiters);
        waiters.map(|waiter| waiter.owner.0).collect::<BTreeSet<u64>>().len()
    }
}

/// Five are in the driver together; the delete that comes meanwhile waits for them, and the sixth
/// clone waits behind the delete.
fn clones_overlap_and_a_delete_waits(level: &'static str) {
    let manager = Manager::new(level, false);
    let (meeting, leave) = (Barrier::new(6), Barrier::new(6));
    thread::scope(|scope| {
        for number in 0..5 {
            let (manager, meeting, leave) = (&manager, &meeting, &leave);
            scope.spawn(move || {
                let driver = || {
                    meeting.wait();
                    leave.wait();
                };
                manager.clone_to(&format!("clone{number}"), driver).unwrap();
            });
        }
        meeting.wait();
        let delete = scope.spawn(|| manager.delete_source());
        wait_until("the delete waits", || manager.waiting() == 1);
        let sixth = scope.spawn(|| manager.clone_to("sixth", || panic!("there is no source")));
        wait_until("the sixth waits behind it", || manager.waiting() == 2);
        leave.wait();
        assert_eq!(delete.join().unwrap().unwrap(), 0, "no clone is being made");
        assert_eq!(sixth.join().unwrap().unwrap_err().kind(), ErrorKind::NotFound);
    });
    let there = manager.there.lock().unwrap().clone();
    let alive = there.iter().filter(|(_, state)| **state == "available");
    let alive: Vec<&str> = alive.map(|(volume, _)| volume.as_str()).collect();
    assert_eq!(alive, ["clone0", "clone1", "clone2", "clone3", "clone4"]);
    assert_eq!((there["sixth"], there.len()), ("error", 6));
    assert!(manager.locks.locks().is_empty());
}

/// Whoever comes after a delete finds nothing to clone, and leaves no lock.
fn a_clone_that_waited_for_a_delete_finds_nothing(level: &'static str) {
    let manager = Manager::new(level, false);
    let spec = LockSpec::new().exclusive(level, "{source}").unwrap();
    thread::scope(|scope| {
        let clone = manager
            .with(&spec, "", || {
                let clone = scope.spawn(|| manager.clone_to("late", || panic!("no source")));
                wait_until("the clone waits", || manager.waiting() == 1);
                manager.there.lock().unwrap().remove("source");
                clone
            })
            .unwrap();
        assert_eq!(clone.join().unwrap().unwrap_err().kind(), ErrorKind::NotFound);
    });
    assert!(manager.state("late") == Some("error") && manager.locks.locks().is_empty());
    let directory = manager.directory.path();
    LockDir::open(directory).unwrap().sweep().unwrap();
    assert!(!directory.join("volume/late.lock").exists());
}

#[test]
fn c15_without_the_lock_a_source_is_deleted_under_its_clone() {
    let manager = Manager { is_locked: false, ..Manager::new("volume", false) };
    let driver = || assert_eq!(manager.delete_source().unwrap(), 1, "a clone was being made");
    manager.clone_to("clone", driver).unwrap();
    assert_eq!(manager.state("source"), None);
}

#[test]
fn c15_clones_of_one_source_overlap_and_a_delete_waits_for_them() {
    clones_overlap_and_a_delete_waits("volume");
}

#[test]
fn c16_a_clone_that_waited_for_a_delete_finds_no_source() {
    a_clone_that_waited_for_a_delete_finds_nothing("volume");
}

#[test]
fn c17_a_driver_that_cannot_clone_concurrently_makes_one_at_a_time() {
    let manager = Manager::new("volume", true);
    thread::scope(|scope| {
        for number in 0..5 {
            let manager = &manager;
            scope.spawn(move || {
                let alone = || {
                    assert_eq!(manager.inside.load(Ordering::SeqCst), 1);
                    thread::yield_now();
                    assert_eq!(manager.inside.load(Ordering::SeqCst), 1);
                };
                let name = format!("clone{number}");
                match number % 2 {
                    0 => manager.clone_to(&name, alone).unwrap(),
                    _ => manager.clone_from_image_cache_to(&name, alone).unwrap(),
                }
            });
        }
    });
    assert_eq!(manager.delete_source().unwrap(), 0);
    assert_eq!(manager.there.lock().unwrap().len(), 5);
}

/// All five share the source while the first is in the driver and the others wait for that.
#[test]
fn c17_a_delete_waits_for_all_clones_that_are_made_one_at_a_time() {
    let manager = Manager::new("volume", true);
    let (leave, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    thread::scope(|scope| {
        for number in 0..5 {
            let (manager, gone) = (&manager, &gone);
            scope.spawn(move || {
                let held_up = || _ = gone.lock().unwrap().recv();
                manager.clone_to(&format!("clone{number}"), held_up).unwrap();
            });
        }
        wait_until("four wait for the driver", || manager.waiting() == 4);
        let delete = scope.spawn(|| manager.delete_source());
        wait_until("the delete waits, too", || manager.waiting() == 5);
        drop(leave);
        assert_eq!(delete.join().unwrap().unwrap(), 0, "no clone is being made");
        let there = manager.there.lock().unwrap();
        assert!(there.len() == 5 && there.values().all(|state| *state == "available"));
    });
}

#[test]
fn c18_snapshots_are_shared_by_what_is_made_from_them() {
    clones_overlap_and_a_delete_waits("snapshot");
    a_clone_that_waited_for_a_delete_finds_nothing("snapshot");
}
