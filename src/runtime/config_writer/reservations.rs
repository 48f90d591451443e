//! Names, addresses, ports... that a job has chosen and not written down yet.
//!
//! Kept in memory only, like locks: whoever reserved something before a crash does so again.

use std::collections::{BTreeMap, BTreeSet};

use super::{ConfigSnapshot, ConfigWriter};
use crate::vocabulary::{Error, ErrorKind, JobId};

/// More candidates than this are not looked at.
const MOST_CANDIDATES: usize = 1 << 16;

/// Something that a job has reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reservation {
    /// What sort of thing: `address`, `port`, ...
    pub kind: String,
    /// Which one.
    pub name: String,
    /// Whose it is.
    pub owner: JobId,
}

/// Who has reserved what, by kind and name.
#[derive(Debug, Default)]
pub(super) struct Reservations(BTreeMap<(String, String), JobId>);

impl Reservations {
    /// Notes it down, unless it is there already: then whose it is.
    fn add(&mut self, owner: JobId, kind: &str, name: &str) -> Result<(), JobId> {
        match self.0.get(&(kind.to_owned(), name.to_owned())) {
            Some(holder) => Err(*holder),
            None => {
                self.0.insert((kind.to_owned(), name.to_owned()), owner);
                Ok(())
            }
        }
    }

    fn remove(&mut self, owner: JobId, kind: &str, name: &str) -> bool {
        let key = (kind.to_owned(), name.to_owned());
        let own = self.0.get(&key) == Some(&owner);
        own && self.0.remove(&key).is_some()
    }
}

/// A reservation that ends with this, also by a panic, unless it is to be kept.
struct Attempt<'a> {
    writer: &'a ConfigWriter,
    owner: JobId,
    kind: &'a str,
    name: &'a str,
    keep: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.keep {
            self.writer.release(self.owner, self.kind, self.name);
        }
    }
}

/// Why something could not be reserved.
enum Taken {
    By(JobId),
    InConfig,
}

impl ConfigWriter {
    /// Reserves a name for a job, until it [releases](Self::release) it or has come to its end.
    ///
    /// `in_use` says whether the configuration has that name in use: it is asked after the name
    /// was reserved, so that nobody's write comes between. A job that writes the name into the
    /// configuration need not release it.
    ///
    /// # Errors
    ///
    /// `Refused` where it is in use or reserved, also by the same job.
    pub fn reserve(
        &self,
        owner: JobId,
        kind: &str,
        name: &str,
        in_use: impl FnOnce(&ConfigSnapshot) -> bool,
    ) -> Result<(), Error> {
        let refused =
            |why: String| Error::new(ErrorKind::Refused, format!("the {kind} {name} {why}"));
        match self.try_reserve(owner, kind, name, in_use) {
            Ok(()) => Ok(()),
            Err(Taken::InConfig) => Err(refused("is in use".into())),
            Err(Taken::By(holder)) if holder == owner => {
                Err(refused("is reserved by this job already".into()))
            }
            Err(Taken::By(holder)) => Err(refused(format!("is reserved by job {holder}"))
                .hint("wait until that job has ended, or take another one")),
        }
    }

    /// Reserves the first of these names that is free, as [`reserve`](Self::reserve) does.
    ///
    /// # Errors
    ///
    /// `Refused` where none is free. At most 65,536 are looked at.
    pub fn reserve_first(
        &self,
        owner: JobId,
        kind: &str,
        candidates: impl IntoIterator<Item = String>,
        in_use: impl Fn(&ConfigSnapshot, &str) -> bool,
    ) -> Result<String, Error> {
        let mut looked_at = 0_usize;
        for name in candidates.into_iter().take(MOST_CANDIDATES) {
            looked_at += 1;
            if self.try_reserve(owner, kind, &name, |config| in_use(config, &name)).is_ok() {
                return Ok(name);
            }
        }
        let message = format!("no {kind} is free: {looked_at} were looked at");
        Err(Error::new(ErrorKind::Refused, message).hint("remove what is not needed any more"))
    }

    /// First reserves, then looks. The other way round, somebody else's write and the end of his
    /// reservation could both come between, and one name would go to two.
    fn try_reserve(
        &self,
        owner: JobId,
        kind: &str,
        name: &str,
        in_use: impl FnOnce(&ConfigSnapshot) -> bool,
    ) -> Result<(), Taken> {
        self.reservations.lock().add(owner, kind, name).map_err(Taken::By)?;
        let mut attempt = Attempt { writer: self, owner, kind, name, keep: false };
        attempt.keep = !in_use(&self.read());
        if attempt.keep { Ok(()) } else { Err(Taken::InConfig) }
    }

    /// Gives back what a job has reserved. Whether it had.
    pub fn release(&self, owner: JobId, kind: &str, name: &str) -> bool {
        self.reservations.lock().remove(owner, kind, name)
    }

    /// What is reserved, by kind and name.
    #[must_use]
    pub fn reservations(&self) -> Vec<Reservation> {
        let reservations = self.reservations.lock();
        let all = reservations.0.iter().map(|((kind, name), owner)| Reservation {
            kind: kind.clone(),
            name: name.clone(),
            owner: *owner,
        });
        all.collect()
    }

    /// Gives back all that these jobs have reserved: they have come to their end.
    pub(in crate::runtime) fn release_all(&self, owners: &BTreeSet<JobId>) {
        self.reservations.lock().0.retain(|_, owner| !owners.contains(owner));
    }

    /// The jobs that have reserved something.
    pub(in crate::runtime) fn reserving(&self) -> BTreeSet<JobId> {
        self.reservations.lock().0.values().copied().collect()
    }
}
