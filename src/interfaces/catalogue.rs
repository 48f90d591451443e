//! The opcodes that run commands, as described in TOML: what they take, lock and run.
//!
//! A catalogue is read and checked whole: every template, every program, every level. Nothing
//! runs here; see [`command`](super::command).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::command::{CommandUnit, Surroundings};
use super::located::{Document, Fields, Format, Located, did_you_mean, read_file};
use crate::runtime::Registry;
use crate::vocabulary::{Error, Hierarchy, HierarchyBuilder, OpError, OpId};

mod argument;
mod command_table;
pub mod durations;
mod lock_table;
mod opcode_table;
mod parameter;
mod program;
pub(super) mod retries;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use command_table::CommandTemplate;
pub(crate) use lock_table::DeclaredNames;
pub use opcode_table::CommandOp;
pub use parameter::{Parameter, ParameterKind};
pub use settings::Settings;

/// Keys of an opcode in a job file that are never its parameters.
pub(crate) const COMMON_KEYS: [&str; 9] = [
    "OP_ID",
    "priority",
    "depends",
    "comment",
    "reason",
    "dry_run",
    "debug_level",
    "deadline",
    "retries",
];

/// The fields of a catalogue file.
pub(crate) const CATALOGUE_FIELDS: [&str; 3] = ["settings", "levels", "opcode"];

/// Which opcodes there are, what they do, and at which levels they lock.
#[derive(Clone, Debug)]
pub struct Catalogue {
    hierarchy: Hierarchy,
    settings: Settings,
    opcodes: BTreeMap<OpId, Arc<CommandOp>>,
    elsewhere: BTreeSet<OpId>,
    open: bool,
}

impl Catalogue {
    /// A catalogue without opcodes, for locks at those levels.
    #[must_use]
    pub fn new(hierarchy: Hierarchy) -> Self {
        Self {
            hierarchy,
            settings: Settings::default(),
            opcodes: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            open: false,
        }
    }

    /// Says that an opcode of that id is carried out by something that is not a command: job
    /// files may name it, and its parameters are not checked here.
    #[must_use]
    pub fn with_other(mut self, id: OpId) -> Self {
        self.elsewhere.insert(id);
        self
    }

    /// Says that opcodes not described here are known to whoever the jobs are submitted to.
    #[must_use]
    pub fn with_any_other(mut self) -> Self {
        self.open = true;
        self
    }

    /// Says where the daemon listens that carries its opcodes out: its commands find that as
    /// `LOCKMASTER_SOCKET`, so that a `lockmaster` they call talks to that daemon.
    #[must_use]
    pub fn with_socket(mut self, socket: &Path) -> Self {
        self.settings.socket = Some(socket.to_owned());
        self
    }

    /// Reads a catalogue file: a job file without jobs. `hierarchy` holds where the file
    /// declares no levels.
    ///
    /// # Errors
    ///
    /// `Io` where it cannot be read; `Invalid`, naming file, line and column.
    pub fn load(path: impl AsRef<Path>, hierarchy: &Hierarchy) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::parse(&path.display().to_string(), &read_file(path)?, hierarchy)
    }

    /// Reads the text of a catalogue file; errors call it `name`.
    ///
    /// # Errors
    ///
    /// `Invalid`, naming file, line and column.
    pub fn parse(name: &str, text: &str, hierarchy: &Hierarchy) -> Result<Self, Error> {
        let document = Document::parse(name, text, Format::Toml)?;
        let fields = document.root().fields("a catalogue", &CATALOGUE_FIELDS)?;
        Self::new(hierarchy.clone()).extended(&fields)
    }

    /// This catalogue and what another catalogue file adds to it.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); also where the file describes an opcode known already, or
    /// declares other levels.
    pub fn and_file(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = read_file(path)?;
        let document = Document::parse(&path.display().to_string(), &text, Format::Toml)?;
        self.extended(&document.root().fields("a catalogue", &CATALOGUE_FIELDS)?)
    }

    /// This catalogue and what those fields of a file add to it.
    pub(crate) fn extended(mut self, fields: &Fields<'_>) -> Result<Self, Error> {
        if let Some(levels) = fields.get("levels") {
            self.declare_levels(levels)?;
        }
        if let Some(settings) = fields.get("settings") {
            self.settings = self.settings.and(settings)?;
        }
        if let Some(tables) = fields.get("opcode") {
            for table in tables.list("a list of opcodes, [[opcode]]")? {
                self.add(table)?;
            }
        }
        Ok(self)
    }

    /// `levels = ["cluster", "node", { name = "node-res", capacity = 4 }]`.
    fn declare_levels(&mut self, levels: Located<'_>) -> Result<(), Error> {
        let mut builder = Hierarchy::builder();
        for (rank, level) in levels.list("a list of the names of levels")?.enumerate() {
            builder = add_level(builder, rank, level)?;
        }
        let declared = builder.build().map_err(|error| levels.wrap(error))?;
        if !self.opcodes.is_empty() && declared != self.hierarchy {
            return Err(levels.error(format!(
                "these levels are not those of the opcodes known already ({})",
                self.hierarchy
            )));
        }
        self.hierarchy = declared;
        Ok(())
    }

    fn add(&mut self, table: Located<'_>) -> Result<(), Error> {
        let opcode = CommandOp::read(table, &self.hierarchy, &self.settings)?;
        let id = opcode.id().clone();
        if self.opcodes.contains_key(&id) || self.elsewhere.contains(&id) {
            return Err(table.error(format!("the opcode {id} is described twice")));
        }
        self.opcodes.insert(id, Arc::new(opcode));
        Ok(())
    }

    /// The levels its opcodes lock at.
    #[must_use]
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// What the file says about running it as a whole.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The opcodes described here, by id.
    pub fn opcodes(&self) -> impl Iterator<Item = &CommandOp> {
        self.opcodes.values().map(|opcode| &**opcode)
    }

    /// The opcode of that id, if it is described here.
    #[must_use]
    pub fn get(&self, id: &OpId) -> Option<&CommandOp> {
        self.opcodes.get(id).map(|opcode| &**opcode)
    }

    /// The opcode of that id; none where something else carries it out.
    ///
    /// # Errors
    ///
    /// `Invalid` where nobody does; the hint names the nearest.
    pub fn find(&self, id: &OpId) -> Result<Option<&CommandOp>, Error> {
        let found = self.get(id);
        if found.is_some() || self.open || self.elsewhere.contains(id) {
            return Ok(found);
        }
        let known = self.opcodes.keys().chain(&self.elsewhere).map(OpId::as_str);
        Err(Error::invalid(format!("unknown opcode {id}")).hint(did_you_mean(
            id.as_str(),
            known,
            "the opcodes are",
        )))
    }

    /// Checks the parameters of an opcode all the way: names, types, bounds, and whether what
    /// they make of locks and arguments is allowed.
    ///
    /// # Errors
    ///
    /// `Invalid`.
    pub fn check(&self, id: &OpId, parameters: &Map<String, Value>) -> Result<(), Error> {
        match self.find(id)? {
            Some(opcode) => opcode.check(parameters),
            None => Ok(()),
        }
    }

    /// Adds a maker of units for every opcode described here, and creates the directory of the
    /// settings. `state_id` goes to every command as `LOCKMASTER_STATE`, so that a later master
    /// on the same state finds what is left running; see
    /// [`state_id`](super::command::state_id).
    ///
    /// # Errors
    ///
    /// `Invalid` where an id is taken, `Io` where the directory cannot be created.
    pub fn register(&self, registry: &mut Registry, state_id: &str) -> Result<(), Error> {
        let surroundings = Arc::new(Surroundings::prepare(&self.settings, state_id)?);
        for (id, opcode) in &self.opcodes {
            let (opcode, surroundings) = (Arc::clone(opcode), Arc::clone(&surroundings));
            registry.keep_secret(id, opcode.secrets());
            registry.add(id.clone(), move |params| {
                let unit = CommandUnit::new(&opcode, &params.to_object(), &surroundings)
                    .map_err(|error| wrong_input(&error))?;
                Ok(Box::new(unit))
            })?;
        }
        Ok(())
    }
}

/// A level by its name, or as a table that says how many may share one lock of it.
fn add_level(
    builder: HierarchyBuilder,
    rank: usize,
    level: Located<'_>,
) -> Result<HierarchyBuilder, Error> {
    let fields = match level.is_table() {
        true => Some(level.fields("a level", &["name", "capacity"])?),
        false => None,
    };
    let name = fields.as_ref().map_or(Ok(level), |fields| fields.required("name"))?;
    let name = name.text("the name of a level")?;
    let builder = if rank == 0 { builder.big_lock(name) } else { builder.level(name) };
    match fields.and_then(|fields| fields.get("capacity")) {
        Some(capacity) => Ok(builder.capacity(read_capacity(capacity)?)),
        None => Ok(builder),
    }
}

fn read_capacity(at: Located<'_>) -> Result<u8, Error> {
    let what = "how many may share a lock, 1 to 255";
    match u8::try_from(at.integer(what)?) {
        Ok(capacity @ 1..) => Ok(capacity),
        _ => Err(at.error(format!("expected {what}"))),
    }
}

fn wrong_input(error: &Error) -> OpError {
    let message = match error.hint_text() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    };
    OpError::prereq(message).with_code("wrong_input")
}
