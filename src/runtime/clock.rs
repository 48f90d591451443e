//! The one place that reads the wall clock, and clocks that tests set.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::vocabulary::Timestamp;

/// Where a master has the time from: the system, or whoever stands in for it.
///
/// A clock may go back, and does where somebody sets it: times are for people and for deadlines,
/// and no order among jobs rests on them alone.
#[derive(Clone, Default)]
pub struct Clock {
    read: Option<Arc<dyn Fn() -> Timestamp + Send + Sync>>,
}

impl Clock {
    /// A clock that shows what `read` says. It is read with locks held: it must be quick and must
    /// not call the master.
    #[must_use]
    pub fn of(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { read: Some(Arc::new(read)) }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.read.as_ref().map_or_else(now, |read| read())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// The time of the system.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}
