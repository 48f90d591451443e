//! What runs the engine: threads, clocks, channels, and the one queue lock.
//!
//! The shell around the pure layers below. It decides nothing about policy: it asks the engine,
//! appends what was decided to the store, applies it, and performs what follows from it.

mod alarm;
mod archive;
mod aside;
mod asking;
mod builder;
mod cancel;
mod changes;
mod clients;
mod clock;
mod commits;
mod compaction;
#[cfg(test)]
mod compaction_tests;
mod config_writer;
mod contained;
mod context;
mod core;
#[cfg(test)]
mod core_tests;
mod course;
mod ending;
mod fenced_jobs;
mod fences;
mod filters;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod hooks;
mod inner;
mod listing;
mod lock_manager;
pub mod lock_order;
mod log_writer;
mod logical_unit;
mod master;
mod metrics;
mod processor;
mod registry;
mod result_type;
mod schedule;
mod secrets;
mod shell;
mod shutdown;
#[cfg(test)]
mod simulation;
mod slow_locks;
mod spans;
pub mod sync;
mod tasks;
mod view;
mod watch;
mod why;
mod worker_pool;
mod workers;

pub use archive::AutoArchived;
pub use aside::Aside;
// What the runtime answers with, for layers that must not name the engine.
pub use crate::engine::locks::{Holder, LockError, LockReport, Mode, OwnerId, Reserves, Wanter};
pub use crate::engine::queue::{Bucket, FilterState};
pub use crate::store::{FenceName, FenceReport, ForeignLocks, LockDir, OwnerRecord, Swept};
pub use builder::MasterBuilder;
pub use cancel::{CancelCause, CancelToken, OnCancel};
pub use changes::{Changes, Follower};
pub use clients::{ClientId, ClientTold, is_client};
pub use clock::Clock;
pub use config_writer::{
    ConditionalUpdate, ConfigCopy, ConfigOptions, ConfigSnapshot, ConfigWriter, Directories,
    Distributor, Expected, Mismatch, NodeState, ObjectSerial, Reservation, SimulatedNodes, Unmet,
    UpdateError,
};
pub use context::Context;
pub use core::Core;
pub use fences::{DeadOwner, GlobalLocks};
pub use hooks::Hook;
pub use listing::PieceOfList;
pub use lock_manager::{
    Asked, LockGuard, LockManager, LockOptions, LockOwner, Locks, LocksBuilder, ThisThread,
};
pub use logical_unit::{DeclaredLocks, LogicalUnit, TypedOp};
pub use master::{Limits, Master};
pub use metrics::{Histogram, Stats};
pub use registry::Registry;
pub use result_type::ResultType;
pub use shutdown::Shutdown;
pub use view::{
    Answer, CancelAnswer, Explanation, InTheWay, JobView, LockOverview, LockWait, WaitLink, Why,
};

// Parts of the master, public for the scenarios in `loom-tests` and nothing else.
#[doc(hidden)]
pub use commits::Commits;
#[doc(hidden)]
pub use config_writer::Distribution;
#[doc(hidden)]
pub use tasks::Tasks;
#[doc(hidden)]
pub use workers::{Give, Workers};
