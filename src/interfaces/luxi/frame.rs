//! Cuts a stream of bytes into messages: each ends with one byte 0x03.

use std::fmt;

/// The byte that ends every message. JSON never contains it unescaped.
pub const END: u8 = 0x03;

/// What an empty decoder keeps allocated, so that an idle connection costs little.
const KEPT_BYTES: usize = 1024;

/// A message longer than the bound, ended or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLong {
    /// The bound.
    pub max_bytes: usize,
}

impl fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message is longer than {} bytes", self.max_bytes)
    }
}

/// Collects bytes until a message is whole.
///
/// Invariant: no byte before `scanned` is [`END`].
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    scanned: usize,
    max_bytes: usize,
}

impl Decoder {
    /// A decoder of messages of at most `max_bytes` bytes.
    #[must_use]
    pub const fn new(max_bytes: usize) -> Self {
        Self { buffer: Vec::new(), scanned: 0, max_bytes }
    }

    /// Takes bytes in. What it holds is at most one message and these bytes, as long as
    /// [`next_message`](Self::next_message) is called until it has none before more are taken in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, without its end.
    ///
    /// # Errors
    ///
    /// [`FrameTooLong`]; nothing sensible can follow, the stream should be closed.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, FrameTooLong> {
        let found = self.buffer[self.scanned..].iter().position(|byte| *byte == END);
        let length = found.map_or(self.buffer.len(), |place| self.scanned + place);
        if length > self.max_bytes {
            return Err(FrameTooLong { max_bytes: self.max_bytes });
        }
        if found.is_none() {
            self.scanned = length;
            return Ok(None);
        }
        Ok(Some(self.cut(length)))
    }

    /// Takes the message of that length out, and its end with it.
    fn cut(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length + 1);
        let mut message = std::mem::replace(&mut self.buffer, rest);
        message.pop();
        self.scanned = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        message
    }

    /// How many bytes of unfinished messages it holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| decoder.next_message().unwrap()).collect()
    }

    #[test]
    fn a_message_longer_than_the_bound_is_refused_ended_or_not() {
        for tail in [&b""[..], &b"\x03"[..]] {
            let mut decoder = Decoder::new(4);
            decoder.push(b"12345");
            decoder.push(tail);
            assert_eq!(decoder.next_message(), Err(FrameTooLong { max_bytes: 4 }));
        }
        let mut decoder = Decoder::new(4);
        decoder.push(b"1234\x03");
        assert_eq!(decoder.next_message(), Ok(Some(b"1234".to_vec())));
    }

    #[test]
    fn an_idle_decoder_holds_no_memory() {
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(&[b'x'; 100_000]);
        assert_eq!(decoder.next_message(), Ok(None));
        decoder.push(&[END]);
        assert_eq!(decoder.next_message().unwrap().map(|message| message.len()), Some(100_000));
        assert!(decoder.buffer.capacity() <= KEPT_BYTES && decoder.held_bytes() == 0);
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_however_the_bytes_are_cut(
            messages in prop::collection::vec("[^\x03]{0,40}", 0..8),
            chunk in 1..9usize,
        ) {
            let stream: String = messages.iter().map(|message| format!("{message}\x03")).collect();
            let mut decoder = Decoder::new(1000);
            let mut got = Vec::new();
            for bytes in stream.as_bytes().chunks(chunk) {
                decoder.push(bytes);
                got.extend(all(&mut decoder));
            }
            let got: Vec<String> = got.into_iter().map(|m| String::from_utf8(m).unwrap()).collect();
            prop_assert_eq!(got, messages);
            prop_assert_eq!(decoder.held_bytes(), 0);
        }
    }
}
