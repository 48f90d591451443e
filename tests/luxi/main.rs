//! The LUXI server over real sockets, with a queue that does what the test says.
#![cfg(all(feature = "luxi", not(loom)))]

mod fake;
mod fuzz;
mod lists;
mod once;
mod recorded;
mod served;
