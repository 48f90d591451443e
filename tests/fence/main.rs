//! Locks among processes: the acceptance scenarios of `design/seed-systems.md`, each a
//! test that begins with its number. Other processes are this executable, started again.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/another.rs"]
mod another;
mod crashes;
mod files;
mod foreign;
mod helper;
mod jobs;
mod many;
mod order;
mod waiting;
