//! Owners of locks that are neither jobs nor threads: whoever is connected to the master and wants
//! to hold some for a while.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::inner::Inner;
use super::lock_manager::{Asked, LockOptions};
use super::lock_order::LockClass;
use super::master::Master;
use super::processor::Active;
use super::sync::Mutex;
use super::worker_pool::Task;
use crate::engine::locks::{LockError, OwnerId, RequestOptions};
use crate::vocabulary::{JobId, LockRequest, Timestamp};

static CLIENTS: LockClass = LockClass::new("clients");

/// Clients own locks under numbers from here on: no job ever has one of them.
const FIRST: u64 = 1 << 63;

/// Whether what holds or wants a lock under that number is a client of the master and no job.
#[must_use]
pub const fn is_client(id: JobId) -> bool {
    id.get() >= FIRST
}

/// A client of a master, as an owner of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(OwnerId);

/// Told once, on any thread, what became of a client's request.
pub type ClientTold = Box<dyn FnOnce(Result<(), LockError>) + Send>;

/// What waits in a master's lock table.
pub(super) enum Waiting {
    Job(Box<Active>),
    Client(ClientTold),
}

/// The clients that a master knows.
#[derive(Debug)]
pub(super) struct Clients {
    known: Mutex<Known>,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    titles: BTreeMap<OwnerId, String>,
}

impl Clients {
    pub(super) fn new() -> Self {
        let known = Mutex::new(&CLIENTS, Known::default());
        Self { known, waiting: AtomicUsize::new(0) }
    }

    /// What a client says of itself.
    pub(super) fn title(&self, id: JobId) -> Option<String> {
        self.known.lock().titles.get(&OwnerId(id.get())).cloned()
    }

    /// Who owns locks under a number, for people.
    fn name(&self, owner: OwnerId) -> String {
        let id = JobId::new(owner.0);
        let title = id.and_then(|id| self.title(id));
        title.unwrap_or_else(|| format!("job {}", owner.0))
    }

    /// The same error, with the owner in the way called by its name.
    fn named(&self, error: LockError) -> LockError {
        match error {
            LockError::Busy { lock, owner: Some(owner) } => {
                LockError::HeldElsewhere { lock, holder: self.name(owner) }
            }
            error => error,
        }
    }

    fn begin(&self, title: &str) -> ClientId {
        let mut known = self.known.lock();
        let owner = OwnerId(FIRST + known.next);
        known.next += 1;
        known.titles.insert(owner, title.to_owned());
        ClientId(owner)
    }

    fn answer(&self, told: ClientTold, result: Result<(), LockError>) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        told(result);
    }
}

impl Master {
    /// Makes somebody known who will hold locks of this master. `title` is shown to who waits for
    /// it.
    #[must_use]
    pub fn begin_client(&self, title: &str) -> ClientId {
        self.inner.clients.begin(title)
    }

    /// Asks for locks on behalf of a client: `told` is called when they are held, or refused. Those
    /// of scope `node` are kept from the jobs of this master; the client takes their files itself,
    /// afterwards, so that they outlive the master. A timeout is the caller's to keep: see
    /// [`give_up`](Self::give_up).
    pub fn lock_for(
        &self,
        client: ClientId,
        request: &LockRequest,
        options: LockOptions,
        told: ClientTold,
    ) {
        let clients = &self.inner.clients;
        let LockOptions { priority, kind, beneath, .. } = options;
        let options = RequestOptions { priority, deadline: None, kind, beneath };
        clients.waiting.fetch_add(1, Ordering::SeqCst);
        match self.inner.locks.request(client.0, request, options, Waiting::Client(told)) {
            Ok(Asked::Granted(Waiting::Client(told))) => clients.answer(told, Ok(())),
            Ok(Asked::Waiting) => self.inner.watch_waits(),
            Err((error, Waiting::Client(told))) => clients.answer(told, Err(clients.named(error))),
            // What waits is told later; what comes back is what was handed in.
            _ => {}
        }
        // Its place in the line may have changed what is possible for others.
        self.inner.schedule();
    }

    /// Ends a client's wait. Whether it waited: otherwise it has been told, or is just being told.
    pub fn give_up(&self, client: ClientId) -> bool {
        let waited = self.inner.locks.withdraw(client.0).is_some();
        if waited {
            self.inner.clients.waiting.fetch_sub(1, Ordering::SeqCst);
            self.inner.schedule();
        }
        waited
    }

    /// Releases all that a client holds.
    pub fn unlock_for(&self, client: ClientId) {
        self.give_up(client);
        self.inner.locks.release_all(client.0);
        self.inner.schedule();
    }

    /// The client is gone: what it held is released, what it waited for is not wanted any more.
    pub fn end_client(&self, client: ClientId) {
        self.unlock_for(client);
        self.inner.clients.known.lock().titles.remove(&client.0);
    }

    /// Who is in the way of a client that waits, for people.
    #[must_use]
    pub fn in_the_way_of(&self, client: ClientId) -> Option<String> {
        let waits = self.inner.locks.explain(client.0)?.waits?;
        let clients = &self.inner.clients;
        let names = waits.in_the_way.iter().map(|blocker| clients.name(blocker.owner));
        let names: Vec<String> = names.take(4).collect();
        Some(format!("{} is held by {}", waits.lock, names.join(", ")))
    }

    /// The lock directory of the machine, where this master has one.
    #[must_use]
    pub fn lock_dir(&self) -> Option<&Path> {
        self.inner.fenced.fences.dir_path()
    }
}

impl Inner {
    /// Asks for locks on behalf of a job.
    pub(super) fn request_for_job(
        &self,
        owner: OwnerId,
        request: &LockRequest,
        options: RequestOptions,
        active: Box<Active>,
    ) -> Result<Asked<Box<Active>>, LockError> {
        match self.locks.request(owner, request, options, Waiting::Job(active)) {
            Ok(Asked::Granted(Waiting::Job(active))) => Ok(Asked::Granted(active)),
            Ok(Asked::Granted(Waiting::Client(_))) => unreachable!("a request gets its own back"),
            Ok(Asked::Waiting) => Ok(Asked::Waiting),
            Err((error, _)) => Err(error),
        }
    }

    /// Grants what has become free while clients wait: they need no worker. Jobs that come first
    /// get their locks, too, and their worker when there is one.
    pub(super) fn serve_clients(self: &Arc<Self>) {
        if self.clients.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        for (_, waiting) in self.locks.pump(usize::MAX) {
            match waiting {
                Waiting::Client(told) => self.clients.answer(told, Ok(())),
                Waiting::Job(active) => self.fenced.add_granted(active),
            }
        }
    }

    /// Grants jobs their locks, as long as they are due before that time and there are not `most`
    /// tasks; clients among them need no worker.
    pub(super) fn grant_jobs(&self, most: usize, before: Option<Timestamp>, tasks: &mut Vec<Task>) {
        while tasks.len() < most {
            let granted = self.locks.pump_before(most - tasks.len(), before);
            if granted.is_empty() {
                break;
            }
            for (_, waiting) in granted {
                match waiting {
                    Waiting::Client(told) => self.clients.answer(told, Ok(())),
                    Waiting::Job(active) => tasks.push(Task::GoOn(active)),
                }
            }
        }
    }
}
