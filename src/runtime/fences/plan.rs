//! Which levels reach beyond this process, and which files a request needs.

use crate::engine::locks::LockError;
use crate::store::FenceName;
use crate::vocabulary::{Hierarchy, LevelId, LevelLocks, LockMode, LockRequest, Scope};

/// What becomes of locks of scope [`Global`](Scope::Global) where no daemon is asked. A choice of
/// the caller: nothing is taken for less than what it was declared as without being told so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GlobalLocks {
    /// They are refused.
    #[default]
    Refused,
    /// They keep out what runs on this machine only, through the lock directory.
    OnThisNode,
    /// They keep out what runs in this process only. Right for the one process that decides for
    /// all machines, such as a daemon.
    InThisProcess,
}

/// How far one level reaches, here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    Memory,
    File,
    /// It would need a lock directory.
    NoDirectory,
    /// It would need a daemon.
    NoDaemon,
}

/// How far each level of a hierarchy reaches, here.
#[derive(Clone, Debug)]
pub(in crate::runtime) struct Reach {
    levels: Vec<(String, Means)>,
}

impl Reach {
    pub(super) fn new(hierarchy: &Hierarchy, directory: bool, global: GlobalLocks) -> Self {
        let file = if directory { Means::File } else { Means::NoDirectory };
        let means = |scope| match (scope, global) {
            (Scope::Process, _) | (Scope::Global, GlobalLocks::InThisProcess) => Means::Memory,
            (Scope::Node, _) | (Scope::Global, GlobalLocks::OnThisNode) => file,
            (Scope::Global, GlobalLocks::Refused) => Means::NoDaemon,
        };
        let level = |level| {
            let level = hierarchy.get(level);
            (level.name().to_owned(), means(level.scope()))
        };
        Self { levels: hierarchy.levels().map(level).collect() }
    }

    /// Whether any level is fenced.
    pub(in crate::runtime) fn is_beyond(&self) -> bool {
        self.levels.iter().any(|(_, means)| *means == Means::File)
    }

    /// Whether locks of that level are files.
    pub(in crate::runtime) fn is_fenced(&self, level: LevelId) -> bool {
        self.means(level) == Some(Means::File)
    }

    fn means(&self, level: LevelId) -> Option<Means> {
        self.levels.get(level.rank()).map(|(_, means)| *means)
    }

    /// Refuses what would be less than it was declared as.
    pub(in crate::runtime) fn check(&self, request: &LockRequest) -> Result<(), LockError> {
        for (level, _) in request.levels() {
            let name = || self.levels[level.rank()].0.clone();
            match self.means(level) {
                Some(Means::NoDirectory) => {
                    return Err(LockError::NoLockDirectory { level: name() });
                }
                Some(Means::NoDaemon) => return Err(LockError::NotGlobal { level: name() }),
                _ => {}
            }
        }
        Ok(())
    }

    /// The request in parts to be asked for one after the other: after each level that is fenced,
    /// its files are taken before anything deeper is asked for. Without that, processes could wait
    /// for each other in a circle.
    pub(in crate::runtime) fn parts(&self, request: &LockRequest) -> Vec<LockRequest> {
        let mut parts = vec![LockRequest::new()];
        let mut levels = request.levels().peekable();
        while let Some((level, locks)) = levels.next() {
            if let Some(part) = parts.last_mut() {
                part.add_level(level, locks.clone());
            }
            if self.is_fenced(level) && levels.peek().is_some() {
                parts.push(LockRequest::new());
            }
        }
        parts
    }
}

/// The files a request needs, level by level, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) levels: Vec<(LevelId, Vec<(FenceName, LockMode)>)>,
}

impl Plan {
    pub(super) fn of(reach: &Reach, request: &LockRequest) -> Self {
        let fenced = request.levels().filter(|(level, _)| reach.is_fenced(*level));
        let plan =
            fenced.map(|(level, locks)| (level, files(&reach.levels[level.rank()].0, locks)));
        Self { levels: plan.collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    pub(super) fn fences(&self) -> impl Iterator<Item = (&FenceName, LockMode)> {
        self.levels.iter().flat_map(|(_, files)| files).map(|(name, mode)| (name, *mode))
    }

    /// The files of one level.
    pub(super) fn at(&self, level: LevelId) -> impl Iterator<Item = (&FenceName, LockMode)> {
        let levels = self.levels.iter().filter(move |(other, _)| *other == level);
        levels.flat_map(|(_, files)| files).map(|(name, mode)| (name, *mode))
    }

    /// The name of one of them; of the last where there are not so many.
    pub(super) fn name(&self, at: usize) -> FenceName {
        let found = self.fences().nth(at).or_else(|| self.fences().last());
        found.map_or_else(|| FenceName::new("", None), |(name, _)| name.clone())
    }

    /// The locks whose files these are.
    pub(super) fn to_request(&self) -> LockRequest {
        let mut request = LockRequest::new();
        for (level, files) in self.levels.iter() {
            for (name, mode) in files {
                // Neither fails: the names are those of locks, and each comes once.
                _ = match (name.name(), mode) {
                    (Some(name), mode) => request.add(*level, name.as_str(), *mode).map(drop),
                    (None, LockMode::Exclusive) => request.add_all(*level, *mode).map(drop),
                    (None, LockMode::Shared) => Ok(()),
                };
            }
        }
        request
    }

    pub(super) fn contains(&self, name: &FenceName) -> bool {
        self.fences().any(|(other, _)| other == name)
    }
}

/// The files of one level. Who takes single locks shares the whole; who takes the whole takes it
/// alone, shared or not: a file knows two modes, and sharing it must keep single locks out.
fn files(level: &str, locks: &LevelLocks) -> Vec<(FenceName, LockMode)> {
    let whole = FenceName::new(level, None);
    if locks.all().is_some() {
        return vec![(whole, LockMode::Exclusive)];
    }
    let name = |name: &crate::vocabulary::LockName| FenceName::new(level, Some(name.clone()));
    let names = locks.names().map(|(lock, mode)| (name(lock), mode));
    [(whole, LockMode::Shared)].into_iter().chain(names).collect()
}
