//! What goes to stdout and stderr: results to the one, errors, hints and progress to the other.

use std::io::{ErrorKind, Write};

use clap::builder::styling::{AnsiColor, Style};
use lockmaster::vocabulary::{Error, Status};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::Value;

/// Prints a result. Whoever reads it may have seen enough: then there is nothing left to do.
pub(crate) fn print(text: impl std::fmt::Display) -> Result<(), Error> {
    let mut out = anstream::stdout();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.map_err(|error| Error::io("cannot write the result", error)),
    }
}

/// Prints a result whose reader may have seen enough, where there is more to do than to end.
pub(crate) fn print_if_read(text: impl std::fmt::Display) -> Result<(), Error> {
    let mut out = anstream::stdout();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::io("cannot write the result", error))
        }
        _ => Ok(()),
    }
}

/// Ends the program when nobody reads its results any more, also while it has nothing to print.
pub(crate) fn end_when_unread() -> Result<(), Error> {
    let wait = || {
        let stdout = std::io::stdout();
        let mut ended = [PollFd::new(&stdout, PollFlags::empty())];
        while let Err(Errno::INTR) = poll(&mut ended, None) {}
        std::process::exit(0);
    };
    let started = std::thread::Builder::new().spawn(wait);
    started.map(|_| ()).map_err(|error| Error::io("cannot start a thread", error))
}

/// Text from elsewhere without what would move the cursor, ring the bell or worse.
pub(crate) fn harmless(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}")
}

/// Prints a value for programs.
pub(crate) fn print_json(value: &Value) -> Result<(), Error> {
    print(format!("{value:#}"))
}

/// So many of those, in words.
pub(crate) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Says on stderr what is going on. Where nobody can hear it any more (the terminal was closed),
/// the work goes on all the same.
pub(crate) fn progress(text: impl std::fmt::Display) {
    _ = writeln!(anstream::stderr(), "{text}");
}

/// Says on stderr what went wrong, and what to do.
pub(crate) fn explain(error: &Error) {
    let red = AnsiColor::Red.on_default().bold();
    progress(format!("{red}error:{red:#} {error}"));
    if let Some(hint) = error.hint_text() {
        let cyan = AnsiColor::Cyan.on_default();
        progress(format!("{cyan}hint:{cyan:#} {hint}"));
    }
}

/// A status in its colour.
pub(crate) fn status(status: &str) -> String {
    let style = style_of(status);
    format!("{style}{status}{style:#}")
}

/// The colour of a status; plain for other words.
pub(crate) fn style_of(word: &str) -> Style {
    let colour = match word.parse() {
        Ok(Status::Success) => AnsiColor::Green,
        Ok(Status::Error) => AnsiColor::Red,
        Ok(Status::Canceled | Status::Canceling) => AnsiColor::Magenta,
        Ok(Status::Running) => AnsiColor::Blue,
        Ok(Status::Waiting) => AnsiColor::Yellow,
        Ok(Status::Queued) | Err(_) => return Style::new(),
    };
    colour.on_default()
}

/// Prints rows below a head, in columns as wide as what is in them.
pub(crate) fn print_table(head: &[String], rows: &[Vec<String>]) -> Result<(), Error> {
    print(table(head, rows))
}

/// Rows below a head, in columns as wide as what is in them.
pub(crate) fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let mut columns = Columns::default();
    [head].into_iter().chain(rows.iter().map(Vec::as_slice)).for_each(|row| columns.fit(row));
    let rows = rows.iter().map(|row| columns.row(row));
    std::iter::once(columns.head(head)).chain(rows).collect::<Vec<_>>().join("\n")
}

/// Columns as wide as what has come up in them so far.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    widths: Vec<usize>,
}

impl Columns {
    /// Makes room for a row.
    pub(crate) fn fit(&mut self, row: &[String]) {
        self.widths.resize(row.len(), 0);
        for (width, cell) in self.widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }

    /// A line that names the columns.
    pub(crate) fn head(&self, row: &[String]) -> String {
        line(row, &self.widths, |_| Style::new().bold())
    }

    /// A line of the table.
    pub(crate) fn row(&self, row: &[String]) -> String {
        line(row, &self.widths, style_of)
    }
}

fn line(cells: &[String], widths: &[usize], style: impl Fn(&str) -> Style) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let (style, pad) = (style(cell), width.saturating_sub(cell.chars().count()));
        let gap = if line.is_empty() { "" } else { "  " };
        line.push_str(&format!("{gap}{style}{cell}{style:#}{:pad$}", ""));
    }
    line.trim_end().to_owned()
}
