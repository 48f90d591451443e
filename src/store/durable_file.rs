//! A small file that is replaced as a whole: after a crash there is the old one or the new one.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::file::FILE_MODE;
use crate::vocabulary::{Error, ErrorKind};

/// One file with one writer, which notices when somebody else writes it too.
#[derive(Debug)]
pub(crate) struct DurableFile {
    path: PathBuf,
    /// The file as this writer left or found it; none where there was none.
    known: Option<Identity>,
    /// Why nobody knows any more which content is on disk.
    failure: Option<String>,
}

/// What tells a file from its predecessor of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl DurableFile {
    /// Opens the file at that path and reads it, if there is one.
    ///
    /// # Errors
    ///
    /// `Invalid` where it is longer than `most` bytes; `Io`.
    pub(crate) fn open(path: &Path, most: usize) -> Result<(Self, Option<Vec<u8>>), Error> {
        let found = match File::open(path) {
            Ok(file) => read(&file, most),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let found = found.map_err(|error| cannot("read", path, error))?;
        let (known, content) = found.unzip();
        if content.as_ref().is_some_and(|content| content.len() > most) {
            let message = format!("{} is longer than {most} bytes", path.display());
            return Err(Error::invalid(message).hint("is it the right file?"));
        }
        Ok((Self { path: path.to_owned(), known, failure: None }, content))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts new content in place of the old; it is durable when this returns `Ok`.
    ///
    /// # Errors
    ///
    /// `Refused` where somebody else wrote the file meanwhile. `Io`: the old content is still
    /// there, unless it is said that nobody knows; then every later call is refused.
    pub(crate) fn replace(&mut self, content: &[u8]) -> Result<(), Error> {
        self.refuse_if_unknown()?;
        self.refuse_foreign_writer()?;
        let identity = put(&self.path, content)?;
        // Where that fails the new content may be there after a crash, or the old: going on could
        // give one version two contents.
        sync_name(&self.path).inspect_err(|error| self.failure = Some(error.to_string()))?;
        self.known = Some(identity);
        Ok(())
    }

    fn refuse_if_unknown(&self) -> Result<(), Error> {
        let Some(failure) = &self.failure else { return Ok(()) };
        let message = format!("{} takes nothing more since: {failure}", self.path.display());
        Err(Error::new(ErrorKind::Io, message).hint("see to the disk, then start again"))
    }

    fn refuse_foreign_writer(&self) -> Result<(), Error> {
        let found = match self.path.metadata() {
            Ok(metadata) => Some(Identity::of(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(cannot("look at", &self.path, error)),
        };
        if found == self.known {
            return Ok(());
        }
        let message = format!("{} was written by somebody else", self.path.display());
        Err(Error::new(ErrorKind::Refused, message)
            .hint("it was left as it is; start again to read it, or put the old one back"))
    }
}

/// Puts new content in the place of a file that may be there, of which nobody keeps track; it is
/// durable when this returns `Ok`. One caller at a time.
///
/// # Errors
///
/// `Io`: the old content is still there, or it is not known whether the new one is durable.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    put(path, content)?;
    sync_name(path)
}

/// Everything but the name is durable then.
fn put(path: &Path, content: &[u8]) -> Result<Identity, Error> {
    let unfinished = unfinished(path);
    let identity =
        write(&unfinished, content).map_err(|error| cannot("write", &unfinished, error))?;
    std::fs::rename(&unfinished, path).map_err(|error| cannot("replace", path, error))?;
    Ok(identity)
}

/// The name the new content has until it is whole.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".new");
    name.into()
}

fn sync_name(path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let synced = File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
    synced.map_err(|error| cannot("sync the directory of", path, error))
}

fn read(file: &File, most: usize) -> io::Result<Option<(Identity, Vec<u8>)>> {
    let identity = Identity::of(&file.metadata()?);
    let mut content = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut content)?;
    Ok(Some((identity, content)))
}

/// A file of that content, durable but for its name.
fn write(path: &Path, content: &[u8]) -> io::Result<Identity> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(Identity::of(&file.metadata()?))
}

fn cannot(what: &str, path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot {what} {}", path.display()), error)
        .hint("see that the directory exists, can be written and has room")
}
