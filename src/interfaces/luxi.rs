//! LUXI, Ganeti's local protocol: framed JSON over a Unix socket, with a server and a client.
//!
//! The codec is values and functions; [`Server`] is one thread that drives all connections;
//! [`Client`] is blocking. What the methods do is done by the [`Service`] behind them.
//! The promises are in `design/luxi.md`.

mod archiving;
mod changes;
mod client;
mod cluster;
mod connection;
mod daemon_locks;
mod errand;
mod explain;
mod fields;
mod filters;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod lock_methods;
mod mailbox;
mod message;
mod methods;
mod opcode;
mod peer;
mod query;
mod rows;
mod select;
mod server;
mod service;
mod socket;
mod stats;
mod submit;
mod watch;

pub use client::{Change, Changes, Client};
pub use daemon_locks::{DaemonLockOptions, DaemonLocks, Held};
pub use explain::explanation_to_json;
pub use fields::Field;
pub use frame::{Decoder, END, FrameTooLong};
pub use message::{Failure, Request};
pub use peer::{Access, Rights};
pub use server::{Server, ServerHandle, ServerLimits};
pub use service::Service;
