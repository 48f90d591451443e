//! Limits that jobs bring along: a reason `rate-limit:N:NAME` puts a job into a bucket of which
//! at most N jobs run at once.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::vocabulary::error::Error;

/// A bucket that a job names in its reason trail. Another number is another bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RateLimit {
    /// How many jobs of the bucket run at once.
    pub most: NonZeroU32,
    /// What the bucket is called.
    pub name: String,
}

/// How a reason begins that names a bucket.
const PREFIX: &str = "rate-limit:";

impl RateLimit {
    /// The bucket that this text of a reason names; none where it names none.
    ///
    /// # Errors
    ///
    /// `Invalid` where it begins as if it did.
    pub fn in_reason(text: &str) -> Result<Option<Self>, Error> {
        if !text.starts_with(PREFIX) {
            return Ok(None);
        }
        text.parse().map(Some)
    }
}

impl FromStr for RateLimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':'));
        let read = |(most, name): (&str, &str)| {
            let digits = most.bytes().all(|byte| byte.is_ascii_digit());
            let most = most.parse().ok().filter(|_| digits && !name.is_empty())?;
            Some(Self { most, name: name.to_owned() })
        };
        parts.and_then(read).ok_or_else(|| {
            Error::invalid(format!("the reason {text:?} is not a rate limit")).hint(
                "it is rate-limit:N:NAME, where at most N jobs of that name are to run at once; \
                 begin the reason otherwise where none is meant",
            )
        })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}", self.most, self.name)
    }
}
