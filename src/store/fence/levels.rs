//! The levels that the locks of a directory belong to, for who comes without a daemon to ask.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::directory::LockDir;
use super::failed;
use super::foreign::ForeignLocks;
use crate::vocabulary::{Error, Hierarchy, Scope};

#[derive(Debug, Deserialize, Serialize)]
struct Declared {
    name: String,
    scope: Scope,
    /// The path that, with the name of a lock, is a file that others lock with `fcntl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fcntl: Option<PathBuf>,
}

impl LockDir {
    /// Writes down the levels of a hierarchy, in their order, for those who open this directory
    /// without knowing it.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn declare(&self, hierarchy: &Hierarchy) -> Result<(), Error> {
        let level = |level| {
            let level = hierarchy.get(level);
            let foreign = self.foreign.iter().find(|foreign| foreign.level == level.name());
            let fcntl = foreign.map(ForeignLocks::path);
            Declared { name: level.name().to_owned(), scope: level.scope(), fcntl }
        };
        let levels: Vec<Declared> = hierarchy.levels().map(level).collect();
        let path = self.levels_file();
        let text = serde_json::to_vec(&levels).map_err(io::Error::from);
        text.and_then(|text| replace(&path, &text)).map_err(|e| failed("cannot write", &path, e))
    }

    /// The levels written down here, if there are any.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupt`.
    pub fn declared(&self) -> Result<Option<Hierarchy>, Error> {
        let Some(levels) = self.read_levels()? else { return Ok(None) };
        let builder = levels.iter().fold(Hierarchy::builder(), |builder, level| {
            builder.scoped_level(&level.name, level.scope)
        });
        builder.build().map(Some).map_err(|error| error.at(self.levels_file().display()))
    }

    /// Has locks keep out programs that lock with `fcntl`, as it is written down here.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupt`.
    pub fn with_declared_foreign(mut self) -> Result<Self, Error> {
        for level in self.read_levels()?.unwrap_or_default() {
            let foreign = level.fcntl.map(|path| ForeignLocks::at(&level.name, &path));
            self.foreign.extend(foreign);
        }
        Ok(self)
    }

    fn read_levels(&self) -> Result<Option<Vec<Declared>>, Error> {
        let path = self.levels_file();
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| failed("cannot read", &path, error))?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            Error::new(crate::vocabulary::ErrorKind::Corrupt, error.to_string())
                .at(path.display())
                .hint("remove the file; a daemon that starts writes it anew")
        })
    }

    fn levels_file(&self) -> PathBuf {
        self.path().join("levels.json")
    }
}

/// Readers find the old text or the new one, never half of it.
fn replace(path: &std::path::Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension(format!("new.{}", std::process::id()));
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text)?;
    std::fs::rename(&new, path)
}
