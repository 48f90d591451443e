//! `design/log.md` and the code say the same about every byte.

use super::codec::VERSION;
use super::frame::{self, Draft};
use super::segment::{self, FORMAT, Header, KIND_LOG, MAGIC, Sizes};

const DESIGN: &str = include_str!("../../design/log.md");

/// Offset, length and content of the field of that name, in the table under that heading.
fn field(heading: &str, name: &str) -> (usize, String, String) {
    let table = DESIGN.split(heading).nth(1).expect("the page has the heading");
    let row =
        table.lines().find(|line| line.split('|').nth(3).is_some_and(|cell| cell.trim() == name));
    let cells: Vec<&str> =
        row.expect("the table has the field").split('|').map(str::trim).collect();
    (cells[1].parse().expect("an offset"), cells[2].to_owned(), cells[4].to_owned())
}

/// The bytes of a field whose length is a number.
fn part<'a>(bytes: &'a [u8], heading: &str, name: &str) -> &'a [u8] {
    let (offset, len, _) = field(heading, name);
    &bytes[offset..offset + len.parse::<usize>().expect("a length")]
}

#[test]
fn the_header_is_as_the_page_says() {
    let heading = "Every segment begins with a header";
    let header =
        Header { kind: KIND_LOG, number: 5, first: 77, salt: 0x0102_0304_0506_0708, begins: true };
    let bytes = header.encode();
    let part = |name| part(&bytes, heading, name);
    assert_eq!(part("magic"), MAGIC);
    assert_eq!(field(heading, "magic").2, format!("`{}`", String::from_utf8_lossy(&MAGIC)));
    assert_eq!(part("format"), FORMAT.to_le_bytes());
    assert_eq!(field(heading, "format").2, FORMAT.to_string());
    assert_eq!(part("kind"), 1_u32.to_le_bytes());
    assert_eq!(part("number"), header.number.to_le_bytes());
    assert_eq!(part("first"), header.first.to_le_bytes());
    assert_eq!(part("salt"), header.salt.to_le_bytes());
    assert_eq!(part("flags"), [1, 0, 0, 0]);
    let (offset, len, _) = field(heading, "checksum");
    assert_eq!(part("checksum"), crc32c::crc32c(&bytes[..offset]).to_le_bytes());
    assert_eq!(offset + len.parse::<usize>().unwrap(), segment::HEADER_BYTES);
    assert_eq!(Header::decode(&bytes, KIND_LOG), Ok(header));
}

#[test]
fn a_frame_is_as_the_page_says() {
    let heading = "Frames follow";
    let mut draft = Draft::new();
    draft.bytes_mut().extend_from_slice(b"payload");
    let bytes = draft.finish(0xff00, 9);
    let part = |name| part(&bytes, heading, name);
    let (payload, _, _) = field(heading, "payload");
    assert_eq!((payload, &bytes[payload..]), (frame::HEADER_BYTES, &b"payload"[..]));
    assert_eq!(part("length"), (9_u32 + 7).to_le_bytes(), "the payload is length - 9");
    assert_eq!(part("mark"), 0xff09_u64.to_le_bytes());
    assert_eq!(part("version"), [VERSION]);
    let covered = [part("length"), part("mark"), part("version"), b"payload"].concat();
    assert_eq!(part("checksum"), crc32c::crc32c(&covered).to_le_bytes());
}

#[test]
fn the_sizes_are_as_the_page_says() {
    let text = DESIGN.replace('\n', " ");
    for sentence in [
        format!("A frame is at most {} bytes long, header included", frame::MAX_BYTES),
        format!("when a frame would take it beyond {} bytes", Sizes::REAL.segment),
        format!("Zeros are written ahead in steps of {} bytes", Sizes::REAL.fill),
        format!("| of the payload: {VERSION} |"),
    ] {
        assert!(text.contains(&sentence), "design/log.md should say: {sentence}");
    }
}
