#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod engine;
pub mod interfaces;
pub mod runtime;
pub mod store;
pub mod vocabulary;

pub use runtime::{
    CancelToken, Context, DeclaredLocks, Limits, LogicalUnit, Master, MasterBuilder, Shutdown,
    TypedOp,
};
pub use vocabulary::{
    CrashPolicy, Dependency, Error, ErrorKind, Hierarchy, JobId, JobRef, LockMode, LockName,
    LockRequest, NewJob, OpCode, OpError, OpId, Params, Priority, Status, SubmissionKey,
};
