//! A host that attaches volumes to itself and detaches them, guarded or not.

use std::fs;
use std::io;
use std::path::PathBuf;

use lockmaster::runtime::{LockOptions, Locks};
use lockmaster::{Error, ErrorKind};

use super::records::{Records, TargetSharing};

/// A host that uses volumes, and whether it scans for devices only when told to.
pub(crate) struct Host<'a> {
    pub(crate) directory: PathBuf,
    pub(crate) manual_scan: bool,
    /// None: unguarded.
    pub(crate) locks: Option<&'a Locks>,
    pub(crate) records: &'a Records,
}

impl Host<'_> {
    pub(super) fn device(&self, array: &str, volume: &str) -> PathBuf {
        self.directory.join(array).join(volume)
    }

    /// Whether a program could read the volume.
    pub(crate) fn reads(&self, array: &str, volume: &str) -> bool {
        self.device(array, volume).exists()
    }

    /// Whether it is logged into the target of that array.
    pub(crate) fn is_logged_in(&self, array: &str) -> bool {
        self.directory.join(array).exists()
    }

    /// Runs `body` under the guard of a volume. The record is read again under it: where it says
    /// by now that another lock is needed, that one is taken instead.
    fn guarded(
        &self,
        volume: &str,
        options: LockOptions,
        body: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(locks) = self.locks else { return body() };
        let owner = locks.here();
        let mut request = self.records.get(volume)?.lock(locks.hierarchy(), self.manual_scan)?;
        loop {
            let guard = owner.lock(&request, options)?;
            let now = self.records.get(volume)?;
            let needed = now.lock(locks.hierarchy(), self.manual_scan)?;
            if needed == request {
                self.records.refuse_before_start(&now.backend)?;
                return body();
            }
            drop(guard);
            request = needed;
        }
    }

    /// Maps the volume on the array, logs in where there is no session, and scans. `cut` is told
    /// when it has `looked` for a session.
    pub(crate) fn attach(
        &self,
        array: &str,
        volume: &str,
        options: LockOptions,
        cut: &dyn Fn(&str),
    ) -> Result<(), Error> {
        self.guarded(volume, options, || {
            self.records.set_status(volume, "attaching")?;
            self.map(array, volume).map_err(|error| Error::io("map", error))?;
            let is_logged_in = self.is_logged_in(array);
            cut("looked");
            if !is_logged_in {
                let session = fs::create_dir(self.directory.join(array));
                session.map_err(|error| Error::io("log in", error))?;
            }
            let device = fs::write(self.device(array, volume), "");
            device.map_err(|error| Error::io("scan", error))?;
            self.records.set_status(volume, "in-use")
        })
    }

    /// Removes the device, logs out if there is no other, and takes the mapping away. `cut` is
    /// told when it has `looked` for others, and when it has `disconnected`.
    pub(crate) fn detach(
        &self,
        array: &str,
        volume: &str,
        options: LockOptions,
        cut: &dyn Fn(&str),
    ) -> Result<(), Error> {
        self.guarded(volume, options, || {
            self.records.set_status(volume, "detaching")?;
            self.disconnect(array, volume, cut)?;
            self.unmap(array, volume)?;
            self.records.set_status(volume, "available")
        })
    }

    /// What the service does with each volume when it starts: what was half attached is taken
    /// back, and what was half detached is ended. May be repeated.
    pub(crate) fn recover(&self, array: &str, volume: &str) -> Result<(), Error> {
        self.guarded(volume, LockOptions::default(), || {
            let status = self.records.get(volume)?.status;
            if !matches!(status.as_str(), "attaching" | "detaching") {
                return Ok(());
            }
            if self.reads(array, volume) {
                self.disconnect(array, volume, &|_| ())?;
            }
            self.unmap(array, volume)?;
            self.records.set_status(volume, "available")
        })
    }

    fn disconnect(&self, array: &str, volume: &str, cut: &dyn Fn(&str)) -> Result<(), Error> {
        let session = self.directory.join(array);
        let devices = fs::read_dir(&session).map_err(|error| Error::io("look", error))?;
        let is_last = devices.flatten().all(|device| device.file_name() == volume);
        cut("looked");
        let removed = fs::remove_file(session.join(volume));
        removed.map_err(|error| Error::io("remove the device", error))?;
        if is_last {
            fs::remove_dir_all(session).map_err(|error| Error::io("log out", error))?;
        }
        cut("disconnected");
        Ok(())
    }

    /// Whether the array shows the volume to the host.
    pub(crate) fn is_mapped(&self, array: &str, volume: &str) -> bool {
        self.mapping(array, volume).exists()
    }

    fn mapping(&self, array: &str, volume: &str) -> PathBuf {
        self.directory.join(format!("{array}.mapped")).join(volume)
    }

    fn map(&self, array: &str, volume: &str) -> io::Result<()> {
        let mapping = self.mapping(array, volume);
        fs::create_dir_all(mapping.parent().unwrap_or(&mapping))?;
        fs::write(mapping, "")
    }

    fn unmap(&self, array: &str, volume: &str) -> Result<(), Error> {
        match fs::remove_file(self.mapping(array, volume)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("unmap", error)),
            _ => Ok(()),
        }
    }

    /// Takes a volume's mapping away on the array. Where targets are shared and the host still has
    /// the device, that would put the next volume mapped there behind it: only the service
    /// that detaches may ask for that.
    pub(crate) fn terminate(
        &self,
        array: &str,
        volume: &str,
        is_service: bool,
    ) -> Result<(), Error> {
        let record = self.records.get(volume)?;
        let shares = record.sharing != TargetSharing::NotShared;
        if shares && !is_service && self.reads(array, volume) {
            let message = format!("a host still uses volume {volume}");
            return Err(Error::new(ErrorKind::Refused, message).hint("detach it"));
        }
        self.unmap(array, volume)
    }
}
