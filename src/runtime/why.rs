//! The answer to "why is my job waiting?", and to "who holds the locks?".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::cancel::CancelToken;
use super::clients::is_client;
use super::filters::held_back;
use super::inner::{Inner, owner};
use super::master::Master;
use super::shell::Shell;
use super::view::{Answer, Explanation, InTheWay, LockOverview, LockWait, WaitLink, Why};
use crate::engine::locks::{LockReport, OwnerId, WaitReport};
use crate::vocabulary::{Job, JobId, Priority, Status};

/// How many jobs an explanation follows, so that its size has a limit.
const STEPS: usize = 1000;

impl Master {
    /// Why the job is not executing; nothing where there is no such job.
    #[must_use]
    pub fn why(&self, id: JobId) -> Option<Why> {
        let shell = self.inner.shell();
        let job = shell.queue.get(id)?;
        let why = at_rest(&shell, job);
        let starting = job.to_undo().map_or(Why::Starting, |op| undoing(job, op));
        drop(shell);
        why.or_else(|| self.inner.lock_wait(id)).or(Some(starting))
    }

    /// Why the job is not executing, why the one is not done that it waits for, and so on;
    /// nothing where there is no such job.
    #[must_use]
    pub fn explain(&self, id: JobId) -> Option<Answer<Explanation>> {
        let (mut steps, mut seen) = (vec![(id, self.why(id)?)], BTreeSet::from([id]));
        while let Some(next) = steps.last().and_then(|(_, why)| why.waits_behind()) {
            // Nobody waits for itself; but of two moments, one may say this and one that.
            if steps.len() == STEPS || !seen.insert(next) {
                break;
            }
            let Some(why) = self.why(next) else { break };
            steps.push((next, why));
        }
        let links = steps.iter().flat_map(|(_, why)| named_by(why));
        let (labels, position) = self.labels(seen.iter().copied().chain(links));
        let value = Explanation { now: self.inner.now(), steps, labels };
        Some(Answer { value, position })
    }

    /// Every lock that is held or wanted, by whom; the graph of who waits for whom where asked
    /// for. O(everything).
    #[must_use]
    pub fn locks(&self, graph: bool) -> Answer<LockOverview> {
        let (manager, locks) = (&self.inner.locks, self.inner.locks.locks());
        let (labels, position) = self.labels(locks.iter().flat_map(owners));
        let graph = graph.then(|| with_labels(&manager.wait_graph_dot(), &labels));
        let value = LockOverview { now: self.inner.now(), locks, labels, graph };
        Answer { value, position }
    }

    /// The labels of those jobs that have one, and the place in the log that they depend on.
    fn labels(&self, jobs: impl Iterator<Item = JobId>) -> (BTreeMap<JobId, String>, u64) {
        let shell = self.inner.shell();
        let label = |id: JobId| match is_client(id) {
            true => Some((id, self.inner.clients.title(id)?)),
            false => Some((id, shell.queue.get(id)?.label.clone()?)),
        };
        (jobs.filter_map(label).collect(), shell.position)
    }
}

/// What can be said without a look at the locks.
fn at_rest(shell: &Shell, job: &Job) -> Option<Why> {
    let (id, taken) = (job.id, shell.queue.is_taken(job.id));
    match job.status() {
        status if status.is_final() => return Some(Why::Final { status }),
        Status::Running | Status::Canceling if job.to_undo().is_none() => {
            if let Some(why) = executing(shell, job) {
                return Some(why);
            }
        }
        _ => {}
    }
    match shell.queue.waits_on(id) {
        Some(on) => Some(Why::Dependency { on }),
        None if shell.queue.waits_until(id).is_some() => later(shell, job),
        None if taken => None,
        None => held_back(shell, id).or_else(|| Some(in_order(shell, id))),
    }
}

/// It could run as far as other jobs, rules and limits are concerned.
fn in_order(shell: &Shell, id: JobId) -> Why {
    match shell.is_open() {
        true => Why::Worker { before: shell.queue.ready_before(id) },
        false => Why::Stopping,
    }
}

fn later(shell: &Shell, job: &Job) -> Option<Why> {
    let (until, op) = (shell.queue.waits_until(job.id)?, job.current()?);
    let tries = &job.ops[op].tries;
    let lacking = tries.lacking.as_ref().map_or_else(String::new, ToString::to_string);
    Some(Why::Later { until, tried: tries.count, lacking })
}

fn executing(shell: &Shell, job: &Job) -> Option<Why> {
    let op = &job.ops[job.current()?];
    let late = job.deadline().filter(|_| shell.queue.is_overdue(job.id)).map(|(when, _)| when);
    let told = job.cancel_requested.into_iter().chain(late).min();
    // Whoever was told before it began was told when it did.
    let told = told.map(|told| op.exec_time.map_or(told, |began| told.max(began)));
    let grace = shell.active.get(&job.id).and_then(CancelToken::grace);
    let killed = told.zip(grace).map(|(told, grace)| told.plus(grace));
    Some(Why::Executing { opcode: op.opcode.id.clone(), since: op.exec_time, told, killed })
}

fn undoing(job: &Job, op: usize) -> Why {
    Why::Undoing { opcode: job.ops[op].opcode.id.clone() }
}

/// The jobs an answer names.
fn named_by(why: &Why) -> Vec<JobId> {
    match why {
        Why::Dependency { on } => vec![*on],
        Why::RateLimit { inside, .. } => inside.clone(),
        Why::Lock(wait) => {
            let links = wait.chain.iter().flat_map(|link| [link.job, link.blocker]);
            links.chain(wait.in_the_way.iter().map(|who| who.job)).collect()
        }
        _ => Vec::new(),
    }
}

fn owners(lock: &LockReport) -> impl Iterator<Item = JobId> + '_ {
    let holders = lock.holders.iter().map(|holder| holder.owner);
    holders.chain(lock.waiters.iter().map(|wanter| wanter.owner)).filter_map(job_of)
}

/// A graph whose nodes are owners, with the names that people gave them.
fn with_labels(graph: &str, labels: &BTreeMap<JobId, String>) -> String {
    let Some((head, edges)) = graph.split_once('\n') else { return graph.to_owned() };
    let numbers = edges.split('"').filter_map(|part| part.strip_prefix("owner ")?.parse().ok());
    let shown: BTreeSet<JobId> = numbers.filter_map(JobId::new).collect();
    let mut text = format!("{head}\n");
    for (id, label) in labels.iter().filter(|(id, _)| shown.contains(id)) {
        let label = label.replace('\\', "\\\\").replace('"', "\\\"");
        let name = if is_client(*id) { String::new() } else { format!("job {id}\\n") };
        // Writing to a string does not fail.
        _ = writeln!(text, "  \"{}\" [label=\"{name}{label}\"];", owner(*id));
    }
    text + edges
}

impl Inner {
    pub(super) fn lock_wait(&self, id: JobId) -> Option<Why> {
        if let Some(why) = self.fenced.why(id) {
            return Some(why);
        }
        let waits = self.locks.explain(owner(id))?.waits?;
        // The lock is free, so all that is missing is somebody to carry the job out.
        if waits.in_the_way.is_empty() {
            return Some(Why::Worker { before: 0 });
        }
        Some(Why::Lock(worded(waits)))
    }

    /// Passes a new priority on to the job's wait for locks, if it is in one.
    pub(super) fn hurry(&self, id: JobId, priority: Priority) {
        self.locks.set_priority(owner(id), priority);
    }
}

fn worded(waits: WaitReport) -> LockWait {
    let in_the_way = waits.in_the_way.iter().filter_map(|blocker| {
        Some(InTheWay { job: job_of(blocker.owner)?, mode: blocker.mode, since: blocker.since })
    });
    let chain = waits.chain.into_iter().filter_map(|link| {
        let (job, blocker) = (job_of(link.waiter)?, job_of(link.blocker)?);
        let (held, since) = (link.held, link.since);
        Some(WaitLink { job, lock: link.lock, mode: link.mode, blocker, held, since })
    });
    LockWait {
        in_the_way: in_the_way.collect(),
        chain: chain.collect(),
        lock: waits.lock,
        mode: waits.mode,
        capacity: waits.capacity.map(u8::from),
        since: waits.since,
        passed: waits.passed,
        reserves: waits.reserves,
    }
}

/// A job owns its locks under its own number.
fn job_of(owner: OwnerId) -> Option<JobId> {
    JobId::new(owner.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_shows_the_names_that_people_gave_and_only_of_jobs_in_it() {
        let graph = "digraph waits {\n  \"owner 12\" -> \"owner 1\" [label=\"x\"];\n}\n";
        let labels = [(1, "say \"a\\b\""), (2, "not in it")];
        let labels = labels.map(|(id, label)| (JobId::new(id).unwrap(), label.to_owned()));
        let expected = "digraph waits {\n  \"owner 1\" [label=\"job 1\\nsay \\\"a\\\\b\\\"\"];\n  \
                        \"owner 12\" -> \"owner 1\" [label=\"x\"];\n}\n";
        assert_eq!(with_labels(graph, &BTreeMap::from(labels)), expected);
    }
}
