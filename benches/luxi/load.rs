//! Clients that ask the same again and again.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Outcome;

/// For how long a rate is measured.
const SPAN: Duration = Duration::from_millis(500);
/// How many threads ask.
const THREADS: usize = 2;

/// A request as bytes.
pub(crate) fn request(method: &str, args: &str) -> Vec<u8> {
    format!("{{\"method\":\"{method}\",\"args\":{args}}}\u{3}").into_bytes()
}

/// A client with one request on its way at most.
pub(crate) struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(socket: &Path) -> Outcome<Self> {
        Ok(Self { stream: UnixStream::connect(socket)?, buffer: Vec::new() })
    }

    /// Asks, and waits for the answer; how long it is.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Outcome<usize> {
        self.stream.write_all(request)?;
        self.answer()
    }

    fn answer(&mut self) -> Outcome<usize> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; 512];
        }
        let mut bytes = 0;
        loop {
            let count = self.stream.read(&mut self.buffer)?;
            bytes += count;
            match self.buffer[..count].last() {
                Some(3) => return Ok(bytes),
                Some(_) if count == self.buffer.len() && count < 1 << 20 => {
                    self.buffer.resize(count * 4, 0);
                }
                Some(_) => {}
                None => return Err("the connection was closed".into()),
            }
        }
    }
}

/// Requests a second of so many clients.
pub(crate) fn rate(socket: &Path, clients: usize, request: &[u8]) -> Outcome<f64> {
    let threads = THREADS.min(clients);
    let mut groups: Vec<Vec<Connection>> = Vec::new();
    for thread in 0..threads {
        let share = (clients + thread) / threads;
        groups.push((0..share).map(|_| Connection::open(socket)).collect::<Outcome<_>>()?);
    }
    let began = Instant::now();
    let done = std::thread::scope(|scope| {
        let each = groups.iter_mut().map(|group| {
            scope.spawn(move || ask_for(group, request, began).map_err(|error| error.to_string()))
        });
        let all: Vec<_> = each.collect();
        all.into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err("it panicked".into())))
            .sum::<Result<usize, String>>()
    })?;
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

/// Asks on all connections, then takes all answers, until the time is over.
fn ask_for(group: &mut [Connection], request: &[u8], began: Instant) -> Outcome<usize> {
    let mut done = 0;
    while began.elapsed() < SPAN {
        for connection in &mut *group {
            connection.stream.write_all(request)?;
        }
        for connection in &mut *group {
            connection.answer()?;
        }
        done += group.len();
    }
    Ok(done)
}
