//! What the outside speaks to: files that describe work, commands that do it, the wire.

#[cfg(feature = "commands")]
pub mod catalogue;
#[cfg(feature = "commands")]
pub mod command;
#[cfg(feature = "luxi")]
mod doorbell;
#[cfg(all(any(test, fuzzing), feature = "commands", feature = "luxi"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "commands")]
pub mod held;
#[cfg(feature = "commands")]
pub mod hook_directory;
#[cfg(feature = "commands")]
pub mod job_file;
#[cfg(feature = "commands")]
mod located;
pub mod lock_spec;
#[cfg(feature = "luxi")]
pub mod luxi;
#[cfg(feature = "luxi")]
pub mod metrics;
#[cfg(feature = "luxi")]
pub mod places;
pub mod template;
#[cfg(feature = "luxi")]
pub mod test_delay;
#[cfg(feature = "luxi")]
pub mod test_jqueue;
