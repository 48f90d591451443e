//! Which jobs a list is about, and where they are found: in the queue, or in the archive.
//!
//! As in luxid, a job that is named by its id is found wherever it is; a list of all has the
//! archived ones too where the client asks whether jobs are archived.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::errand::{Desk, Lane};
use super::message::Failure;
use super::rows::Rows;
use super::service::Service;
use crate::runtime::{Answer, JobView};
use crate::vocabulary::{Error, JobId, Status};

/// How many jobs are looked up by the event loop itself.
const AT_ONCE: usize = 64;

/// Which jobs a list is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// Those, in that order, each once, wherever they are; also that there is no such job.
    Named(Vec<i64>),
    /// Those of these that are there, by id.
    Among(Vec<i64>, Where),
    /// All with ids from the one to the other, by id. Those in the queue that have none of these
    /// statuses are not wanted.
    Between(Span, Where, Vec<Status>),
}

/// Where jobs are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Queue,
    /// In the queue and in the archive.
    Everywhere,
}

/// Ids from the one to the other, both included; none where there are none such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(Option<(JobId, Option<JobId>)>);

impl Span {
    pub(super) const ALL: Self = Self(Some((JobId::FIRST, None)));

    /// Those within these bounds.
    pub(super) fn of((least, most): (i64, i64)) -> Self {
        let last = if most == i64::MAX { Some(None) } else { job_id(most).map(Some) };
        let first = job_id(least.max(1));
        Self(first.zip(last).filter(|(first, last)| last.is_none_or(|last| *first <= last)))
    }

    /// The first and the last that may be there, where `last` is the last that was given out.
    fn within(self, last: Option<JobId>) -> Option<(JobId, JobId)> {
        let ((first, most), last) = self.0.zip(last)?;
        let last = most.map_or(last, |most| most.min(last));
        (first <= last).then_some((first, last))
    }
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
            Self::Among(numbers, Where::Queue) if numbers.len() <= AT_ONCE => None,
            Self::Among(_, Where::Queue) | Self::Between(_, Where::Queue, _) => Some(Lane::Live),
            Self::Among(_, Where::Everywhere) | Self::Between(_, Where::Everywhere, _) => {
                Some(Lane::Archive)
            }
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
            Self::Among(numbers, wheres) => write_among(desk, rows, write, (numbers, *wheres)),
            Self::Between(span, wheres, statuses) => {
                let Some(span) = span.within(desk.service.last_id()) else { return Ok(0) };
                match wheres {
                    Where::Queue => write_live(desk, rows, write, (span, statuses)),
                    Where::Everywhere => write_all(desk, rows, write, (span, statuses)),
                }
            }
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

fn write_among(
    desk: &Desk<'_>,
    rows: &mut Rows,
    write: Write<'_>,
    (numbers, wheres): (&[i64], Where),
) -> Result<u64, Failure> {
    let ids: BTreeSet<JobId> = numbers.iter().filter_map(|number| job_id(*number)).collect();
    let mut position = 0;
    for id in ids {
        desk.check_wanted()?;
        let found = match wheres {
            Where::Queue => desk.service.job(id),
            Where::Everywhere => find(desk.service, id)?,
        };
        let Some(answer) = found else { continue };
        position = position.max(answer.position);
        write(Found::Job(&answer.value))?.map_or(Ok(()), |row| rows.push(&row))?;
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

fn write_live(
    desk: &Desk<'_>,
    rows: &mut Rows,
    write: Write<'_>,
    ((first, last), statuses): ((JobId, JobId), &[Status]),
) -> Result<u64, Failure> {
    let before = JobId::new(first.get() - 1);
    each_live(desk, before, (last, statuses), &mut |view| {
        write(Found::Job(view))?.map_or(Ok(()), |row| rows.push(&row))
    })
}

/// Calls `each` for the live jobs above one id and up to another that have one of these statuses,
/// by id.
fn each_live(
    desk: &Desk<'_>,
    mut after: Option<JobId>,
    (last, statuses): (JobId, &[Status]),
    each: &mut dyn FnMut(&JobView) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut place = 0;
    while after.is_none_or(|after| after < last) {
        desk.check_wanted()?;
        let Answer { value, position } = desk.service.jobs_of_status_after(after, statuses);
        place = place.max(position);
        let Some(end) = value.end else { break };
        value.jobs.iter().take_while(|view| view.job.id <= last).try_for_each(&mut *each)?;
        after = Some(end);
    }
    Ok(place)
}

/// All jobs by id, as many at a time as share files of the archive. A job that moves into the
/// archive meanwhile is seen once: the queue is looked at first.
fn write_all(
    desk: &Desk<'_>,
    rows: &mut Rows,
    write: Write<'_>,
    ((first, last), statuses): ((JobId, JobId), &[Status]),
) -> Result<u64, Failure> {
    let (mut from, mut position) = (first, 0);
    while from <= last {
        let to = desk.service.archived_together(from).min(last);
        let mut found = BTreeMap::new();
        let before = JobId::new(from.get() - 1);
        let place = each_live(desk, before, (to, statuses), &mut |view| {
            found.insert(view.job.id, write(Found::Job(view))?);
            Ok(())
        })?;
        position = position.max(place);
        add_archived(desk, rows, write, (from, to), &mut found)?;
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
    (from, to): (JobId, JobId),
    found: &mut ById,
) -> Result<(), Failure> {
    let (mut failed, mut bytes) = (None, 0);
    let outcome = desk.service.archived_from(from, &mut |view| {
        let mut add = || {
            if view.job.id > to {
                return Ok(());
            }
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
