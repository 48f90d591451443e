//! Where the daemon keeps its state and listens, where nobody says otherwise.

use std::path::PathBuf;

/// The state directory: `/var/lib/lockmaster` for root; for others `lockmaster` in
/// `$XDG_STATE_HOME` or in `~/.local/state`, or in the current directory without a home.
#[must_use]
pub fn default_state_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/lockmaster");
    }
    let home = || directory("HOME").map(|home| home.join(".local/state"));
    directory("XDG_STATE_HOME").or_else(home).unwrap_or_default().join("lockmaster")
}

/// The socket: `/run/lockmaster/socket` for root; for others `lockmaster/socket` in
/// `$XDG_RUNTIME_DIR`, or in the state directory where there is none.
#[must_use]
pub fn default_socket() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/lockmaster/socket");
    }
    let runtime = directory("XDG_RUNTIME_DIR").map(|runtime| runtime.join("lockmaster"));
    runtime.unwrap_or_else(default_state_dir).join("socket")
}

/// The lock directory: `/run/lockmaster/locks` for root; for others `lockmaster/locks` in
/// `$XDG_RUNTIME_DIR`, or in the state directory where there is none.
#[must_use]
pub fn default_lock_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/lockmaster/locks");
    }
    let runtime = directory("XDG_RUNTIME_DIR").map(|runtime| runtime.join("lockmaster"));
    runtime.unwrap_or_else(default_state_dir).join("locks")
}

/// A directory named by a variable, as the XDG specification says: relative ones do not count.
fn directory(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
