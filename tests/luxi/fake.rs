//! A queue whose every step is made by the test, and a client that sees bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use lockmaster::engine::locks::{Holder, LockReport, Mode, OwnerId, Wanter};
use lockmaster::interfaces::luxi::{Decoder, Server, ServerHandle, ServerLimits, Service};
use lockmaster::runtime::{
    Answer, AutoArchived, CancelAnswer, ConfigWriter, Explanation, FilterState, JobView,
    LockOverview, Stats, Why,
};
use lockmaster::vocabulary::{
    Error, ErrorKind, FeedbackEntry, FeedbackKind, FeedbackLog, FilterId, Job, JobId, JobOp,
    NewFilter, NewJob, Priority, Status, SubmissionKey, Timestamp,
};

type Notify = Box<dyn FnOnce() + Send>;
type Then = Box<dyn FnOnce(Result<(), Error>) + Send>;

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobId, JobView>,
    watched: Vec<(JobId, u64, Notify)>,
    held: Vec<Then>,
    hold: bool,
    drained: bool,
    keys: BTreeMap<SubmissionKey, Vec<JobId>>,
    registrations: u64,
    given_out: u64,
    archived: BTreeMap<JobId, JobView>,
    /// Whether looking into the archive waits.
    closed_archive: bool,
}

/// The queue.
pub(crate) struct Fake {
    state: Mutex<State>,
    changed: Condvar,
    config: ConfigWriter,
}

impl Fake {
    fn new() -> Self {
        let config = ConfigWriter::in_memory();
        Self { state: Mutex::default(), changed: Condvar::new(), config }
    }

    /// Moves those jobs into the archive; how many.
    fn move_out(&self, which: impl Fn(&JobView) -> bool) -> usize {
        let mut state = self.state();
        let (out, rest): (BTreeMap<_, _>, _) =
            std::mem::take(&mut state.jobs).into_iter().partition(|(_, view)| which(view));
        let count = out.len();
        state.jobs = rest;
        let archived = |(id, view)| (id, JobView { archived: true, ..view });
        state.archived.extend(out.into_iter().map(archived));
        count
    }

    /// Makes whoever looks into the archive wait, or lets them go on.
    pub(crate) fn close_archive(&self, closed: bool) {
        self.state().closed_archive = closed;
        self.changed.notify_all();
    }

    /// Moves a job into the archive, and tells who watches it.
    pub(crate) fn archive_and_tell(&self, id: u64) {
        let id = JobId::new(id).expect("job ids start at 1");
        self.move_out(|view| view.job.id == id);
        self.tell(id);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test thread panics while it holds this")
    }

    /// Waits until so many clients watch a job.
    pub(crate) fn wait_for_watchers(&self, count: usize) {
        let state = self.state();
        let wait = self.changed.wait_timeout_while(state, Duration::from_secs(20), |state| {
            state.watched.len() != count
        });
        let (state, timeout) = wait.expect("no test thread panics while it holds this");
        assert!(!timeout.timed_out(), "{} watchers instead of {count}", state.watched.len());
    }

    /// Keeps everything from being durable from now on, or ends that.
    pub(crate) fn hold_durable(&self, hold: bool) {
        let mut state = self.state();
        state.hold = hold;
        let held = if hold { Vec::new() } else { std::mem::take(&mut state.held) };
        drop(state);
        held.into_iter().for_each(|then| then(Ok(())));
    }

    /// Waits until an answer waits for the disk.
    pub(crate) fn wait_for_held(&self) {
        let state = self.state();
        let wait = self
            .changed
            .wait_timeout_while(state, Duration::from_secs(20), |state| state.held.is_empty());
        assert!(!wait.expect("no test thread panics while it holds this").1.timed_out());
    }

    /// Gives a job a status.
    pub(crate) fn set_status(&self, id: u64, status: Status) {
        self.change(id, |view| {
            view.status = status;
            view.op_status.fill(status);
        });
    }

    /// Ends a job; nobody is told.
    pub(crate) fn end_unnoticed(&self, id: u64) {
        let id = JobId::new(id).expect("job ids start at 1");
        let mut state = self.state();
        let view = state.jobs.get_mut(&id).expect("the test has submitted the job");
        view.status = Status::Success;
    }

    /// Adds a line to a job's feedback log.
    pub(crate) fn say(&self, id: u64, text: &str) {
        self.change(id, |view| {
            let serial = view.job.feedback.last_serial() + 1;
            let (time, kind) = (Timestamp::from_micros(2_000_003), FeedbackKind::Message);
            let entry = FeedbackEntry { serial, time, op: 0, kind, text: text.into() };
            view.job.feedback.push(entry, usize::MAX);
        });
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut JobView)) {
        let id = JobId::new(id).expect("job ids start at 1");
        change(self.state().jobs.get_mut(&id).expect("the test has submitted the job"));
        self.tell(id);
    }

    fn tell(&self, id: JobId) {
        let mut state = self.state();
        let (due, rest) = std::mem::take(&mut state.watched).into_iter().partition(|w| w.0 == id);
        state.watched = rest;
        drop(state);
        let due: Vec<(JobId, u64, Notify)> = due;
        due.into_iter().for_each(|(_, _, notify)| notify());
    }
}

fn view(id: JobId, new: NewJob) -> JobView {
    let op_status = vec![Status::Queued; new.ops.len()];
    let job = Job {
        id,
        label: new.label,
        received: Timestamp::from_micros(1_000_002),
        ops: new.ops.into_iter().map(JobOp::new).collect(),
        feedback: FeedbackLog::default(),
        cancel_requested: None,
        origin: None,
        terms: new.terms,
    };
    let (status, priority) = (Status::Queued, Priority::NORMAL);
    JobView { job, status, op_status, priority, archived: false }
}

impl Service for Fake {
    fn begin_submit(&self, jobs: Vec<NewJob>) -> Result<Answer<Vec<JobId>>, Error> {
        if self.state().drained {
            return Err(Error::new(ErrorKind::Refused, "Queue drained"));
        }
        self.begin_submit_although_drained(jobs)
    }

    fn begin_submit_although_drained(
        &self,
        jobs: Vec<NewJob>,
    ) -> Result<Answer<Vec<JobId>>, Error> {
        if jobs.iter().flat_map(|job| &job.ops).any(|op| op.id.as_str() == "OP_NO_SUCH") {
            return Err(Error::invalid("unknown opcode OP_NO_SUCH").hint("there is OP_X"));
        }
        let mut state = self.state();
        let first = JobId::FIRST.plus(state.given_out);
        let ids: Vec<JobId> = (0..jobs.len() as u64).map(|by| first.plus(by)).collect();
        let views = jobs.into_iter().zip(&ids).map(|(job, id)| (*id, view(*id, job)));
        state.jobs.extend(views);
        state.given_out += ids.len() as u64;
        Ok(Answer { value: ids, position: 1 })
    }

    fn begin_submit_once(
        &self,
        key: &SubmissionKey,
        jobs: Vec<NewJob>,
    ) -> Result<Answer<Vec<JobId>>, Error> {
        if let Some(ids) = self.state().keys.get(key) {
            return Ok(Answer { value: ids.clone(), position: 1 });
        }
        let answer = self.begin_submit(jobs)?;
        self.state().keys.insert(key.clone(), answer.value.clone());
        Ok(answer)
    }

    fn set_drained(&self, drained: bool) -> Result<Answer<()>, Error> {
        self.state().drained = drained;
        Ok(Answer { value: (), position: 1 })
    }

    fn is_drained(&self) -> Answer<bool> {
        Answer { value: self.state().drained, position: 1 }
    }

    fn cancel(&self, id: JobId) -> Result<Answer<CancelAnswer>, Error> {
        let known = self.state().jobs.contains_key(&id);
        let missing = || Error::new(ErrorKind::NotFound, "no such job");
        known.then_some(Answer { value: CancelAnswer::Dequeued, position: 1 }).ok_or_else(missing)
    }

    fn change_priority(&self, id: JobId, priority: Priority) -> Result<Answer<()>, Error> {
        self.change(id.get(), |view| view.priority = priority);
        Ok(Answer { value: (), position: 1 })
    }

    fn job(&self, id: JobId) -> Option<Answer<JobView>> {
        self.state().jobs.get(&id).cloned().map(|value| Answer { value, position: 1 })
    }

    fn jobs_after(&self, after: Option<JobId>) -> Answer<Vec<JobView>> {
        let state = self.state();
        let jobs = state.jobs.values().filter(|view| after.is_none_or(|after| view.job.id > after));
        // Few at a time, so that tests have several pieces.
        Answer { value: jobs.take(3).cloned().collect(), position: 1 }
    }

    fn last_id(&self) -> Option<JobId> {
        JobId::new(self.state().given_out)
    }

    fn archived(&self, id: JobId) -> Result<Option<JobView>, Error> {
        let mut state = self.state();
        while state.closed_archive {
            self.changed.notify_all();
            state = self.changed.wait(state).expect("no test thread panics while it holds this");
        }
        Ok(state.archived.get(&id).cloned())
    }

    fn archived_together(&self, id: JobId) -> JobId {
        id.plus(1 - id.get() % 2)
    }

    fn archived_from(
        &self,
        from: JobId,
        each: &mut dyn FnMut(JobView) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let to = self.archived_together(from);
        let found: Vec<JobView> =
            self.state().archived.range(from..=to).map(|(_, view)| view.clone()).collect();
        found.into_iter().rev().try_for_each(each)
    }

    fn archive(&self, id: JobId) -> Result<Answer<bool>, Error> {
        let moved = self.move_out(|view| view.job.id == id);
        let missing = || Error::new(ErrorKind::NotFound, "no such job");
        (moved > 0).then_some(Answer { value: true, position: 1 }).ok_or_else(missing)
    }

    fn auto_archive(
        &self,
        older_than: Duration,
        _budget: Duration,
    ) -> Result<Answer<AutoArchived>, Error> {
        let archived = self.move_out(|view| view.status.is_final() && older_than.is_zero());
        Ok(Answer { value: AutoArchived { archived, left: 0 }, position: 1 })
    }

    fn config(&self) -> &ConfigWriter {
        &self.config
    }

    fn progress(&self, id: JobId, after: u64) -> Option<Answer<(Status, Vec<FeedbackEntry>)>> {
        let view = self.job(id)?.value;
        let log = view.job.feedback.after(after).cloned().collect();
        Some(Answer { value: (view.status, log), position: 1 })
    }

    fn explain(&self, id: JobId) -> Option<Answer<Explanation>> {
        let (now, labels) = (Timestamp::from_micros(0), BTreeMap::new());
        let steps = vec![(id, Why::Worker { before: 0 })];
        self.job(id).map(|_| Answer { value: Explanation { now, steps, labels }, position: 1 })
    }

    fn locks(&self, graph: bool) -> Answer<LockOverview> {
        let (now, graph) = (Timestamp::from_micros(0), graph.then(String::new));
        let (locks, labels) = (known_locks(), BTreeMap::new());
        Answer { value: LockOverview { now, locks, labels, graph }, position: 1 }
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn set_filter(&self, id: Option<FilterId>, _: NewFilter) -> Result<Answer<FilterId>, Error> {
        Ok(Answer { value: id.unwrap_or(FilterId::of_random(7)), position: 1 })
    }

    fn delete_filter(&self, id: FilterId) -> Result<Answer<()>, Error> {
        Err(Error::new(ErrorKind::NotFound, format!("Filter rule with UUID {id} does not exist")))
    }

    fn filters(&self) -> Answer<Vec<FilterState>> {
        Answer { value: Vec::new(), position: 1 }
    }

    fn on_change(&self, id: JobId, notify: Notify) -> u64 {
        let mut state = self.state();
        state.registrations += 1;
        let registration = state.registrations;
        state.watched.push((id, registration, notify));
        self.changed.notify_all();
        registration
    }

    fn forget(&self, _id: JobId, registration: u64) {
        self.state().watched.retain(|(_, known, _)| *known != registration);
        self.changed.notify_all();
    }

    fn on_durable(&self, _position: u64, then: Then) {
        let mut state = self.state();
        if state.hold {
            state.held.push(then);
            self.changed.notify_all();
            return;
        }
        drop(state);
        then(Ok(()));
    }
}

/// A server with its queue, stopped when dropped.
pub(crate) struct Served {
    pub(crate) queue: Arc<Fake>,
    pub(crate) path: PathBuf,
    pub(crate) handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Served {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(set: impl FnOnce(&mut ServerLimits)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("socket");
        let queue = Arc::new(Fake::new());
        let mut limits = ServerLimits::default();
        set(&mut limits);
        let service: Arc<dyn Service> = Arc::<Fake>::clone(&queue);
        let server = Server::bind(&path, service, limits).expect("the socket can be bound");
        let handle = server.handle();
        let thread = std::thread::spawn(move || server.run().expect("the event loop runs"));
        Self { queue, path, handle, thread: Some(thread), _directory: directory }
    }

    pub(crate) fn connect(&self) -> Raw {
        let stream = UnixStream::connect(&self.path).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        Raw { stream, decoder: Decoder::new(1 << 30) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

/// A client that sees bytes.
pub(crate) struct Raw {
    pub(crate) stream: UnixStream,
    decoder: Decoder,
}

impl Raw {
    pub(crate) fn send(&mut self, messages: &str) {
        self.stream.write_all(messages.as_bytes()).expect("the server reads");
    }

    /// The next answer; none where the server has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<String> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(answer) = self.decoder.next_message().expect("no answer is that long") {
                return Some(String::from_utf8(answer).expect("answers are UTF-8"));
            }
            match self.stream.read(&mut chunk).expect("an answer within the timeout") {
                0 => return None,
                count => self.decoder.push(&chunk[..count]),
            }
        }
    }

    /// The answer to one call.
    pub(crate) fn call(&mut self, method: &str, args: &str) -> String {
        self.send(&request(method, args));
        self.receive().expect("an answer")
    }

    /// Submits a job of one `OP_X`.
    pub(crate) fn submit(&mut self) {
        let answer = self.call("SubmitJob", r#"[[{"OP_ID":"OP_X","reason":[]}]]"#);
        assert!(answer.starts_with(r#"{"success":true"#), "{answer}");
    }
}

pub(crate) fn request(method: &str, args: &str) -> String {
    format!("{{\"method\": \"{method}\", \"args\": {args}, \"version\": 3000000}}\n\u{3}")
}

/// The locks this service says it has.
fn known_locks() -> Vec<LockReport> {
    let [two, three, four] = [2, 3, 4].map(OwnerId);
    let (since, priority) = (Timestamp::from_micros(1), Priority::NORMAL);
    let holder = |owner, mode| Holder { owner, mode, since };
    let wanter = |owner, mode| Wanter { owner, mode, since, priority };
    let report = |lock: &str, holders, waiters| LockReport {
        lock: lock.into(),
        holders,
        capacity: None,
        waiters,
    };
    let all = vec![holder(two, Mode::Shared), holder(three, Mode::Shared)];
    let wanters = vec![wanter(three, Mode::Exclusive), wanter(four, Mode::Shared)];
    vec![
        report("cluster/BGL", all, Vec::new()),
        report("node/[lockset]", vec![holder(two, Mode::IntentExclusive)], Vec::new()),
        report("node/a", vec![holder(two, Mode::Exclusive)], wanters),
    ]
}
