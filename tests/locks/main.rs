//! The lock table: stories, and laws against a model written from the specification.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

mod laws;
mod model;
mod stories;
