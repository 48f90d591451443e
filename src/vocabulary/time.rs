//! Points in time, as values. Nothing here reads a clock: the runtime does and passes times in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Nanoseconds since the Unix epoch, or the most there are.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0.saturating_mul(1000)
    }

    /// The time `by` later, or the latest there is.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero where it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The `[seconds, microseconds]` pair that LUXI uses.
    #[must_use]
    pub const fn seconds_and_micros(self) -> (i64, i64) {
        (self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_between_two_times_never_goes_below_zero() {
        let (early, late) = (Timestamp::from_micros(5), Timestamp::from_micros(9));
        assert_eq!(late.since(early), Duration::from_micros(4));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.plus(Duration::MAX), Timestamp::from_micros(i64::MAX));
    }

    #[test]
    fn a_pair_has_microseconds_below_a_million_even_before_the_epoch() {
        assert_eq!(Timestamp::from_micros(1_500_000).seconds_and_micros(), (1, 500_000));
        assert_eq!(Timestamp::from_micros(-1).seconds_and_micros(), (-1, 999_999));
    }
}
