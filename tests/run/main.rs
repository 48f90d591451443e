//! `lockmaster run` as a process: what it shows, how it ends, and what becomes of a run that is
//! interrupted.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ends;
mod interrupted;
mod place;
