//! Code of embedders that panics: an error of its opcode, and of nothing else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::lock_order::assert_no_locks_held;
use super::logical_unit::LogicalUnit;
use crate::vocabulary::{OpError, OpErrorKind};

/// A logical unit whose panics, also that of its `Drop`, reach nobody.
pub(super) struct Contained(Option<Box<dyn LogicalUnit>>);

impl Contained {
    /// What `make` makes.
    pub(super) fn made(
        make: impl FnOnce() -> Result<Box<dyn LogicalUnit>, OpError>,
    ) -> Result<Self, OpError> {
        let unit = guarded(make).unwrap_or_else(|panic| Err(error_of(&panic)))?;
        Ok(Self(Some(unit)))
    }

    /// Calls a method of the unit; a panic is an error.
    pub(super) fn call<T>(
        &mut self,
        method: impl FnOnce(&mut dyn LogicalUnit) -> Result<T, OpError>,
    ) -> Result<T, OpError> {
        let gone = || OpError::new(OpErrorKind::Panicked, "the logical unit is gone");
        let unit = self.0.as_deref_mut().ok_or_else(gone)?;
        let called = || {
            assert_no_locks_held("while a logical unit is called");
            method(unit)
        };
        guarded(called).unwrap_or_else(|panic| Err(error_of(&panic)))
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let unit = self.0.take();
        if let Err(panic) = guarded(|| drop(unit)) {
            tracing::error!(panic, "a logical unit panicked while it was dropped");
        }
    }
}

/// Calls other code of an embedder; a panic is an error.
pub(super) fn contain<T>(body: impl FnOnce() -> Result<T, OpError>) -> Result<T, OpError> {
    let called = || {
        assert_no_locks_held("while code of an embedder is called");
        body()
    };
    guarded(called).unwrap_or_else(|panic| {
        Err(OpError::new(OpErrorKind::Panicked, format!("panicked: {panic}")))
    })
}

/// Calls back who asked for it. A panic there must not end the thread that calls: others wait
/// for it.
pub(super) fn call_back(callback: impl FnOnce()) {
    assert_no_locks_held("while somebody is called back");
    if let Err(panic) = guarded(callback) {
        tracing::error!(panic, "who was called back panicked");
    }
}

/// Runs it; gives what a panic in it says.
pub(super) fn guarded<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let text = panic_text(&*panic).to_owned();
        discard(panic);
        text
    })
}

fn error_of(panic: &str) -> OpError {
    OpError::new(OpErrorKind::Panicked, format!("the logical unit panicked: {panic}"))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What a panic carries can panic when it is dropped. What that carries is let be.
fn discard(panic: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(another);
    }
}

#[cfg(test)]
#[cfg(debug_assertions)]
mod tests {
    use super::super::lock_order::LockClass;
    use super::super::logical_unit::DeclaredLocks;
    use super::super::sync::Mutex;
    use super::*;
    use crate::runtime::Context;

    struct Unit;

    impl LogicalUnit for Unit {
        fn declare_locks(&mut self, _: &str, _: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
            Ok(())
        }

        fn execute(&mut self, _: &Context) -> Result<serde_json::Value, OpError> {
            Ok(serde_json::Value::Null)
        }
    }

    /// What is said of an error that comes of a lock that is held.
    fn under_a_lock(act: impl FnOnce() -> Result<(), OpError>) -> String {
        // What was found once of a class of locks is not reported again: so each has its own.
        let class = Box::leak(Box::new(LockClass::new("a lock of this test")));
        let mutex = Mutex::new(class, ());
        let _held = mutex.lock();
        act().unwrap_err().message
    }

    #[test]
    fn nothing_of_an_embedder_is_called_under_a_lock() {
        let mut unit = Contained::made(|| Ok(Box::new(Unit))).unwrap();
        assert_eq!(unit.call(|_| Ok(1)), Ok(1));
        let said = under_a_lock(|| unit.call(|_| Ok(())));
        assert!(said.contains("\"a lock of this test\" is held while a logical unit"), "{said}");
        assert_eq!(contain(|| Ok(1)), Ok(1));
        let said = under_a_lock(|| contain(|| Ok(())));
        assert!(said.contains("is held while code of an embedder is called"), "{said}");
        let said = under_a_lock(|| {
            let called = guarded(|| call_back(|| ()));
            called.map_err(|panic| error_of(&panic))
        });
        assert!(said.contains("is held while somebody is called back"), "{said}");
    }
}
