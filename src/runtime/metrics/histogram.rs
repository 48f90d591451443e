//! How often something took how long, or was how large, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many bounds there are: 1, 4, 16, ... 4^15, which as microseconds is 18 minutes.
const BOUNDS: usize = 16;

/// Counts by size. Adding costs two atomic additions and no memory.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Counts {
    /// How many were at most as large as each bound and larger than the one before; the last
    /// counts the rest.
    counts: [AtomicU64; BOUNDS + 1],
    sum: AtomicU64,
}

impl Counts {
    /// Counts one of that size.
    pub(in crate::runtime) fn add(&self, size: u64) {
        self.counts[place(size)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(size, Ordering::Relaxed);
    }

    /// What was counted so far. What is added meanwhile may be in the counts and not in the sum.
    pub(super) fn snapshot(&self) -> Histogram {
        let mut below = 0;
        let cumulate = |count: &AtomicU64| {
            below += count.load(Ordering::Relaxed);
            below
        };
        let at_most = self.counts.iter().map(cumulate).collect();
        Histogram { at_most, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// The first bound that is not below `size`.
fn place(size: u64) -> usize {
    let bits = (u64::BITS - size.saturating_sub(1).leading_zeros()) as usize;
    bits.div_ceil(2).min(BOUNDS)
}

/// How often something had which size, up to one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    at_most: Vec<u64>,
    sum: u64,
}

impl Histogram {
    /// The bounds 1, 4, 16, ..., and how many were at most as large.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.at_most.iter().take(BOUNDS).zip(0..).map(|(count, power)| (4_u64.pow(power), *count))
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.at_most.last().copied().unwrap_or(0)
    }

    /// The sum of all.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The mean; 0 where there were none.
    #[must_use]
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count()).unwrap_or(0)
    }

    /// A bound that this part of all (0.99: all but the hundredth) did not exceed; nothing where
    /// there were none, or the part exceeds the last bound.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * part).ceil().max(1.0) as u64;
        self.buckets().find(|(_, count)| *count >= wanted).map(|(bound, _)| bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_below_the_first_bound_that_holds_them() {
        let histogram = Counts::default();
        assert_eq!(histogram.snapshot().quantile(0.5), None);
        for size in [0, 1, 2, 4, 5, 16, 17, 1 << 30, u64::MAX >> 1] {
            histogram.add(size);
        }
        let all = histogram.snapshot();
        let counts: Vec<u64> = all.buckets().map(|(_, count)| count).take(4).collect();
        assert_eq!(counts, [2, 4, 6, 7]);
        assert_eq!(all.buckets().last(), Some((1 << 30, 8)));
        assert_eq!((all.count(), all.quantile(0.5), all.quantile(1.0)), (9, Some(16), None));
    }
}
