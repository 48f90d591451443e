//! A map by job id that takes little more room than its values: ids are given out one after the
//! other, so neighbours are kept together.

use std::collections::BTreeMap;

use crate::vocabulary::JobId;

/// How many neighbours are kept together. Room for all of them is taken with the first.
const PAGE: usize = 32;

/// Values by job id. All single steps cost O(log jobs).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Paged<T> {
    pages: BTreeMap<u64, Vec<Option<T>>>,
    len: usize,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: BTreeMap::new(), len: 0 }
    }
}

fn place(id: JobId) -> (u64, usize) {
    let number = id.get();
    // What is left is less than the length of a page.
    (number / PAGE as u64, (number % PAGE as u64) as usize)
}

fn id(page: u64, place: usize) -> Option<JobId> {
    JobId::new(page * PAGE as u64 + place as u64)
}

impl<T> Paged<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, id: &JobId) -> Option<&T> {
        let (page, place) = place(*id);
        self.pages.get(&page)?.get(place)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: &JobId) -> Option<&mut T> {
        let (page, place) = place(*id);
        self.pages.get_mut(&page)?.get_mut(place)?.as_mut()
    }

    pub(super) fn contains_key(&self, id: &JobId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn insert(&mut self, id: JobId, value: T) -> Option<T> {
        let (page, place) = place(id);
        let page = self.pages.entry(page).or_insert_with(|| Vec::with_capacity(PAGE));
        while page.len() <= place {
            page.push(None);
        }
        let before = page[place].replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(super) fn remove(&mut self, id: &JobId) -> Option<T> {
        let (number, place) = place(*id);
        let page = self.pages.get_mut(&number)?;
        let removed = page.get_mut(place)?.take()?;
        self.len -= 1;
        if page.iter().all(Option::is_none) {
            self.pages.remove(&number);
        }
        Some(removed)
    }

    /// All ids, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = JobId> {
        self.iter().map(|(id, _)| id)
    }

    /// All values, by id.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (JobId, &T)> {
        self.pages_from(0)
    }

    /// All values, to be changed.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.values_mut().flatten().flatten()
    }

    /// The values from that id on.
    pub(super) fn starting_at(&self, first: JobId) -> impl Iterator<Item = (JobId, &T)> {
        let (page, _) = place(first);
        self.pages_from(page).filter(move |(id, _)| *id >= first)
    }

    fn pages_from(&self, first: u64) -> impl DoubleEndedIterator<Item = (JobId, &T)> {
        self.pages.range(first..).flat_map(|(number, page)| {
            let values = page.iter().enumerate();
            values.filter_map(|(place, value)| Some((id(*number, place)?, value.as_ref()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map_and_gives_its_room_back() {
        let ids = [1, 31, 32, 33, 64, 1000].map(|number| JobId::new(number).unwrap());
        let mut map = Paged::default();
        for (id, value) in ids.into_iter().rev().zip(0..) {
            assert_eq!(map.insert(id, value), None);
        }
        assert_eq!(map.insert(ids[5], 9), Some(0));
        assert_eq!(
            (map.len(), map.get(&ids[5]), map.contains_key(&ids[0].plus(1))),
            (6, Some(&9), false)
        );
        assert!(map.iter().map(|(id, _)| id).eq(ids));
        assert!(map.starting_at(ids[2]).map(|(id, _)| id).eq(ids[2..].iter().copied()));
        *map.get_mut(&ids[0]).unwrap() = 7;
        assert_eq!((map.remove(&ids[0]), map.remove(&ids[0])), (Some(7), None));
        ids.iter().for_each(|id| _ = map.remove(id));
        assert_eq!((map.len(), map.pages.len()), (0, 0));
    }
}
