//! What a running command says: two pipes, cut into lines, within bounds.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};

use crate::vocabulary::FeedbackKind;

/// Lines longer than this are cut into several, in bytes.
const LINE_BYTES: usize = 4096;
/// What of one command's output goes on; more is read, counted and dropped.
const OUTPUT_BYTES: usize = 1 << 20;
/// What a line counts for beside its text: about what it takes in the log. Without this, a
/// command that writes nothing but line feeds would take twenty times its output there.
const LINE_COST: usize = 32;
/// Read at once, and at most left in a pipe by its kernel default.
const CHUNK: usize = 64 << 10;

/// Takes the lines of a command.
pub(super) type Say<'a> = &'a dyn Fn(FeedbackKind, &str);

/// The pipes of a command that are still open, and what is known of what came through.
pub(super) struct Streams<'a> {
    open: Vec<Stream>,
    sink: Sink<'a>,
}

struct Stream {
    pipe: File,
    kind: FeedbackKind,
    /// The beginning of a line whose end has not come yet.
    pending: Vec<u8>,
}

struct Sink<'a> {
    say: Say<'a>,
    budget: usize,
    dropped: u64,
    last_stderr: String,
}

impl<'a> Streams<'a> {
    pub(super) fn new(
        pipes: impl IntoIterator<Item = (OwnedFd, FeedbackKind)>,
        say: Say<'a>,
    ) -> io::Result<Self> {
        let mut open = Vec::new();
        for (pipe, kind) in pipes {
            ioctl_fionbio(&pipe, true)?;
            open.push(Stream { pipe: File::from(pipe), kind, pending: Vec::new() });
        }
        let sink = Sink { say, budget: OUTPUT_BYTES, dropped: 0, last_stderr: String::new() };
        Ok(Self { open, sink })
    }

    /// Says something about the command itself.
    pub(super) fn remark(&self, text: &str) {
        (self.sink.say)(FeedbackKind::Message, text);
    }

    /// The last line on standard error that was not blank.
    pub(super) fn last_stderr(&self) -> &str {
        &self.sink.last_stderr
    }

    /// Sleeps until one of `others` is readable, output comes, or it is `until`; passes the
    /// output on. Which of `others` are readable.
    pub(super) fn wait(
        &mut self,
        others: &[BorrowedFd<'_>],
        until: Option<Instant>,
    ) -> io::Result<Vec<bool>> {
        let pipes = self.open.iter().map(|stream| stream.pipe.as_fd());
        let mut polled: Vec<PollFd<'_>> = others
            .iter()
            .copied()
            .chain(pipes)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        sleep(&mut polled, until)?;
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let (others, pipes) = ready.split_at(others.len());
        let others = others.to_vec();
        let mut pipes = pipes.iter();
        let sink = &mut self.sink;
        self.open.retain_mut(|stream| {
            !pipes.next().copied().unwrap_or(false) || stream.read_once(sink) != Progress::Ended
        });
        Ok(others)
    }

    /// Passes on what is left in the pipes. Whether some process holds one open still: it is
    /// not waited for, however long it goes on writing.
    pub(super) fn drain(&mut self) -> bool {
        let sink = &mut self.sink;
        self.open.retain_mut(|stream| {
            let mut chunks = OUTPUT_BYTES / CHUNK;
            let mut progress = Progress::More;
            while chunks > 0 && progress == Progress::More {
                progress = stream.read_once(sink);
                chunks -= 1;
            }
            progress != Progress::Ended
        });
        !self.open.is_empty()
    }

    /// Passes on what is left, and what of a last line has no line feed.
    pub(super) fn finish(&mut self) {
        self.drain();
        let sink = &mut self.sink;
        self.open.iter_mut().for_each(|stream| stream.end_line(sink));
        self.open.clear();
        if sink.dropped > 0 {
            let (dropped, kept) = (sink.dropped, OUTPUT_BYTES >> 20);
            (sink.say)(
                FeedbackKind::Message,
                &format!("{dropped} more lines were dropped: {kept} MiB of output are kept"),
            );
        }
    }
}

/// Polls, again where a signal interrupted it.
fn sleep(polled: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(polled, left.as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Progress {
    More,
    NothingNow,
    Ended,
}

impl Stream {
    /// Reads once only, so that a command that never stops talking cannot keep us from seeing
    /// that it should be stopped.
    fn read_once(&mut self, sink: &mut Sink<'_>) -> Progress {
        let mut chunk = [0; CHUNK];
        match self.pipe.read(&mut chunk) {
            Ok(0) => {
                self.end_line(sink);
                Progress::Ended
            }
            Ok(length) => {
                self.take(&chunk[..length], sink);
                Progress::More
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::NothingNow,
            Err(error) if error.kind() == ErrorKind::Interrupted => Progress::More,
            Err(_) => Progress::Ended,
        }
    }

    fn take(&mut self, bytes: &[u8], sink: &mut Sink<'_>) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(part);
            while self.pending.len() > LINE_BYTES {
                let rest = self.pending.split_off(cut(&self.pending));
                let line = std::mem::replace(&mut self.pending, rest);
                sink.line(self.kind, &line);
            }
            if self.pending.ends_with(b"\n") {
                self.pending.pop();
                sink.line(self.kind, &std::mem::take(&mut self.pending));
            }
        }
    }

    fn end_line(&mut self, sink: &mut Sink<'_>) {
        if !self.pending.is_empty() {
            sink.line(self.kind, &std::mem::take(&mut self.pending));
        }
    }
}

/// Where to cut a line that is too long: not within a character of UTF-8.
fn cut(line: &[u8]) -> usize {
    let is_start = |at: &usize| line[*at] & 0b1100_0000 != 0b1000_0000;
    (LINE_BYTES - 3..=LINE_BYTES).rev().find(is_start).unwrap_or(LINE_BYTES)
}

impl Sink<'_> {
    fn line(&mut self, kind: FeedbackKind, line: &[u8]) {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        if kind == FeedbackKind::Stderr && !text.trim().is_empty() {
            text.trim().clone_into(&mut self.last_stderr);
        }
        match self.budget.checked_sub(text.len() + LINE_COST) {
            Some(left) => {
                self.budget = left;
                (self.say)(kind, &text);
            }
            None => {
                self.budget = 0;
                self.dropped += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let said = RefCell::new(Vec::new());
        let say = |_: FeedbackKind, line: &str| said.borrow_mut().push(line.to_owned());
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut writer = File::from(writer);
        let mut streams = Streams::new([(reader, FeedbackKind::Stdout)], &say).unwrap();
        for chunk in chunks {
            writer.write_all(chunk).unwrap();
            streams.wait(&[], None).unwrap();
        }
        drop(writer);
        streams.finish();
        said.into_inner()
    }

    #[test]
    fn output_is_cut_at_line_feeds_wherever_it_was_read() {
        assert_eq!(lines(&[b"one\ntw", b"o\n\nthree"]), ["one", "two", "", "three"]);
        assert_eq!(lines(&[b"dos\r\n", b"bad \xff utf-8\n"]), ["dos", "bad \u{fffd} utf-8"]);
        assert_eq!(lines(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let long = format!("x{}\nend", "ä".repeat(LINE_BYTES));
        let cut = lines(&[long.as_bytes()]);
        assert_eq!(cut.len(), 4);
        assert!(cut.iter().all(|line| line.len() <= LINE_BYTES && !line.contains('\u{fffd}')));
        assert_eq!(cut[..3].concat() + "\n" + &cut[3], long);
    }

    #[test]
    fn short_lines_count_for_what_they_take_in_the_log() {
        let chunk = b"y\n".repeat(CHUNK / 2);
        let said = lines(&[&chunk[..]; 2]);
        let most = OUTPUT_BYTES / (LINE_COST + 1);
        assert_eq!(said.len(), most + 1);
        let dropped = CHUNK - most;
        assert_eq!(
            said[most],
            format!("{dropped} more lines were dropped: 1 MiB of output are kept")
        );
    }

    #[test]
    fn output_above_the_bound_is_counted_and_dropped() {
        let chunk = [b'x'; CHUNK - 1];
        let line = [&chunk[..], b"\n"].concat();
        let said = lines(&vec![&line[..]; 2 * OUTPUT_BYTES / CHUNK]);
        let bytes: usize = said.iter().map(String::len).sum();
        assert!(bytes < OUTPUT_BYTES + 200);
        assert!(said.last().unwrap().contains("more lines were dropped"));
    }
}
