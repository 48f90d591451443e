//! One client: its bytes in, its bytes out, and the one request that is in flight.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::UnixStream;

use super::changes::Follow;
use super::frame::{Decoder, FrameTooLong};
use super::peer::{Peer, Rights};
use super::watch::Watch;
use crate::runtime::ClientId;

/// What a connection waits for beside the socket.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing: the next request may be read.
    Idle,
    /// This answer waits for the disk.
    Held(Vec<u8>),
    /// The locks have to be held; the client waits until then.
    Locking { until: Option<Instant>, bytes: usize },
    /// Another thread does it. It is told that nobody waits any more by the drop of `_client`.
    Away { bytes: usize, _client: Arc<()> },
    /// The job has to change.
    Watching { watch: Watch, registration: u64 },
    /// Any job has to change; or one has (it has `heard`), and more is gathered.
    Following { follow: Follow, heard: bool },
}

/// What came of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// There are new bytes.
    Some,
    /// Not now; an event will come.
    NotNow,
    /// There will never be more.
    End,
}

/// A client's connection.
///
/// Invariant: while an answer is in flight or being written, nothing more is read, so that a
/// client that sends much or reads slowly holds one message and one answer, not more.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) peer: Peer,
    pub(super) rights: Rights,
    pub(super) state: State,
    /// Under what it owns locks, once it has asked for any.
    pub(super) client: Option<ClientId>,
    /// Whether it has ever asked what changes.
    pub(super) follows: bool,
    /// Counts the requests: news about earlier ones are stale.
    pub(super) request: u64,
    /// Close when everything is written.
    pub(super) closing: bool,
    /// The client has closed its end for good: nobody will read an answer.
    pub(super) gone: bool,
    /// The entry of this connection among the server's deadlines.
    pub(super) deadline: Option<Instant>,
    /// What the server counts for it against the bound of all.
    pub(super) counted: usize,
    decoder: Decoder,
    readable: bool,
    output: Vec<u8>,
    written: usize,
    progress: Instant,
}

impl Connection {
    pub(super) fn new(
        stream: UnixStream,
        (peer, rights): (Peer, Rights),
        max_bytes: usize,
        now: Instant,
    ) -> Self {
        Self {
            stream,
            peer,
            rights,
            state: State::Idle,
            client: None,
            follows: false,
            request: 0,
            closing: false,
            gone: false,
            deadline: None,
            counted: 0,
            decoder: Decoder::new(max_bytes),
            readable: true,
            output: Vec::new(),
            written: 0,
            progress: now,
        }
    }

    /// Notes that there may be something to read.
    pub(super) const fn set_readable(&mut self) {
        self.readable = true;
    }

    /// The next whole request.
    pub(super) fn next_message(&mut self) -> Result<Option<Vec<u8>>, FrameTooLong> {
        self.decoder.next_message()
    }

    /// Takes in what the socket has, at most as much as `scratch` holds.
    pub(super) fn fill(&mut self, scratch: &mut [u8]) -> std::io::Result<Filled> {
        if !self.readable {
            return Ok(Filled::NotNow);
        }
        match self.stream.read(scratch) {
            Ok(0) => Ok(Filled::End),
            Ok(count) => {
                self.decoder.push(&scratch[..count]);
                Ok(Filled::Some)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Filled::NotNow)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Filled::Some),
            Err(error) => Err(error),
        }
    }

    /// Puts an answer in line.
    pub(super) fn queue(&mut self, answer: Vec<u8>, now: Instant) {
        (self.output, self.written, self.progress) = (answer, 0, now);
    }

    /// Whether something is still to be written.
    pub(super) fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self, now: Instant) -> std::io::Result<()> {
        while self.has_output() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => (self.written, self.progress) = (self.written + count, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output = Vec::new();
        self.written = 0;
        Ok(())
    }

    /// When something has to be done even if nothing happens.
    pub(super) fn next_deadline(&self, stall: Duration) -> Option<Instant> {
        match &self.state {
            _ if self.has_output() => Some(self.progress + stall),
            State::Watching { watch, .. } => Some(watch.deadline()),
            State::Following { follow, .. } => follow.until,
            State::Locking { until, .. } => *until,
            State::Idle | State::Held(_) | State::Away { .. } => None,
        }
    }

    /// How much it holds in memory.
    pub(super) fn held_bytes(&self) -> usize {
        let in_flight = match &self.state {
            State::Held(answer) => answer.len(),
            State::Away { bytes, .. } | State::Locking { bytes, .. } => *bytes,
            State::Idle | State::Watching { .. } | State::Following { .. } => 0,
        };
        in_flight + self.output.len() + self.decoder.held_bytes()
    }
}
