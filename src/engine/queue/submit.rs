//! Taking jobs in: all of a submission or none.

use std::collections::BTreeMap;

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::filter::check_rate_limits;
use super::{Queue, Refusal};
use crate::vocabulary::{
    Dependency, JobId, JobRef, JobTerms, NewJob, OpCode, OpTerms, Record, Status, SubmissionKey,
    Timestamp, Tries,
};

/// What a submission may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Jobs that are not final, with the submission's.
    pub queued_jobs: usize,
    /// Jobs in one submission.
    pub batch_jobs: usize,
    /// Bytes of parameters, comments and reasons in one submission.
    pub batch_bytes: usize,
    /// Opcodes in one job.
    pub job_ops: usize,
    /// Bytes of parameters, comments and reasons in one job.
    pub job_bytes: usize,
}

impl Queue {
    /// Takes jobs in, all or none; their ids are contiguous.
    ///
    /// Costs O(opcodes + dependencies) of the submission, whatever the queue holds.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where a bound is exceeded or a dependency cannot be.
    pub fn submit(
        &mut self,
        jobs: Vec<NewJob>,
        origin: Option<String>,
        bounds: &Bounds,
        now: Timestamp,
    ) -> Result<(Vec<JobId>, Vec<Record>), Refusal> {
        self.submit_recalling(jobs, &BTreeMap::new(), origin, bounds, now)
    }

    /// As [`submit`](Self::submit), where jobs depend on archived ones: how those ended is known
    /// from the archive.
    ///
    /// # Errors
    ///
    /// [`Refusal::ArchivedDependency`] where one is missing in `recalled`.
    pub fn submit_recalling(
        &mut self,
        mut jobs: Vec<NewJob>,
        recalled: &BTreeMap<JobId, Status>,
        origin: Option<String>,
        bounds: &Bounds,
        now: Timestamp,
    ) -> Result<(Vec<JobId>, Vec<Record>), Refusal> {
        self.check_bounds(&jobs, bounds)?;
        check_rate_limits(&jobs)?;
        self.check_dependencies(&jobs, recalled)?;
        let first = self.next_id;
        resolve(&mut jobs, first);
        let terms = take_terms(&mut jobs, first);
        let ids = (0..jobs.len()).map(|place| first.plus(place as u64)).collect();
        let mut records = Vec::new();
        let ended = self.to_recall(&jobs, recalled);
        if !ended.is_empty() {
            self.record(&mut records, Record::Recalled { ended });
        }
        if !jobs.is_empty() {
            self.record(&mut records, Record::Submitted { time: now, first, jobs, origin });
        }
        terms.into_iter().for_each(|terms| self.record(&mut records, terms));
        Ok((ids, records))
    }

    /// As [`submit_recalling`](Self::submit_recalling), once: where the key is known, its jobs are
    /// given and nothing is submitted, whatever the bounds say by now.
    ///
    /// The key is known as long as one of its jobs is in the queue; beside those, the newest
    /// [`REMEMBERED_KEYS`](Self::REMEMBERED_KEYS) are.
    ///
    /// # Errors
    ///
    /// [`Refusal::OtherSubmission`] where its submission was another one.
    pub fn submit_once(
        &mut self,
        key: &SubmissionKey,
        jobs: Vec<NewJob>,
        recalled: &BTreeMap<JobId, Status>,
        origin: Option<String>,
        bounds: &Bounds,
        now: Timestamp,
    ) -> Result<(Vec<JobId>, Vec<Record>), Refusal> {
        if let Some(ids) = self.submitted_under(key, &jobs)? {
            return Ok((ids, Vec::new()));
        }
        let (ids, mut records) = self.submit_recalling(jobs, recalled, origin, bounds, now)?;
        if let Some(first) = ids.first().copied() {
            let jobs = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            self.record(&mut records, Record::Keyed { key: key.clone(), first, jobs });
        }
        Ok((ids, records))
    }

    fn check_bounds(&self, jobs: &[NewJob], bounds: &Bounds) -> Result<(), Refusal> {
        let most = bounds.queued_jobs;
        if self.unfinished + jobs.len() > most {
            return Err(Refusal::QueueFull { queued: self.unfinished, most });
        }
        bounded(|| "the submission".to_owned(), jobs.len(), "jobs", bounds.batch_jobs)?;
        let mut total = 0;
        for (index, job) in jobs.iter().enumerate() {
            let (what, bytes) = (|| format!("job {index} of the submission"), bytes(job));
            bounded(what, job.ops.len(), "opcodes", bounds.job_ops)?;
            bounded(what, bytes, "bytes", bounds.job_bytes)?;
            total += bytes;
        }
        bounded(|| "the submission".to_owned(), total, "bytes", bounds.batch_bytes)
    }

    fn check_dependencies(
        &self,
        jobs: &[NewJob],
        recalled: &BTreeMap<JobId, Status>,
    ) -> Result<(), Refusal> {
        for (index, job) in jobs.iter().enumerate() {
            for dependency in dependencies(job) {
                self.check_dependency(dependency, index, jobs.len(), recalled)?;
            }
        }
        no_circle(jobs)
    }

    fn check_dependency(
        &self,
        dependency: &Dependency,
        index: usize,
        jobs: usize,
        recalled: &BTreeMap<JobId, Status>,
    ) -> Result<(), Refusal> {
        if let Some(status) = dependency.statuses.iter().find(|status| !status.is_final()) {
            return Err(Refusal::NotFinal { index, status: *status });
        }
        match dependency.on {
            JobRef::Batch(on) if on as usize >= jobs => {
                Err(Refusal::OutsideBatch { index, on, jobs })
            }
            JobRef::Id(on) if self.known_status(on).is_some() || recalled.contains_key(&on) => {
                Ok(())
            }
            JobRef::Id(on) if self.was_archived(on) => {
                Err(Refusal::ArchivedDependency { index, on })
            }
            JobRef::Id(on) => Err(Refusal::UnknownDependency { index, on }),
            JobRef::Batch(_) => Ok(()),
        }
    }
}

fn dependencies(job: &NewJob) -> impl Iterator<Item = &Dependency> {
    job.ops.iter().flat_map(|op| &op.depends)
}

fn bounded(what: impl Fn() -> String, size: usize, unit: &str, most: usize) -> Result<(), Refusal> {
    if size <= most {
        return Ok(());
    }
    Err(Refusal::TooLarge { what: what(), size: format!("{size} {unit}"), most })
}

/// What a job takes beside its opcodes and its label, with room to spare.
const ENTRY: usize = 32;

/// What a job takes in the log, roughly and not less.
fn bytes(job: &NewJob) -> usize {
    let ops: usize = job.ops.iter().map(OpCode::bytes).sum();
    ops + ENTRY + job.label.as_ref().map_or(0, String::len)
}

/// Jobs can only wait in a circle within one submission: all other dependencies point to jobs
/// that are older. A dependency on the job itself is the smallest circle.
fn no_circle(jobs: &[NewJob]) -> Result<(), Refusal> {
    let edges: Vec<(u32, u32)> = (0u32..)
        .zip(jobs)
        .flat_map(|(place, job)| dependencies(job).map(move |on| (place, on)))
        .filter_map(|(place, dependency)| match dependency.on {
            JobRef::Batch(on) => Some((place, on)),
            JobRef::Id(_) => None,
        })
        .collect();
    if edges.iter().all(|(from, to)| to < from) {
        return Ok(());
    }
    let graph = DiGraph::<(), ()>::from_edges(&edges);
    let is_circle = |component: &Vec<NodeIndex>| {
        component.len() > 1 || graph.contains_edge(component[0], component[0])
    };
    match tarjan_scc(&graph).into_iter().find(is_circle) {
        Some(component) => Err(Refusal::Circle { places: one_circle(&graph, component[0]) }),
        None => Ok(()),
    }
}

/// The shortest circle through a node that is on one.
fn one_circle(graph: &DiGraph<(), ()>, start: NodeIndex) -> Vec<usize> {
    let mut came_from = std::collections::HashMap::new();
    let mut open = std::collections::VecDeque::from([start]);
    while let Some(node) = open.pop_front() {
        for next in graph.neighbors(node) {
            if next == start {
                let back = |at: &NodeIndex| came_from.get(at).copied();
                let mut path: Vec<usize> =
                    std::iter::successors(Some(node), back).map(NodeIndex::index).collect();
                path.reverse();
                return path;
            }
            came_from.entry(next).or_insert_with(|| {
                open.push_back(next);
                node
            });
        }
    }
    vec![start.index()]
}

/// Takes the terms out of the jobs: they are kept in records of their own.
fn take_terms(jobs: &mut [NewJob], first: JobId) -> Vec<Record> {
    let mut records = Vec::new();
    for (job, place) in jobs.iter_mut().zip(0..) {
        let terms = std::mem::take(&mut job.terms);
        let of_ops = job.ops.iter_mut().map(|op| std::mem::take(&mut op.terms)).zip(0..);
        let ops: Vec<_> = of_ops
            .filter(|(terms, _)| *terms != OpTerms::default())
            .map(|(terms, index)| (index, terms, Tries::default()))
            .collect();
        if terms != JobTerms::default() || !ops.is_empty() {
            records.push(Record::Terms { job: first.plus(place), terms, ops });
        }
    }
    records
}

/// Turns places within the submission into ids.
fn resolve(jobs: &mut [NewJob], first: JobId) {
    let dependencies = jobs.iter_mut().flat_map(|job| &mut job.ops).flat_map(|op| &mut op.depends);
    for dependency in dependencies {
        if let JobRef::Batch(place) = dependency.on {
            dependency.on = JobRef::Id(first.plus(place.into()));
        }
    }
}
