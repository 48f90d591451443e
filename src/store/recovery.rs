//! Opening a log: reads all segments in order, tells a torn tail from damage, and leaves the
//! last segment ready to grow.
//!
//! Nothing is changed before everything was read and found good.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::codec;
use super::file::{Directory, refused};
use super::frame::{self, Frame, Rest, frame_at};
use super::segment::{self, FORMAT, HEADER_BYTES, Header, HeaderFault, KIND_LOG, Segment, Sizes};
use crate::vocabulary::{Error, ErrorKind, Record};

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayReport {
    /// How many segments there are.
    pub segments: u64,
    /// How many records were replayed.
    pub records: u64,
    /// How many bytes of the log are in use.
    pub bytes: u64,
    /// What was cut off at the end, if something was.
    pub torn: Option<TornTail>,
}

/// A frame at the end of the log that was not written completely. Nobody was told that it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The segment.
    pub segment: PathBuf,
    /// Where in it the frame began.
    pub offset: u64,
    /// How many bytes there were of it.
    pub bytes: u64,
}

/// A log that was read and can grow.
pub(crate) struct Recovered {
    pub(crate) segment: Segment,
    /// The segments before it, from where the log begins: their numbers and bytes.
    pub(crate) full: VecDeque<(u64, u64)>,
    /// The number of the next frame.
    pub(crate) next: u64,
    /// Whether the last frame holds records (an empty one closes the log).
    pub(crate) open_ended: bool,
    pub(crate) report: ReplayReport,
}

/// Reads the log in `directory`, which is at `path`, or begins one.
pub(crate) fn recover(
    directory: &dyn Directory,
    path: &Path,
    sizes: Sizes,
    replay: &mut dyn FnMut(Record),
) -> Result<Recovered, Error> {
    let Read { next, last, full, mut report } = read(directory, path, sizes, replay)?;
    let segment = match &last {
        Some((walked, bytes)) => settle(directory, path, walked, bytes)?,
        None => begin(directory, path, sizes)?,
    };
    sweep(directory).map_err(|error| refused(format!("{}", path.display()), error))?;
    let open_ended = last.is_some_and(|(walked, _)| walked.open_ended);
    report.segments = report.segments.max(1);
    Ok(Recovered { segment, full, next, open_ended, report })
}

/// A log that was read; nothing has been changed.
struct Read {
    /// The number of the next frame.
    next: u64,
    /// The last segment and its bytes.
    last: Option<(Walked, Vec<u8>)>,
    full: VecDeque<(u64, u64)>,
    report: ReplayReport,
}

/// Reads the log in `directory`, which is at `path`, and changes nothing.
pub(crate) fn check(
    directory: &dyn Directory,
    path: &Path,
    sizes: Sizes,
    replay: &mut dyn FnMut(Record),
) -> Result<ReplayReport, Error> {
    read(directory, path, sizes, replay).map(|read| read.report)
}

fn read(
    directory: &dyn Directory,
    path: &Path,
    sizes: Sizes,
    replay: &mut dyn FnMut(Record),
) -> Result<Read, Error> {
    read_with(&mut Reader::new(path, sizes, replay), directory)
}

fn read_with(reader: &mut Reader<'_>, directory: &dyn Directory) -> Result<Read, Error> {
    let path = reader.path;
    let numbers = reader.skip_forgotten(directory, segments(directory, path)?)?;
    let (mut last, mut full) = (None, VecDeque::new());
    for (number, due) in numbers.iter().zip(numbers.first().copied().unwrap_or(1)..) {
        let bytes = reader.load(directory, *number, due)?;
        let is_last = numbers.last() == Some(number);
        let walked = reader.walk(&bytes, *number, is_last)?;
        if !is_last {
            full.push_back((*number, walked.end as u64));
        }
        last = is_last.then_some((walked, bytes));
    }
    reader.report.segments = numbers.len() as u64;
    Ok(Read { next: reader.next, last, full, report: std::mem::take(&mut reader.report) })
}

/// Where the log cannot be read any further, if it is damaged; hands over what there is before
/// it. An error where something else is wrong than its bytes.
pub(super) fn find_damage(
    directory: &dyn Directory,
    path: &Path,
    sizes: Sizes,
    replay: &mut dyn FnMut(Record),
) -> Result<Option<Place>, Error> {
    let mut reader = Reader::new(path, sizes, replay);
    match read_with(&mut reader, directory) {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Corrupt && !reader.is_newer => {
            let (segment, offset) = reader.at;
            Ok(Some(Place { segment, offset, next: reader.next }))
        }
        Err(error) => Err(error),
    }
}

/// A place in the log: in that segment, at that offset, where the frame of that number is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: usize,
    pub(super) next: u64,
}

/// The numbers of the segments there are, in order.
pub(super) fn segments(directory: &dyn Directory, path: &Path) -> Result<Vec<u64>, Error> {
    let names = directory
        .list()
        .map_err(|error| refused(format!("cannot list {}", path.display()), error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// A new log's first segment.
fn begin(directory: &dyn Directory, path: &Path, sizes: Sizes) -> Result<Segment, Error> {
    Segment::create(directory, Header::new(1, 1), sizes)
        .map_err(|error| refused(format!("cannot begin a log in {}", path.display()), error))
}

/// Makes the end of the log durable as it was read, whatever the last process left in memory.
fn settle(
    directory: &dyn Directory,
    path: &Path,
    walked: &Walked,
    bytes: &[u8],
) -> Result<Segment, Error> {
    let settled = || -> io::Result<Segment> {
        let (end, filled) = (walked.end as u64, bytes.len() as u64);
        let mut segment = Segment::reopen(directory, walked.header, end, filled)?;
        segment.settle(walked.last as u64, &bytes[walked.last..walked.end], walked.torn)?;
        Ok(segment)
    };
    let name = path.join(segment::name(walked.header.number));
    settled().map_err(|error| refused(format!("cannot write {}", name.display()), error))
}

/// Removes segments that were never finished, and makes the names durable.
fn sweep(directory: &dyn Directory) -> io::Result<()> {
    for name in directory.list()? {
        if name.strip_suffix(".new").is_some_and(|name| segment::number(name).is_some()) {
            directory.remove(&name)?;
        }
    }
    directory.sync()
}

/// A segment after its frames were replayed.
struct Walked {
    header: Header,
    /// Where its last frame begins, or the header where it has none.
    last: usize,
    /// Where its last frame ends.
    end: usize,
    torn: bool,
    open_ended: bool,
}

struct Reader<'a> {
    path: &'a Path,
    sizes: Sizes,
    replay: &'a mut dyn FnMut(Record),
    next: u64,
    /// The segment being read, and how far it is good.
    at: (u64, usize),
    /// Whether it was written by a newer program.
    is_newer: bool,
    report: ReplayReport,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path, sizes: Sizes, replay: &'a mut dyn FnMut(Record)) -> Self {
        Self {
            path,
            sizes,
            replay,
            next: 1,
            at: (1, 0),
            is_newer: false,
            report: ReplayReport::default(),
        }
    }

    /// The segments of the log: all there are, unless the first ones have been removed. Then the
    /// log begins with the first that says it may; what is left before it is to be removed.
    fn skip_forgotten(
        &mut self,
        directory: &dyn Directory,
        mut numbers: Vec<u64>,
    ) -> Result<Vec<u64>, Error> {
        if numbers.first().is_none_or(|number| *number == 1) {
            return Ok(numbers);
        }
        for (place, number) in numbers.iter().enumerate() {
            let name = self.path.join(segment::name(*number));
            let bytes = directory
                .read(&segment::name(*number), HEADER_BYTES as u64)
                .map_err(|error| refused(format!("cannot read {}", name.display()), error))?;
            let header = decode(&bytes, &name)?;
            if header.begins {
                self.next = header.first;
                return Ok(numbers.split_off(place));
            }
        }
        // None says so: the first is missing.
        Err(missing(self.path, 1))
    }

    /// The content of a segment, which has to be the one whose turn it is.
    fn load(&mut self, directory: &dyn Directory, number: u64, due: u64) -> Result<Vec<u8>, Error> {
        self.at = (due, 0);
        if number != due {
            return Err(missing(self.path, due));
        }
        let name = segment::name(number);
        let most = self.sizes.segment + frame::MAX_BYTES as u64 + self.sizes.fill;
        let place = self.path.join(&name);
        let bytes = directory
            .read(&name, most + 1)
            .map_err(|error| refused(format!("cannot read {}", place.display()), error))?;
        match bytes.len() as u64 > most {
            true => Err(corrupt(format!("{} is longer than {most} bytes", place.display()))),
            false => Ok(bytes),
        }
    }

    /// Replays a segment and looks at what follows its last frame.
    fn walk(&mut self, bytes: &[u8], number: u64, is_last: bool) -> Result<Walked, Error> {
        let place = self.path.join(segment::name(number));
        self.at = (number, 0);
        let header = self.header(bytes, number, &place)?;
        self.at.1 = HEADER_BYTES;
        let mut walked =
            Walked { header, last: 0, end: HEADER_BYTES, torn: false, open_ended: false };
        while let Some(frame) = frame_at(bytes, walked.end, header.salt, self.next..=self.next) {
            self.replay_frame(&frame, &place, walked.end)?;
            self.next += 1;
            walked.open_ended = !frame.payload.is_empty();
            (walked.last, walked.end) = (walked.end, walked.end + frame.len);
            self.at.1 = walked.end;
        }
        walked.torn = self.torn(bytes, &walked, is_last, &place)?;
        self.report.bytes += walked.end as u64;
        Ok(walked)
    }

    fn header(&mut self, bytes: &[u8], number: u64, place: &Path) -> Result<Header, Error> {
        let header = decode(bytes, place);
        self.is_newer = header.is_err() && is_newer(bytes);
        let header = header?;
        if header.number != number {
            let other = header.number;
            return Err(corrupt(format!(
                "{} is segment {other} under another name",
                place.display()
            )));
        }
        if header.first != self.next {
            return Err(corrupt(format!(
                "{} begins with frame {}, but the log before it ends with frame {}",
                place.display(),
                header.first,
                self.next - 1
            )));
        }
        Ok(header)
    }

    fn replay_frame(
        &mut self,
        frame: &Frame<'_>,
        place: &Path,
        offset: usize,
    ) -> Result<(), Error> {
        if frame.version > codec::VERSION {
            self.is_newer = true;
            return Err(newer(place, "records", frame.version.into(), codec::VERSION.into()));
        }
        let (replay, records) = (&mut self.replay, &mut self.report.records);
        let mut each = |record| {
            *records += 1;
            replay(record);
        };
        codec::decode(frame.version, frame.payload, &mut each).map_err(|error| {
            corrupt(format!("{} holds what is no record, at offset {offset}", place.display()))
                .caused_by(error)
        })
    }

    /// Whether the segment ends in a torn frame. Anything worse is refused.
    fn torn(
        &mut self,
        bytes: &[u8],
        walked: &Walked,
        is_last: bool,
        place: &Path,
    ) -> Result<bool, Error> {
        let offset = walked.end;
        match frame::rest(bytes, offset, walked.header.salt, self.next) {
            Rest::Clean => Ok(false),
            Rest::Torn(len) if is_last => {
                let (segment, offset, bytes) = (place.to_owned(), offset as u64, len as u64);
                self.report.torn = Some(TornTail { segment, offset, bytes });
                Ok(true)
            }
            Rest::Torn(_) => Err(corrupt(format!(
                "{} is damaged at offset {offset}, and later segments exist",
                place.display()
            ))),
            Rest::Damaged(later) => Err(corrupt(format!(
                "{} is damaged at offset {offset}: whole frames follow from offset {later}",
                place.display()
            ))),
        }
    }
}

fn is_newer(segment: &[u8]) -> bool {
    matches!(Header::decode(segment, KIND_LOG), Err(HeaderFault::Newer(_)))
}

fn decode(bytes: &[u8], place: &Path) -> Result<Header, Error> {
    Header::decode(bytes, KIND_LOG).map_err(|fault| match fault {
        HeaderFault::Newer(format) => newer(place, "log", format, FORMAT),
        HeaderFault::Damaged => {
            corrupt(format!("{} is damaged at offset 0, in its header", place.display()))
        }
    })
}

fn missing(path: &Path, number: u64) -> Error {
    let missing = path.join(segment::name(number));
    corrupt(format!("{} is missing, but later segments exist", missing.display()))
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, message).hint(
        "nothing was changed; keep a copy of the state directory, then see what \
         `lockmaster check --state-dir` says of it",
    )
}

pub(super) fn newer(place: &Path, what: &str, format: u32, known: u32) -> Error {
    let message = format!(
        "{} was written by a newer lockmaster (format {format} of {what}; this one reads up to \
         {known})",
        place.display()
    );
    Error::new(ErrorKind::Corrupt, message)
        .hint("nothing was changed; use the newer lockmaster, or another state directory")
}
