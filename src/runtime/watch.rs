//! Who wants to hear of changes of jobs. Costs an entry per watcher, no thread.

use std::collections::HashMap;

use super::contained::call_back;
use super::lock_order::LockClass;
use super::sync::Mutex;
use crate::vocabulary::JobId;

static WATCH: LockClass = LockClass::new("watch");

type Notify = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    next: u64,
    of_job: HashMap<JobId, Vec<(u64, Notify)>>,
    of_any: Vec<Notify>,
}

/// Those who want to hear of changes, each once.
pub(super) struct Watch {
    state: Mutex<State>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(&WATCH, State::default()) }
    }

    /// Calls `notify` at the next change of that job. The number is for [`Self::forget`].
    pub(super) fn on_change(&self, id: JobId, notify: Notify) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        let registration = state.next;
        state.of_job.entry(id).or_default().push((registration, notify));
        registration
    }

    /// Calls `notify` at the next change of any job.
    pub(super) fn on_any_change(&self, notify: Notify) {
        self.state.lock().of_any.push(notify);
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
        let mut due: Vec<Notify> = std::mem::take(&mut state.of_any);
        let of_jobs = changed.iter().filter_map(|id| state.of_job.remove(id)).flatten();
        due.extend(of_jobs.map(|(_, notify)| notify));
        drop(state);
        due.into_iter().for_each(call_back);
    }

    /// Calls everybody: the master stops.
    pub(super) fn notify_all(&self) {
        let mut state = self.state.lock();
        let mut due: Vec<Notify> = std::mem::take(&mut state.of_any);
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
        let watch = Watch::new();
        let (sender, heard) = mpsc::channel();
        let (first, second) = (JobId::FIRST, JobId::FIRST.plus(1));
        let say = |what: &'static str| {
            let sender = sender.clone();
            Box::new(move || sender.send(what).unwrap())
        };
        watch.on_change(first, say("first"));
        let forgotten = watch.on_change(first, say("forgotten"));
        watch.on_change(second, say("second"));
        watch.on_any_change(say("any"));
        watch.forget(first, forgotten);
        watch.notify(&[first]);
        watch.notify(&[first]);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["any", "first"]);
        watch.notify_all();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["second"]);
    }
}
