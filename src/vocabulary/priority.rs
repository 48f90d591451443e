//! How urgent a job, an opcode or a lock request is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// -20 (most urgent) to 19 (least urgent), as in Ganeti and nice(1). **Lower runs first.**
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Priority(i8);

impl Priority {
    /// -20: before everything else.
    pub const MOST_URGENT: Self = Self(-20);
    /// -10, Ganeti's "high".
    pub const HIGH: Self = Self(-10);
    /// 0, where nothing was said.
    pub const NORMAL: Self = Self(0);
    /// 10, Ganeti's "low".
    pub const LOW: Self = Self(10);
    /// 19: after everything else.
    pub const LEAST_URGENT: Self = Self(19);

    /// The priority of that value.
    ///
    /// # Errors
    ///
    /// `Invalid` where the value is not within -20 to 19.
    pub fn new(value: i64) -> Result<Self, Error> {
        match i8::try_from(value) {
            Ok(small @ -20..=19) => Ok(Self(small)),
            _ => Err(Error::invalid(format!("priority {value} is not within -20 to 19"))
                .hint("-20 is the most urgent, 0 the normal, 19 the least urgent")),
        }
    }

    /// The value, -20 to 19.
    #[must_use]
    pub const fn get(self) -> i8 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = i8::deserialize(deserializer)?;
        Self::new(value.into()).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused() {
        assert_eq!(Priority::new(-20).unwrap(), Priority::MOST_URGENT);
        assert_eq!(Priority::new(19).unwrap(), Priority::LEAST_URGENT);
        for value in [-21, 20, 300, i64::MIN] {
            assert!(Priority::new(value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_stored_value_out_of_range_is_refused_too() {
        assert!(serde_json::from_str::<Priority>("20").is_err());
        assert_eq!(serde_json::from_str::<Priority>("-10").unwrap(), Priority::HIGH);
    }
}
