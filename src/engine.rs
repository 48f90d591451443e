//! The pure core: decides, and says what has happened.
//!
//! Values and functions only. Time is passed in; there are no threads, clocks, files or sockets
//! here, so every behaviour can be explored step by step in a test.

pub mod locks;
pub mod queue;
