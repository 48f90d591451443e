//! Writing the log: one sync for all that waits, then everybody is told and what waited for the
//! disk goes on.
//!
//! One writes at a time, but anybody may: a client that would only wait for its own sync, a
//! worker that has nothing else to do. That saves waking a thread and being woken by it, which
//! takes as long as a fast disk. A thread of its own sees to what nobody else does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::commits::Due;
use super::compaction::{Added, Compaction};
use super::inner::Inner;
use super::lock_order::assert_no_locks_held;
use super::metrics::micros;
use super::shell::{LogBuffer, Shell, Writer};
use super::sync::MutexGuard;
use super::worker_pool::Task;
use crate::store::Store;
use crate::vocabulary::{Error, JobId, Record};

/// For how long a client lets the worker go first that has its job: about what it takes to wake a
/// thread.
const WAKING: Duration = Duration::from_micros(40);

/// How many transactions the memory is kept for that a batch has taken.
const MOST_SPARE: usize = 4096;

/// What it takes to write the log; one per master, in one pair of hands at a time.
pub(super) struct LogWriter {
    store: Box<dyn Store>,
    compaction: Compaction,
    /// What held the last batch, empty: its memory is used again.
    spare: Vec<Vec<Record>>,
}

/// What is written next.
struct Batch {
    log: LogBuffer,
    position: u64,
    added: Added,
}

/// Who is yet to hear of what.
#[derive(Default)]
pub(super) struct News {
    due: Vec<Due>,
    changed: Vec<JobId>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.due.is_empty() && self.changed.is_empty()
    }
}

impl LogWriter {
    pub(super) fn new(store: Box<dyn Store>, compaction: Compaction) -> Self {
        Self { store, compaction, spare: Vec::new() }
    }

    fn has_work(&self, log: &LogBuffer) -> bool {
        !log.transactions.is_empty() || self.compaction.is_due(self.store.bytes())
    }

    fn take(&mut self, shell: &mut Shell) -> Option<Batch> {
        let empty =
            LogBuffer { transactions: std::mem::take(&mut self.spare), changed: Vec::new() };
        let mut log = std::mem::replace(&mut shell.log, empty);
        let mut added = Added::default();
        if !shell.closed {
            let before = log.transactions.len();
            let bytes = self.store.bytes();
            added = self.compaction.add(&shell.queue, bytes, &mut log.transactions);
            shell.position += (log.transactions.len() - before) as u64;
        }
        (!log.transactions.is_empty()).then_some(Batch { log, position: shell.position, added })
    }

    /// Forgets what was written, but not where it stood, unless that was very much.
    fn keep(&mut self, mut written: Vec<Vec<Record>>) {
        written.clear();
        written.shrink_to(MOST_SPARE);
        self.spare = written;
    }

    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        assert_no_locks_held("while the log is written");
        self.compaction.write(&mut *self.store, &batch.log.transactions, batch.added)
    }
}

/// The thread that writes what nobody else does, until the log is closed and empty.
pub(super) fn run(inner: &Arc<Inner>) {
    loop {
        let mut shell = wait(inner);
        let news = std::mem::take(&mut shell.news);
        if !news.is_empty() {
            drop(shell);
            inner.tell(news);
            continue;
        }
        let Some((writer, batch)) = inner.begin(&mut shell) else {
            let writer = std::mem::replace(&mut shell.writer, Writer::Gone);
            drop(shell);
            return drop(writer);
        };
        drop(shell);
        let (tasks, news) = inner.write(writer, batch);
        inner.tasks.add(tasks);
        inner.tell(news);
    }
}

/// Returns when there is something to do for the thread, or nothing any more.
fn wait(inner: &Inner) -> MutexGuard<'_, Shell> {
    let mut shell = inner.shell();
    loop {
        let over = match &shell.writer {
            Writer::Idle(writer) => shell.closed || writer.has_work(&shell.log),
            Writer::Busy => false,
            Writer::Gone => true,
        };
        if over || !shell.news.is_empty() {
            return shell;
        }
        shell = inner.appended.wait(shell);
    }
}

impl Inner {
    /// Writes what has gathered up to `position`, unless somebody else is writing. For a client
    /// that waits for it.
    ///
    /// It calls nobody back: who it calls might want a lock that this client holds.
    pub(super) fn write_for_client(self: &Arc<Self>, position: u64) {
        // Before it takes the means to write into its hands, which others would miss.
        assert_no_locks_held("while a place of the log is waited for");
        let mut shell = self.shell();
        let begun = if shell.lacks(position) { self.begin(&mut shell) } else { None };
        drop(shell);
        let Some((writer, batch)) = begun else { return };
        let (tasks, news) = self.write(writer, batch);
        self.tasks.add(tasks);
        let nobody_listens = news.due.is_empty() && self.watch.is_empty();
        if !nobody_listens && !news.is_empty() {
            self.shell().news.add(news);
            self.appended.notify_one();
        }
    }

    /// Gives the worker that has been given a client's job a moment to start it and to write both.
    ///
    /// That moment is about what it takes to wake a thread. Longer, the client writes its
    /// submission itself: the worker may be in code that takes as long as it likes. And one client
    /// at a time does so: where there are more, there is more to share a sync than one start.
    pub(super) fn give_way(&self) {
        if self.giving_way.swap(true, Ordering::Relaxed) {
            return;
        }
        let until = Instant::now() + WAKING;
        while !self.writing.load(Ordering::Relaxed) && Instant::now() < until {
            std::thread::yield_now();
        }
        self.giving_way.store(false, Ordering::Relaxed);
    }

    /// Writes what has gathered, unless somebody else is writing. Whether there was something,
    /// and it could be written, and a task that goes on now. For a worker with nothing to do.
    pub(super) fn write_for_worker(self: &Arc<Self>) -> (bool, Option<Task>) {
        let mut shell = self.shell();
        let begun = self.begin(&mut shell);
        drop(shell);
        let Some((writer, batch)) = begun else { return (false, None) };
        let away = self.tasks.away();
        let (tasks, news) = self.write(writer, batch);
        let task = self.tasks.add_and_take(tasks);
        self.tell(news);
        drop(away);
        (self.commits.failure().is_none(), task)
    }

    /// Has the log writer's thread look, where something waits to be written and nobody has seen
    /// to it. To be called before anything that may take long.
    pub(super) fn see_to_the_log(&self) {
        if self.unattended.load(Ordering::Relaxed) && self.unattended.swap(false, Ordering::Relaxed)
        {
            self.appended.notify_one();
        }
    }

    /// Tells those who listen. They are strangers: no lock is held.
    pub(super) fn tell(&self, news: News) {
        news.due.into_iter().for_each(Due::call);
        self.watch.notify(&news.changed);
    }

    fn begin(&self, shell: &mut Shell) -> Option<(Box<LogWriter>, Batch)> {
        match std::mem::replace(&mut shell.writer, Writer::Busy) {
            Writer::Idle(mut writer) => {
                self.unattended.store(false, Ordering::Relaxed);
                if let Some(batch) = writer.take(shell) {
                    self.writing.store(true, Ordering::Relaxed);
                    return Some((writer, batch));
                }
                shell.writer = Writer::Idle(writer);
            }
            other => shell.writer = other,
        }
        None
    }

    /// Writes; gives what goes on now, and who is to be told of it.
    fn write(self: &Arc<Self>, mut writer: Box<LogWriter>, batch: Batch) -> (Vec<Task>, News) {
        let began = self.now();
        if let Err(error) = writer.write(&batch) {
            drop(writer);
            self.log_failed(&error);
            return Default::default();
        }
        let Batch { log, position, added } = batch;
        self.metrics.sync.add(micros(self.now().since(began)));
        self.metrics.batch.add(log.transactions.len() as u64);
        let changed = log.changed;
        writer.keep(log.transactions);
        self.end_reservations(&changed);
        let mut shell = self.shell();
        let tasks = shell.is_durable(position);
        let writer = self.put_back(&mut shell, writer, added);
        drop(shell);
        let due = self.commits.reach(position);
        if let Some(mut writer) = writer {
            writer.compaction.after_write(&mut *writer.store, added);
            _ = self.put_back(&mut self.shell(), writer, Added::default());
        }
        let due = if due.is_empty() { Vec::new() } else { vec![due] };
        (tasks, News { due, changed })
    }

    /// Gives back what jobs have reserved in the configuration that have come to their end. What
    /// they wrote down instead has been written by then; whoever hears of the end finds it free.
    fn end_reservations(&self, changed: &[JobId]) {
        let owners = self.config.reserving();
        let mut ended: BTreeSet<JobId> =
            changed.iter().copied().filter(|id| owners.contains(id)).collect();
        if ended.is_empty() {
            return;
        }
        let shell = self.shell();
        ended.retain(|id| shell.queue.get(*id).is_none_or(|job| job.status().is_final()));
        drop(shell);
        self.config.release_all(&ended);
    }

    /// Lets others write, unless a copy of the queue has just become whole: what it makes
    /// superfluous is removed first.
    fn put_back(
        &self,
        shell: &mut Shell,
        writer: Box<LogWriter>,
        added: Added,
    ) -> Option<Box<LogWriter>> {
        if added.ends() {
            return Some(writer);
        }
        let more = shell.closed || writer.has_work(&shell.log);
        shell.writer = Writer::Idle(writer);
        self.writing.store(false, Ordering::Relaxed);
        if more {
            self.appended.notify_one();
        }
        None
    }

    /// A write that failed is never tried again over what may be half a record: everything
    /// stops. What executes may end, in memory; nobody is told of it. What waited for the disk is
    /// put back.
    fn log_failed(self: &Arc<Self>, error: &Error) {
        tracing::error!(%error, "the log cannot be written; no more opcodes are started");
        let mut shell = self.shell();
        shell.stopping = true;
        shell.closed = true;
        shell.writer = Writer::Gone;
        let waiting = shell.nothing_more_is_durable();
        drop(shell);
        self.appended.notify_one();
        self.commits.fail(&error.to_string());
        waiting.iter().for_each(|task| _ = self.let_go(task.job()));
        self.watch.notify_all();
    }
}

impl News {
    fn add(&mut self, more: Self) {
        self.due.extend(more.due);
        self.changed.extend(more.changed);
    }
}
