//! `WaitForJobChange`: what a client waits for, and whether it has come.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::errand::{Errand, Held, Lane};
use super::fields::{Field, log_entry};
use super::message::{Failure, Request, success};
use super::methods::job_id;
use super::service::Service;
use crate::runtime::JobView;
use crate::vocabulary::{FeedbackEntry, JobId, Status};

/// The longest a client may wait in one request, as in luxid.
const LONGEST: Duration = Duration::from_secs(89);

/// A client that waits for a job to differ from what it knows of it.
#[derive(Debug)]
pub(super) struct Watch {
    job: Option<JobId>,
    wanted: Wanted,
    previous: Value,
    after: u64,
    deadline: Instant,
    /// Whether the job was in the queue when it was looked at first.
    saw_the_job: bool,
}

#[derive(Debug)]
enum Wanted {
    /// Only the status: what all clients ask for, and the one thing that is cheap.
    Status,
    Fields(Vec<Field>),
    /// luxid answers null for every field as soon as it does not know one of them.
    Unknown(usize),
}

impl Wanted {
    fn of(names: &[String]) -> Self {
        match Field::all_named(names).as_deref() {
            Ok([Field::Status]) => Self::Status,
            Ok(fields) => Self::Fields(fields.to_vec()),
            Err(_) => Self::Unknown(names.len()),
        }
    }
}

/// A job at one moment, as far as the client wants to know.
struct State {
    values: Value,
    log: Vec<FeedbackEntry>,
    is_final: bool,
    position: u64,
}

/// What came of looking at the job.
pub(super) enum Look {
    /// There is something to tell, or time is up.
    News(Held),
    /// The client knows all there is.
    Same,
    /// The job was in the queue, and has gone to the archive since.
    Archived,
}

impl Watch {
    /// Reads `[job, fields, previous values, last serial, timeout]`.
    pub(super) fn parse(request: &Request, now: Instant) -> Result<Self, Failure> {
        let args: Vec<Value> = request.args()?;
        let [job, fields, previous, serial, timeout] = args.as_slice() else {
            return Err(failed(if args.len() < 5 {
                "Not enough values"
            } else {
                "Too many values"
            }));
        };
        let names: Vec<String> = serde_json::from_value(fields.clone())
            .map_err(|_| failed("Unable to read list of fields"))?;
        Ok(Self {
            job: job_id(job)?.1,
            wanted: Wanted::of(&names),
            previous: previous.clone(),
            after: serial_of(serial)?,
            deadline: now + timeout_of(timeout)?,
            saw_the_job: false,
        })
    }

    /// The job; none where the id cannot be one.
    pub(super) const fn job(&self) -> Option<JobId> {
        self.job
    }

    /// When the client is answered in any case.
    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The same of a client that was not told that there is no such job.
    pub(super) const fn that_saw_the_job(mut self) -> Self {
        self.saw_the_job = true;
        self
    }

    /// Looks at the job.
    ///
    /// # Errors
    ///
    /// luxid's `JobLost` where it is not in the queue; as in luxid, also where it is archived,
    /// but not to a client that has been waiting for it before.
    pub(super) fn look(&self, service: &dyn Service, time_is_up: bool) -> Result<Look, Failure> {
        let Some(state) = self.job.and_then(|job| self.state_of(service, job)) else {
            return if self.saw_the_job { Ok(Look::Archived) } else { Err(lost()) };
        };
        let news = state.is_final || !state.log.is_empty() || state.values != self.previous;
        match news || time_is_up {
            true => Ok(Look::News(state.told())),
            false => Ok(Look::Same),
        }
    }

    /// Tells how a job ended that is archived by now.
    pub(super) fn into_errand(self) -> Errand {
        Errand::new(Lane::Archive, move |desk| {
            let job = self.job.ok_or_else(lost)?;
            let view = desk.service.archived(job)?.ok_or_else(lost)?;
            Ok(self.state_in(&view, 0).told())
        })
    }

    fn state_of(&self, service: &dyn Service, job: JobId) -> Option<State> {
        if matches!(self.wanted, Wanted::Fields(_)) {
            let answer = service.job(job)?;
            return Some(self.state_in(&answer.value, answer.position));
        }
        let answer = service.progress(job, self.after)?;
        let (status, log) = answer.value;
        let (values, is_final) = (self.values_of(status), status.is_final());
        Some(State { values, log, is_final, position: answer.position })
    }

    fn state_in(&self, view: &JobView, position: u64) -> State {
        let values = match &self.wanted {
            Wanted::Fields(fields) => fields.iter().map(|field| field.of(view)).collect(),
            _ => self.values_of(view.status),
        };
        let log = view.job.feedback.after(self.after).cloned().collect();
        State { values, log, is_final: view.status.is_final(), position }
    }

    fn values_of(&self, status: Status) -> Value {
        match self.wanted {
            Wanted::Unknown(count) => json!(vec![Value::Null; count]),
            _ => json!([status]),
        }
    }
}

impl State {
    fn told(self) -> Held {
        let log: Vec<Value> = self.log.iter().map(log_entry).collect();
        Held { answer: success(&(self.values, log)), position: self.position }
    }
}

fn lost() -> Failure {
    Failure::exception("JobLost", "Can't load job file")
}

fn failed(why: &str) -> Failure {
    Failure::parse(format!("Parsing WaitForJobChange message: {why}"))
}

/// The last serial the client has: null, a number, or a string of digits.
fn serial_of(value: &Value) -> Result<u64, Failure> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => text.parse().map_err(|_| failed("Unable to read serial")),
        _ => {
            let number = value.as_i64().ok_or_else(|| failed("Unable to read serial"))?;
            Ok(u64::try_from(number).unwrap_or(0))
        }
    }
}

fn timeout_of(value: &Value) -> Result<Duration, Failure> {
    let seconds = value.as_f64().ok_or_else(|| failed("Unable to read timeout"))?;
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LONGEST).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Result<Watch, Failure> {
        let text = format!("{{\"method\":\"WaitForJobChange\",\"args\":{args}}}");
        Watch::parse(&Request::parse(text.as_bytes()).unwrap(), Instant::now())
    }

    #[test]
    fn timeouts_are_cut_to_what_luxid_allows() {
        for (given, seconds) in [("60", 60), ("1000", 89), ("-1", 0), ("1e300", 89)] {
            let before = Instant::now();
            let watch = parse(&format!(r#"[1,["status"],null,null,{given}]"#)).unwrap();
            let waits = watch.deadline().saturating_duration_since(before).as_secs();
            assert_eq!(waits, seconds, "{given}");
        }
    }

    #[test]
    fn four_arguments_are_refused_as_recorded_and_strings_taken_for_numbers() {
        let sentence = "Parsing WaitForJobChange message: Not enough values";
        assert_eq!(parse(r#"[47,["status"],null,null]"#).unwrap_err(), Failure::parse(sentence));
        assert_eq!(parse(r#"["47",["status"],null,"1",1]"#).unwrap().after, 1);
        assert!(parse(r#"[47,["status"],null,"x",1]"#).is_err());
    }
}
