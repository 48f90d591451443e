//! Frames: the unit in which the log grows, and how the end of a log is told from damage.
//!
//! Values over bytes only; `design/log.md` has the tables. A frame holds everything one sync
//! makes durable, so at most one frame can be half-written, and it is the last one.

use super::codec;

/// Bytes before the payload: length, checksum, mark, version.
pub(crate) const HEADER_BYTES: usize = 17;
/// The most bytes of one frame, header included.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// Where the checksum stands; it covers everything else of the frame.
const CHECKSUM: std::ops::Range<usize> = 4..8;
const MARK: std::ops::Range<usize> = 8..16;
const VERSION: usize = 16;
/// What the length does not count: itself and the checksum.
const UNCOUNTED: usize = 8;

/// A frame being filled: room for the header, then the payload.
#[derive(Debug)]
pub(crate) struct Draft(Vec<u8>);

impl Draft {
    /// A frame without transactions.
    pub(crate) fn new() -> Self {
        Self(vec![0; HEADER_BYTES])
    }

    /// The payload's end, to be appended to.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The length, header included.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no payload.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == HEADER_BYTES
    }

    /// Takes everything back that was appended after the frame was that long.
    pub(crate) fn cut(&mut self, len: usize) {
        self.0.truncate(len.max(HEADER_BYTES));
    }

    /// The bytes for the log, as the frame of that number in the segment of that salt.
    pub(crate) fn finish(mut self, salt: u64, sequence: u64) -> Vec<u8> {
        let counted = u32::try_from(self.0.len() - UNCOUNTED).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&counted.to_le_bytes());
        self.0[MARK].copy_from_slice(&(salt ^ sequence).to_le_bytes());
        self.0[VERSION] = codec::VERSION;
        let checksum = checksum(&self.0);
        self.0[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        self.0
    }
}

/// A whole and unchanged frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) sequence: u64,
    pub(crate) version: u8,
    pub(crate) payload: &'a [u8],
    /// The bytes of the whole frame.
    pub(crate) len: usize,
}

/// The frame that begins at `offset`, if a whole and unchanged one with a number in
/// `sequences` does.
///
/// The number is masked with the segment's salt, which nobody outside knows, so text in a job
/// that happens to look like a frame, or was made to, is not taken for one.
pub(crate) fn frame_at(
    bytes: &[u8],
    offset: usize,
    salt: u64,
    sequences: std::ops::RangeInclusive<u64>,
) -> Option<Frame<'_>> {
    let rest = bytes.get(offset..).filter(|rest| rest.len() >= HEADER_BYTES)?;
    let len = usize::try_from(u32_at(rest, 0)).ok()?.checked_add(UNCOUNTED)?;
    let sequence = u64_at(rest, MARK.start) ^ salt;
    if !(HEADER_BYTES..=MAX_BYTES).contains(&len) || !sequences.contains(&sequence) {
        return None;
    }
    let frame = rest.get(..len)?;
    let unchanged = checksum(frame) == u32_at(frame, CHECKSUM.start);
    let payload = &frame[HEADER_BYTES..];
    unchanged.then_some(Frame { sequence, version: frame[VERSION], payload, len })
}

/// What follows the last good frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing but zeros.
    Clean,
    /// A frame that was not written to its end, of that many bytes as far as one can see.
    Torn(usize),
    /// Damage: a good frame follows later, at that offset.
    Damaged(usize),
}

/// What the bytes from `offset` are, where the frame `expected` should begin and does not.
///
/// Takes time in proportion to the bytes: a place is only looked at closely where the masked
/// number fits, which needs the salt.
pub(crate) fn rest(bytes: &[u8], offset: usize, salt: u64, expected: u64) -> Rest {
    let Some(last) = bytes[offset..].iter().rposition(|byte| *byte != 0) else {
        return Rest::Clean;
    };
    let room = (bytes.len() - offset) / HEADER_BYTES;
    let later = expected..=expected.saturating_add(room as u64);
    next_frame(bytes, offset + 1, salt, later).map_or(Rest::Torn(last + 1), Rest::Damaged)
}

/// Where the next frame begins at `offset` or later, with a number in `sequences`.
pub(crate) fn next_frame(
    bytes: &[u8],
    offset: usize,
    salt: u64,
    sequences: std::ops::RangeInclusive<u64>,
) -> Option<usize> {
    (offset..bytes.len()).find(|at| frame_at(bytes, *at, salt, sequences.clone()).is_some())
}

/// The checksum of a frame or header: everything but the place of the checksum itself.
fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..CHECKSUM.start]), &frame[CHECKSUM.end..])
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(word)
}
