//! Finds the request of an owner, or what it holds: an open-addressing table of nothing but
//! numbers.
//!
//! A request knows its owner, so the table need not repeat it: 8 to 16 bytes for each instead of
//! 34 or more. At most half full; linear probing, deletion by shifting back (Knuth, volume 3,
//! algorithm 6.4R).

use std::hash::BuildHasher;

use super::number::ByNumber;
use super::table::OwnerId;
use super::waiters::{NOBODY, WaiterId};

/// The numbers of requests, by owner; who owns which is asked of the caller.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    /// A power of two of places, or none.
    places: Vec<WaiterId>,
    len: usize,
}

impl Owners {
    const LEAST: usize = 16;

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn find(
        &self,
        owner: OwnerId,
        owner_of: impl Fn(WaiterId) -> OwnerId,
    ) -> Option<WaiterId> {
        if self.len == 0 {
            return None;
        }
        let mut place = self.home(owner);
        while self.places[place] != NOBODY {
            if owner_of(self.places[place]) == owner {
                return Some(self.places[place]);
            }
            place = self.after(place);
        }
        None
    }

    /// Adds the request of an owner that has none.
    pub(super) fn insert(
        &mut self,
        owner: OwnerId,
        id: WaiterId,
        owner_of: impl Fn(WaiterId) -> OwnerId,
    ) {
        if (self.len + 1) * 2 > self.places.len() {
            self.resize((self.places.len() * 2).max(Self::LEAST), owner_of);
        }
        self.put(owner, id);
        self.len += 1;
    }

    /// Removes the request of an owner, and says which it was.
    pub(super) fn remove(
        &mut self,
        owner: OwnerId,
        owner_of: impl Fn(WaiterId) -> OwnerId,
    ) -> Option<WaiterId> {
        if self.len == 0 {
            return None;
        }
        let mut gap = self.home(owner);
        while self.places[gap] != NOBODY && owner_of(self.places[gap]) != owner {
            gap = self.after(gap);
        }
        let removed = self.places[gap];
        if removed == NOBODY {
            return None;
        }
        let mut next = self.after(gap);
        while self.places[next] != NOBODY {
            let home = self.home(owner_of(self.places[next]));
            // It may move into the gap unless its home lies behind the gap, up to where it is.
            let mask = self.places.len() - 1;
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(gap) & mask {
                self.places[gap] = self.places[next];
                gap = next;
            }
            next = self.after(next);
        }
        self.places[gap] = NOBODY;
        self.len -= 1;
        if self.len * 16 < self.places.len() && self.places.len() > Self::LEAST {
            self.resize(self.places.len() / 4, owner_of);
        }
        Some(removed)
    }

    fn resize(&mut self, places: usize, owner_of: impl Fn(WaiterId) -> OwnerId) {
        let places = vec![NOBODY; places.max(Self::LEAST)];
        let old = std::mem::replace(&mut self.places, places);
        for id in old.into_iter().filter(|id| *id != NOBODY) {
            self.put(owner_of(id), id);
        }
    }

    fn put(&mut self, owner: OwnerId, id: WaiterId) {
        let mut place = self.home(owner);
        while self.places[place] != NOBODY {
            place = self.after(place);
        }
        self.places[place] = id;
    }

    #[inline]
    fn home(&self, owner: OwnerId) -> usize {
        ByNumber::default().hash_one(owner) as usize & (self.places.len() - 1)
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_grows_when_it_would_be_more_than_half_full_and_shrinks_when_nearly_empty() {
        let owner_of = |id: WaiterId| OwnerId(u64::from(id));
        let mut owners = Owners::default();
        let places = |owners: &Owners| owners.places.len();
        let mut grown = Vec::new();
        for id in 0..128 {
            owners.insert(owner_of(id), id, owner_of);
            grown.push(places(&owners));
        }
        let half_full = |len: usize| (2 * len).next_power_of_two().max(Owners::LEAST);
        assert_eq!(grown, (1..=128).map(half_full).collect::<Vec<_>>());
        let mut shrunk = Vec::new();
        for id in 0..128 {
            owners.remove(owner_of(id), owner_of);
            shrunk.push((owners.len(), places(&owners)));
        }
        let changes: Vec<_> = shrunk.windows(2).filter(|two| two[0].1 != two[1].1).collect();
        assert_eq!(changes, [[(16, 256), (15, 64)], [(4, 64), (3, 16)]]);
        assert_eq!(shrunk.last(), Some(&(0, Owners::LEAST)));
        owners.remove(OwnerId(7), owner_of);
        assert_eq!(owners.len(), 0);
    }

    proptest! {
        #[test]
        fn it_finds_what_a_plain_map_finds(
            steps in prop::collection::vec((any::<bool>(), 0..40_u64), 1..400),
        ) {
            // A request's number is its owner's number, spread so that homes collide.
            let spread = |owner: u64| OwnerId(owner.wrapping_mul(0x0040_0000_0000_0000));
            let owner_of = |id: WaiterId| spread(u64::from(id));
            let (mut owners, mut plain) = (Owners::default(), BTreeMap::new());
            for (add, owner) in steps {
                let id = owner as WaiterId;
                if !add {
                    plain.remove(&owner);
                    owners.remove(spread(owner), owner_of);
                } else if plain.insert(owner, id).is_none() {
                    owners.insert(spread(owner), id, owner_of);
                }
                prop_assert_eq!(owners.len(), plain.len());
                for owner in 0..40 {
                    let found = owners.find(spread(owner), owner_of);
                    prop_assert_eq!(found, plain.get(&owner).copied());
                }
            }
        }
    }
}
