//! Dependencies between the jobs of a file: labels become places, cycles are refused.

use std::collections::HashMap;

use super::super::located::{Located, did_you_mean};
use super::Draft;
use crate::vocabulary::{Dependency, Error, JobRef, NewJob, Status};

/// A dependency as read.
pub(super) struct Wait<'d> {
    at: Located<'d>,
    on: On,
    statuses: Vec<Status>,
}

enum On {
    Label(String),
    Job(JobRef),
}

impl<'d> Wait<'d> {
    pub(super) fn on_label(at: Located<'d>, label: String, statuses: Vec<Status>) -> Self {
        Self { at, on: On::Label(label), statuses }
    }

    pub(super) fn on_job(at: Located<'d>, job: JobRef, statuses: Vec<Status>) -> Self {
        Self { at, on: On::Job(job), statuses }
    }
}

/// A list of final statuses.
pub(super) fn statuses(at: Located<'_>) -> Result<Vec<Status>, Error> {
    let what = "a final status: \"success\", \"error\" or \"canceled\"";
    at.list("a list of final statuses")?
        .map(|word| match word.text(what)?.parse::<Status>() {
            Ok(status) if status.is_final() => Ok(status),
            _ => Err(word.error(format!("expected {what}, found {}", word.kind()))),
        })
        .collect()
}

/// The jobs, their dependencies by place.
pub(super) fn resolve(drafts: Vec<Draft<'_>>) -> Result<Vec<NewJob>, Error> {
    let labels = by_label(&drafts)?;
    let mut waits_for = Vec::with_capacity(drafts.len());
    let mut jobs = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let mut job = NewJob { label: draft.label, terms: draft.terms, ..NewJob::default() };
        let mut edges = Vec::new();
        for mut op in draft.ops {
            for wait in op.waits {
                let on = find(&wait, &labels)?;
                edges.extend(batch_place(on).map(|place| (place, wait.at)));
                op.opcode.depends.push(Dependency { on, statuses: wait.statuses });
            }
            job.ops.push(op.opcode);
        }
        waits_for.push(edges);
        jobs.push(job);
    }
    refuse_cycles(&jobs, &waits_for)?;
    Ok(jobs)
}

fn by_label(drafts: &[Draft<'_>]) -> Result<HashMap<String, u32>, Error> {
    let mut labels = HashMap::new();
    for (place, draft) in (0u32..).zip(drafts) {
        let Some(label) = &draft.label else { continue };
        if labels.insert(label.clone(), place).is_some() {
            return Err(draft.at.error(format!("a second job with the label {label:?}")));
        }
    }
    Ok(labels)
}

fn find(wait: &Wait<'_>, labels: &HashMap<String, u32>) -> Result<JobRef, Error> {
    let label = match &wait.on {
        On::Job(job) => return Ok(*job),
        On::Label(label) => label,
    };
    labels.get(label).map(|place| JobRef::Batch(*place)).ok_or_else(|| {
        let mut known: Vec<&str> = labels.keys().map(String::as_str).collect();
        known.sort_unstable();
        wait.at.wrap(
            Error::invalid(format!("no job of this file has the label {label:?}"))
                .hint(did_you_mean(label, known, "the labels are")),
        )
    })
}

fn batch_place(on: JobRef) -> Option<usize> {
    match on {
        JobRef::Batch(place) => usize::try_from(place).ok(),
        JobRef::Id(_) => None,
    }
}

type Edges<'d> = Vec<Vec<(usize, Located<'d>)>>;

/// Takes away what waits for nothing that is left, again and again (Kahn 1962): what then
/// remains contains a cycle. Takes time linear in jobs and dependencies.
fn refuse_cycles(jobs: &[NewJob], waits_for: &Edges<'_>) -> Result<(), Error> {
    let mut open: Vec<usize> = waits_for.iter().map(Vec::len).collect();
    let mut waited_by = vec![Vec::new(); jobs.len()];
    for (job, edges) in waits_for.iter().enumerate() {
        edges.iter().for_each(|(on, _)| waited_by[*on].push(job));
    }
    let mut free: Vec<usize> = (0..jobs.len()).filter(|job| open[*job] == 0).collect();
    while let Some(job) = free.pop() {
        for waiting in &waited_by[job] {
            open[*waiting] -= 1;
            if open[*waiting] == 0 {
                free.push(*waiting);
            }
        }
    }
    match open.iter().position(|left| *left > 0) {
        Some(stuck) => Err(describe_cycle(jobs, waits_for, &open, stuck)),
        None => Ok(()),
    }
}

/// Every job that remains waits for another that remains, so following them comes round.
fn describe_cycle(jobs: &[NewJob], waits_for: &Edges<'_>, open: &[usize], stuck: usize) -> Error {
    let next = |job: usize| waits_for[job].iter().find(|(on, _)| open[*on] > 0).copied();
    let (mut order, mut path) = (HashMap::new(), Vec::new());
    let mut job = stuck;
    while !order.contains_key(&job) {
        order.insert(job, path.len());
        let Some((on, at)) = next(job) else { break };
        path.push((job, at));
        job = on;
    }
    let cycle = &path[order.get(&job).copied().unwrap_or(0)..];
    let name = |job: usize| jobs[job].label.clone().unwrap_or_else(|| format!("job {job}"));
    let mut names: Vec<String> = cycle.iter().take(10).map(|(job, _)| name(*job)).collect();
    if cycle.len() > names.len() {
        names.push("...".to_owned());
    }
    names.push(name(job));
    let message = format!("these jobs wait for each other: {}", names.join(" -> "));
    cycle
        .first()
        .map_or_else(|| Error::invalid(message.clone()), |(_, at)| at.error(message.clone()))
}
