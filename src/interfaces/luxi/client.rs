//! A blocking client.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::frame::Decoder;
use super::message::{Request, parse_answer};
use super::opcode::{job_to_wire, reason_to_wire};
use super::socket::check_path;
use crate::vocabulary::{
    Error, ErrorKind, FilterId, JobId, NewFilter, NewJob, Priority, Status, SubmissionKey,
};

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 512 << 20;
/// How long the daemon may take to answer, beside what it was asked to wait.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long one request waits for a change, as Ganeti's clients do.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is new about a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its status now.
    pub status: Status,
    /// The new lines of its feedback log: serial, seconds and microseconds, type, message.
    pub log: Vec<(u64, (i64, i64), String, Value)>,
}

/// What has changed since a mark.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Changes {
    /// The mark to go on from.
    pub mark: u64,
    /// The last id that was given out: jobs above that of the answer before are new.
    pub last: Option<JobId>,
    /// The jobs that have changed, by id; of those that are new, not all need to be among them.
    /// None where any may have changed.
    pub jobs: Option<Vec<JobId>>,
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
    path: PathBuf,
}

impl Client {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    ///
    /// `Invalid` where the path is too long; `Protocol` where nobody listens there, with the
    /// command that starts a daemon as the hint; `Io`.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        check_path(path)?;
        let stream = UnixStream::connect(path).map_err(|error| unreachable(path, error))?;
        let failed = |error| Error::io("cannot set up the connection", error);
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Self { stream, decoder: Decoder::new(MAX_ANSWER_BYTES), path: path.to_owned() })
    }

    /// Calls a method and waits for its result.
    ///
    /// # Errors
    ///
    /// What the daemon refuses (`Invalid`, `NotFound`, `Refused`), or `Protocol` where it does
    /// not answer or its answer cannot be understood.
    pub fn call<T: DeserializeOwned>(&mut self, method: &str, args: &Value) -> Result<T, Error> {
        let request = Request::encode(method, args);
        self.stream.write_all(&request).map_err(|error| self.lost(&error))?;
        let answer = self.read_answer()?;
        let result = parse_answer(&answer)??;
        serde_json::from_value(result).map_err(|error| {
            let what = format!("the daemon's answer to {method} is not understood: {error}");
            Error::new(ErrorKind::Protocol, what).hint("do both have the same version?")
        })
    }

    /// Calls a method whose result may be long in coming.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn wait_for<T: DeserializeOwned>(
        &mut self,
        method: &str,
        args: &Value,
    ) -> Result<T, Error> {
        let failed = |error| Error::io("cannot set up the connection", error);
        self.stream.set_read_timeout(None).map_err(failed)?;
        let result = self.call(method, args);
        self.stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        result
    }

    fn read_answer(&mut self) -> Result<Vec<u8>, Error> {
        let mut chunk = [0; 16 << 10];
        loop {
            let next = self.decoder.next_message();
            let next = next.map_err(|long| Error::new(ErrorKind::Protocol, long.to_string()))?;
            if let Some(answer) = next {
                return Ok(answer);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.lost(&IoErrorKind::UnexpectedEof.into())),
                Ok(count) => self.decoder.push(&chunk[..count]),
                Err(error) if error.kind() == IoErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    fn lost(&self, error: &std::io::Error) -> Error {
        let path = self.path.display();
        let message = match error.kind() {
            IoErrorKind::WouldBlock | IoErrorKind::TimedOut => {
                format!("the daemon at {path} does not answer")
            }
            IoErrorKind::UnexpectedEof | IoErrorKind::BrokenPipe | IoErrorKind::ConnectionReset => {
                format!("the daemon at {path} closed the connection")
            }
            _ => format!("the connection to the daemon at {path} failed: {error}"),
        };
        Error::new(ErrorKind::Protocol, message)
            .hint("look at the daemon's log; jobs that were acknowledged are not lost")
    }

    /// Submits jobs, all or none; the ids come when they are on the daemon's disk. They are
    /// submitted once, under a key made up here, also where the connection is lost meanwhile.
    ///
    /// # Errors
    ///
    /// As [`submit_once`](Self::submit_once).
    pub fn submit(&mut self, jobs: &[NewJob]) -> Result<Vec<JobId>, Error> {
        self.submit_once(&random_key()?, jobs)
    }

    /// Submits jobs, all or none, unless that was done under this key before: then the ids are
    /// those of then. Where the connection is lost before the answer came, this connects anew and
    /// asks again, once.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call). Where it cannot be known whether the jobs were submitted, the hint
    /// says how to find out.
    pub fn submit_once(
        &mut self,
        key: &SubmissionKey,
        jobs: &[NewJob],
    ) -> Result<Vec<JobId>, Error> {
        let jobs: Vec<Value> = jobs.iter().map(job_to_wire).collect();
        let args = json!([jobs, key]);
        let answer = match self.call("LockmasterSubmit", &args) {
            Err(error) if error.kind() == ErrorKind::Protocol => self.ask_again(&args),
            answer => answer,
        };
        answer.map_err(|error| match error.kind() {
            ErrorKind::Protocol => error.hint(format!(
                "whether the jobs were submitted is not known; submit them again with --key {key}, \
                 which does not submit them twice"
            )),
            _ => error,
        })
    }

    fn ask_again(&mut self, args: &Value) -> Result<Vec<JobId>, Error> {
        *self = Self::connect(&self.path)?;
        self.call("LockmasterSubmit", args)
    }

    /// Those fields of those jobs, or of all jobs where `ids` is empty. A job that does not
    /// exist has null for every field but its id.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn query(&mut self, ids: &[JobId], fields: &[&str]) -> Result<Vec<Vec<Value>>, Error> {
        self.call("QueryJobs", &json!([ids, fields]))
    }

    /// Those fields of the jobs that a filter of the query language admits.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn query_where(
        &mut self,
        filter: &Value,
        fields: &[&str],
    ) -> Result<Vec<Vec<Value>>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            data: Vec<Vec<(u8, Value)>>,
        }
        let answer: Answer = self.call("Query", &json!(["job", fields, filter]))?;
        let values = |row: Vec<(u8, Value)>| row.into_iter().map(|(_, value)| value).collect();
        Ok(answer.data.into_iter().map(values).collect())
    }

    /// Cancels a job: whether it is cancelled now, and a sentence.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn cancel(&mut self, id: JobId) -> Result<(bool, String), Error> {
        self.call("CancelJob", &json!([id, false]))
    }

    /// Gives the opcodes of a job that have not started a new priority: whether it was done, and
    /// a sentence.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn change_priority(
        &mut self,
        id: JobId,
        priority: Priority,
    ) -> Result<(bool, String), Error> {
        self.call("ChangeJobPriority", &json!([id, priority.get()]))
    }

    /// Moves a job that has ended into the archive: whether it was moved, which it is not where it
    /// has not ended, was archived before or never was.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn archive(&mut self, id: JobId) -> Result<bool, Error> {
        self.call("ArchiveJob", &json!([id]))
    }

    /// Moves all jobs into the archive that ended at least so long ago (to the second). How many
    /// were moved, and how many there was no time to look at; `budget` is a minute and a half at
    /// most.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn auto_archive(
        &mut self,
        older_than: Duration,
        budget: Duration,
    ) -> Result<(u64, u64), Error> {
        let (age, budget) = (older_than.as_secs(), budget.as_secs());
        self.call("AutoArchiveJobs", &json!([age, budget]))
    }

    /// Lets the daemon accept no more jobs, or accept them again.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn set_drained(&mut self, drained: bool) -> Result<(), Error> {
        self.call::<Value>("SetDrainFlag", &json!([drained])).map(|_| ())
    }

    /// Whether the daemon accepts no more jobs.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn is_drained(&mut self) -> Result<bool, Error> {
        self.call("QueryConfigValues", &json!([["drain_flag"]])).map(|[drained]: [bool; 1]| drained)
    }

    /// Why a job is not executing, as JSON.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn why(&mut self, id: JobId) -> Result<Value, Error> {
        self.call("LockmasterWhy", &json!([id]))
    }

    /// Who holds and who waits for which lock, as JSON; with the graph of who waits for whom
    /// where asked for.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn locks(&mut self, graph: bool) -> Result<Value, Error> {
        self.call("LockmasterLocks", &json!([graph]))
    }

    /// Adds a filter rule, or puts it in place of the one of that id. Its id.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn set_filter(&mut self, id: Option<FilterId>, new: &NewFilter) -> Result<FilterId, Error> {
        let reason = new.reason.iter().map(reason_to_wire).collect::<Value>();
        let predicates = new.predicates.to_json();
        let id = id.map(|id| id.to_string());
        let args = json!([id, new.priority, predicates, new.action.to_json(), reason]);
        self.call::<String>("ReplaceFilter", &args)?.parse()
    }

    /// Deletes a filter rule.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn delete_filter(&mut self, id: FilterId) -> Result<(), Error> {
        self.call("DeleteFilter", &json!([id.to_string()]))
    }

    /// All filter rules in the order in which they are asked, as JSON objects: their fields, and
    /// how many jobs each decides about.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn filters(&mut self) -> Result<Vec<Value>, Error> {
        self.call("LockmasterFilters", &json!([]))
    }

    /// What the daemon has done since it started, as JSON.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn stats(&mut self) -> Result<Value, Error> {
        self.call("LockmasterStats", &json!([]))
    }

    /// Waits until any job has changed since `mark`, then for as long as `gather` for more changes.
    /// Without a mark, gives the mark of now, at once: whoever lists the jobs afterwards and then
    /// asks for the changes since that mark misses none. Marks hold as long as the connection.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), `Protocol` too when the daemon stops.
    pub fn changes(&mut self, mark: Option<u64>, gather: Duration) -> Result<Changes, Error> {
        self.wait_for("LockmasterChanges", &json!([mark, null, gather.as_secs_f64()]))
    }

    /// Waits until a job differs from `known`, has feedback after the serial `after`, or is
    /// final, which an archived one is; a minute at most.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call); `NotFound` where there is no such job.
    pub fn wait_for_change(
        &mut self,
        id: JobId,
        known: Option<Status>,
        after: u64,
    ) -> Result<Change, Error> {
        self.wait_for_change_within(Duration::MAX, id, known, after)
    }

    /// As [`wait_for_change`](Self::wait_for_change), for so long at most.
    ///
    /// # Errors
    ///
    /// As [`wait_for_change`](Self::wait_for_change).
    pub fn wait_for_change_within(
        &mut self,
        time: Duration,
        id: JobId,
        known: Option<Status>,
        after: u64,
    ) -> Result<Change, Error> {
        #[derive(Deserialize)]
        struct Answer((Status,), Vec<(u64, (i64, i64), String, Value)>);
        let known = known.map(|status| [status]);
        let seconds = time.min(LONGEST_WAIT).as_secs_f64();
        let args = json!([id, ["status"], known, after, seconds]);
        match self.call("WaitForJobChange", &args) {
            Ok(Answer((status,), log)) => Ok(Change { status, log }),
            Err(error) if error.kind() == ErrorKind::NotFound => self.archived(id, after),
            Err(error) => Err(error),
        }
    }

    /// The last that was new about an archived job.
    fn archived(&mut self, id: JobId, after: u64) -> Result<Change, Error> {
        type Logs = Option<Vec<Vec<(u64, (i64, i64), String, Value)>>>;
        let args = json!([[id], ["status", "oplog"]]);
        let [(status, logs)]: [(Option<Status>, Logs); 1] = self.call("QueryJobs", &args)?;
        let missing = || {
            Error::new(ErrorKind::NotFound, format!("there is no job {id}"))
                .hint("lockmaster list shows those there are")
        };
        let (status, logs) = (status.ok_or_else(missing)?, logs.unwrap_or_default());
        let mut log: Vec<_> = logs.into_iter().flatten().filter(|line| line.0 > after).collect();
        log.sort_by_key(|line| line.0);
        Ok(Change { status, log })
    }
}

/// A key like no other: 128 bits of what std draws from the system for its hash tables.
fn random_key() -> Result<SubmissionKey, Error> {
    let word = || RandomState::new().build_hasher().finish();
    SubmissionKey::new(format!("{:016x}{:016x}", word(), word()))
}

fn unreachable(path: &Path, error: std::io::Error) -> Error {
    let shown = path.display();
    match error.kind() {
        IoErrorKind::NotFound | IoErrorKind::ConnectionRefused => {
            Error::new(ErrorKind::Protocol, format!("no daemon listens at {shown}"))
                .hint(format!("start one with: lockmasterd --socket {shown}"))
                .caused_by(error)
        }
        IoErrorKind::PermissionDenied => {
            Error::new(ErrorKind::Protocol, format!("you may not connect to the daemon at {shown}"))
                .hint("become a member of the group that owns the socket")
                .caused_by(error)
        }
        _ => Error::new(ErrorKind::Protocol, format!("cannot connect to {shown}: {error}"))
            .caused_by(error),
    }
}
