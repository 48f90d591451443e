//! A set of locks looked up once and asked for many times.

use super::entry::Entry;
use super::error::LockError;
use super::policy::{RequestKind, RequestOptions};
use super::table::{LockTable, Outcome, OwnerId};
use crate::vocabulary::{LockRequest, Timestamp};

/// A request whose names were looked up in one [`LockTable`]. Its locks stay in existence until
/// it is [discarded](LockTable::discard).
#[derive(Debug)]
#[must_use = "discard it, or its locks stay in existence"]
pub struct Prepared {
    request: LockRequest,
    wanted: Box<[Entry]>,
}

impl LockTable {
    /// Looks the names of a request up, for [`request_prepared`](Self::request_prepared).
    ///
    /// # Errors
    ///
    /// `UnknownLevel`, `SharedWhole`, `TooManyLocks`.
    pub fn prepare(&mut self, request: LockRequest) -> Result<Prepared, LockError> {
        self.refuse_impossible(&request)?;
        let mut wanted = Vec::new();
        self.intern(&request, &mut wanted)?;
        self.refer_to(&wanted);
        self.prepared += 1;
        Ok(Prepared { request, wanted: wanted.into() })
    }

    /// Asks for a set of locks as [`request`](Self::request) does, without looking up names.
    ///
    /// # Errors
    ///
    /// As `request`.
    ///
    /// # Panics
    ///
    /// May panic, or ask for other locks, where it was prepared by another table.
    pub fn request_prepared(
        &mut self,
        owner: OwnerId,
        prepared: &Prepared,
        options: RequestOptions,
        now: Timestamp,
    ) -> Result<Outcome, LockError> {
        let depth = self.depth(owner);
        let ordered = prepared.wanted.first().is_some_and(|e| e.lock() as usize >= depth);
        let exact = !matches!(options.kind, RequestKind::Opportunistic { .. });
        if !ordered || !exact || self.is_waiting(owner) {
            return self.request(owner, &prepared.request, options, now);
        }
        self.let_the_oldest_reserve(now);
        let key = self.next_key(depth, options, now);
        self.request_numbers(owner, &prepared.wanted, options, key, now)
    }

    /// Lets go of the names of a prepared request.
    #[expect(clippy::needless_pass_by_value, reason = "it is of no use afterwards")]
    pub fn discard(&mut self, prepared: Prepared) {
        self.prepared -= 1;
        self.forget(&prepared.wanted);
    }
}
