//! Locks for threads that block: guards that release when dropped.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::debug_span;

use super::super::clock;
use super::super::lock_order::{Held, LevelClasses};
use super::builder::LocksBuilder;
use super::fenced::{Change, Told};
use super::signal::{Signal, Verdict};
use super::timer::Timer;
use super::{Asked, LockManager, here};
use crate::engine::locks::{
    LockError, LockReport, OwnerId, OwnerReport, RequestKind, RequestOptions, WaitPolicy,
};
use crate::runtime::fences::Fences;
use crate::vocabulary::{Hierarchy, LevelId, LockRequest, Priority, Timestamp};

/// How a thread asks for locks. By default: normal priority, waits without end for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockOptions {
    /// How urgent it is.
    pub priority: Priority,
    /// How long to wait for the whole request; at most ten years. Zero is a try.
    pub timeout: Option<Duration>,
    /// What happens if not all locks are free.
    pub kind: RequestKind,
    /// As [`RequestOptions::beneath`].
    pub beneath: Option<LevelId>,
}

impl LockOptions {
    /// More is a mistake.
    const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

    /// Does not wait.
    #[must_use]
    pub fn asap() -> Self {
        Self { kind: RequestKind::Try, ..Self::default() }
    }

    /// Waits so long.
    #[must_use]
    pub fn within(timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..Self::default() }
    }

    fn to_request(self) -> Result<RequestOptions, LockError> {
        if let Some(timeout) = self.timeout.filter(|timeout| *timeout > Self::MAX_TIMEOUT) {
            return Err(LockError::AbsurdTimeout { seconds: timeout.as_secs() });
        }
        let deadline = self.timeout.map(|timeout| clock::now().plus(timeout));
        let (priority, kind, beneath) = (self.priority, self.kind, self.beneath);
        Ok(RequestOptions { priority, deadline, kind, beneath })
    }
}

/// The locks of one hierarchy, for the threads of this process. Clones are the same locks.
///
/// ```
/// use lockmaster::runtime::{LockOptions, Locks};
/// use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest};
///
/// let hierarchy = Hierarchy::builder().level("pool").level("volume").build()?;
/// let (pool, volume) = (hierarchy.level("pool")?, hierarchy.level("volume")?);
/// let locks = Locks::new(hierarchy);
/// let mut request = LockRequest::new();
/// request.add(pool, "tank", LockMode::Shared)?.add(volume, "tank/web", LockMode::Exclusive)?;
/// let snapshot = locks.with(&request, LockOptions::default(), |_held| "taken")?;
/// assert_eq!(snapshot, "taken");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Locks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) manager: LockManager<Arc<Signal>>,
    next_owner: AtomicU64,
    pub(super) timer: Timer,
    classes: LevelClasses,
    pub(super) fences: Arc<Fences<Told>>,
    /// Tells these locks from others, for threads that hold some of both.
    number: u64,
}

impl Shared {
    /// Tells those who have become able to go on.
    pub(super) fn wake(&self) {
        for (_, signal) in self.manager.pump(usize::MAX) {
            signal.set(Verdict::Granted);
        }
    }

    pub(super) fn expire_at(&self, now: Timestamp) {
        for (_, signal) in self.manager.expire_at(now) {
            signal.set(Verdict::Expired);
        }
        self.fences.expire_at(now);
        self.wake();
    }

    /// When [`expire_at`](Self::expire_at) has something to do next.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let both = [self.manager.next_deadline(), self.fences.next_deadline()];
        both.into_iter().flatten().min()
    }

    fn new_owner(&self) -> OwnerId {
        OwnerId(self.next_owner.fetch_add(1, Ordering::Relaxed))
    }
}

impl Locks {
    /// Locks that nobody holds, with the default policy of waiting. Those of levels that reach
    /// beyond the process are refused: see [`builder`](Self::builder).
    #[must_use]
    pub fn new(hierarchy: Hierarchy) -> Self {
        Self::builder(hierarchy).open()
    }

    /// Locks that nobody holds, of this process as [`new`](Self::new).
    #[must_use]
    pub fn with_policy(hierarchy: Hierarchy, policy: WaitPolicy) -> Self {
        Self::builder(hierarchy).wait_policy(policy).open()
    }

    /// Says how far the locks of a hierarchy reach.
    ///
    /// ```
    /// use lockmaster::runtime::{LockDir, LockOptions, Locks};
    /// use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Scope};
    ///
    /// let directory = std::env::temp_dir().join(format!("locks-{}", std::process::id()));
    /// let hierarchy = Hierarchy::builder().scoped_level("pool", Scope::Node).build()?;
    /// let mut tank = LockRequest::new();
    /// tank.add(hierarchy.level("pool")?, "tank", LockMode::Exclusive)?;
    ///
    /// let locks = Locks::builder(hierarchy).dir(LockDir::open(&directory)?).open();
    /// locks.with(&tank, LockOptions::default(), |held| {
    ///     if let Some(dead) = held.died().first() {
    ///         println!("{} died while it held {}", dead.record, dead.lock);
    ///     }
    /// })?;
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(hierarchy: Hierarchy) -> LocksBuilder {
        LocksBuilder::new(hierarchy)
    }

    pub(super) fn with_fences(
        hierarchy: Hierarchy,
        policy: WaitPolicy,
        fences: Arc<Fences<Told>>,
    ) -> Self {
        let classes = LevelClasses::new(&hierarchy);
        let manager = LockManager::new(hierarchy, policy);
        let (next_owner, timer) = (AtomicU64::new(1), Timer::default());
        let number = here::new_number();
        let shared = Shared { manager, next_owner, timer, classes, fences, number };
        Self { shared: Arc::new(shared) }
    }

    /// The levels.
    #[must_use]
    pub fn hierarchy(&self) -> &Hierarchy {
        self.shared.manager.hierarchy()
    }

    /// One who will hold locks, at one level after the other.
    #[must_use]
    pub fn owner(&self) -> LockOwner {
        LockOwner {
            shared: Arc::clone(&self.shared),
            id: self.shared.new_owner(),
            here: PhantomData,
        }
    }

    /// This thread as an owner: the same one at each call, so that what it holds through one call
    /// is known to the next. It can lock again what it holds where the level is reentrant, and is
    /// refused where it would wait for itself or asks out of order.
    #[must_use]
    pub fn here(&self) -> ThisThread {
        let id = here::owner_of(self.shared.number, || self.shared.new_owner());
        let shared = Arc::clone(&self.shared);
        ThisThread { owner: LockOwner { shared, id, here: PhantomData }, here: PhantomData }
    }

    /// Runs `body` with the locks held by [this thread](Self::here); they are released when it
    /// returns or panics.
    ///
    /// # Errors
    ///
    /// As [`LockOwner::lock`]; `body` does not run then.
    ///
    /// # Panics
    ///
    /// As [`LockOwner::lock`], and where `body` does.
    #[track_caller]
    pub fn with<R>(
        &self,
        request: &LockRequest,
        options: LockOptions,
        body: impl FnOnce(&LockGuard<'_>) -> R,
    ) -> Result<R, LockError> {
        let owner = self.here();
        let guard = owner.lock(request, options)?;
        Ok(body(&guard))
    }

    /// What an owner holds and waits for, and why.
    #[must_use]
    pub fn explain(&self, owner: OwnerId) -> Option<OwnerReport> {
        self.shared.manager.explain(owner)
    }

    /// All locks somebody holds or waits for.
    #[must_use]
    pub fn locks(&self) -> Vec<LockReport> {
        self.shared.manager.locks()
    }

    /// Ends the waiting of those whose deadline is not after `now`. A timer does so by itself;
    /// this is for who has a clock of its own.
    pub fn expire_at(&self, now: Timestamp) {
        self.shared.expire_at(now);
    }

    /// Changes how urgent a waiting request is, at once. Whether the owner waits.
    pub fn set_priority(&self, owner: OwnerId, priority: Priority) -> bool {
        let waits = self.shared.manager.set_priority(owner, priority);
        self.shared.wake();
        waits
    }
}

/// A thread as one who holds locks; it stays in that thread.
#[derive(Debug)]
pub struct ThisThread {
    owner: LockOwner,
    here: PhantomData<*const ()>,
}

impl std::ops::Deref for ThisThread {
    type Target = LockOwner;

    fn deref(&self) -> &LockOwner {
        &self.owner
    }
}

/// One who holds locks, in one thread at a time.
///
/// All it holds is released when the guards are dropped, in whatever order.
#[derive(Debug)]
pub struct LockOwner {
    pub(super) shared: Arc<Shared>,
    pub(super) id: OwnerId,
    /// Not shared among threads: an owner that waits in one cannot release in another.
    here: PhantomData<std::cell::Cell<()>>,
}

impl LockOwner {
    /// The number under which it is reported.
    #[must_use]
    pub fn id(&self) -> OwnerId {
        self.id
    }

    /// Blocks until the locks are held, or the request is refused.
    ///
    /// # Errors
    ///
    /// [`LockError`]; `TimedOut` where it waited in vain. Nothing is changed then.
    ///
    /// # Panics
    ///
    /// Where the [lock-order checker](super::super::lock_order) is on, set to panic, and finds
    /// that this thread can deadlock through a mutex or another owner.
    #[track_caller]
    pub fn lock(
        &self,
        request: &LockRequest,
        options: LockOptions,
    ) -> Result<LockGuard<'_>, LockError> {
        let reach = &self.shared.fences.reach;
        reach.check(request)?;
        let asked = options.to_request()?;
        if !reach.is_beyond() {
            return self.lock_part(request, options, asked);
        }
        match options.kind {
            RequestKind::Opportunistic { min_count } => self.lock_some(request, options, min_count),
            _ => self.lock_parts(request, options, asked),
        }
    }

    /// Locks one level after the other that is a matter of other processes, too.
    #[track_caller]
    fn lock_parts(
        &self,
        request: &LockRequest,
        options: LockOptions,
        asked: RequestOptions,
    ) -> Result<LockGuard<'_>, LockError> {
        let mut whole = LockGuard { owner: self, levels: Vec::new(), watched: Vec::new() };
        for part in self.shared.fences.reach.parts(request) {
            let mut guard = self.lock_part(&part, options, asked)?;
            whole.levels.append(&mut guard.levels);
            whole.watched.append(&mut guard.watched);
            self.fence(&part, asked)?;
        }
        Ok(whole)
    }

    /// Locks what is free, here and in other processes.
    #[track_caller]
    fn lock_some(
        &self,
        request: &LockRequest,
        options: LockOptions,
        min_count: usize,
    ) -> Result<LockGuard<'_>, LockError> {
        let mut guard = self.lock_part(request, options, options.to_request()?)?;
        let found = self.fence_what_is_free(request)?;
        guard.forget_levels();
        if found < min_count {
            return Err(LockError::TooFew { found, needed: min_count });
        }
        Ok(guard)
    }

    /// Locks in the table of this process.
    #[track_caller]
    fn lock_part(
        &self,
        request: &LockRequest,
        options: LockOptions,
        asked: RequestOptions,
    ) -> Result<LockGuard<'_>, LockError> {
        let waits = options.kind == RequestKind::Exact
            && options.timeout != Some(Duration::ZERO)
            && !self.holds_again(request);
        let signal = Arc::new(Signal::default());
        let manager = &self.shared.manager;
        let answer = manager.request(self.id, request, asked, Arc::clone(&signal));
        let answer = answer.map_err(|(error, _)| error)?;
        let watched = self.watched(request, waits);
        if matches!(answer, Asked::Waiting) {
            if asked.deadline.is_some() {
                self.shared.timer.look_again(&self.shared);
            }
            let lock_wait = debug_span!("lock wait", owner = self.id.0, lock = self.name(request));
            if lock_wait.in_scope(|| signal.wait()) == Verdict::Expired {
                return Err(LockError::TimedOut { lock: self.name(request) });
            }
        }
        let levels = request.levels().map(|(level, _)| level).collect();
        let mut guard = LockGuard { owner: self, levels, watched };
        if matches!(options.kind, RequestKind::Opportunistic { .. }) {
            guard.forget_levels();
        }
        Ok(guard)
    }

    /// Whether a request is for reentrant levels at which this owner holds something: it is
    /// granted at once or refused.
    fn holds_again(&self, request: &LockRequest) -> bool {
        let manager = &self.shared.manager;
        let hierarchy = manager.hierarchy();
        let reentrant = |level: LevelId| {
            hierarchy.at(level.rank()).is_some_and(|level| hierarchy.get(level).is_reentrant())
        };
        let mut levels = request.levels().map(|(level, _)| level);
        levels.next().is_some_and(|first| {
            reentrant(first) && manager.held(self.id).levels().any(|(level, _)| level == first)
        })
    }

    /// Has the lock-order checker look at a request that the table accepted, before this thread
    /// waits for it. A finding that panics takes the request back.
    #[track_caller]
    fn watched(&self, request: &LockRequest, waits: bool) -> Vec<(LevelId, Held)> {
        let withdrawal = Withdrawal { owner: self, request };
        let watched = self.shared.classes.take(request, waits);
        std::mem::forget(withdrawal);
        watched
    }

    /// The first lock of a request, to name it.
    pub(super) fn name(&self, request: &LockRequest) -> String {
        let first = request.levels().next();
        first.map_or_else(String::new, |(level, _)| self.name_at(level, request))
    }

    /// The first lock of a request at that level, to name it.
    fn name_at(&self, level: LevelId, request: &LockRequest) -> String {
        let hierarchy = self.shared.manager.hierarchy();
        let level_name = hierarchy.at(level.rank()).map_or("?", |level| hierarchy.name(level));
        let locks = request.levels().find(|(other, _)| *other == level).map(|(_, locks)| locks);
        match locks.and_then(|locks| locks.names().next().filter(|_| locks.all().is_none())) {
            Some((name, _)) => format!("{level_name}/{name}"),
            None => format!("{level_name}/[lockset]"),
        }
    }
}

/// Takes a request back, granted or not, when dropped.
struct Withdrawal<'a> {
    owner: &'a LockOwner,
    request: &'a LockRequest,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        let LockOwner { shared, id, .. } = self.owner;
        if shared.manager.withdraw(*id).is_none() {
            let levels: Vec<LevelId> = self.request.levels().map(|(level, _)| level).collect();
            // Not refused: the owner waits no more.
            _ = shared.manager.release_levels(*id, &levels);
        }
        shared.wake();
    }
}

/// Locks that are held; released when this is dropped.
#[derive(Debug)]
#[must_use = "the locks are released when this is dropped"]
pub struct LockGuard<'a> {
    pub(super) owner: &'a LockOwner,
    levels: Vec<LevelId>,
    watched: Vec<(LevelId, Held)>,
}

impl LockGuard<'_> {
    /// What the owner holds, by this guard and others.
    #[must_use]
    pub fn held(&self) -> LockRequest {
        self.owner.shared.manager.held(self.owner.id)
    }

    /// Makes exclusive locks of this guard shared; see [`LockTable::downgrade`].
    ///
    /// [`LockTable::downgrade`]: crate::engine::locks::LockTable::downgrade
    ///
    /// # Errors
    ///
    /// `NotHeld`.
    pub fn downgrade(&mut self, locks: &LockRequest) -> Result<(), LockError> {
        self.change(locks, Change::Downgrade)
    }

    /// Keeps some of this guard's locks only; see [`LockTable::narrow`].
    ///
    /// [`LockTable::narrow`]: crate::engine::locks::LockTable::narrow
    ///
    /// # Errors
    ///
    /// `NotHeld`, `WouldDeadlock`.
    pub fn narrow(&mut self, keep: &LockRequest) -> Result<(), LockError> {
        self.change(keep, Change::Narrow)
    }

    /// Releases some of this guard's locks before the others.
    ///
    /// # Errors
    ///
    /// `NotHeld`.
    pub fn release(&mut self, locks: &LockRequest) -> Result<(), LockError> {
        self.change(locks, Change::Release)?;
        self.forget_levels();
        Ok(())
    }

    fn change(&mut self, locks: &LockRequest, change: Change) -> Result<(), LockError> {
        if let Some((level, _)) = locks.levels().find(|(level, _)| !self.levels.contains(level)) {
            return Err(LockError::NotHeld { lock: self.owner.name_at(level, locks) });
        }
        change.make(self.owner, locks)?;
        self.owner.shared.wake();
        Ok(())
    }

    /// Leaves levels at which nothing is held to later guards.
    fn forget_levels(&mut self) {
        let held = self.held();
        self.levels.retain(|level| held.levels().any(|(other, _)| other == *level));
        self.watched.retain(|(level, _)| self.levels.contains(level));
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // The files first: the next one in this process then finds them free.
        self.owner.shared.fences.release_levels(self.owner.id, &self.levels);
        // Not refused: an owner that waits for locks blocks the one thread that has its guards.
        _ = self.owner.shared.manager.release_levels(self.owner.id, &self.levels);
        self.owner.shared.wake();
    }
}
