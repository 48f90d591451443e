//! On what terms a job is carried out: until when, how often, under which locks.
//!
//! They are kept beside the job and not in it: a record of their own holds them, so that logs
//! from before there were terms read as they always did.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::OpError;
use super::time::Timestamp;

/// What a submitter asks of a whole job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobTerms {
    /// How long after its submission it has to have ended; for ever where nothing is said.
    pub within: Option<Duration>,
    /// All locks of all its opcodes are taken before the first of them executes, and kept until
    /// the job has ended. It starts when the dependencies of all its opcodes are satisfied.
    pub keep_locks: bool,
}

/// What a submitter asks of one opcode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OpTerms {
    /// How long after its turn has come it has to have ended: after the end of the opcode before
    /// it, of the first after its submission. For ever where nothing is said.
    pub within: Option<Duration>,
    /// How often it is tried where something lacks for a while; as its unit says where nothing
    /// is said.
    pub retries: Option<Retries>,
}

/// How often, and how long after each other, an opcode is tried that lacks something for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retries {
    /// How many times it is tried in all. Zero means once, as one does.
    pub tries: u32,
    /// How long it waits after the first try. Each further wait is twice as long as the last.
    pub first: Duration,
    /// How long it waits at most.
    pub most: Duration,
}

impl Default for Retries {
    /// Ten tries over about six minutes.
    fn default() -> Self {
        Self { tries: 10, first: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

impl Retries {
    /// Never tries again.
    pub const NONE: Self = Self { tries: 1, first: Duration::ZERO, most: Duration::ZERO };

    /// How long to wait after so many tries; nothing where there is no further one.
    #[must_use]
    pub fn wait_after(&self, tries: u32) -> Option<Duration> {
        if tries >= self.tries {
            return None;
        }
        let doubled = 2_u32.saturating_pow(tries.saturating_sub(1));
        Some(self.first.saturating_mul(doubled).min(self.most))
    }
}

/// How an opcode that has not ended has fared so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// How many times it was tried in vain.
    pub count: u32,
    /// When it is tried next.
    pub not_before: Option<Timestamp>,
    /// What was lacking the last time.
    pub lacking: Option<OpError>,
    /// It executed when a master died, and may have left something to be undone.
    pub interrupted: bool,
}

/// The terms of those opcodes of a job that have any, by place, and how they have fared.
pub type TermsOfOps = Vec<(u32, OpTerms, Tries)>;

/// Which deadline it is that a job has next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// That of the job: it has to have ended so long after its submission.
    OfJob(Duration),
    /// That of an opcode: it has to have ended so long after its turn.
    OfOpcode(Duration),
}

impl Deadline {
    /// What is wrong when it has passed.
    #[must_use]
    pub fn missed(self) -> OpError {
        OpError::timed_out(match self {
            Self::OfJob(within) => {
                format!("the job has not ended within {within:?} of its submission")
            }
            Self::OfOpcode(within) => {
                format!("the opcode has not ended within {within:?} of its turn")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_tries() {
        let seconds = Duration::from_secs;
        let retries = Retries { tries: 5, first: seconds(10), most: seconds(30) };
        let waits: Vec<_> = (1..=6).map(|tries| retries.wait_after(tries)).collect();
        let [ten, twenty, thirty] = [10, 20, 30].map(|wait| Some(seconds(wait)));
        assert_eq!(waits, [ten, twenty, thirty, thirty, None, None]);
        let endless = Retries { tries: u32::MAX, first: Duration::MAX, most: Duration::MAX };
        assert_eq!(endless.wait_after(4_000_000), Some(Duration::MAX));
        assert_eq!(Retries::NONE.wait_after(1), None);
    }
}
