//! Transactions to bytes and back: the only place that knows how records are encoded.
//!
//! bincode with a frozen configuration: little endian, integers of variable length. Variable,
//! because most integers here are small (places, lengths, variants): a record takes half the
//! bytes it would with fixed ones, and bytes are what checksums, pages and disks are paid by.
//! The bytes of every record stand in a test; whoever changes them has to raise [`VERSION`].

use bincode::config::{Configuration, Limit, LittleEndian, NoLimit, Varint};
use bincode::error::DecodeError;

use crate::vocabulary::{Error, Record};

/// The version of the encoding of records. Stands in every frame.
pub(crate) const VERSION: u8 = 3;
/// The oldest version that is read. Since then records were only added at the end.
pub(crate) const OLDEST: u8 = 1;

const ENCODING: Configuration<LittleEndian, Varint, NoLimit> = bincode::config::standard();

/// Appends one transaction to the payload of a frame.
pub(crate) fn encode(transaction: &[Record], payload: &mut Vec<u8>) -> Result<(), Error> {
    bincode::serde::encode_into_std_write(transaction, payload, ENCODING)
        .map(|_| ())
        .map_err(|error| Error::invalid(format!("a record cannot be encoded: {error}")))
}

/// Hands over the records of a payload in order.
///
/// What is said to follow, but does not, makes it fail before memory is taken for it: at most
/// a few MiB, or 256 times the length of the payload where that is more.
pub(crate) fn decode(
    version: u8,
    mut payload: &[u8],
    each: &mut dyn FnMut(Record),
) -> Result<(), DecodeError> {
    if !(OLDEST..=VERSION).contains(&version) {
        return Err(DecodeError::Other("a version that never was"));
    }
    while !payload.is_empty() {
        let (records, taken) = decode_one(payload)?;
        records.into_iter().for_each(&mut *each);
        payload = &payload[taken..];
    }
    Ok(())
}

/// One transaction, with a bound on what it may claim to contain.
///
/// bincode counts integers at their full width, up to eight times what they take here, so the
/// bound has to lie above eight times the payload; being part of a type, it comes in steps.
fn decode_one(payload: &[u8]) -> Result<(Vec<Record>, usize), DecodeError> {
    match payload.len() {
        0..=0x1000 => bounded::<0x1_0000>(payload),
        0x1001..=0x1_0000 => bounded::<0x10_0000>(payload),
        0x1_0001..=0x10_0000 => bounded::<0x100_0000>(payload),
        _ => bounded::<0x4000_0000>(payload),
    }
}

fn bounded<const BYTES: usize>(payload: &[u8]) -> Result<(Vec<Record>, usize), DecodeError> {
    let encoding: Configuration<LittleEndian, Varint, Limit<BYTES>> = ENCODING.with_limit();
    // Borrowing: what is made of a text need not go through a text of its own.
    bincode::serde::borrow_decode_from_slice(payload, encoding)
}
