//! The whole life of a job, one step at a time: one thread makes every step of a master, and time
//! stands where the test puts it.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod asking;
mod cancel;
mod children;
mod declaring;
mod hooks;
mod keeping;
mod observer;
mod random;
mod slow_locks;
mod spans;
mod stage;
mod times;
mod undo;
