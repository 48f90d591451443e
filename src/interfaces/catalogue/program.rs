//! Finding the program a command names, when the catalogue is read and not when it should run.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Settings;
use crate::vocabulary::Error;

/// A program: as it was written, which it sees as its own name, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) written: String,
    pub(crate) path: PathBuf,
}

/// The search path of a command: its own, else that of the settings, else the master's.
pub(super) fn search_path(own: Option<&str>, settings: &Settings) -> OsString {
    own.or(settings.environment.get("PATH").map(String::as_str))
        .map(OsString::from)
        .or_else(|| std::env::var_os("PATH"))
        .unwrap_or_default()
}

impl Program {
    /// The program `written` names: a path if there is a slash in it, relative to the current
    /// directory, else looked for on `search_path`.
    pub(super) fn find(written: &str, search_path: &OsStr) -> Result<Self, Error> {
        if written.is_empty() || written.contains('\0') {
            return Err(Error::invalid("a program needs a name, without NUL"));
        }
        let path = match written.contains('/') {
            true => at_path(written)?,
            false => on_search_path(written, search_path)?,
        };
        Ok(Self { written: written.to_owned(), path })
    }
}

fn at_path(written: &str) -> Result<PathBuf, Error> {
    let path = std::path::absolute(written)
        .map_err(|error| Error::io(format!("{written} cannot be looked up"), error))?;
    if !path.exists() {
        return Err(Error::invalid(format!("the program {} does not exist", path.display()))
            .hint("a program with a slash in its name is relative to the current directory"));
    }
    match is_executable(&path) {
        true => Ok(path),
        false => Err(not_executable(&path)),
    }
}

fn on_search_path(written: &str, search_path: &OsStr) -> Result<PathBuf, Error> {
    // An empty or relative directory would mean another program in every working directory.
    let candidates = || {
        std::env::split_paths(search_path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(written))
    };
    if let Some(found) = candidates().find(|path| is_executable(path)) {
        return Ok(found);
    }
    match candidates().find(|path| path.is_file()) {
        Some(path) => Err(not_executable(&path)),
        None => Err(Error::invalid(format!("there is no program {written:?}")).hint(format!(
            "install it, or give its path; looked for in {}",
            search_path.to_string_lossy()
        ))),
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

fn not_executable(path: &Path) -> Error {
    let shown = path.display();
    Error::invalid(format!("the program {shown} is not executable"))
        .hint(format!("chmod +x {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_on_the_search_path_or_by_its_path() {
        let found = Program::find("sh", OsStr::new("/nowhere:relative:/usr/bin:/bin")).unwrap();
        assert!(found.path.is_absolute() && found.path.ends_with("sh"));
        assert_eq!(Program::find("/bin/sh", OsStr::new("")).unwrap().path, Path::new("/bin/sh"));
    }

    #[test]
    fn what_is_not_there_or_not_executable_has_its_own_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let error = |written: &str| {
            Program::find(written, directory.path().as_os_str()).unwrap_err().to_string()
        };
        assert!(error("plain").ends_with("is not executable"));
        assert!(error(plain.to_str().unwrap()).ends_with("is not executable"));
        assert_eq!(error("no-such-program"), "there is no program \"no-such-program\"");
        assert!(error("./no/such").ends_with("does not exist"));
    }
}
