//! Who wants to hear of changes of jobs. Costs an entry per watcher, no thread.

use std::collections::{BTreeMap, HashMap};

use super::changes::{Changes, Journal};
use super::contained::call_back;
use super::lock_order::LockClass;
use super::sync::Mutex;
use crate::vocabulary::JobId;

static WATCH: LockClass = LockClass::new("watch");

type Notify = Box<dyn FnOnce() + Send>;

struct State {
    next: u64,
    of_job: HashMap<JobId, Vec<(u64, Notify)>>,
    /// Those who follow all jobs, with what to call at the next change, where they wait for it.
    of_any: BTreeMap<u64, Option<Notify>>,
    journal: Journal,
}

impl State {
    /// Takes out what those who follow all jobs wait for.
    fn of_any(&mut self) -> Vec<Notify> {
        self.of_any.values_mut().filter_map(Option::take).collect()
    }
}

/// Those who want to hear of changes, each once.
pub(super) struct Watch {
    state: Mutex<State>,
}

impl Watch {
    /// Nobody watches yet. Changes are numbered from `mark`.
    pub(super) fn new(mark: u64) -> Self {
        let (of_job, of_any, journal) = (HashMap::new(), BTreeMap::new(), Journal::from(mark));
        Self { state: Mutex::new(&WATCH, State { next: 0, of_job, of_any, journal }) }
    }

    /// Calls `notify` at the next change of that job. The number is for [`Self::forget`].
    pub(super) fn on_change(&self, id: JobId, notify: Notify) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        let registration = state.next;
        state.of_job.entry(id).or_default().push((registration, notify));
        registration
    }

    /// Notes from now on what changes. The number is for [`Self::unfollow`].
    pub(super) fn follow(&self) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        let registration = state.next;
        state.of_any.insert(registration, None);
        registration
    }

    /// That one follows no more.
    pub(super) fn unfollow(&self, registration: u64) {
        let mut state = self.state.lock();
        state.of_any.remove(&registration);
        if state.of_any.is_empty() {
            state.journal.forget();
        }
    }

    /// What has changed since a mark; without one, the mark of now.
    pub(super) fn since(&self, mark: Option<u64>) -> Changes {
        let state = self.state.lock();
        match mark {
            Some(mark) => state.journal.since(mark),
            None => Changes { mark: state.journal.mark(), jobs: None },
        }
    }

    /// Calls `notify` at the next change after that mark of any job, at once where there was one.
    pub(super) fn on_change_since(&self, registration: u64, mark: u64, notify: Notify) {
        let mut state = self.state.lock();
        if state.journal.mark() == mark {
            state.of_any.insert(registration, Some(notify));
        } else {
            drop(state);
            call_back(notify);
        }
    }

    /// Whether nobody wants to hear of anything.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.of_any.is_empty() && state.of_job.is_empty()
    }

    /// Takes a registration back.
    pub(super) fn forget(&self, id: JobId, registration: u64) {
        let mut state = self.state.lock();
        let Some(watchers) = state.of_job.get_mut(&id) else { return };
        watchers.retain(|(number, _)| *number != registration);
        if watchers.is_empty() {
            state.of_job.remove(&id);
        }
    }

    /// Those jobs have changed: calls who waits for it, with no lock held.
    pub(super) fn notify(&self, changed: &[JobId]) {
        if changed.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if !state.of_any.is_empty() {
            state.journal.add(changed);
        }
        let mut due = state.of_any();
        let of_jobs = changed.iter().filter_map(|id| state.of_job.remove(id)).flatten();
        due.extend(of_jobs.map(|(_, notify)| notify));
        drop(state);
        due.into_iter().for_each(call_back);
    }

    /// Calls everybody: the master stops.
    pub(super) fn notify_all(&self) {
        let mut state = self.state.lock();
        let mut due = state.of_any();
        let of_jobs = std::mem::take(&mut state.of_job);
        due.extend(of_jobs.into_values().flatten().map(|(_, notify)| notify));
        drop(state);
        due.into_iter().for_each(call_back);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_watcher_hears_once_of_its_job_and_not_after_it_was_forgotten() {
        let watch = Watch::new(0);
        let (sender, heard) = mpsc::channel();
        let (first, second) = (JobId::FIRST, JobId::FIRST.plus(1));
        let say = |what: &'static str| {
            let sender = sender.clone();
            Box::new(move || sender.send(what).unwrap())
        };
        watch.on_change(first, say("first"));
        let forgotten = watch.on_change(first, say("forgotten"));
        watch.on_change(second, say("second"));
        let (any, gone) = (watch.follow(), watch.follow());
        watch.on_change_since(any, 0, say("any"));
        watch.on_change_since(gone, 0, say("gone"));
        watch.unfollow(gone);
        watch.forget(first, forgotten);
        watch.notify(&[first]);
        watch.notify(&[first]);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["any", "first"]);
        watch.on_change_since(any, 0, say("what was missed"));
        watch.on_change_since(any, 2, say("the end"));
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["what was missed"]);
        watch.notify_all();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["the end", "second"]);
        watch.unfollow(any);
        assert!(watch.is_empty());
    }

    #[test]
    fn every_registration_has_a_number_of_its_own_and_counts_until_it_is_taken_back() {
        let watch = Watch::new(0);
        let any = watch.follow();
        assert!(!watch.is_empty());
        let job = watch.on_change(JobId::FIRST, Box::new(|| ()));
        assert_ne!(any, job);
        assert_ne!(watch.follow(), job);
        watch.unfollow(any);
        watch.notify_all();
        assert!(!watch.is_empty(), "somebody follows");
        let job = watch.on_change(JobId::FIRST, Box::new(|| ()));
        watch.unfollow(job - 1);
        assert!(!watch.is_empty(), "a job is watched");
        watch.forget(JobId::FIRST, job);
        assert!(watch.is_empty());
    }
}
