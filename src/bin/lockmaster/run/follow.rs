//! Following the jobs of a run until all have ended. Looks only at jobs that have changed.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use lockmaster::runtime::{JobView, Master};
use lockmaster::vocabulary::{FeedbackEntry, JobId};

/// What happens during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// This job has changed.
    Changed(JobId),
    /// Somebody wants the run to stop.
    Stop,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All jobs have ended.
    All,
    /// Stopped: what executed has finished.
    Interrupted,
    /// Stopped, and stopped again.
    InterruptedTwice,
    /// The master has stopped by itself: it cannot write its log.
    Stopped,
}

/// Shows people how a run goes.
pub(super) trait Show {
    /// A job is new to the run or has changed; `said` is new in its feedback log.
    fn changed(&mut self, run: &Run<'_>, view: &JobView, said: &[FeedbackEntry]);

    /// Time has passed, or a burst of changes is over. Gives how soon to call again.
    fn refresh(&mut self, run: &Run<'_>) -> Option<Duration>;

    /// A sentence between the others.
    fn say(&mut self, sentence: &str);
}

/// The jobs of a run as far as they were looked at.
pub(super) struct Run<'m> {
    pub(super) master: &'m Master,
    pub(super) order: Vec<JobId>,
    pub(super) views: HashMap<JobId, JobView>,
    pub(super) began: Instant,
}

impl Run<'_> {
    /// The jobs in the order of the file.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &JobView> {
        self.order.iter().filter_map(|id| self.views.get(id))
    }
}

/// Follows the jobs of a run.
pub(super) struct Follow<'m> {
    run: Run<'m>,
    heard: HashMap<JobId, u64>,
    open: usize,
    sender: Sender<Event>,
    events: Receiver<Event>,
    stops: u32,
}

impl<'m> Follow<'m> {
    pub(super) fn new(
        master: &'m Master,
        ids: &[JobId],
        (sender, events): (Sender<Event>, Receiver<Event>),
    ) -> Self {
        let order = ids.to_vec();
        let run = Run { master, order, views: HashMap::new(), began: Instant::now() };
        Self { run, heard: HashMap::new(), open: ids.len(), sender, events, stops: 0 }
    }

    /// Follows the jobs until all have ended, or the run is stopped.
    pub(super) fn until_the_end(&mut self, show: &mut dyn Show) -> Ended {
        for id in self.run.order.clone() {
            self.look(id, show);
        }
        while self.open > 0 {
            let again = show.refresh(&self.run);
            match self.next(again) {
                Some(Event::Changed(id)) => self.look(id, show),
                Some(Event::Stop) => self.stop(show),
                None => {}
            }
            if let Some(ended) = self.cut_short() {
                show.refresh(&self.run);
                return ended;
            }
        }
        show.refresh(&self.run);
        Ended::All
    }

    /// The jobs as they are now, in the order of the file.
    pub(super) fn views(&self) -> Vec<JobView> {
        let views = self.run.order.iter().filter_map(|id| self.run.master.job(*id));
        views.map(|answer| answer.value).collect()
    }

    fn next(&self, again: Option<Duration>) -> Option<Event> {
        match again {
            None => self.events.recv().ok(),
            Some(soon) => self.events.recv_timeout(soon).ok(),
        }
    }

    /// Looks at a job that has not ended yet, having first asked to be told of its next change: none is missed.
    fn look(&mut self, id: JobId, show: &mut dyn Show) {
        if self.run.views.get(&id).is_some_and(|view| view.status.is_final()) {
            return;
        }
        let sender = self.sender.clone();
        let registration =
            self.run.master.on_change(id, move || _ = sender.send(Event::Changed(id)));
        let Some(answer) = self.run.master.job(id) else { return };
        let view = answer.value;
        // Nobody is told what may yet be forgotten.
        if self.run.master.wait_durable(answer.position).is_err() {
            return;
        }
        let heard = self.heard.entry(id).or_default();
        let said: Vec<FeedbackEntry> = view.job.feedback.after(*heard).cloned().collect();
        *heard = view.job.feedback.last_serial();
        if view.status.is_final() {
            self.run.master.forget(id, registration);
            self.open -= 1;
        }
        self.run.views.insert(id, view.clone());
        show.changed(&self.run, &view, &said);
    }

    fn stop(&mut self, show: &mut dyn Show) {
        self.stops += 1;
        if self.stops == 1 {
            self.run.master.stop_starting();
            show.say(
                "stopping: executing opcodes finish, nothing is started; Ctrl-C again stops them",
            );
            // What executes now tells when it has ended; if nothing does, nobody would.
            _ = self.sender.send(Event::Changed(self.run.order[0]));
        }
    }

    fn cut_short(&self) -> Option<Ended> {
        if self.run.master.has_failed() {
            return Some(Ended::Stopped);
        }
        match self.stops {
            0 => None,
            1 => (self.run.master.busy_workers() == 0).then_some(Ended::Interrupted),
            _ => Some(Ended::InterruptedTwice),
        }
    }
}
