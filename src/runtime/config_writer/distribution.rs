//! The threads that carry versions of the configuration to nodes, and who waits for them.
//!
//! Threads are hired when there is something to upload, and leave when there is not. All they
//! share is behind one mutex, which nobody holds while something is uploaded.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::cancel::CancelToken;
use super::super::clock;
use super::super::contained::{call_back, guarded};
use super::super::lock_order::{LockClass, assert_no_locks_held};
use super::super::sync::{Condvar, Mutex, MutexGuard};
use super::super::worker_pool::named;
use super::distributor::{ConfigCopy, Distributor};
use super::nodes::{Backoff, NodeState, Nodes};
use super::retry::RetryTimer;
use crate::vocabulary::{Error, ErrorKind, Timestamp};

static DISTRIBUTION: LockClass = LockClass::new("config distribution");

/// What is behind the mutex.
struct State {
    nodes: Nodes,
    /// The newest version.
    copy: Option<ConfigCopy>,
    /// How many threads serve.
    serving: usize,
    stopping: bool,
}

/// Brings the newest configuration to every node.
///
/// The promise: once a version was published and as many threads as were asked for serve, every
/// node is tried with that version or a later one. Public for `loom-tests` only.
pub struct Distribution {
    distributor: Box<dyn Distributor>,
    most: usize,
    state: Mutex<State>,
    /// An upload has ended, a thread has left, it is stopping, or somebody need not wait any more.
    changed: Condvar,
    timer: RetryTimer,
}

impl Distribution {
    /// One that uploads to at most so many nodes at once.
    #[must_use]
    pub fn new(distributor: Box<dyn Distributor>, most: usize) -> Self {
        Self::with_backoff(distributor, most, Backoff::default())
    }

    pub(super) fn with_backoff(
        distributor: Box<dyn Distributor>,
        most: usize,
        backoff: Backoff,
    ) -> Self {
        let nodes = Nodes::new(backoff);
        let state = State { nodes, copy: None, serving: 0, stopping: false };
        let state = Mutex::new(&DISTRIBUTION, state);
        Self { distributor, most, state, changed: Condvar::new(), timer: RetryTimer::default() }
    }

    /// Those nodes are to get that version. How many threads have to call
    /// [`serve`](Self::serve) for it, each once.
    #[must_use]
    pub fn publish(&self, copy: ConfigCopy, nodes: &BTreeSet<String>) -> usize {
        let mut state = self.state.lock();
        state.nodes.publish(copy.snapshot.version, nodes);
        let newest = state.copy.as_ref().map_or(0, |copy| copy.snapshot.version);
        if copy.snapshot.version > newest {
            state.copy = Some(copy);
        }
        // A node that left is not waited for any more.
        self.changed.notify_all();
        self.hire(&mut state)
    }

    fn hire(&self, state: &mut State) -> usize {
        let wanted = if state.stopping { 0 } else { state.nodes.due() };
        let hired = wanted.min(self.most - state.serving);
        state.serving += hired;
        hired
    }

    /// Uploads as long as there is something to upload.
    pub fn serve(self: &Arc<Self>) {
        let mut state = self.state.lock();
        while let Some((node, copy)) = next(&mut state) {
            drop(state);
            let result = self.upload(&node, &copy);
            state = self.state.lock();
            state.nodes.ended(&node, result, clock::now());
            let retry = state.nodes.next_retry().is_some() && !state.stopping;
            self.changed.notify_all();
            if retry {
                drop(state);
                self.timer.look_again(self);
                state = self.state.lock();
            }
        }
        state.serving -= 1;
        self.changed.notify_all();
    }

    /// A panic of the distributor is a failure of this upload.
    fn upload(&self, node: &str, copy: &ConfigCopy) -> Result<(), String> {
        assert_no_locks_held("while the configuration is uploaded");
        let uploaded = guarded(|| self.distributor.upload(node, copy));
        let result = uploaded
            .unwrap_or_else(|panic| {
                Err(Error::invalid(format!("the distributor panicked: {panic}")))
            })
            .map_err(|error| error.to_string());
        let version = copy.snapshot.version;
        match &result {
            Ok(()) => tracing::info!(node, version, "the node has the configuration"),
            Err(error) => {
                tracing::warn!(node, version, error, "the node did not get the configuration");
            }
        }
        result
    }

    /// Starts so many threads that serve.
    pub(super) fn start(self: &Arc<Self>, threads: usize) {
        for _ in 0..threads {
            let this = Arc::clone(self);
            if let Err(error) = named("config upload", move || this.serve()) {
                self.could_not_start(&error);
            }
        }
    }

    /// The system has no thread left: whose turn it was has failed, and is tried again later.
    fn could_not_start(self: &Arc<Self>, error: &Error) {
        let mut state = self.state.lock();
        state.serving -= 1;
        if let Some((node, _)) = next(&mut state) {
            state.nodes.ended(&node, Err(error.to_string()), clock::now());
        }
        drop(state);
        self.changed.notify_all();
        self.timer.look_again(self);
    }

    /// It is that late: nodes that failed may be due again. When the next one is.
    pub(super) fn wake(self: &Arc<Self>, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.state.lock();
        state.nodes.wake(now);
        let (hired, next) = (self.hire(&mut state), state.nodes.next_retry());
        drop(state);
        self.start(hired);
        next
    }

    /// What is known of the nodes.
    pub(super) fn nodes(&self) -> Vec<NodeState> {
        self.state.lock().nodes.states()
    }

    /// Waits until every node was tried with that version or a later one. Those that have an
    /// older one.
    ///
    /// # Errors
    ///
    /// `Stopped`.
    pub fn first_round(&self, version: u64) -> Result<Vec<NodeState>, Error> {
        assert_no_locks_held("while the configuration is distributed");
        let mut state = self.state.lock();
        while !state.nodes.all_tried(version) {
            refuse_if_stopping(&state)?;
            state = self.changed.wait(state);
        }
        Ok(state.nodes.behind(version))
    }

    /// Waits until every node has that version or a later one, at the latest until the deadline.
    ///
    /// # Errors
    ///
    /// `Refused` after the deadline, naming the nodes; `Stopped`.
    pub fn flush(&self, version: u64, deadline: Option<Instant>) -> Result<(), Error> {
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        self.wait_for_all(version, is_late, |state| match deadline {
            None => self.changed.wait(state),
            Some(deadline) => self.changed.wait_until(state, deadline),
        })
    }

    /// As [`flush`](Self::flush), until the token is set.
    pub(super) fn flush_unless(
        self: &Arc<Self>,
        version: u64,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let this = Arc::clone(self);
        let _listening = cancel.on_cancel(move || this.tell_waiters());
        self.wait_for_all(version, || cancel.is_set(), |state| self.changed.wait(state))
    }

    /// With the mutex: who has looked and found no reason to stop waiting is waiting by then.
    fn tell_waiters(&self) {
        let _state = self.state.lock();
        self.changed.notify_all();
    }

    fn wait_for_all<'a>(
        &'a self,
        version: u64,
        is_over: impl Fn() -> bool,
        wait: impl Fn(MutexGuard<'a, State>) -> MutexGuard<'a, State>,
    ) -> Result<(), Error> {
        assert_no_locks_held("while the configuration is distributed");
        let mut state = self.state.lock();
        loop {
            let behind = state.nodes.behind(version);
            if behind.is_empty() {
                return Ok(());
            }
            refuse_if_stopping(&state)?;
            if is_over() {
                return Err(still_behind(version, &behind));
            }
            state = wait(state);
        }
    }

    /// Begins no further upload, and waits until those underway have ended.
    pub fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
        call_back(|| self.distributor.stop());
        let mut state = self.state.lock();
        while state.serving > 0 {
            state = self.changed.wait(state);
        }
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distribution").field("most", &self.most).finish_non_exhaustive()
    }
}

fn next(state: &mut State) -> Option<(String, ConfigCopy)> {
    let copy = state.copy.clone().filter(|_| !state.stopping)?;
    let (node, version) = state.nodes.take()?;
    debug_assert_eq!(version, copy.snapshot.version, "the newest copy is of the newest version");
    Some((node, copy))
}

fn refuse_if_stopping(state: &State) -> Result<(), Error> {
    let stopped = || Error::new(ErrorKind::Stopped, "the configuration is no longer distributed");
    if state.stopping { Err(stopped()) } else { Ok(()) }
}

fn still_behind(version: u64, behind: &[NodeState]) -> Error {
    const SHOWN: usize = 5;
    let mut words: Vec<String> = behind.iter().take(SHOWN).map(why_behind).collect();
    if behind.len() > SHOWN {
        words.push(format!("{} more", behind.len() - SHOWN));
    }
    let words = words.join("; ");
    Error::new(
        ErrorKind::Refused,
        format!("not every node has version {version} of the configuration: {words}"),
    )
    .hint("they are tried again until they have it; see to them, or take them out")
}

fn why_behind(state: &NodeState) -> String {
    let why = state.error.as_deref().unwrap_or("the upload has not ended yet");
    match state.has {
        Some(has) => format!("{} has version {has} ({why})", state.node),
        None => format!("{} has got none yet ({why})", state.node),
    }
}

/// How long a flush may take, as a point in time; never, where it is beyond what clocks know.
pub(super) fn deadline(patience: Option<Duration>) -> Option<Instant> {
    patience.and_then(|patience| Instant::now().checked_add(patience))
}
