//! Segments: the files the log consists of. Their names, headers, and growing one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;

use super::file::{Directory, LogFile};
use super::frame::{u32_at, u64_at};

/// The version of segments and frames this program writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;
/// What every segment begins with.
pub(crate) const MAGIC: [u8; 8] = *b"LKMASTER";
/// Bytes of a segment before its first frame.
pub(crate) const HEADER_BYTES: usize = 48;
/// What kind of file it is: a segment of the log.
pub(crate) const KIND_LOG: u32 = 1;
/// What kind of file it is: a part of the archive.
pub(crate) const KIND_ARCHIVE: u32 = 2;
/// The flag of a segment with which the log may begin.
const BEGINS: u32 = 1;
const CHECKSUM: usize = 44;

/// How much goes where. Tests use small ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// A segment that would grow beyond this is followed by a new one.
    pub(crate) segment: u64,
    /// Zeros are written ahead of the frames up to the next multiple of this.
    pub(crate) fill: u64,
}

impl Sizes {
    /// What a state directory uses.
    pub(crate) const REAL: Self = Self { segment: 64 << 20, fill: 1 << 20 };
}

/// The name of a segment.
pub(crate) fn name(number: u64) -> String {
    format!("{number:08}.log")
}

/// The number of the segment of that name, if it is the name of one.
pub(crate) fn number(file_name: &str) -> Option<u64> {
    let number = file_name.strip_suffix(".log")?.parse().ok()?;
    (name(number) == file_name).then_some(number)
}

/// Makes a file that has its name only when its content is durable; the name is durable too.
pub(crate) fn create(
    directory: &dyn Directory,
    name: &str,
    content: &[u8],
) -> io::Result<Box<dyn LogFile>> {
    let unfinished = format!("{name}.new");
    let mut file = directory.create(&unfinished)?;
    file.write_at(0, content)?;
    file.sync_data()?;
    directory.rename(&unfinished, name)?;
    directory.sync()?;
    Ok(file)
}

/// What stands at the head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// What kind of file it is.
    pub(crate) kind: u32,
    /// The segment's number, from 1.
    pub(crate) number: u64,
    /// The number of its first frame, from 1, counted over all segments.
    pub(crate) first: u64,
    /// What the numbers of its frames are masked with.
    pub(crate) salt: u64,
    /// Whether the log may begin here, once the segments before it are being removed.
    pub(crate) begins: bool,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// It is damaged, or none.
    Damaged,
    /// It is whole, and of a version this program does not know.
    Newer(u32),
}

impl Header {
    /// The header of a new segment.
    pub(crate) fn new(number: u64, first: u64) -> Self {
        Self { kind: KIND_LOG, number, first, salt: salt(), begins: number == 1 }
    }

    /// The header of a new segment with which the log may begin.
    pub(crate) fn beginning(number: u64, first: u64) -> Self {
        Self { begins: true, ..Self::new(number, first) }
    }

    /// The header of a part of the archive.
    pub(crate) fn of_archive(bucket: u64, part: u64) -> Self {
        Self { kind: KIND_ARCHIVE, begins: false, ..Self::new(bucket, part) }
    }

    /// Its bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.kind.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        bytes[40..44].copy_from_slice(&(u32::from(self.begins) * BEGINS).to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header at the beginning of a segment.
    ///
    /// The checksum is at its place in every version, so that damage is not taken for news.
    pub(crate) fn decode(segment: &[u8], kind: u32) -> Result<Self, HeaderFault> {
        let bytes = segment.get(..HEADER_BYTES).ok_or(HeaderFault::Damaged)?;
        let unchanged = crc32c::crc32c(&bytes[..CHECKSUM]) == u32_at(bytes, CHECKSUM);
        match u32_at(bytes, 8) {
            _ if !unchanged || bytes[..8] != MAGIC => Err(HeaderFault::Damaged),
            FORMAT if u32_at(bytes, 12) == kind => Ok(Self {
                kind,
                number: u64_at(bytes, 16),
                first: u64_at(bytes, 24),
                salt: u64_at(bytes, 32),
                begins: u32_at(bytes, 40) & BEGINS != 0,
            }),
            FORMAT => Err(HeaderFault::Damaged),
            newer => Err(HeaderFault::Newer(newer)),
        }
    }
}

/// A number that nobody outside can know. `RandomState` is what std draws from the system's
/// randomness to keep hash tables safe from chosen keys.
fn salt() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The segment that grows.
pub(crate) struct Segment {
    pub(crate) header: Header,
    file: Box<dyn LogFile>,
    /// Where the next frame goes.
    end: u64,
    /// Up to where the file is written, with zeros from `end` on.
    filled: u64,
}

impl Segment {
    /// A new segment, durable with its name when this returns.
    ///
    /// It gets its name only when its header is durable, so a segment without a good header is
    /// a damaged one.
    pub(crate) fn create(
        directory: &dyn Directory,
        header: Header,
        sizes: Sizes,
    ) -> io::Result<Self> {
        let mut bytes = header.encode().to_vec();
        bytes.resize(usize::try_from(sizes.fill).unwrap_or(0).max(HEADER_BYTES), 0);
        let file = create(directory, &name(header.number), &bytes)?;
        Ok(Self { header, file, end: HEADER_BYTES as u64, filled: bytes.len() as u64 })
    }

    /// A segment that was read up to `end` and is `filled` bytes long.
    pub(crate) fn reopen(
        directory: &dyn Directory,
        header: Header,
        end: u64,
        filled: u64,
    ) -> io::Result<Self> {
        let file = directory.open(&name(header.number))?;
        Ok(Self { header, file, end, filled })
    }

    /// Whether a frame of that length fits. A segment takes at least one, however long.
    pub(crate) fn has_room(&self, frame: usize, sizes: Sizes) -> bool {
        self.end == HEADER_BYTES as u64 || self.end + frame as u64 <= sizes.segment
    }

    /// Writes a frame and makes it durable.
    ///
    /// Where it reaches beyond what is filled, zeros go along for the next frames: those then
    /// change no length, and a sync has only their own bytes to write.
    pub(crate) fn append(&mut self, mut frame: Vec<u8>, sizes: Sizes) -> io::Result<()> {
        let end = self.end + frame.len() as u64;
        if end > self.filled {
            self.filled = end.next_multiple_of(sizes.fill);
            frame.resize(usize::try_from(self.filled - self.end).unwrap_or(frame.len()), 0);
        }
        self.file.write_at(self.end, &frame)?;
        self.file.sync_data()?;
        self.end = end;
        Ok(())
    }

    /// Writes bytes that were read from the file again and makes them durable, and cuts
    /// everything from `end` on where `cut` says so.
    ///
    /// What a process reads after another was killed, or after its sync failed, may be in
    /// memory only; only writing it again makes the system put it on disk.
    pub(crate) fn settle(&mut self, offset: u64, bytes: &[u8], cut: bool) -> io::Result<()> {
        if cut {
            self.file.truncate(self.end)?;
            self.filled = self.end;
        }
        self.file.write_at(offset, bytes)?;
        self.file.sync_data()
    }

    /// How many bytes are in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// Gives back what was filled ahead. Need not be durable: zeros end a segment as well.
    pub(crate) fn trim(&mut self) -> io::Result<()> {
        self.file.truncate(self.end)
    }
}
