//! Locks of Cinder's drivers (C) and of shared targets (S): the acceptance scenarios of
//! `design/seed-systems.md`, each a test that begins with its number. Other processes are this
//! executable, started again.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/another.rs"]
mod another;
#[path = "../../examples/cinder_drivers.rs"]
mod cinder_drivers;
mod clones;
mod drivers;
mod examples;
#[cfg(feature = "cli")]
mod global;
mod helper;
mod scopes;
#[path = "../../examples/shared_targets.rs"]
mod shared_targets;
mod targets;
