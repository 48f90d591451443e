//! A durable job queue with a deadlock-free lock hierarchy.

pub mod engine;
pub mod store;
pub mod vocabulary;
