//! How a wait is told of in the log.

use std::time::Duration;

use super::super::clients::is_client;
use super::super::inner::Inner;
use super::super::view::{InTheWay, LockWait, WaitLink, Why};
use crate::engine::locks::{Mode, OwnerId};
use crate::vocabulary::{JobId, OpId, Timestamp};

/// How many holders and how many steps of a chain are named.
const NAMED: usize = 8;

/// Who waits: a job with its opcode, or a client.
struct Subject {
    client: Option<String>,
    job: Option<u64>,
    op: Option<(usize, OpId)>,
}

impl Inner {
    /// Warns of the wait of an owner, unless it has just ended.
    pub(super) fn warn_of(&self, owner: OwnerId, others: usize, now: Timestamp) {
        let Some(id) = JobId::new(owner.0) else { return };
        let Some(why) = self.lock_wait(id) else { return };
        let (lock, mode, since) = match &why {
            Why::Lock(wait) => (&wait.lock, wait.mode.to_string(), wait.since),
            Why::OtherProcess { lock, mode, since, .. } => (lock, mode.to_string(), *since),
            _ => return,
        };
        let (holders, chain) = match &why {
            Why::Lock(wait) => (self.holders(wait, now), self.chain(wait, now)),
            Why::OtherProcess { holder, .. } => (holder.clone(), None),
            _ => return,
        };
        let Subject { client, job, op } = self.subject(id);
        let (client, chain) = (client.as_deref(), chain.as_deref());
        let (index, opcode) = (op.as_ref().map(|op| op.0), op.as_ref().map(|op| op.1.as_str()));
        let waited = rough(now.since(since));
        tracing::warn!(
            job, op = index, id = opcode, client, %lock, %mode, %waited, %holders, chain, others,
            "waits long for a lock"
        );
    }

    fn subject(&self, id: JobId) -> Subject {
        if is_client(id) {
            return Subject { client: Some(self.name(id)), job: None, op: None };
        }
        Subject { client: None, job: Some(id.get()), op: self.opcode_in_hands(id) }
    }

    /// The opcode for which a job wants or holds locks: which it is, and its id.
    fn opcode_in_hands(&self, id: JobId) -> Option<(usize, OpId)> {
        let shell = self.shell();
        let job = shell.queue.get(id)?;
        let op = job.to_undo().or_else(|| job.current())?;
        Some((op, job.ops[op].opcode.id.clone()))
    }

    /// Who it is, for people.
    fn name(&self, id: JobId) -> String {
        if is_client(id) {
            return self.clients.title(id).unwrap_or_else(|| "a client that has gone".to_owned());
        }
        match self.opcode_in_hands(id) {
            Some((_, opcode)) => format!("job {id} ({opcode})"),
            None => format!("job {id}"),
        }
    }

    fn holders(&self, wait: &LockWait, now: Timestamp) -> String {
        let hold = |who: &InTheWay| self.name(who.job) + &held(who.mode, who.since, now);
        listed(wait.in_the_way.iter().map(hold), "; ")
    }

    /// What the first holder waits for, and so on; nothing where it waits for nobody.
    fn chain(&self, wait: &LockWait, now: Timestamp) -> Option<String> {
        let step = |link: &WaitLink| {
            let (waiter, blocker) = (self.name(link.job), self.name(link.blocker));
            let held = held(link.held, link.since, now);
            format!("{waiter} waits for {}: {blocker}{held}", link.lock)
        };
        // The first step says what `holders` says.
        let further = wait.chain.get(1..).filter(|further| !further.is_empty())?;
        Some(listed(further.iter().map(step), "; "))
    }
}

/// How a lock is held, after the name of who does.
fn held(mode: Mode, since: Option<Timestamp>, now: Timestamp) -> String {
    match since {
        Some(since) => format!(", {mode} for {}", rough(now.since(since))),
        None => format!(", reserved {mode}"),
    }
}

/// The first of them, and how many more there are.
fn listed(all: impl ExactSizeIterator<Item = String>, between: &str) -> String {
    let more = all.len().saturating_sub(NAMED);
    let mut text = all.take(NAMED).collect::<Vec<_>>().join(between);
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

/// A length of time in whole seconds; in milliseconds where it is less than one.
fn rough(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{}ms", time.as_millis()),
        seconds @ 1..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_exactly_as_matters() {
        let said = [0, 1_500, 59_999, 60_000, 3_599_000, 3_661_000].map(Duration::from_millis);
        let said = said.map(rough);
        assert_eq!(said, ["0ms", "1s", "59s", "1m0s", "59m59s", "1h1m"]);
    }

    #[test]
    fn of_many_the_first_are_named_and_the_others_counted() {
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        assert_eq!(listed(names.iter().cloned(), ", "), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!(listed(names[..1].iter().cloned(), ", "), "0");
    }
}
