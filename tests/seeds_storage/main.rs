//! Systems with storage whose locking this crate replaces: the acceptance scenarios
//! and Z-1 to Z-23 of `design/seed-systems.md`. Other processes are this executable, started again.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod a_calls;
mod a_crashes;
mod a_jobs;
mod a_updates;
#[path = "../support/another.rs"]
mod another;
mod hold_up;
mod process;
mod z_crashes;
mod z_races;
mod z_sessions;
mod z_starts;

#[path = "../../examples/attach_detach.rs"]
mod attach_detach;
#[path = "../../examples/zpool.rs"]
mod zpool;
