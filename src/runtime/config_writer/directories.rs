//! A distributor for nodes whose directories are mounted here.

use std::path::{Path, PathBuf};

use super::distributor::{ConfigCopy, Distributor};
use crate::store::replace_file;
use crate::vocabulary::Error;

/// Puts the configuration into a directory for each node: `BELOW/NODE/FILE`.
///
/// The file is replaced atomically and durably. The directory of a node has to be there: one
/// that is not mounted is a failure, and not a reason to make another one in its place.
#[derive(Clone, Debug)]
pub struct Directories {
    below: PathBuf,
    file: String,
}

impl Directories {
    /// For nodes with a directory of their name below this one.
    pub fn below(below: impl Into<PathBuf>, file: impl Into<String>) -> Self {
        Self { below: below.into(), file: file.into() }
    }

    fn place(&self, node: &str) -> Result<PathBuf, Error> {
        let is_name = |name: &str| Path::new(name).file_name().is_some_and(|last| last == name);
        match [node, &self.file].into_iter().find(|name| !is_name(name)) {
            Some(name) => Err(Error::invalid(format!("{name:?} cannot be the name of a file"))),
            None => Ok(self.below.join(node).join(&self.file)),
        }
    }
}

impl Distributor for Directories {
    fn upload(&self, node: &str, copy: &ConfigCopy) -> Result<(), Error> {
        replace_file(&self.place(node)?, &copy.bytes)
    }
}
