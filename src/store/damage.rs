//! What is left of a damaged log: what still stands behind the damage, and cutting it off there.
//!
//! Neither is ever done by itself. Behind the damage stand facts that were acknowledged; whoever
//! cuts them off has to know which.

use std::io;
use std::path::{Path, PathBuf};

use super::codec;
use super::file::{Directory, RealDirectory, refused};
use super::frame::{frame_at, next_frame};
use super::recovery::{Place, find_damage, segments};
use super::segment::{self, HEADER_BYTES, Header, KIND_LOG, Sizes};
use super::state_dir::StateDir;
use crate::vocabulary::{Error, Record};

/// Where a log is damaged, and what whole frames stand behind that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The first segment that is damaged, or missing.
    pub segment: PathBuf,
    /// Where in it the log ends to be good.
    pub offset: u64,
    /// How many whole frames stand behind it.
    pub frames: u64,
}

/// A damaged log, which belongs to this process until dropped.
#[derive(Debug)]
pub struct DamagedLog {
    path: PathBuf,
    at: Place,
    damage: Damage,
    _state_dir: StateDir,
}

impl DamagedLog {
    /// Looks for the first damage in the log of the state directory `dir`, in the name of `owner`;
    /// none where it is whole. Hands over the records before it, and those that stand in whole
    /// frames behind it. Changes nothing.
    ///
    /// # Errors
    ///
    /// `InUse`, `Io`; `Corrupt` where it is no damage: a newer version.
    pub fn find(
        dir: &Path,
        owner: &str,
        before: &mut dyn FnMut(Record),
        behind: &mut dyn FnMut(Record),
    ) -> Result<Option<Self>, Error> {
        let state_dir = StateDir::open(dir, owner)?;
        let path = state_dir.log_path();
        let directory = RealDirectory::new(&path);
        let Some(at) = find_damage(&directory, &path, Sizes::REAL, before)? else {
            return Ok(None);
        };
        let frames = read_behind(&directory, &path, at, behind)?;
        let segment = path.join(segment::name(at.segment));
        let damage = Damage { segment, offset: at.offset as u64, frames };
        Ok(Some(Self { path, at, damage, _state_dir: state_dir }))
    }

    /// Where it is damaged.
    #[must_use]
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Cuts the log off at the damage; what stands behind it is lost. May be killed and repeated.
    ///
    /// # Errors
    ///
    /// `Io`; `Invalid` where nothing would be left.
    pub fn cut(self) -> Result<(), Error> {
        let directory = RealDirectory::new(&self.path);
        let numbers = segments(&directory, &self.path)?;
        let keep =
            if self.at.offset < HEADER_BYTES { self.at.segment - 1 } else { self.at.segment };
        if numbers.first().is_none_or(|first| *first > keep) {
            let message = "nothing before the damage is whole: there is nothing to cut it off from";
            return Err(Error::invalid(message).hint("put the file back from a backup"));
        }
        let cut = || cut(&directory, &numbers, keep, &self.at);
        cut().map_err(|error| refused(format!("cannot cut {}", self.path.display()), error))
    }
}

/// The newest segments go first, so that those left follow each other.
fn cut(directory: &dyn Directory, numbers: &[u64], keep: u64, at: &Place) -> io::Result<()> {
    for number in numbers.iter().rev().filter(|number| **number > keep) {
        directory.remove(&segment::name(*number))?;
    }
    directory.sync()?;
    if keep == at.segment {
        let mut file = directory.open(&segment::name(keep))?;
        file.truncate(at.offset as u64)?;
        file.sync_data()?;
    }
    Ok(())
}

/// How many whole frames stand behind that place; their records are handed over as far as they
/// can be read.
fn read_behind(
    directory: &dyn Directory,
    path: &Path,
    at: Place,
    each: &mut dyn FnMut(Record),
) -> Result<u64, Error> {
    let mut frames = 0;
    for number in segments(directory, path)?.into_iter().filter(|number| *number >= at.segment) {
        let name = segment::name(number);
        let bytes = directory.read(&name, u64::MAX).map_err(|error| {
            refused(format!("cannot read {}", path.join(&name).display()), error)
        })?;
        // Without a header nobody knows the salt, by which frames are told from other bytes.
        let Ok(header) = Header::decode(&bytes, KIND_LOG) else { continue };
        let from = if number == at.segment { at.offset.max(HEADER_BYTES) } else { HEADER_BYTES };
        frames += read_frames(&bytes, from, header.salt, at.next, each);
    }
    Ok(frames)
}

fn read_frames(
    bytes: &[u8],
    mut offset: usize,
    salt: u64,
    next: u64,
    each: &mut dyn FnMut(Record),
) -> u64 {
    let (mut frames, numbers) = (0, next..=next.saturating_add(u32::MAX.into()));
    while let Some(found) = next_frame(bytes, offset, salt, numbers.clone()) {
        let Some(frame) = frame_at(bytes, found, salt, numbers.clone()) else { break };
        // What cannot be read is counted all the same.
        let _ = codec::decode(frame.version, frame.payload, each);
        frames += 1;
        offset = found + frame.len;
    }
    frames
}
