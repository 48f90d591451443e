//! What systemd is told, where it started the daemon: that it is ready, that it stops, and that
//! it is alive.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lockmaster::runtime::Master;
use lockmaster::vocabulary::Error;
use sd_notify::NotifyState;

/// Says that clients are served. Does nothing where no service manager asked to be told.
pub(crate) fn ready(socket: &str) {
    let status = format!("answering on {socket}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Says that the daemon is about to end.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("letting executing opcodes finish")]);
}

/// Says twice within the time the service manager allows that the queue lock can be had: if it
/// cannot, the daemon hangs, and is restarted.
///
/// # Errors
///
/// `Io` where the system has no thread left.
pub(crate) fn keep_alive(master: &Arc<Master>) -> Result<(), Error> {
    let Some(allowed) = sd_notify::watchdog_enabled() else { return Ok(()) };
    let master = Arc::downgrade(master);
    let beat = move || {
        while let Some(master) = master.upgrade() {
            let _ = master.is_drained();
            drop(master);
            tell(&[NotifyState::Watchdog]);
            thread::sleep((allowed / 2).max(Duration::from_millis(1)));
        }
    };
    let failed = |error: io::Error| Error::io("cannot start the thread watchdog", error);
    thread::Builder::new().name("watchdog".to_owned()).spawn(beat).map(|_| ()).map_err(failed)
}

fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
