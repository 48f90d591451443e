//! The seven statuses of an opcode and of a job.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// Where an opcode or a job stands. Ganeti's seven, for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Submitted, not taken up yet; also a job between two opcodes.
    Queued,
    /// Taken up by the processor; waits for locks.
    Waiting,
    /// Being cancelled.
    Canceling,
    /// All locks held, executing.
    Running,
    /// Cancelled before it finished. Final.
    Canceled,
    /// Done. Final.
    Success,
    /// Failed. Final.
    Error,
}

impl Status {
    /// All seven.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Waiting,
        Self::Canceling,
        Self::Running,
        Self::Canceled,
        Self::Success,
        Self::Error,
    ];

    /// Whether nothing will change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Canceled | Self::Success | Self::Error)
    }

    /// The word used on the wire, in files and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::Canceling => "canceling",
            Self::Running => "running",
            Self::Canceled => "canceled",
            Self::Success => "success",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|status| status.as_str() == word).ok_or_else(|| {
            Error::invalid(format!("unknown status {word:?}")).hint(
                "the statuses are queued, waiting, canceling, running, canceled, success, error",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_reads_back_from_its_word() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse::<Status>().unwrap(), status);
        }
        assert!("done".parse::<Status>().is_err());
    }
}
