//! Filter rules: which jobs may start, and how many of them at once.
//!
//! A rule has predicates, which say for which jobs it is meant, and an action. The first rule in
//! order that is meant for a job, and whose action is not `CONTINUE`, decides about it.

mod expression;
mod field;
mod predicate;
mod rate_limit;
mod reading;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::Error;
use super::opcode::Reason;
use super::time::Timestamp;
pub use predicate::{Candidate, Predicates};
pub use rate_limit::RateLimit;

/// Which rule: a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilterId(u128);

impl FilterId {
    /// The UUID (version 4, variant 1) of those random bits; six of them are not used.
    #[must_use]
    pub const fn of_random(bits: u128) -> Self {
        const VERSION: u128 = 0x4 << 76;
        const VARIANT: u128 = 0x2 << 62;
        Self(bits & !(0xf << 76) & !(0x3 << 62) | VERSION | VARIANT)
    }
}

impl fmt::Display for FilterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        f.write_str(&parts.join("-"))
    }
}

impl FromStr for FilterId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        let digits = parts.concat();
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok();
        let number = number.filter(|_| hex && lengths == [8, 4, 4, 4, 12]);
        number.map(Self).ok_or_else(|| {
            Error::invalid(format!("{text:?} is not the id of a filter rule"))
                .hint("it is a UUID such as 6b3e588e-d6d2-4ab4-8695-336cb761dbf3")
        })
    }
}

/// What a rule does with the jobs it is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterAction {
    /// Lets them start; no further rule is asked.
    Accept,
    /// Nothing: the rule is there to be read.
    #[default]
    Continue,
    /// Keeps those that have not begun in the queue.
    Pause,
    /// Cancels those that have not begun.
    Reject,
    /// Lets so many of them run at once.
    RateLimit(NonZeroU32),
}

impl FilterAction {
    const EXPECTED: &str = "expected \"ACCEPT\", \"CONTINUE\", \"PAUSE\", \"REJECT\" or \
                            [\"RATE_LIMIT\", N] with N from 1";

    /// Reads an action as LUXI and our own files write it.
    ///
    /// # Errors
    ///
    /// `Invalid` with what would have been right.
    pub fn from_json(value: &Value) -> Result<Self, Error> {
        let found = match value {
            Value::String(word) => Self::of_word(word),
            Value::Array(pair) => Self::of_pair(pair),
            _ => None,
        };
        let unknown = || format!("{value} is not the action of a filter rule");
        found.ok_or_else(|| Error::invalid(unknown()).hint(Self::EXPECTED))
    }

    fn of_word(word: &str) -> Option<Self> {
        match word {
            "ACCEPT" => Some(Self::Accept),
            "CONTINUE" => Some(Self::Continue),
            "PAUSE" => Some(Self::Pause),
            "REJECT" => Some(Self::Reject),
            _ => None,
        }
    }

    fn of_pair(pair: &[Value]) -> Option<Self> {
        match pair {
            [Value::String(word), most] if word == "RATE_LIMIT" => {
                let most = u32::try_from(most.as_u64()?).ok()?;
                NonZeroU32::new(most).map(Self::RateLimit)
            }
            _ => None,
        }
    }

    /// The action as LUXI writes it.
    #[must_use]
    pub fn to_json(self) -> Value {
        match self {
            Self::Accept => json!("ACCEPT"),
            Self::Continue => json!("CONTINUE"),
            Self::Pause => json!("PAUSE"),
            Self::Reject => json!("REJECT"),
            Self::RateLimit(most) => json!(["RATE_LIMIT", most]),
        }
    }
}

impl fmt::Display for FilterAction {
    /// For people: `PAUSE`, `RATE_LIMIT 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RateLimit(most) => write!(f, "RATE_LIMIT {most}"),
            plain => f.write_str(plain.to_json().as_str().unwrap_or_default()),
        }
    }
}

/// A rule as somebody asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewFilter {
    /// Rules of a lower priority are asked first.
    pub priority: u32,
    /// For which jobs it is meant: those for which all of these hold. Without any, all jobs.
    pub predicates: Predicates,
    /// What it does with them.
    pub action: FilterAction,
    /// Why it exists, oldest first.
    pub reason: Vec<Reason>,
}

/// What the reason trail of a rule may take.
const REASON_BYTES: usize = 8 << 10;

impl NewFilter {
    /// Whether its reason trail is of a size that can be kept.
    ///
    /// # Errors
    ///
    /// `Invalid` where it is not.
    pub fn check(&self) -> Result<(), Error> {
        let bytes: usize = self.reason.iter().map(Reason::bytes).sum();
        if bytes <= REASON_BYTES {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the reason of a filter rule has {bytes} bytes; at most {REASON_BYTES}"
        )))
    }
}

/// A rule in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRule {
    /// Which.
    pub id: FilterId,
    /// The highest job id that had been given out when it was set; 0 before the first job.
    pub watermark: u64,
    /// Rules of a lower priority are asked first; of one priority, by watermark, then by id.
    pub priority: u32,
    /// For which jobs it is meant.
    pub predicates: Predicates,
    /// What it does with them.
    pub action: FilterAction,
    /// Why it exists, oldest first.
    pub reason: Vec<Reason>,
    /// When it was set.
    pub time: Timestamp,
}

impl FilterRule {
    /// How many rules there may be.
    pub const MOST: usize = 256;

    /// Its place among the others: lower is asked first.
    #[must_use]
    pub const fn order(&self) -> (u32, u64, FilterId) {
        (self.priority, self.watermark, self.id)
    }

    /// Whether all its predicates hold for that job.
    #[must_use]
    pub fn is_meant_for(&self, candidate: &Candidate<'_>) -> bool {
        self.predicates.hold(candidate, self.watermark)
    }

    /// What people said when they made it: the last text in its reason trail.
    #[must_use]
    pub fn remark(&self) -> Option<&str> {
        self.reason.iter().rev().map(|step| step.text.as_str()).find(|text| !text.is_empty())
    }
}
