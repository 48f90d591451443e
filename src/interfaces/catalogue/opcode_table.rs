//! One `[[opcode]]`: read, and turned into work with the parameters of a job.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::command::Work;
use super::super::located::{Fields, Located, did_you_mean};
use super::argument::Parameters;
use super::lock_table::LockTable;
use super::{COMMON_KEYS, CommandTemplate, Parameter, Settings, retries};
use crate::vocabulary::{CrashPolicy, Error, Hierarchy, OpId, Retries};

const FIELDS: [&str; 16] = [
    "id",
    "summary",
    "params",
    "locks",
    "argv",
    "environment",
    "directory",
    "timeout",
    "grace",
    "success_codes",
    "retry_codes",
    "retries",
    "undo",
    "undo_timeout",
    "on_crash",
    "stdin",
];

/// An opcode that runs a command.
#[derive(Clone, Debug)]
pub struct CommandOp {
    id: OpId,
    summary: Option<String>,
    parameters: Parameters,
    locks: LockTable,
    run: CommandTemplate,
    undo: Option<CommandTemplate>,
    on_crash: CrashPolicy,
    retries: Retries,
}

impl CommandOp {
    pub(super) fn read(
        at: Located<'_>,
        hierarchy: &Hierarchy,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let fields = at.fields("an opcode", &FIELDS)?;
        if let Some(stdin) = fields.get("stdin") {
            return Err(stdin.error("a command of an opcode has no standard input"));
        }
        let id = fields.required("id")?;
        let parameters = read_parameters(&fields)?;
        let run = CommandTemplate::read(&fields, &parameters, settings)?;
        let undo = run.read_undo(&fields, &parameters, settings)?;
        let summary = fields.get("summary").map(|at| at.text("a sentence")).transpose()?;
        Ok(Self {
            id: OpId::new(id.text("an id such as \"OP_BACKUP\"")?).map_err(|e| id.wrap(e))?,
            summary: summary.map(str::to_owned),
            locks: fields.get("locks").map_or_else(
                || Ok(LockTable::none()),
                |locks| LockTable::read(locks, hierarchy, &parameters),
            )?,
            on_crash: read_crash_policy(&fields, undo.is_some())?,
            retries: fields.get("retries").map(retries::read).transpose()?.unwrap_or_default(),
            parameters,
            run,
            undo,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &OpId {
        &self.id
    }

    /// What it does, in a sentence.
    #[must_use]
    pub fn summary(&self) -> Option<&str> {
        self.summary.as_deref()
    }

    /// The names of the parameters that nobody is to be told.
    pub(super) fn secrets(&self) -> Vec<String> {
        let secret = self.parameters().filter(|(_, parameter)| parameter.is_secret());
        secret.map(|(name, _)| name.to_owned()).collect()
    }

    /// Its parameters by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.parameters.iter().map(|(name, parameter)| (&**name, parameter))
    }

    /// The parameter of that name.
    ///
    /// # Errors
    ///
    /// `Invalid` where there is none; the hint names the nearest.
    pub fn parameter(&self, name: &str) -> Result<&Parameter, Error> {
        self.parameters.get(name).ok_or_else(|| {
            let known = self.parameters.keys().map(String::as_str);
            Error::invalid(format!("{} has no parameter {name:?}", self.id)).hint(did_you_mean(
                name,
                known,
                "the parameters are",
            ))
        })
    }

    /// Checks the parameters all the way: names, types, and what they make of the locks and
    /// the commands.
    ///
    /// # Errors
    ///
    /// `Invalid`.
    pub fn check(&self, given: &Map<String, Value>) -> Result<(), Error> {
        self.work(given).map(|_| ())
    }

    /// What is to be done with those parameters.
    pub(crate) fn work(&self, given: &Map<String, Value>) -> Result<Work, Error> {
        let values = self.complete(given)?;
        let of_this = |error: Error| error.at(&self.id);
        let render = |template: &CommandTemplate| template.render(&self.parameters, &values);
        Ok(Work {
            big_lock: self.locks.big_lock,
            locks: self.locks.render(&values).map_err(of_this)?,
            run: render(&self.run).map_err(of_this)?,
            undo: self.undo.as_ref().map(render).transpose().map_err(of_this)?,
            on_crash: self.on_crash,
            retries: self.retries,
        })
    }

    /// Every parameter: as given, else its default, else null.
    fn complete(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
        for (name, value) in given {
            self.parameter(name)?.check(name, value).map_err(|error| error.at(&self.id))?;
        }
        let mut values = Map::new();
        for (name, parameter) in &self.parameters {
            let value = given.get(name).or(parameter.default());
            if value.is_none() && parameter.is_required() {
                return Err(Error::invalid(format!("{} needs the parameter {name:?}", self.id)));
            }
            values.insert(name.clone(), value.cloned().unwrap_or(Value::Null));
        }
        Ok(values)
    }
}

fn read_parameters(fields: &Fields<'_>) -> Result<Parameters, Error> {
    let Some(table) = fields.get("params") else { return Ok(BTreeMap::new()) };
    let mut parameters = BTreeMap::new();
    for (key, value) in table.entries("a table of parameters")? {
        let name = key.as_str();
        if COMMON_KEYS.contains(&name) {
            return Err(
                key.error(format!("every opcode has {name:?}: a parameter cannot be called so"))
            );
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(key.error("the name of a parameter has only letters, digits, _ and -"));
        }
        parameters.insert(name.to_owned(), Parameter::read(name, value)?);
    }
    Ok(parameters)
}

fn read_crash_policy(fields: &Fields<'_>, has_undo: bool) -> Result<CrashPolicy, Error> {
    let Some(at) = fields.get("on_crash") else { return Ok(CrashPolicy::Fail) };
    match at.text("\"fail\", \"retry\" or \"undo\"")? {
        "fail" => Ok(CrashPolicy::Fail),
        "retry" => Ok(CrashPolicy::Retry),
        "undo" if has_undo => Ok(CrashPolicy::Undo),
        "undo" => Err(at.error("this opcode has no undo that could run after a crash")),
        other => {
            Err(at.error(format!("expected \"fail\", \"retry\" or \"undo\", found {other:?}")))
        }
    }
}
