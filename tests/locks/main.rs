//! The lock table: stories, and laws against a model written from the specification.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

mod asking;
mod capacity;
mod explained;
mod giving_back;
mod laws;
#[path = "../support/lock_set.rs"]
mod lock_set;
mod model;
mod reserving;
mod stage;
mod waiting;
