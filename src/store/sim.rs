//! A file system that keeps apart what is visible and what would survive a power failure.
//!
//! Meaner than a real one within what one may do: unsynced writes reach the disk in any mixture
//! of sectors, names in any prefix, and a failed sync forgets what it should have written.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use super::file::{Directory, LogFile};

/// What happens to an operation instead of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and does nothing, and so does everything after it.
    Stop,
    /// It fails and does nothing; what comes after it works.
    Refuse,
    /// A write reaches only that many of 16 parts of its bytes; everything else as `Refuse`.
    Tear(usize),
}

/// One disk with one directory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk(Arc<Mutex<Disk>>);

#[derive(Clone, Debug, Default)]
struct Disk {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of the directory; `None` removes.
    unsynced_names: Vec<Vec<(String, Option<usize>)>>,
    operations: usize,
    fault: Option<(usize, Fault)>,
    random: u64,
}

#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<Range<usize>>,
    resized: bool,
}

impl Content {
    fn sync(&mut self) {
        let len = if self.resized { self.live.len() } else { self.durable.len() };
        self.durable.resize(len, 0);
        for range in std::mem::take(&mut self.dirty) {
            self.take_over(range);
        }
        self.resized = false;
    }

    fn take_over(&mut self, range: Range<usize>) {
        let end = range.end.min(self.live.len()).min(self.durable.len());
        let start = range.start.min(end);
        self.durable[start..end].copy_from_slice(&self.live[start..end]);
    }
}

impl Disk {
    /// Counts a change and says whether it fails.
    fn step(&mut self) -> Result<(), Fault> {
        let operation = self.operations;
        self.operations += 1;
        match self.fault {
            Some((at, Fault::Stop)) if operation >= at => Err(Fault::Stop),
            Some((at, fault)) if operation == at => Err(fault),
            _ => Ok(()),
        }
    }

    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn rename_now(&mut self, change: Vec<(String, Option<usize>)>) {
        apply(&mut self.names, &change);
        self.unsynced_names.push(change);
    }

    fn lose_power(&mut self) {
        let kept = self.random() as usize % (self.unsynced_names.len() + 1);
        for change in self.unsynced_names.drain(..).take(kept) {
            apply(&mut self.durable_names, &change);
        }
        self.names = self.durable_names.clone();
        for place in 0..self.files.len() {
            self.lose_unsynced(place);
        }
    }

    /// Any of the sectors written since the last sync may have reached the disk.
    fn lose_unsynced(&mut self, place: usize) {
        let sector = [1, 16, 512][self.random() as usize % 3];
        let mut content = std::mem::take(&mut self.files[place]);
        if content.resized && self.random() % 2 == 0 {
            let len = content.live.len();
            content.durable.resize(len, 0);
        }
        for range in std::mem::take(&mut content.dirty) {
            for start in range.clone().step_by(sector) {
                if self.random() % 2 == 0 {
                    content.take_over(start..range.end.min(start + sector));
                }
            }
        }
        content.live = content.durable.clone();
        content.resized = false;
        self.files[place] = content;
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &[(String, Option<usize>)]) {
    for (name, file) in change {
        match file {
            Some(file) => names.insert(name.clone(), *file),
            None => names.remove(name),
        };
    }
}

impl SimDisk {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// The same content on a disk of its own.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.disk().clone())))
    }

    /// How many changes were asked for so far.
    pub(crate) fn operations(&self) -> usize {
        self.disk().operations
    }

    /// Has the change after that many more fail, or none.
    pub(crate) fn set_fault(&self, fault: Option<(usize, Fault)>) {
        let mut disk = self.disk();
        disk.fault = fault.map(|(after, fault)| (disk.operations + after, fault));
    }

    /// Turns the power off and on: what was not synced is there in part.
    pub(crate) fn lose_power(&self, seed: u64) {
        let mut disk = self.disk();
        disk.random = seed;
        disk.fault = None;
        disk.lose_power();
    }

    /// Changes a file behind the store's back.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let file = disk.names[name];
        let content = &mut disk.files[file];
        change(&mut content.live);
        content.durable = content.live.clone();
    }

    /// Removes a file behind the store's back.
    pub(crate) fn lose_file(&self, name: &str) {
        let mut disk = self.disk();
        disk.names.remove(name);
        disk.durable_names.remove(name);
    }

    /// What a reader sees in a file.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let disk = self.disk();
        disk.files[disk.names[name]].live.clone()
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.disk().names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn step(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk();
        disk.step().map_err(failed)?;
        Ok(disk)
    }
}

fn failed(fault: Fault) -> io::Error {
    io::Error::other(format!("simulated {fault:?}"))
}

impl Directory for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().names.keys().cloned().collect())
    }

    fn read(&self, name: &str, at_most: u64) -> io::Result<Vec<u8>> {
        self.find(name)?;
        let mut bytes = self.content(name);
        bytes.truncate(usize::try_from(at_most).unwrap());
        Ok(bytes)
    }

    fn len(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.find(name).ok().map(|_| self.content(name).len() as u64))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(SimFile { disk: self.clone(), file: self.find(name)? }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let mut disk = self.step()?;
        let file = disk.files.len();
        disk.files.push(Content::default());
        disk.rename_now(vec![(name.to_owned(), Some(file))]);
        drop(disk);
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.find(from)?;
        let change = vec![(from.to_owned(), None), (to.to_owned(), Some(file))];
        self.step()?.rename_now(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step()?.rename_now(vec![(name.to_owned(), None)]);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.step()?;
        disk.durable_names = disk.names.clone();
        disk.unsynced_names.clear();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl LogFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let (taken, result) = match disk.step() {
            Ok(()) => (bytes.len(), Ok(())),
            Err(Fault::Tear(parts)) => (bytes.len() * parts / 16, Err(failed(Fault::Tear(parts)))),
            Err(fault) => (0, Err(failed(fault))),
        };
        let content = &mut disk.files[self.file];
        let start = usize::try_from(offset).unwrap();
        let end = start + taken;
        if end > content.live.len() {
            content.live.resize(end, 0);
            content.resized = true;
        }
        content.live[start..end].copy_from_slice(&bytes[..taken]);
        content.dirty.push(start..end);
        result
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.step()?;
        let content = &mut disk.files[self.file];
        content.live.truncate(usize::try_from(len).unwrap());
        content.resized = true;
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let outcome = disk.step();
        let content = &mut disk.files[self.file];
        match outcome {
            Ok(()) => content.sync(),
            // The kernel has marked the pages clean: another sync would not write them.
            Err(_) => content.dirty.clear(),
        }
        outcome.map_err(failed)
    }
}
