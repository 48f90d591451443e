//! The socket in the file system: who may use it, and whose it is.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use fs4::{FileExt, TryLockError};

use crate::vocabulary::{Error, ErrorKind};

/// The longest path of a Unix socket: the kernel keeps 108 bytes, one of them a zero.
pub(super) const MAX_PATH_BYTES: usize = 107;

/// Refuses a path that the kernel would.
pub(super) fn check_path(path: &Path) -> Result<(), Error> {
    let bytes = path.as_os_str().as_bytes().len();
    if (1..=MAX_PATH_BYTES).contains(&bytes) {
        return Ok(());
    }
    let shown = path.display();
    Err(Error::invalid(format!(
        "the path of the socket {shown} is {bytes} bytes long; it has to be 1 to {MAX_PATH_BYTES}"
    ))
    .hint("name a shorter path with --socket"))
}

/// A socket file that is ours, until dropped.
///
/// A lock on a file beside it makes it ours: two daemons that start at once cannot both take
/// what a third one left behind.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    _lock: File,
}

impl SocketFile {
    /// Listens at `path`, which gets that mode and group, in a directory made where it is missing.
    /// A socket that nobody listens on any more is replaced.
    pub(super) fn bind(
        path: &Path,
        mode: u32,
        group: Option<u32>,
    ) -> Result<(Self, UnixListener), Error> {
        check_path(path)?;
        make_directory(path, mode, group)?;
        let lock = take_lock(path)?;
        remove_stale(path)?;
        let failed = |error| Error::io(format!("cannot listen at {}", path.display()), error);
        let listener = UnixListener::bind(path).map_err(failed)?;
        let file = Self { path: path.to_owned(), _lock: lock };
        give_to(path, group)?;
        // Last: until then nobody may connect whom the mode does not let in.
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok((file, listener))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever comes next copes with a socket that was left behind.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes the directory that the socket is in, so that whoever may connect gets there.
fn make_directory(path: &Path, mode: u32, group: Option<u32>) -> Result<(), Error> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    if directory.is_dir() {
        return Ok(());
    }
    let mode = if mode & 0o002 == 0 { 0o750 } else { 0o755 };
    DirBuilder::new().recursive(true).mode(mode).create(directory).map_err(|error| {
        Error::io(format!("cannot make the directory {}", directory.display()), error)
            .hint("name another place with --socket")
    })?;
    give_to(directory, group)
}

fn give_to(path: &Path, group: Option<u32>) -> Result<(), Error> {
    let Some(group) = group else { return Ok(()) };
    std::os::unix::fs::chown(path, None, Some(group)).map_err(|error| {
        let shown = path.display();
        Error::io(format!("cannot give {shown} to the group {group}"), error)
            .hint("the daemon has to be root or a member of that group")
    })
}

fn take_lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |error| {
        Error::io(format!("cannot lock {}", Path::new(&name).display()), error)
            .hint("name another place with --socket")
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o640);
    let file = options.open(&name).map_err(failed)?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(path)),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn in_use(path: &Path) -> Error {
    let message = format!("another daemon listens at {}", path.display());
    Error::new(ErrorKind::InUse, message).hint("stop it first, or name another --socket")
}

fn remove_stale(path: &Path) -> Result<(), Error> {
    let shown = path.display();
    let failed = |error| Error::io(format!("cannot look at {shown}"), error);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Error::new(ErrorKind::InUse, format!("{shown} is not a socket"))
                .hint("name another --socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == IoErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(()),
        Ok(_) => Err(in_use(path)),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> ErrorKind {
        SocketFile::bind(path, 0o660, None).map(|_| ()).unwrap_err().kind()
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/socket");
        let (mine, listener) = SocketFile::bind(&path, 0o660, None).unwrap();
        assert_eq!(refusal(&path), ErrorKind::InUse);
        std::mem::forget(listener);
        drop(mine);
        let left_behind = UnixListener::bind(&path).unwrap();
        assert_eq!(refusal(&path), ErrorKind::InUse);
        drop(left_behind);
        let (_mine, _listener) = SocketFile::bind(&path, 0o660, None).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o660, 0o750));
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        assert_eq!(refusal(&path), ErrorKind::InUse);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
    }

    #[test]
    fn a_path_too_long_for_the_kernel_is_refused_in_words() {
        let path = PathBuf::from(format!("/{}", "x".repeat(MAX_PATH_BYTES)));
        let error = SocketFile::bind(&path, 0o660, None).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("108 bytes long"), "{error}");
    }
}
