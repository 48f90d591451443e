//! Logical units that do nothing, under one exclusive lock out of many.

use lockmaster::vocabulary::{CrashPolicy, Error, NewJob, OpError};
use lockmaster::{Context, DeclaredLocks, LogicalUnit, TypedOp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Among how many instances the jobs are spread.
const INSTANCES: usize = 10_000;

/// Does nothing. Its start is on disk before it runs, unless it may be repeated.
#[derive(Serialize, Deserialize)]
pub(super) struct Nothing {
    instance: String,
    repeatable: bool,
}

impl TypedOp for Nothing {
    const ID: &'static str = "OP_BENCH_NOTHING";
}

impl LogicalUnit for Nothing {
    fn locks_known_at_once(&self) -> bool {
        true
    }

    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        if level == "instance" { locks.exclusive(&self.instance) } else { Ok(()) }
    }

    fn execute(&mut self, _: &Context) -> Result<Value, OpError> {
        Ok(Value::Null)
    }

    fn on_crash(&self) -> CrashPolicy {
        if self.repeatable { CrashPolicy::Retry } else { CrashPolicy::Fail }
    }
}

/// The jobs of one batch.
pub(super) fn batch(
    first: usize,
    jobs: usize,
    ops: usize,
    repeatable: bool,
) -> Result<Vec<NewJob>, Error> {
    let job = |number: usize| {
        let instance = format!("instance{}", number % INSTANCES);
        let op = Nothing { instance, repeatable }.opcode()?;
        Ok(NewJob::of(std::iter::repeat_n(op, ops)))
    };
    (first..first + jobs).map(job).collect()
}
