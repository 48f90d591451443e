#![doc = include_str!("../README.md")]
//!
//! # A tour for embedders
//!
//! One program, from levels of locks of one's own to a job that is taken back. What each word
//! means in full is said where it links to: [`Hierarchy`], [`LogicalUnit`], [`Master`],
//! [`NewJob`], [`Context`], [`runtime::Why`], [`runtime::ConfigWriter`].
//!
//! ```rust
//! use lockmaster::runtime::{ConditionalUpdate, Why};
//! use lockmaster::vocabulary::Outcome;
//! use lockmaster::{
//!     Context, DeclaredLocks, Hierarchy, LogicalUnit, Master, NewJob, OpError, Shutdown, Status,
//!     TypedOp,
//! };
//! use serde::{Deserialize, Serialize};
//! use serde_json::{Value, json};
//! use std::sync::{Arc, Barrier};
//!
//! // An opcode is a value with an id. It is stored as JSON, and read back after a crash.
//! #[derive(Serialize, Deserialize)]
//! struct Resize {
//!     pool: String,
//!     volume: String,
//!     gigabytes: u64,
//! }
//!
//! impl TypedOp for Resize {
//!     const ID: &'static str = "OP_RESIZE";
//! }
//!
//! // The logical unit says which locks it needs, level by level, and does the work under them.
//! impl LogicalUnit for Resize {
//!     fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks) -> Result<(), OpError> {
//!         match level {
//!             "pool" => locks.shared(&self.pool),
//!             "volume" => locks.exclusive(&self.volume),
//!             _ => Ok(()),
//!         }
//!     }
//!
//!     // With all locks held, and nothing changed yet. What is wrong here fails cleanly.
//!     fn check_prereq(&mut self, _context: &Context) -> Result<(), OpError> {
//!         match self.gigabytes {
//!             0 => Err(OpError::prereq("a volume has at least 1 GB")),
//!             _ => Ok(()),
//!         }
//!     }
//!
//!     fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
//!         context.feedback("resizing");
//!         // What all know, one version at a time. Readers never wait.
//!         let size = format!("/volumes/{}", self.volume);
//!         let update = ConditionalUpdate::new().set(&size, json!(self.gigabytes));
//!         let written = context.config().update_where(update);
//!         written.map_err(|error| OpError::exec(error.to_string()))?;
//!         if self.gigabytes > 1000 {
//!             return Err(OpError::exec("the pool is full"));
//!         }
//!         Ok(json!({ "gigabytes": self.gigabytes }))
//!     }
//!
//!     // Where a later opcode of the job fails, or this one: work that was done is taken back,
//!     // the last first. Which undo is due is durable, so it may run twice.
//!     fn can_undo(&self) -> bool {
//!         true
//!     }
//!
//!     fn undo(&mut self, context: &Context) -> Result<(), OpError> {
//!         context.feedback("back to the old size");
//!         Ok(())
//!     }
//! }
//!
//! // An opcode that others have to wait for, here until the program has seen that they do.
//! struct Scrub {
//!     pool: String,
//!     seen: Arc<Barrier>,
//! }
//!
//! impl LogicalUnit for Scrub {
//!     fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks) -> Result<(), OpError> {
//!         if level == "pool" { locks.exclusive(&self.pool) } else { Ok(()) }
//!     }
//!
//!     fn execute(&mut self, _context: &Context) -> Result<Value, OpError> {
//!         self.seen.wait();
//!         self.seen.wait();
//!         Ok(Value::Null)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let state_dir = tempfile::tempdir()?;
//! // Pools come before volumes: asking the other way round is an error at once, never a deadlock.
//! let hierarchy = Hierarchy::builder().level("pool").level("volume").build()?;
//!
//! // The state directory holds the queue. Whatever a master before this one acknowledged is there.
//! let seen = Arc::new(Barrier::new(2));
//! let for_units = Arc::clone(&seen);
//! let master = Master::builder(state_dir.path())
//!     .hierarchy(hierarchy)
//!     .unit::<Resize>()
//!     .units(move |registry| {
//!         // Units that need more than their parameters are made by a function.
//!         registry.add("OP_SCRUB".parse()?, move |_params| {
//!             let pool = "tank".to_owned();
//!             Ok(Box::new(Scrub { pool, seen: Arc::clone(&for_units) }))
//!         })
//!     })
//!     .start()?;
//!
//! // The configuration is one JSON value, with a version.
//! let empty = json!({ "volumes": {} });
//! master.config().update_where(ConditionalUpdate::new().set("", empty))?;
//!
//! // Submitted is on disk. Jobs that are submitted together are all there, or none.
//! let scrub = lockmaster::OpCode::new("OP_SCRUB".parse()?, lockmaster::Params::default());
//! let scrub = master.submit_one(NewJob::of([scrub]).labelled("weekly scrub"))?;
//! seen.wait();
//! let resize = |gigabytes| {
//!     Resize { pool: "tank".into(), volume: "web".into(), gigabytes }.opcode()
//! };
//! let resized = master.submit_one(NewJob::of([resize(20)?]))?;
//!
//! // Why does it wait? For a lock, that job holds it, and so on to the one that waits for nobody.
//! let why = loop {
//!     let changed = master.follow();
//!     let (heard, hear) = std::sync::mpsc::channel();
//!     let mark = changed.since(None).mark;
//!     let explanation = master.explain(resized).ok_or("no such job")?.value;
//!     if let (_, Why::Lock(wait)) = &explanation.steps[0] {
//!         break wait.clone();
//!     }
//!     // It is about to start. No change is missed between the look and the wait.
//!     changed.on_change_since(mark, move || drop(heard.send(())));
//!     hear.recv()?;
//! };
//! assert_eq!((why.lock.as_str(), why.in_the_way[0].job), ("pool/tank", scrub));
//!
//! // A job that waits costs bytes, no thread. When the lock is free, it goes on by itself.
//! seen.wait();
//! let view = master.wait(resized)?;
//! assert_eq!(view.status, Status::Success);
//! assert_eq!(master.config().read().value["volumes"]["web"], 20);
//!
//! // The second opcode fails, so the first is taken back, too.
//! let failed = master.submit_one(NewJob::of([resize(30)?, resize(2000)?]))?;
//! let view = master.wait(failed)?;
//! assert_eq!(view.status, Status::Error);
//! assert!(matches!(view.job.ops[1].outcome(), Some(Outcome::Error(_))));
//! let undone = view.job.feedback.entries().filter(|line| &*line.text == "back to the old size");
//! assert_eq!(undone.count(), 2);
//!
//! // Opcodes that execute finish; what is queued stays queued, for the next master.
//! master.shutdown(Shutdown::Finish, None)?;
//! # Ok(())
//! # }
//! ```
//!
//! What else there is: locks without any job ([`runtime::Locks`]), also among processes; deadlines and retries
//! ([`vocabulary::JobTerms`]); jobs that follow with the end of another
//! ([`Context::submit_with_end`]); hooks ([`runtime::Hook`]); filter rules
//! ([`Master::add_filter`]); opcodes that run commands, described in TOML
//! (`interfaces::catalogue`, feature `commands`); serving LUXI (`interfaces::luxi`, feature
//! `luxi`). All examples, and what they print, are on one page: `docs/examples.md`.
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
