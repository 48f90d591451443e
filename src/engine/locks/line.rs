//! Those who wait on one lock in one mode, in their order.
//!
//! Most requests come in their order: later ones are due later. They stand in a list, which costs
//! nothing to join and to leave. Those that do not (more urgent ones, or such as waited elsewhere
//! before) are in a heap. The first of all is the first of either.

use super::waiters::{Links, NOBODY, WaiterId, Waiters};

/// The ends of the list and the root of the heap. The links are in the requests themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    head: WaiterId,
    tail: WaiterId,
    root: WaiterId,
}

impl Line {
    pub(super) const EMPTY: Self = Self { head: NOBODY, tail: NOBODY, root: NOBODY };

    pub(super) fn is_empty(self) -> bool {
        self == Self::EMPTY
    }
}

/// The rank of those who stand in a list, where `left` is who stands before them and `right` who
/// stands behind. In a heap all ranks are above it.
const LISTED: u8 = 0;

impl Waiters {
    /// The first in the order.
    #[inline]
    pub(super) fn first_in(&self, line: Line) -> Option<WaiterId> {
        let earlier = match (line.head, line.root) {
            (NOBODY, other) | (other, NOBODY) => other,
            (head, root) if self.get(head).key < self.get(root).key => head,
            (_, root) => root,
        };
        (earlier != NOBODY).then_some(earlier)
    }

    pub(super) fn join(&mut self, line: &mut Line, id: WaiterId) {
        let tail = line.tail;
        if tail != NOBODY && self.get(id).key < self.get(tail).key {
            line.root = self.heap_insert(line.root, id);
            return;
        }
        self.get_mut(id).links = Links { left: tail, rank: LISTED, ..Links::ALONE };
        match tail {
            NOBODY => line.head = id,
            tail => self.get_mut(tail).links.right = id,
        }
        line.tail = id;
    }

    pub(super) fn leave(&mut self, line: &mut Line, id: WaiterId) {
        let Links { left, right, rank, .. } = self.get(id).links;
        if rank != LISTED {
            line.root = self.heap_remove(line.root, id);
            return;
        }
        match left {
            NOBODY => line.head = right,
            left => self.get_mut(left).links.right = right,
        }
        match right {
            NOBODY => line.tail = left,
            right => self.get_mut(right).links.left = left,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::entry::Entry;
    use super::super::key::Key;
    use super::super::mode::Mode;
    use super::super::table::OwnerId;
    use super::super::waiters::Waiter;
    use super::*;
    use crate::vocabulary::Timestamp;

    fn waiting(waiters: &mut Waiters, number: u64, due: i64) -> (Key, WaiterId) {
        let key = Key::new(0, Timestamp::from_micros(due), number);
        let at = Entry::new(0, Mode::Shared);
        (key, waiters.insert(Waiter::new(OwnerId(number), key, at, Box::default()), None))
    }

    /// Asserts that a heap is one: whoever stands above comes first, and the longer way down is on
    /// the left, so that the way on the right is short. The rank of its root.
    fn check_heap(waiters: &Waiters, id: WaiterId, parent: WaiterId) -> u8 {
        if id == NOBODY {
            return 0;
        }
        let (key, links) = (waiters.get(id).key, waiters.get(id).links);
        assert_eq!(links.parent, parent);
        assert!(parent == NOBODY || waiters.get(parent).key < key);
        let [left, right] = [links.left, links.right].map(|child| check_heap(waiters, child, id));
        assert!(left >= right);
        assert_eq!(links.rank, right + 1);
        links.rank
    }

    proptest! {
        #[test]
        fn the_first_is_always_the_first_in_the_order(
            steps in prop::collection::vec(
                (0..100_i64, 0..3_u8, any::<prop::sample::Index>()), 1..200
            ),
        ) {
            let (mut waiters, mut line, mut plain) =
                (Waiters::new(), Line::EMPTY, BTreeSet::new());
            for (number, (due, what, which)) in (0..).zip(steps) {
                if what > 0 || plain.is_empty() {
                    // Every other comes in its order.
                    let due = if what == 1 { number as i64 } else { due };
                    let (key, id) = waiting(&mut waiters, number, due);
                    waiters.join(&mut line, id);
                    plain.insert((key, id));
                } else {
                    let gone = *which.get(&plain.iter().copied().collect::<Vec<_>>());
                    waiters.leave(&mut line, gone.1);
                    waiters.remove(gone.1);
                    plain.remove(&gone);
                }
                prop_assert_eq!(waiters.first_in(line), plain.first().map(|(_, id)| *id));
                prop_assert_eq!(line.is_empty(), plain.is_empty());
                check_heap(&waiters, line.root, NOBODY);
            }
        }
    }
}
