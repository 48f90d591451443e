//! Which jobs this run is about: new ones, or those an interrupted run left.

use std::path::Path;
use std::time::Duration;

use lockmaster::interfaces::job_file::JobFile;
use lockmaster::runtime::{JobView, Master};
use lockmaster::vocabulary::{Error, ErrorKind, Job, JobId, NewJob, Status};

use super::RunArgs;
use super::shown::Shown;
use crate::output;
use crate::submit::set_deadline;

/// How long archiving the jobs of earlier runs may take before this one begins.
const ARCHIVE_BUDGET: Duration = Duration::from_secs(2);

/// The jobs of this run.
pub(super) struct Plan {
    ids: Vec<JobId>,
    expected: Vec<Status>,
    /// Where an interrupted run is continued: how many of its jobs had ended.
    ended_before: Option<usize>,
    file: String,
}

impl Plan {
    /// The jobs, in the order of the file.
    pub(super) fn ids(&self) -> &[JobId] {
        &self.ids
    }

    /// How the file expects the job at that place to end.
    pub(super) fn expected(&self, place: usize) -> Status {
        self.expected.get(place).copied().unwrap_or(Status::Success)
    }

    /// What is going to happen, as a sentence.
    pub(super) fn announcement(&self, state_dir: &Path, workers: usize) -> String {
        let (count, file) = (self.ids.len(), &self.file);
        let jobs = output::count(count, "job");
        let what = match self.ended_before {
            None => format!("running {jobs} of {file}"),
            Some(ended) if ended == count => {
                format!("going on with {file}: all its jobs have ended, and this is how")
            }
            Some(ended) => {
                let open = count - ended;
                format!("going on with {file}: {ended} of {jobs} have ended, {open} are left")
            }
        };
        format!("{what}, {workers} at a time; state in {}", state_dir.display())
    }
}

/// Submits the jobs of the file, unless an interrupted run of the same file has left some: then
/// those are this run's.
///
/// A run that was killed between the end of its last job and its summary has left nothing but
/// the summary: what is not `shown` yet is not done again either.
pub(super) fn plan(
    master: &Master,
    file: &JobFile,
    args: &RunArgs,
    shown: &Shown,
) -> Result<Plan, Error> {
    let name = args.file.display().to_string();
    let origin = origin(&name, &file.jobs);
    let unfinished = master.jobs_where(|job| !job.status().is_final()).value;
    let (ours, others): (Vec<_>, Vec<_>) =
        unfinished.into_iter().partition(|view| view.job.origin.as_ref() == Some(&origin));
    give_up(master, &others, args)?;
    let not_shown = |job: &Job| job.origin.as_ref() == Some(&origin) && shown.is_before(job.id);
    let not_shown = master.jobs_where(not_shown).value;
    let (ids, ended_before) = match ours.last().or(not_shown.last()) {
        Some(last) => go_on(master, last),
        None => {
            archive_earlier_runs(master);
            (submit(master, file, args, origin)?, None)
        }
    };
    let expected = (0..file.jobs.len()).map(|place| file.expected(place)).collect();
    Ok(Plan { ids, expected, ended_before, file: name })
}

/// Takes what has ended, and was shown, out of the queue: it does not grow with every run.
fn archive_earlier_runs(master: &Master) {
    if let Err(error) = master.auto_archive(Duration::ZERO, ARCHIVE_BUDGET) {
        output::progress(format!("note: jobs of earlier runs stay in the queue: {error}"));
    }
}

/// What tells the jobs of one version of one file from all others.
fn origin(name: &str, jobs: &[NewJob]) -> String {
    let content = format!("{jobs:?}");
    format!("run {name} {:08x}", crc32c::crc32c(content.as_bytes()))
}

fn submit(
    master: &Master,
    file: &JobFile,
    args: &RunArgs,
    origin: String,
) -> Result<Vec<JobId>, Error> {
    let mut jobs = file.jobs.clone();
    set_deadline(&mut jobs, args.deadline);
    let answer = master.begin_submit(jobs, Some(origin))?;
    master.wait_durable(answer.position)?;
    Ok(answer.value)
}

/// All jobs of the submission that `last` belongs to, and how many of them have ended.
fn go_on(master: &Master, last: &JobView) -> (Vec<JobId>, Option<usize>) {
    let (origin, received) = (&last.job.origin, last.job.received);
    let all = master.jobs_where(|job| job.origin == *origin && job.received == received).value;
    let ended = all.iter().filter(|view| view.status.is_final()).count();
    (all.iter().map(|view| view.job.id).collect(), Some(ended))
}

/// Unfinished jobs of other files must not run here: their opcodes may not be known, or may
/// mean something else by now.
fn give_up(master: &Master, others: &[JobView], args: &RunArgs) -> Result<(), Error> {
    let Some(first) = others.first() else { return Ok(()) };
    if args.cancel_unfinished {
        return others.iter().try_for_each(|view| master.cancel(view.job.id).map(|_| ()));
    }
    let origin = first.job.origin.as_deref().unwrap_or("run by something else");
    let whose = origin.rsplit_once(' ').map_or(origin, |(whose, _)| whose);
    let file = args.file.display().to_string();
    let jobs = output::count(others.len(), "job");
    let message = match whose.strip_prefix("run ") {
        Some(same) if same == file => {
            format!("an earlier run left {jobs} unfinished, and {file} has changed since")
        }
        Some(other) => format!("a run of {other} left {jobs} unfinished here"),
        None => format!("{jobs} unfinished here were made by no job file"),
    };
    Err(Error::new(ErrorKind::InUse, message).hint(
        "finish them with the file as it was, or give them up with --cancel-unfinished, or name \
         another directory with --state-dir",
    ))
}
