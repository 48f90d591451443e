//! A leftist heap through the requests themselves, for those who wait but did not come in order.
//!
//! Clark Crane, "Linear Lists and Priority Queues as Balanced Binary Trees" (1972). A node is 13
//! bytes within the request; insertion, removal of the first and of any other are O(log n).

use super::waiters::{Links, NOBODY, WaiterId, Waiters};

impl Waiters {
    /// The root of the heap with one request more.
    pub(super) fn heap_insert(&mut self, root: WaiterId, id: WaiterId) -> WaiterId {
        self.get_mut(id).links = Links::ALONE;
        self.merge(root, id)
    }

    /// The root of the heap without one of its requests.
    pub(super) fn heap_remove(&mut self, root: WaiterId, id: WaiterId) -> WaiterId {
        let Links { parent, left, right, .. } = self.get(id).links;
        let rest = self.merge(left, right);
        if rest != NOBODY {
            self.get_mut(rest).links.parent = parent;
        }
        if parent == NOBODY {
            return rest;
        }
        let links = &mut self.get_mut(parent).links;
        match links.left == id {
            true => links.left = rest,
            false => links.right = rest,
        }
        self.restore(parent);
        root
    }

    /// One heap of two, whose roots have no parents. Both right spines are short, so this goes
    /// O(log n) deep.
    fn merge(&mut self, a: WaiterId, b: WaiterId) -> WaiterId {
        if a == NOBODY || b == NOBODY {
            return a.min(b);
        }
        let (first, other) = if self.get(a).key < self.get(b).key { (a, b) } else { (b, a) };
        let right = self.merge(self.get(first).links.right, other);
        self.get_mut(right).links.parent = first;
        let links = &mut self.get_mut(first).links;
        (links.right, links.parent) = (right, NOBODY);
        self.lean(first);
        first
    }

    /// Restores ranks upwards from a node one of whose children changed, as far as they change.
    fn restore(&mut self, mut id: WaiterId) {
        while id != NOBODY {
            let before = self.get(id).links.rank;
            self.lean(id);
            if self.get(id).links.rank == before {
                return;
            }
            id = self.get(id).links.parent;
        }
    }

    /// Puts the child with the longer right spine left; the rank is the other's and one.
    fn lean(&mut self, id: WaiterId) {
        let Links { left, right, .. } = self.get(id).links;
        let (l, r) = (self.rank(left), self.rank(right));
        let links = &mut self.get_mut(id).links;
        links.rank = l.min(r) + 1;
        if l < r {
            (links.left, links.right) = (right, left);
        }
    }

    fn rank(&self, id: WaiterId) -> u8 {
        if id == NOBODY { 0 } else { self.get(id).links.rank }
    }
}
