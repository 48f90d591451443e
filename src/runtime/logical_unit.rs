//! What an embedder writes: the logical unit that carries out one kind of opcode.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::context::Context;
use super::result_type::ResultType;
use crate::vocabulary::{
    CrashPolicy, Error, LevelId, LockMode, LockRequest, LockRequestError, OpCode, OpError, OpId,
    Params, Retries,
};

/// Carries out one opcode. The processor calls the methods in the order they stand here.
///
/// A unit is made anew for every attempt and belongs to it alone, so it may keep what it finds
/// out in its fields. A panic in any method fails the opcode, releases its locks, and nothing
/// else.
pub trait LogicalUnit: Send + 'static {
    /// Checks what can be checked without locks. Runs before anything is locked.
    ///
    /// # Errors
    ///
    /// The opcode fails with that error.
    fn check_arguments(&mut self) -> Result<(), OpError> {
        Ok(())
    }

    /// Makes the names in the arguments canonical. Runs before anything is locked; the job is
    /// `waiting`.
    ///
    /// # Errors
    ///
    /// The opcode fails with that error.
    fn expand_names(&mut self, _context: &Context) -> Result<(), OpError> {
        Ok(())
    }

    /// How the big lock is held: shared with all other opcodes, or alone.
    fn big_lock(&self) -> LockMode {
        LockMode::Shared
    }

    /// Whether the locks of every level are known before any is held. They are then asked for
    /// in one request, granted all together: nothing is held while waiting.
    fn locks_known_at_once(&self) -> bool {
        false
    }

    /// How often, and how long after each other, it is tried where it says that something lacks
    /// for a while ([`OpError::temporary`]): in `expand_names`, `declare_locks`, `check_prereq`,
    /// or in `execute` before anything was changed. What the submitter says stands above this.
    fn retries(&self) -> Retries {
        Retries::default()
    }

    /// Says which locks it needs at `level`. Called once per level, in order, right before that
    /// level is locked (so what lower levels protect can be looked at).
    ///
    /// # Errors
    ///
    /// The opcode fails with that error and what it holds is released.
    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError>;

    /// Checks, with all locks held, that the work can be done. Nothing may be changed yet.
    ///
    /// What was computed before the locks (which nodes an instance has, say) is to be looked at
    /// again here. Where it has changed, [`OpError::changed`] has the locks released, and a new
    /// unit declares them anew: five times at most, then the opcode fails.
    ///
    /// # Errors
    ///
    /// The opcode fails with that error, unless it is [`OpError::changed`] or
    /// [`OpError::temporary`]; nothing is undone.
    fn check_prereq(&mut self, _context: &Context) -> Result<(), OpError> {
        Ok(())
    }

    /// What a dry run gives as the result, instead of executing. Nothing may be changed.
    ///
    /// # Errors
    ///
    /// The opcode fails with that error; nothing is undone.
    fn dry_run(&mut self, _context: &Context) -> Result<Value, OpError> {
        Ok(Value::Null)
    }

    /// What [`execute`](Self::execute) gives as the result. Where it gives something else, the
    /// opcode fails, as if the execution had.
    fn result_type(&self) -> ResultType {
        ResultType::any()
    }

    /// Does the work. The value is the opcode's result.
    ///
    /// # Errors
    ///
    /// The opcode fails with that error, and is undone if [`can_undo`](Self::can_undo).
    fn execute(&mut self, context: &Context) -> Result<Value, OpError>;

    /// Whether [`undo`](Self::undo) can take the work back.
    fn can_undo(&self) -> bool {
        false
    }

    /// Takes the work back, under the same locks. May find it half done, or undone already.
    ///
    /// # Errors
    ///
    /// The error is kept with the job; the undos of earlier opcodes are tried all the same.
    fn undo(&mut self, _context: &Context) -> Result<(), OpError> {
        Ok(())
    }

    /// How long after it was told to stop it is ended by force, by the unit itself; nothing where
    /// it ends as it likes. It is only told to who asks why it still executes.
    fn grace(&self) -> Option<Duration> {
        None
    }

    /// What it means when the master dies while this executes.
    fn on_crash(&self) -> CrashPolicy {
        CrashPolicy::Fail
    }
}

/// A logical unit whose fields are the opcode's parameters.
pub trait TypedOp: LogicalUnit + Serialize + DeserializeOwned {
    /// The stable id, such as `OP_SNAPSHOT`.
    const ID: &'static str;

    /// The opcode that will be carried out by a unit with these fields.
    ///
    /// # Errors
    ///
    /// `Invalid` where [`ID`](Self::ID) is malformed or the fields do not serialize to an object.
    fn opcode(&self) -> Result<OpCode, Error> {
        Ok(OpCode::new(OpId::new(Self::ID)?, Params::from_serialize(self)?))
    }
}

/// Takes the declarations of one level.
#[derive(Debug)]
pub struct DeclaredLocks<'a> {
    level: LevelId,
    request: &'a mut LockRequest,
    at_least: Option<usize>,
}

impl<'a> DeclaredLocks<'a> {
    pub(crate) fn new(level: LevelId, request: &'a mut LockRequest) -> Self {
        Self { level, request, at_least: None }
    }

    /// How many have to be free, where those are taken that are.
    pub(super) fn at_least(&self) -> Option<usize> {
        self.at_least
    }

    /// Does not wait for the locks of this level: takes those that are free now. Where that are
    /// fewer than `at_least`, the opcode is tried again later, as if something lacked for a while.
    /// [`Context::held`] says which were free.
    pub fn opportunistic(&mut self, at_least: usize) {
        self.at_least = Some(at_least);
    }

    /// The lock of that name, alone.
    ///
    /// # Errors
    ///
    /// `Prereq` where the name is malformed or already declared shared.
    pub fn exclusive(&mut self, name: &str) -> Result<(), OpError> {
        self.add(name, LockMode::Exclusive)
    }

    /// The lock of that name, together with others that hold it shared.
    ///
    /// # Errors
    ///
    /// `Prereq` where the name is malformed or already declared exclusive.
    pub fn shared(&mut self, name: &str) -> Result<(), OpError> {
        self.add(name, LockMode::Shared)
    }

    /// The lock of that name in that mode.
    ///
    /// # Errors
    ///
    /// `Prereq` where the name is malformed or already declared in the other mode.
    pub fn add(&mut self, name: &str, mode: LockMode) -> Result<(), OpError> {
        self.request.add(self.level, name, mode).map(|_| ()).map_err(|error| refused(&error))
    }

    /// All locks of the level, those that do not exist yet included.
    ///
    /// # Errors
    ///
    /// `Prereq` where they are already declared in the other mode.
    pub fn all(&mut self, mode: LockMode) -> Result<(), OpError> {
        self.request.add_all(self.level, mode).map(|_| ()).map_err(|error| refused(&error))
    }
}

fn refused(error: &LockRequestError) -> OpError {
    OpError::prereq(error.to_string()).with_code("wrong_input")
}
