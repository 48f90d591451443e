//! What can go wrong, said for people: what happened, where, what to do.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What sort of trouble an [`Error`] is, for programs that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request, file or argument is not valid; nothing was done.
    Invalid,
    /// The thing asked for does not exist.
    NotFound,
    /// The request is valid but refused in the present state (full, drained, finished...).
    Refused,
    /// Another process, or something unfinished, holds what is needed.
    InUse,
    /// What is stored is damaged or written by a newer version.
    Corrupt,
    /// The operating system refused or failed.
    Io,
    /// The peer does not speak the protocol, or went away.
    Protocol,
    /// The master is stopping or has stopped.
    Stopped,
}

/// An error with a kind, a sentence, and where possible a hint on what to do.
///
/// `Display` prints the sentence only; [`Error::hint_text`] has the rest.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of that kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Something given to us is not valid.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The operating system failed us while doing `what`.
    #[must_use]
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{}: {source}", what.into())).caused_by(source)
    }

    /// The same error with advice on what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error, its sentence led by the place it happened at.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// What sort of trouble this is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it, where we know.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Which phase of an opcode failed, for programs; Ganeti's exception names on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OpErrorKind {
    /// The arguments or the prerequisites do not hold; nothing was changed (`OpPrereqError`).
    Prereq,
    /// The execution failed (`OpExecError`).
    Exec,
    /// The opcode was cancelled and stopped by itself.
    Canceled,
    /// It ran out of its time.
    TimedOut,
    /// It was running when the master died (crash policy `fail`).
    Interrupted,
    /// No logical unit is registered under that opcode id.
    Unknown,
    /// The logical unit panicked: its bug, contained.
    Panicked,
    /// What was computed before the locks does not hold under them: to be declared again. As the
    /// end of an opcode: it was, and still did not hold.
    Changed,
    /// Something lacks for a while, and nothing was changed: to be tried again later. As the end
    /// of an opcode: it was, in vain.
    Temporary,
    /// The work was done, but its result is not of the type it was declared to be.
    WrongResult,
    /// A hook that runs before the execution refused it; nothing was changed.
    Hook,
}

/// Why an opcode failed: stored with the job, shown to its client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpError {
    /// Which phase failed.
    pub kind: OpErrorKind,
    /// What happened, as a sentence.
    pub message: String,
    /// A machine-readable code such as `wrong_input` (Ganeti's `ECODE_*`), where there is one.
    pub code: Option<String>,
}

impl OpError {
    /// An error of that kind.
    #[must_use]
    pub fn new(kind: OpErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), code: None }
    }

    /// The prerequisites do not hold.
    #[must_use]
    pub fn prereq(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::Prereq, message)
    }

    /// The execution failed.
    #[must_use]
    pub fn exec(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::Exec, message)
    }

    /// The same error with at most about so many bytes: it is kept with its job. How much of the
    /// message is missing is said at its end; a code that is too long is left out.
    #[must_use]
    pub fn at_most(mut self, bytes: usize) -> Self {
        let all = self.message.len();
        if all > bytes {
            let end = (0..=bytes).rev().find(|end| self.message.is_char_boundary(*end));
            self.message.truncate(end.unwrap_or_default());
            let cut = all - self.message.len();
            self.message.push_str(&format!(" ... ({cut} more bytes were cut off)"));
        }
        self.code = self.code.filter(|code| code.len() <= bytes);
        self
    }

    /// It ran out of its time.
    #[must_use]
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::TimedOut, message)
    }

    /// What was computed before the locks does not hold any more. Said by `check_prereq`: the
    /// locks are released, declared anew and taken again, a few times at most.
    #[must_use]
    pub fn changed(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::Changed, message).with_code("wrong_state")
    }

    /// Something lacks for a while. Nothing was changed: the opcode is tried again later, as
    /// often as its terms allow.
    #[must_use]
    pub fn temporary(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::Temporary, message).with_code("temp_insufficient_resources")
    }

    /// The same error, its sentence followed by more.
    #[must_use]
    pub fn and(mut self, more: impl fmt::Display) -> Self {
        self.message = format!("{} ({more})", self.message);
        self
    }

    /// The same error with a machine-readable code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for OpError {}

impl From<Error> for OpError {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Invalid => OpErrorKind::Prereq,
            _ => OpErrorKind::Exec,
        };
        Self::new(kind, error.to_string())
    }
}
