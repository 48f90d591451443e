//! What the fuzzers of the log call (`fuzz/`): any bytes are frames, records and logs, or an error.

use std::io;
use std::path::Path;

use super::codec;
use super::file::{Directory, LogFile};
use super::frame::{self, Draft, Rest, frame_at};
use super::recovery;
use super::segment::{self, HEADER_BYTES, Header, Sizes};
use crate::vocabulary::{Error, Record};

/// What follows the header of a segment, after its salt.
///
/// # Panics
///
/// Where what is found contradicts itself.
pub fn frames(data: &[u8]) {
    let Some((salt, bytes)) = data.split_first_chunk() else { return };
    let salt = u64::from_le_bytes(*salt);
    let (mut at, mut expected) = (0, 1);
    while let Some(frame) = frame_at(bytes, at, salt, 0..=u64::MAX) {
        at += frame.len;
        expected = frame.sequence.saturating_add(1);
    }
    match frame::rest(bytes, at, salt, expected) {
        Rest::Clean => assert!(bytes[at..].iter().all(|byte| *byte == 0), "nothing but zeros"),
        Rest::Torn(len) => assert!(len > 0 && at + len <= bytes.len(), "what is torn is there"),
        Rest::Damaged(later) => {
            assert!(later > at && frame_at(bytes, later, salt, 0..=u64::MAX).is_some(), "a frame");
        }
    }
}

/// The version and the payload of a frame.
///
/// # Panics
///
/// Where records that can be read do not read back as they are.
pub fn records(data: &[u8]) {
    let Some((version, payload)) = data.split_first() else { return };
    let read = |version, payload: &[u8]| {
        let mut records = Vec::new();
        codec::decode(version, payload, &mut |record| records.push(record)).map(|()| records)
    };
    let Ok(records) = read(*version, payload) else { return };
    let mut bytes = Vec::new();
    let written = codec::encode(&records, &mut bytes);
    assert!(written.is_ok(), "what was read can be written");
    assert!(read(codec::VERSION, &bytes).is_ok_and(|again| again == records), "and read again");
}

/// A log of one segment: its salt, then payloads with their lengths in two bytes, of which good
/// frames are made; after the length 65535 bytes as they are. Hands over what it replays.
///
/// # Panics
///
/// Where reading it twice does not give the same.
pub fn log(data: &[u8], each: &mut dyn FnMut(Record)) {
    let Some(directory) = OneFile::of(data) else { return };
    let mut records = Vec::new();
    let first = directory.check(&mut |record| records.push(record));
    let mut again = Vec::new();
    let second = directory.check(&mut |record| again.push(record));
    assert_eq!(records, again, "reading changes nothing");
    assert_eq!(first.is_ok(), second.is_ok());
    records.into_iter().for_each(each);
}

/// A directory with the first segment of a log, to be read.
struct OneFile(Vec<u8>);

impl OneFile {
    fn of(data: &[u8]) -> Option<Self> {
        let (salt, mut rest) = data.split_first_chunk()?;
        let header = Header { salt: u64::from_le_bytes(*salt), ..Header::new(1, 1) };
        let mut bytes = header.encode().to_vec();
        for number in 1.. {
            let Some((len, more)) = rest.split_first_chunk() else { break };
            let len = u16::from_le_bytes(*len);
            if len == u16::MAX {
                bytes.extend_from_slice(more);
                break;
            }
            let (payload, more) = more.split_at(usize::from(len).min(more.len()));
            let mut draft = Draft::new();
            draft.bytes_mut().extend_from_slice(payload);
            bytes.extend(draft.finish(header.salt, number));
            rest = more;
        }
        Some(Self(bytes))
    }

    fn check(&self, each: &mut dyn FnMut(Record)) -> Result<recovery::ReplayReport, Error> {
        let sizes = Sizes { segment: 1 << 20, fill: 1 << 10 };
        let report = recovery::check(self, Path::new("log"), sizes, each)?;
        assert!((HEADER_BYTES as u64..=self.0.len() as u64).contains(&report.bytes));
        Ok(report)
    }
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Directory for OneFile {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(vec![segment::name(1)])
    }

    fn read(&self, _: &str, at_most: u64) -> io::Result<Vec<u8>> {
        let most = usize::try_from(at_most).unwrap_or(usize::MAX);
        Ok(self.0[..self.0.len().min(most)].to_vec())
    }

    fn len(&self, _: &str) -> io::Result<Option<u64>> {
        Ok(Some(self.0.len() as u64))
    }

    fn open(&self, _: &str) -> io::Result<Box<dyn LogFile>> {
        read_only()
    }

    fn create(&self, _: &str) -> io::Result<Box<dyn LogFile>> {
        read_only()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        read_only()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::corpus::replay;

    #[test]
    fn any_bytes_are_frames_or_none() {
        replay("frames", frames);
    }

    #[test]
    fn any_bytes_are_records_or_an_error() {
        replay("records", records);
    }

    #[test]
    fn any_bytes_are_a_log_or_an_error() {
        replay("log", |data| log(data, &mut |_| {}));
    }
}
