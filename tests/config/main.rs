//! The configuration as embedders see it: kills, nodes, reservations, and processes beside the
//! master.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

mod command;
mod directories;
mod example;
mod killed;
mod nodes;
mod queue_lock;
mod reservations;
#[path = "../support/mod.rs"]
mod support;
