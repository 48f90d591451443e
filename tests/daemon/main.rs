//! The real daemon and the real command line, as processes.
#![cfg(all(feature = "cli", not(loom)))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod archive;
mod cli;
mod conformance;
mod distribute;
mod explain;
mod filters;
mod life;
mod list_watch;
mod lock;
mod lock_misused;
mod naming;
mod observability;
mod process;
mod soak;
mod stats;
#[path = "../support/mod.rs"]
mod support;
mod terms;
mod test_jqueue;
