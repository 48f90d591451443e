//! What a logical unit is made to do once its locks are held, and how that comes out.

use serde_json::Value;
use tracing::debug_span;

use super::cancel::{CancelCause, CancelToken};
use super::contained::Contained;
use super::context::Context;
use super::hooks::{self, Hooks};
use super::lock_order::assert_no_locks_held;
use crate::vocabulary::{NewJob, OpError, OpErrorKind};

/// How carrying out an opcode came out.
pub(super) enum Course {
    /// It has ended.
    Ended(Ended),
    /// It did nothing: what was computed before the locks does not hold.
    Again(OpError),
    /// It did nothing: something lacks for a while.
    Later(OpError),
}

/// How an opcode came to its end.
pub(super) struct Ended {
    pub(super) outcome: Result<Value, OpError>,
    /// Whether the work had begun, so that an undo has something to take back.
    pub(super) begun: bool,
    /// Jobs that are submitted with the end.
    pub(super) following: Vec<NewJob>,
}

impl Ended {
    /// It ended with that error.
    pub(super) fn failed(error: OpError, begun: bool) -> Self {
        Self { outcome: Err(error), begun, following: Vec::new() }
    }

    fn without_work(outcome: Result<Value, OpError>) -> Self {
        Self { outcome, begun: false, following: Vec::new() }
    }

    /// Stopped by a shutdown that would not wait: what it did is as unknown as after a crash,
    /// so nothing is written and the next start decides by its crash policy.
    pub(super) fn is_interrupted(&self, cancel: &CancelToken) -> bool {
        self.outcome.is_err() && cancel.cause() == Some(CancelCause::Shutdown)
    }
}

/// Prerequisites, hooks, execution.
pub(super) fn carry_out(unit: &mut Contained, context: &Context, hooks: &Hooks) -> Course {
    assert_no_locks_held("while an opcode executes");
    if let Err(error) = prerequisites(unit, context) {
        return nothing_done(error);
    }
    if let Err(error) = hooks::before(hooks, context) {
        return Course::Ended(Ended::failed(error, false));
    }
    if context.opcode().dry_run {
        context.feedback("dry-run mode requested, not actually executing the operation");
        return Course::Ended(Ended::without_work(unit.call(|unit| unit.dry_run(context))));
    }
    match debug_span!("execute").in_scope(|| unit.call(|unit| unit.execute(context))) {
        Ok(result) => Course::Ended(done(unit, context, hooks, result)),
        Err(error) if error.kind == OpErrorKind::Temporary => Course::Later(error),
        Err(error) => Course::Ended(Ended::failed(error, true)),
    }
}

fn prerequisites(unit: &mut Contained, context: &Context) -> Result<(), OpError> {
    debug_span!("prerequisites").in_scope(|| unit.call(|unit| unit.check_prereq(context)))
}

fn nothing_done(error: OpError) -> Course {
    match error.kind {
        OpErrorKind::Changed => Course::Again(error),
        OpErrorKind::Temporary => Course::Later(error),
        _ => Course::Ended(Ended::failed(error, false)),
    }
}

fn done(unit: &mut Contained, context: &Context, hooks: &Hooks, result: Value) -> Ended {
    let refused = unit.call(|unit| Ok(unit.result_type().refuses(&result)));
    let error = match refused {
        Ok(None) => {
            hooks::after(hooks, context, &result);
            let following = context.take_following();
            return Ended { outcome: Ok(result), begun: true, following };
        }
        Ok(Some(why)) => OpError::new(OpErrorKind::WrongResult, why),
        Err(error) => error,
    };
    Ended::failed(error, true)
}
