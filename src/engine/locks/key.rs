//! The one order in which waiting requests are granted.

use crate::vocabulary::Timestamp;

/// A request's place in the order: deepest level held first, then the virtual deadline, then
/// arrival. Smaller comes first.
///
/// The deepest level comes first or reservations deadlock; see `design/locking.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// `DEEPEST - depth` in the upper bits, the virtual deadline in the lower [`DUE_BITS`].
    place: u64,
    seq: u64,
}

const DUE_BITS: u32 = 57;
/// Added to a deadline so that those before the epoch sort first; about 2,283 years.
const DUE_BIAS: i64 = 1 << (DUE_BITS - 1);
/// The depth of an owner that holds a lock of the last of 64 levels.
const DEEPEST: usize = 64;

impl Key {
    /// The key of a request by an owner `depth` levels deep (0 where it holds nothing).
    pub(super) fn new(depth: usize, due: Timestamp, seq: u64) -> Self {
        let rank = DEEPEST.saturating_sub(depth) as u64;
        let due = due.as_micros().clamp(-DUE_BIAS, DUE_BIAS - 1) + DUE_BIAS;
        Self { place: rank << DUE_BITS | due.unsigned_abs(), seq }
    }

    /// How deep its owner is: one more than the rank of the deepest level it holds.
    pub(super) const fn depth(self) -> usize {
        DEEPEST - (self.place >> DUE_BITS) as usize
    }

    /// The virtual deadline.
    pub(super) const fn due(self) -> Timestamp {
        Timestamp::from_micros((self.place & ((1 << DUE_BITS) - 1)) as i64 - DUE_BIAS)
    }

    /// The same request with another virtual deadline.
    pub(super) fn with_due(self, due: Timestamp) -> Self {
        Self::new(self.depth(), due, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_deeper_comes_first_then_who_is_due_earlier_then_who_came_earlier() {
        let at = Timestamp::from_micros;
        let order = [
            Key::new(64, at(9), 9),
            Key::new(1, at(9), 9),
            Key::new(0, at(i64::MIN), 9),
            Key::new(0, at(-1), 9),
            Key::new(0, at(0), 9),
            Key::new(0, at(1), 1),
            Key::new(0, at(1), 2),
            Key::new(0, at(i64::MAX), 1),
        ];
        assert!(order.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_key_gives_back_what_went_in() {
        let key = Key::new(3, Timestamp::from_micros(-77), 5);
        assert_eq!((key.depth(), key.due().as_micros()), (3, -77));
    }
}
