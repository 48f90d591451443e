//! Random jobs.

use std::time::Duration;

use super::deed::{Deed, End, Hooked, NAMES, Want};
use super::random::Random;
use crate::runtime::TypedOp;
use crate::vocabulary::{
    CrashPolicy, Dependency, JobId, JobRef, JobTerms, NewJob, OpCode, OpTerms, Priority, Reason,
    Status,
};

/// Jobs to submit together; they may depend on one another and on the last ones before them.
pub(super) fn batch(random: &mut Random, next: u64) -> Vec<NewJob> {
    let count = random.below(3) + 1;
    (0..count).map(|place| job(random, place, next)).collect()
}

fn job(random: &mut Random, place: usize, next: u64) -> NewJob {
    let ops = random.below(3) + 1;
    let job = NewJob::of((0..ops).map(|_| opcode(random, place, next)).collect::<Vec<_>>());
    job.on_terms(JobTerms { within: within(random), keep_locks: random.one_in(8) })
}

fn opcode(random: &mut Random, place: usize, next: u64) -> OpCode {
    let mut deed = deed(random);
    deed.child = random.one_in(15).then(|| Box::new(self::deed(random)));
    let mut opcode = deed.opcode().unwrap();
    opcode = opcode.on_terms(OpTerms { within: within(random), retries: None });
    while random.one_in(4) {
        if let Some(on) = earlier(random, place, next) {
            opcode = opcode.after(Dependency { on, statuses: statuses(random) });
        }
    }
    opcode.dry_run = random.one_in(20);
    opcode.reason.extend(limit(random));
    opcode.with_priority(priority(random))
}

/// A limit that the job brings along; once in a while one that is none, and is refused.
fn limit(random: &mut Random) -> Option<Reason> {
    let texts = ["rate-limit:1:a", "rate-limit:1:b", "rate-limit:2:a", "because"];
    let text = match random.below(400) {
        0 => "rate-limit:a few",
        1..30 => random.one_of(&texts),
        _ => return None,
    };
    Some(Reason { source: "user".into(), text: text.into(), time_ns: 0 })
}

/// Mostly, as long as it takes.
fn within(random: &mut Random) -> Option<Duration> {
    random.one_in(15).then(|| Duration::from_secs(random.below(20) as u64 + 1))
}

fn earlier(random: &mut Random, place: usize, next: u64) -> Option<JobRef> {
    if place > 0 && random.one_in(2) {
        return Some(JobRef::Batch(random.below(place) as u32));
    }
    let recent = random.below(6) as u64 + 1;
    JobId::new(next.saturating_sub(recent)).map(JobRef::Id)
}

fn statuses(random: &mut Random) -> Vec<Status> {
    let all = [Status::Success, Status::Error, Status::Canceled];
    all.into_iter().filter(|_| random.one_in(2)).collect()
}

pub(super) fn priority(random: &mut Random) -> Priority {
    Priority::new(random.below(40) as i64 - 20).unwrap()
}

fn deed(random: &mut Random) -> Deed {
    let ends = [
        End::Error,
        End::Panic,
        End::WrongArguments,
        End::WrongPrerequisites,
        End::PanicInLocks,
        End::Heeding,
        End::Heeding,
    ];
    let hooked = [Hooked::Refused, Hooked::Panic, Hooked::FailsAfter];
    Deed {
        wants: wants(random),
        cluster: random.one_in(12),
        at_once: random.one_in(2),
        end: if random.one_in(4) { random.one_of(&ends) } else { End::Well },
        undo: random.one_in(2),
        undo_fails: random.one_in(5),
        on_crash: random.one_of(&[CrashPolicy::Fail, CrashPolicy::Retry, CrashPolicy::Undo]),
        reserves: random.one_in(6).then(|| random.below(2) as u8),
        lacks: if random.one_in(6) { random.below(4) as u32 } else { 0 },
        changes: if random.one_in(6) { random.below(3) as u32 } else { 0 },
        hooked: if random.one_in(12) { random.one_of(&hooked) } else { Hooked::Fine },
        child: None,
    }
}

/// Up to one want a name; a level is asked for by names or as a whole.
fn wants(random: &mut Random) -> Vec<Want> {
    let mut wants = Vec::new();
    for level in ["instance", "node"] {
        let whole = random.one_in(10);
        let names: Vec<Option<u8>> =
            if whole { vec![None] } else { (0..NAMES).map(Some).collect() };
        for name in names {
            if whole || random.one_in(3) {
                let alone = random.one_in(2);
                wants.push(Want { level: level.to_owned(), name, alone });
            }
        }
    }
    wants
}
