//! Why the queue refuses a request.

use thiserror::Error;

use crate::vocabulary::{self, ErrorKind, FilterId, JobId, Status, SubmissionKey};

/// Why the queue refuses a request. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such job.
    #[error("there is no job {id}")]
    NoSuchJob {
        /// Its id.
        id: JobId,
    },
    /// The job has ended.
    #[error("job {id} has ended ({status})")]
    AlreadyFinal {
        /// Its id.
        id: JobId,
        /// How.
        status: Status,
    },
    /// The job has not ended.
    #[error("job {id} has not ended ({status}); only ended jobs can be archived")]
    NotEnded {
        /// Its id.
        id: JobId,
        /// Where it stands.
        status: Status,
    },
    /// Too many jobs are queued.
    #[error("the queue is full: {queued} jobs are not finished; at most {most}")]
    QueueFull {
        /// How many there are.
        queued: usize,
        /// How many may be.
        most: usize,
    },
    /// The queue is drained; in Ganeti's words, which its clients show.
    #[error("Queue drained")]
    Drained,
    /// A submission or a job is larger than allowed.
    #[error("{what} has {size}; at most {most}")]
    TooLarge {
        /// What.
        what: String,
        /// How large it is, with its unit.
        size: String,
        /// How large it may be.
        most: usize,
    },
    /// The key of a submission belongs to another one.
    #[error("the key {key} belongs to another submission: {jobs} jobs, from job {first} on")]
    OtherSubmission {
        /// The key.
        key: SubmissionKey,
        /// The first job of the other one.
        first: JobId,
        /// How many jobs it had.
        jobs: u32,
    },
    /// A dependency on a job that does not exist.
    #[error("job {index} of the submission depends on job {on}, which does not exist")]
    UnknownDependency {
        /// The place of the job in the submission, from 0.
        index: usize,
        /// The job it names.
        on: JobId,
    },
    /// A dependency on an archived job of which it is not known how it ended.
    #[error("job {index} of the submission depends on job {on}, which the archive does not have")]
    ArchivedDependency {
        /// The place of the job in the submission, from 0.
        index: usize,
        /// The job it names.
        on: JobId,
    },
    /// A dependency that reaches outside the submission.
    #[error("job {index} of the submission depends on place {on} of it; there are {jobs} jobs")]
    OutsideBatch {
        /// The place of the job in the submission, from 0.
        index: usize,
        /// The place it names.
        on: u32,
        /// How many there are.
        jobs: usize,
    },
    /// A dependency on a status that is not final.
    #[error("job {index} of the submission depends on status {status:?}, which is not final")]
    NotFinal {
        /// The place of the job in the submission, from 0.
        index: usize,
        /// The status.
        status: Status,
    },
    /// Jobs of a submission that wait for each other.
    #[error("jobs of the submission depend on each other in a circle: {}", circle(.places))]
    Circle {
        /// Their places in the submission, from 0.
        places: Vec<usize>,
    },
    /// A reason that begins like a rate limit and is none.
    #[error("job {index} of the submission has the reason {text:?}, which is no rate limit")]
    NoRateLimit {
        /// The place of the job in the submission, from 0.
        index: usize,
        /// The reason.
        text: String,
    },
    /// There is no such filter rule; in Ganeti's words.
    #[error("Filter rule with UUID {id} does not exist")]
    NoSuchFilter {
        /// Its id.
        id: FilterId,
    },
    /// There are as many filter rules as there may be.
    #[error("there are {most} filter rules; there cannot be more")]
    TooManyFilters {
        /// How many.
        most: usize,
    },
}

fn circle(places: &[usize]) -> String {
    let names: Vec<String> = places.iter().chain(places.first()).map(ToString::to_string).collect();
    names.join(" -> ")
}

impl From<Refusal> for vocabulary::Error {
    fn from(refusal: Refusal) -> Self {
        let (kind, hint) = match &refusal {
            Refusal::NoSuchJob { .. } => (ErrorKind::NotFound, "`lockmaster list` shows the jobs"),
            Refusal::AlreadyFinal { .. } => (ErrorKind::Refused, ""),
            Refusal::QueueFull { .. } => {
                (ErrorKind::Refused, "wait until jobs have ended, or raise the limit")
            }
            Refusal::Drained => {
                (ErrorKind::Refused, "no jobs are taken until somebody clears the drain flag")
            }
            Refusal::TooLarge { .. } => (ErrorKind::Invalid, "split it, or raise the limit"),
            Refusal::OtherSubmission { .. } => {
                (ErrorKind::Refused, "a key names one submission: make up another one")
            }
            Refusal::UnknownDependency { .. } => {
                (ErrorKind::Invalid, "a job can depend on jobs submitted before or with it")
            }
            Refusal::ArchivedDependency { .. } => {
                (ErrorKind::Invalid, "was the archive in the state directory changed by hand?")
            }
            Refusal::NotEnded { .. } => (ErrorKind::Refused, "wait for it, or cancel it"),
            Refusal::OutsideBatch { .. } => {
                (ErrorKind::Invalid, "a relative dependency stays within its submission")
            }
            Refusal::NotFinal { .. } => {
                (ErrorKind::Invalid, "the final statuses are success, error and canceled")
            }
            Refusal::Circle { .. } => (ErrorKind::Invalid, "remove one of these dependencies"),
            Refusal::NoRateLimit { .. } => {
                (ErrorKind::Invalid, "write rate-limit:N:NAME with N from 1, or begin otherwise")
            }
            Refusal::NoSuchFilter { .. } => {
                (ErrorKind::NotFound, "`lockmaster filter list` shows the rules")
            }
            Refusal::TooManyFilters { .. } => {
                (ErrorKind::Refused, "delete some, or join several in one with \"|\"")
            }
        };
        let error = Self::new(kind, refusal.to_string());
        if hint.is_empty() { error } else { error.hint(hint) }
    }
}
