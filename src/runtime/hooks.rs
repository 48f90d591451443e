//! What runs before and after every opcode, whatever its unit: Ganeti's hooks.

use std::sync::Arc;

use serde_json::Value;
use tracing::info_span;

use super::contained::contain;
use super::context::Context;
use super::lock_order::assert_no_locks_held;
use crate::vocabulary::{OpError, OpErrorKind};

/// Called around opcodes, on their workers and with their locks held; never under a lock of the
/// master's own. Those it does not care about it lets pass: the opcode is in the [`Context`].
pub trait Hook: Send + Sync + 'static {
    /// Before an opcode executes, when its prerequisites have been checked; also in a dry run.
    ///
    /// # Errors
    ///
    /// The opcode fails with that error, which is of the kind `Hook` then, and nothing is undone.
    /// Hooks that follow are not called.
    fn before(&self, _context: &Context) -> Result<(), OpError> {
        Ok(())
    }

    /// After an opcode has succeeded; not in a dry run.
    ///
    /// # Errors
    ///
    /// The error becomes a line of feedback. The opcode has succeeded all the same.
    fn after(&self, _context: &Context, _result: &Value) -> Result<(), OpError> {
        Ok(())
    }
}

/// The hooks of a master, called in the order in which they were added.
pub(super) type Hooks = Vec<Arc<dyn Hook>>;

/// Asks all hooks whether the opcode may execute. The first that refuses decides.
pub(super) fn before(hooks: &Hooks, context: &Context) -> Result<(), OpError> {
    assert_no_locks_held("while a hook runs");
    let mut hooks = hooks.iter().enumerate();
    let called = hooks.try_for_each(|(number, hook)| {
        let span = info_span!("hook", hook = number, phase = "before");
        span.in_scope(|| contain(|| hook.before(context)))
    });
    called.map_err(|error| {
        let kind = match error.kind {
            OpErrorKind::Canceled => OpErrorKind::Canceled,
            _ => OpErrorKind::Hook,
        };
        OpError { kind, message: format!("a hook refuses: {}", error.message), ..error }
    })
}

/// Tells all hooks that the opcode has succeeded.
pub(super) fn after(hooks: &Hooks, context: &Context, result: &Value) {
    assert_no_locks_held("while a hook runs");
    for (number, hook) in hooks.iter().enumerate() {
        let span = info_span!("hook", hook = number, phase = "after");
        if let Err(error) = span.in_scope(|| contain(|| hook.after(context, result))) {
            context.feedback(&format!("WARNING: a hook failed after the execution: {error}"));
        }
    }
}
