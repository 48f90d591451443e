//! A hierarchy given as pairs of levels instead of a list.

use std::collections::{BTreeMap, BTreeSet};

use super::{Error, Hierarchy};

impl Hierarchy {
    /// The levels named in pairs, each pair's first before its second. Where the pairs leave the
    /// order of two levels open, they are in the order of their names: the same pairs, in
    /// whatever order, give the same hierarchy.
    ///
    /// ```
    /// use lockmaster::vocabulary::Hierarchy;
    /// let pairs = [("pool", "volume"), ("host", "pool"), ("host", "network")];
    /// assert_eq!(Hierarchy::from_pairs(pairs)?.to_string(), "host, network, pool, volume");
    /// # Ok::<(), lockmaster::vocabulary::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Invalid` where the pairs go round in a circle, which is named, and as for
    /// [`HierarchyBuilder::build`](super::HierarchyBuilder::build).
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut before: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (first, second) in pairs {
            before.entry(first).or_default();
            before.entry(second).or_default().insert(first);
        }
        let mut builder = Self::builder();
        while !before.is_empty() {
            let ready = before.iter().find(|(_, before)| before.is_empty());
            let Some(next) = ready.map(|(name, _)| *name) else { return Err(circle(&before)) };
            before.remove(next);
            before.values_mut().for_each(|before| _ = before.remove(next));
            builder = builder.level(next);
        }
        builder.build()
    }
}

/// Follows what has to come before, until it comes round.
fn circle(before: &BTreeMap<&str, BTreeSet<&str>>) -> Error {
    let mut path: Vec<&str> = before.keys().take(1).copied().collect();
    while let Some(earlier) = path.last().and_then(|last| before.get(last)?.first()) {
        if let Some(from) = path.iter().position(|level| level == earlier) {
            path.drain(..from);
            path.push(earlier);
            break;
        }
        path.push(earlier);
    }
    path.reverse();
    Error::invalid(format!("lock levels go round in a circle: {}", path.join(" before ")))
        .hint("levels are locked in order, so there has to be a first one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_pairs_does_not_matter() {
        let pairs = [("d", "b"), ("a", "c"), ("b", "c"), ("d", "a"), ("d", "b")];
        let forth = Hierarchy::from_pairs(pairs).unwrap();
        let back = Hierarchy::from_pairs(pairs.into_iter().rev()).unwrap();
        assert_eq!(forth.to_string(), "d, a, b, c");
        assert_eq!(forth, back);
    }

    #[test]
    fn a_circle_is_refused_and_named() {
        let message = |pairs: &[(&str, &str)]| {
            Hierarchy::from_pairs(pairs.iter().copied()).unwrap_err().to_string()
        };
        let round = message(&[("x", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "y")]);
        assert_eq!(round, "lock levels go round in a circle: a before b before c before a");
        assert!(message(&[("a", "a")]).ends_with("a before a"));
        assert!(message(&[]).contains("at least one"));
        assert!(message(&[("a", "B")]).contains("a-z"));
    }
}
