//! What the owners hold, by owner.

use super::holding::Holding;
use super::owners::Owners;
use super::table::OwnerId;

/// All owners that hold something, in no particular order.
///
/// Nothing is moved when an owner comes or goes, and its lists are left to the next one: a grant
/// that nobody contests neither allocates nor copies more than what was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Holders {
    index: Owners,
    /// Where the place is free, the holding is empty.
    places: Vec<(OwnerId, Holding)>,
    free: Vec<u32>,
}

impl Holders {
    /// Memory for more owners is given back when nobody holds anything.
    const KEPT: usize = 1024;
    /// So many lists are left for the next owners, but for long ones.
    const SPARE: usize = 64;
    const LONGEST: usize = 256;

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    /// The place of an owner that holds something.
    #[inline]
    pub(super) fn find(&self, owner: OwnerId) -> Option<u32> {
        self.index.find(owner, |place| self.places[place as usize].0)
    }

    /// What is held by the owner at a place that was found.
    #[inline]
    pub(super) fn at(&self, place: u32) -> &Holding {
        &self.places[place as usize].1
    }

    #[inline]
    pub(super) fn get(&self, owner: OwnerId) -> Option<&Holding> {
        self.find(owner).map(|place| self.at(place))
    }

    pub(super) fn get_mut(&mut self, owner: OwnerId) -> Option<&mut Holding> {
        self.find(owner).map(|place| &mut self.places[place as usize].1)
    }

    /// What an owner holds, to add to it.
    #[inline]
    pub(super) fn get_or_insert(&mut self, owner: OwnerId) -> &mut Holding {
        let place = self.find(owner).unwrap_or_else(|| self.insert(owner));
        &mut self.places[place as usize].1
    }

    fn insert(&mut self, owner: OwnerId) -> u32 {
        let place = self.free.pop().unwrap_or(self.places.len() as u32);
        match self.places.get_mut(place as usize) {
            Some(free) => free.0 = owner,
            None => self.places.push((owner, Holding::default())),
        }
        self.index.insert(owner, place, |place| self.places[place as usize].0);
        place
    }

    /// An owner holds nothing any more.
    #[inline]
    pub(super) fn remove(&mut self, owner: OwnerId) {
        let Some(place) = self.index.remove(owner, |place| self.places[place as usize].0) else {
            return;
        };
        let holding = &mut self.places[place as usize].1;
        if self.free.len() < Self::SPARE && holding.entries.capacity() <= Self::LONGEST {
            holding.entries.clear();
            holding.levels.clear();
        } else {
            *holding = Holding::default();
        }
        self.free.push(place);
        if self.places.len() > Self::KEPT && self.is_empty() {
            *self = Self::default();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (OwnerId, &Holding)> {
        let held = self.places.iter().filter(|(_, holding)| !holding.entries.is_empty());
        held.map(|(owner, holding)| (*owner, holding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::locks::Mode;
    use crate::engine::locks::entry::Entry;

    fn enter(holders: &mut Holders, owner: u64, room: usize) {
        let holding = holders.get_or_insert(OwnerId(owner));
        holding.entries.reserve_exact(room);
        holding.entries.push(Entry::new(owner as u32, Mode::Shared));
    }

    fn rooms(holders: &Holders) -> Vec<usize> {
        holders.places.iter().map(|(_, holding)| holding.entries.capacity()).collect()
    }

    #[test]
    fn lists_are_used_again_but_for_long_ones_and_only_so_many() {
        let mut holders = Holders::default();
        enter(&mut holders, 1, Holders::LONGEST);
        enter(&mut holders, 2, Holders::LONGEST + 1);
        [1, 2].into_iter().for_each(|owner| holders.remove(OwnerId(owner)));
        assert_eq!(rooms(&holders), [Holders::LONGEST, 0]);
        let many = Holders::SPARE as u64 + 1;
        (0..many).for_each(|owner| enter(&mut holders, owner, 3));
        (0..many).for_each(|owner| holders.remove(OwnerId(owner)));
        assert_eq!(rooms(&holders).iter().filter(|room| **room > 0).count(), Holders::SPARE);
        assert_eq!(holders.places.len(), Holders::SPARE + 1, "places are used again");
    }

    #[test]
    fn who_holds_something_is_found_and_listed_and_nobody_else() {
        let mut holders = Holders::default();
        (0..5).for_each(|owner| enter(&mut holders, owner, 1));
        [1, 3, 7].into_iter().for_each(|owner| holders.remove(OwnerId(owner)));
        enter(&mut holders, 9, 1);
        enter(&mut holders, 9, 1);
        let mut listed: Vec<_> =
            holders.iter().map(|(owner, h)| (owner.0, h.entries.len())).collect();
        listed.sort_unstable();
        assert_eq!(listed, [(0, 1), (2, 1), (4, 1), (9, 2)]);
        assert_eq!((holders.len(), holders.is_empty()), (4, false));
        assert!(holders.get(OwnerId(3)).is_none() && holders.get_mut(OwnerId(9)).is_some());
    }

    #[test]
    fn memory_of_many_is_given_back_when_nobody_holds_anything() {
        for (many, kept) in [(Holders::KEPT, true), (Holders::KEPT + 1, false)] {
            let mut holders = Holders::default();
            (0..many as u64).for_each(|owner| enter(&mut holders, owner, 1));
            (1..many as u64).for_each(|owner| holders.remove(OwnerId(owner)));
            assert_eq!(holders.places.len(), many, "somebody holds something");
            holders.remove(OwnerId(0));
            assert_eq!(!holders.places.is_empty(), kept);
            assert!(holders.is_empty());
        }
    }
}
