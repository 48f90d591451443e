//! What a file says about running it as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::located::Located;
use crate::vocabulary::Error;

const FIELDS: [&str; 4] = ["workers", "directory", "environment", "pass_environment"];

/// What a file says about running it as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How many opcodes execute at once, 1 to 1000; where not said, the runtime's default.
    pub workers: Option<usize>,
    /// Where commands run. Relative to the current directory of the master; created when the
    /// opcodes are registered. Where not said, the current directory.
    pub directory: Option<PathBuf>,
    /// Variables that every command finds in its environment.
    pub environment: BTreeMap<String, String>,
    /// Variables that commands inherit from the master, beside the usual few.
    pub pass_environment: Vec<String>,
    /// Where the daemon listens whose commands they are, which they find as `LOCKMASTER_SOCKET`.
    /// No file says it.
    pub socket: Option<PathBuf>,
}

impl Settings {
    /// These settings, with those at that place over them.
    pub(super) fn and(self, at: Located<'_>) -> Result<Self, Error> {
        let fields = at.fields("the table settings", &FIELDS)?;
        let mut settings = self;
        if let Some(workers) = fields.get("workers") {
            settings.workers = Some(read_workers(workers)?);
        }
        if let Some(directory) = fields.get("directory") {
            settings.directory = Some(read_path(directory)?);
        }
        if let Some(environment) = fields.get("environment") {
            settings.environment.extend(read_environment(environment)?);
        }
        if let Some(names) = fields.get("pass_environment") {
            for name in names.list("a list of names of variables")? {
                let text = name.text("the name of a variable")?;
                check_variable(text).map_err(|error| name.wrap(error))?;
                settings.pass_environment.push(text.to_owned());
            }
        }
        Ok(settings)
    }
}

fn read_workers(at: Located<'_>) -> Result<usize, Error> {
    let what = "a number of workers, 1 to 1000";
    match usize::try_from(at.integer(what)?) {
        Ok(workers @ 1..=1000) => Ok(workers),
        _ => Err(at.error(format!("expected {what}"))),
    }
}

fn read_path(at: Located<'_>) -> Result<PathBuf, Error> {
    let text = at.text("a path")?;
    match text.is_empty() || text.contains('\0') {
        true => Err(at.error("expected a path, which is not empty and has no NUL in it")),
        false => Ok(PathBuf::from(text)),
    }
}

fn read_environment(at: Located<'_>) -> Result<BTreeMap<String, String>, Error> {
    let mut environment = BTreeMap::new();
    for (key, value) in at.entries("a table of variables and their values")? {
        check_variable(key.as_str()).map_err(|error| key.wrap(error))?;
        let text = value.text("the value of a variable, a text")?;
        if text.contains('\0') {
            return Err(value.error("a variable cannot hold a NUL"));
        }
        environment.insert(key.as_str().to_owned(), text.to_owned());
    }
    Ok(environment)
}

/// Checks the name of an environment variable.
pub(super) fn check_variable(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Error::invalid(format!("{name:?} is not the name of a variable"))
            .hint("a name is not empty and has no = in it"));
    }
    if name.starts_with("LOCKMASTER_") {
        return Err(Error::invalid(format!("the variable {name} is set by the master itself"))
            .hint("choose a name that does not begin with LOCKMASTER_"));
    }
    Ok(())
}
