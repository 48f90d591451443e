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
        let depth = options.depth(self.depth(owner));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::locks::WaitPolicy;
    use crate::vocabulary::{Hierarchy, LockMode, LockName};

    const NOW: Timestamp = Timestamp::from_micros(0);

    #[test]
    fn names_looked_up_stay_in_existence_until_they_are_discarded() {
        let hierarchy = Hierarchy::default();
        let node = hierarchy.level("node").unwrap();
        let mut table = LockTable::new(hierarchy, WaitPolicy::default());
        let one = |name: &str| {
            let mut request = LockRequest::new();
            request.add(node, name, LockMode::Exclusive).unwrap();
            request
        };
        let find = |table: &LockTable| table.slots.find(node, &LockName::new("n").unwrap());
        let prepared = table.prepare(one("n")).unwrap();
        let number = find(&table);
        for crowd in ["a", "b"] {
            let granted = table.request_prepared(OwnerId(1), &prepared, Default::default(), NOW);
            assert_eq!(granted, Ok(Outcome::Granted));
            table.release_all(OwnerId(1));
            // More names than are kept in existence without being used.
            for other in 0..3000 {
                let other = one(&format!("{crowd}{other}"));
                assert!(table.request(OwnerId(2), &other, Default::default(), NOW).is_ok());
                table.release_all(OwnerId(2));
            }
            assert_eq!(find(&table), number);
            table.check();
        }
        assert_eq!(table.prepared, 1);
        table.discard(prepared);
        assert_eq!(table.prepared, 0);
        for other in 0..3000 {
            let other = one(&format!("c{other}"));
            assert!(table.request(OwnerId(2), &other, Default::default(), NOW).is_ok());
            table.release_all(OwnerId(2));
        }
        assert_eq!(find(&table), None);
        table.check();
    }
}
