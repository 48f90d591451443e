//! The name that a client gives to a submission, so that it can repeat it without harm.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// The name of a submission: the same name again gives the same jobs and submits nothing.
///
/// 1 to 128 bytes without control characters. Whoever makes one up has to make it unlike all
/// others; a random number of 128 bits will do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubmissionKey(Arc<str>);

impl SubmissionKey {
    /// How many bytes it has at most.
    pub const MAX_BYTES: usize = 128;

    /// The key of that text.
    ///
    /// # Errors
    ///
    /// `Invalid` where it is empty, longer than [`MAX_BYTES`](Self::MAX_BYTES) or has control
    /// characters.
    pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
        let text = text.as_ref();
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && !text.chars().any(char::is_control) {
            return Ok(Self(text.into()));
        }
        let most = Self::MAX_BYTES;
        Err(Error::invalid(format!(
            "this is no key of a submission: one has 1 to {most} bytes and no control characters"
        )))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubmissionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SubmissionKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<String> for SubmissionKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl From<SubmissionKey> for String {
    fn from(key: SubmissionKey) -> Self {
        key.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_short_text_also_where_it_was_stored() {
        let long = "x".repeat(SubmissionKey::MAX_BYTES);
        for good in ["k", "nightly of 2024-05-01, é", &long] {
            assert_eq!(good.parse::<SubmissionKey>().unwrap().as_str(), good);
        }
        for bad in [String::new(), format!("{long}x"), "a\nb".to_owned()] {
            assert!(SubmissionKey::new(&bad).is_err(), "{bad:?}");
            assert!(
                serde_json::from_value::<SubmissionKey>(bad.clone().into()).is_err(),
                "{bad:?}"
            );
        }
    }
}
