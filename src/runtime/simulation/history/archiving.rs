//! Jobs that have ended leave the queue, onto a disk that may fail; and are read there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::History;
use crate::store::sim::Fault;
use crate::vocabulary::{Job, JobId};

impl History {
    /// Some of what has ended leaves the queue. Its disk may fail meanwhile: then it stays.
    pub(super) fn archive(&mut self) {
        while self.write() {}
        let ended = self.ended_jobs();
        let fault = self.random.one_in(4).then(|| match self.random.below(3) {
            0 => Fault::Stop,
            1 => Fault::Refuse,
            _ => Fault::Tear(self.random.below(17)),
        });
        let after = self.random.below(4);
        self.archive_disk.set_fault(fault.map(|fault| (after, fault)));
        let some = self.random.below(ended.len());
        let one = ended.keys().nth(some).copied().filter(|_| self.random.one_in(2));
        let master = self.life().core.master();
        let failed = match one {
            Some(id) => master.archive(id).err(),
            None => master.auto_archive(Duration::ZERO, Duration::MAX).err(),
        };
        self.archive_disk.set_fault(None);
        self.say(|| format!("archived {one:?} of {:?}, {fault:?}: {failed:?}", ended.keys()));
        assert!(failed.is_none() || fault.is_some(), "{failed:?}");
        let left: Vec<JobId> = self.life().job_ids();
        for (id, job) in ended {
            let wanted = one.is_none_or(|one| one == id) && failed.is_none();
            assert_eq!(!left.contains(&id), wanted, "job {id} is archived where that was said");
            if wanted {
                self.told.archived += 1;
                self.archived.insert(id, job);
            }
        }
        if failed.is_some() {
            self.told.torn_archives += 1;
            if self.random.one_in(2) {
                self.crash();
            }
        }
    }

    pub(super) fn ended_jobs(&self) -> BTreeMap<JobId, Job> {
        let inner = self.life().inner();
        let shell = inner.shell();
        let ended = shell.queue.jobs().filter(|job| job.status().is_final());
        ended.map(|job| (job.id, job.into_owned())).collect()
    }

    /// Every job that has left the queue can be read as it was.
    pub(super) fn assert_archived(&self) {
        for (id, job) in &self.archived {
            let found = self.life().core.master().archived(*id).unwrap();
            assert_eq!(found.map(|view| view.job).as_ref(), Some(job), "job {id} in the archive");
        }
    }
}
