//! Which jobs a list is about, and where they are found: in the queue, or in the archive.
//!
//! As in luxid, a job that is named by its id is found wherever it is; a list of all has the
//! archived ones too where the client asks whether jobs are archived.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use super::errand::{Desk, Lane};
use super::message::Failure;
use super::rows::Rows;
use super::service::Service;
use crate::runtime::{Answer, JobView};
use crate::vocabulary::{Error, JobId};

/// How many jobs are looked up by the event loop itself.
const AT_ONCE: usize = 64;

/// Which jobs a list is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// Those, in that order, each once.
    Named(Vec<i64>),
    /// All in the queue, by id.
    Live,
    /// All in the queue and in the archive, by id.
    LiveAndArchived,
}

/// What was found where a job may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'v> {
    Job(&'v JobView),
    /// There is no such job.
    Nothing(i64),
}

/// Writes the row of a job; none where it is not wanted.
pub(super) type Write<'w> = &'w dyn Fn(Found<'_>) -> Result<Option<Vec<u8>>, Failure>;

impl Selection {
    /// Those jobs, each once; `all` where none is named.
    pub(super) fn of(numbers: impl IntoIterator<Item = i64>, all: Self) -> Self {
        let mut seen = HashSet::new();
        let numbers: Vec<i64> = numbers.into_iter().filter(|it| seen.insert(*it)).collect();
        if numbers.is_empty() { all } else { Self::Named(numbers) }
    }

    /// Who has to look; none where that is done in no time.
    pub(super) fn lane(&self, service: &dyn Service) -> Option<Lane> {
        match self {
            Self::Named(numbers) if numbers.len() > AT_ONCE => Some(Lane::Live),
            Self::Named(numbers) => {
                let mut ids = numbers.iter().filter_map(|number| job_id(*number));
                ids.any(|id| is_archived(service, id)).then_some(Lane::Archive)
            }
            Self::Live => Some(Lane::Live),
            Self::LiveAndArchived => Some(Lane::Archive),
        }
    }

    /// Writes the rows of those jobs; gives the place in the log they depend on.
    pub(super) fn write(
        &self,
        desk: &Desk<'_>,
        rows: &mut Rows,
        write: Write<'_>,
    ) -> Result<u64, Failure> {
        match self {
            Self::Named(numbers) => write_named(desk, rows, write, numbers),
            Self::Live => write_live(desk, rows, write),
            Self::LiveAndArchived => write_all(desk, rows, write),
        }
    }
}

/// The id of that number; none for 0 and below.
pub(super) fn job_id(number: i64) -> Option<JobId> {
    u64::try_from(number).ok().and_then(JobId::new)
}

/// Whether a job was there and is in the queue no more.
pub(super) fn is_archived(service: &dyn Service, id: JobId) -> bool {
    service.progress(id, u64::MAX).is_none() && service.last_id().is_some_and(|last| id <= last)
}

fn write_named(
    desk: &Desk<'_>,
    rows: &mut Rows,
    write: Write<'_>,
    numbers: &[i64],
) -> Result<u64, Failure> {
    let mut position = 0;
    for number in numbers {
        desk.check_wanted()?;
        let found = job_id(*number).map(|id| find(desk.service, id)).transpose()?.flatten();
        let row = match &found {
            Some(answer) => write(Found::Job(&answer.value))?,
            None => write(Found::Nothing(*number))?,
        };
        position = position.max(found.map_or(0, |answer| answer.position));
        row.map_or(Ok(()), |row| rows.push(&row))?;
    }
    Ok(position)
}

/// A job, wherever it is. Looks into the queue first: jobs only go from there to the archive.
fn find(service: &dyn Service, id: JobId) -> Result<Option<Answer<JobView>>, Failure> {
    if let Some(answer) = service.job(id) {
        return Ok(Some(answer));
    }
    if service.last_id().is_none_or(|last| id > last) {
        return Ok(None);
    }
    // What is in the archive is durable.
    let archived = service.archived(id)?;
    Ok(archived.map(|value| Answer { value, position: 0 }))
}

fn write_live(desk: &Desk<'_>, rows: &mut Rows, write: Write<'_>) -> Result<u64, Failure> {
    let Some(last) = desk.service.last_id() else { return Ok(0) };
    each_live(desk, None, last, &mut |view| {
        write(Found::Job(view))?.map_or(Ok(()), |row| rows.push(&row))
    })
}

/// Calls `each` for the live jobs above one id and up to another, by id.
fn each_live(
    desk: &Desk<'_>,
    mut after: Option<JobId>,
    last: JobId,
    each: &mut dyn FnMut(&JobView) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut place = 0;
    while after.is_none_or(|after| after < last) {
        desk.check_wanted()?;
        let Answer { value: jobs, position } = desk.service.jobs_after(after);
        place = place.max(position);
        let Some(end) = jobs.last().map(|view| view.job.id) else { break };
        jobs.iter().take_while(|view| view.job.id <= last).try_for_each(&mut *each)?;
        after = Some(end);
    }
    Ok(place)
}

/// All jobs by id, as many at a time as share files of the archive. A job that moves into the
/// archive meanwhile is seen once: the queue is looked at first.
fn write_all(desk: &Desk<'_>, rows: &mut Rows, write: Write<'_>) -> Result<u64, Failure> {
    let Some(last) = desk.service.last_id() else { return Ok(0) };
    let (mut from, mut position) = (JobId::FIRST, 0);
    while from <= last {
        let to = desk.service.archived_together(from).min(last);
        let mut found = BTreeMap::new();
        let before = JobId::new(from.get() - 1);
        let place = each_live(desk, before, to, &mut |view| {
            found.insert(view.job.id, write(Found::Job(view))?);
            Ok(())
        })?;
        position = position.max(place);
        add_archived(desk, rows, write, from, &mut found)?;
        found.into_values().flatten().try_for_each(|row| rows.push(&row))?;
        from = to.plus(1);
    }
    Ok(position)
}

type ById = BTreeMap<JobId, Option<Vec<u8>>>;

fn add_archived(
    desk: &Desk<'_>,
    rows: &Rows,
    write: Write<'_>,
    from: JobId,
    found: &mut ById,
) -> Result<(), Failure> {
    let (mut failed, mut bytes) = (None, 0);
    let outcome = desk.service.archived_from(from, &mut |view| {
        let mut add = || {
            if let Entry::Vacant(place) = found.entry(view.job.id) {
                let row = place.insert(write(Found::Job(&view))?);
                bytes += row.as_ref().map_or(0, Vec::len);
                rows.check_room(bytes)?;
            }
            desk.check_wanted()
        };
        add().map_err(|failure| {
            failed = Some(failure);
            Error::invalid("the list is not wanted any more, or too long")
        })
    });
    match failed {
        Some(failure) => Err(failure),
        None => Ok(outcome?),
    }
}
