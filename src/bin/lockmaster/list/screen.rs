//! How a list is shown that changes: in place at a terminal, line by line elsewhere, as JSON.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use lockmaster::vocabulary::Error;
use serde_json::{Value, json};

use super::{cells, head, only};
use crate::output::{self, Columns};

/// How long changes are gathered before a terminal is drawn anew: nobody reads faster.
const GATHERED_FOR_EYES: Duration = Duration::from_millis(100);
/// The size of a terminal that does not say it.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Where a list is shown.
#[derive(Debug)]
pub(super) enum Screen {
    /// A terminal, on which so many lines are drawn.
    Terminal { lines: usize },
    /// A file or a pipe.
    Lines(Columns),
    /// For programs.
    Json,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match (json, stdout().is_terminal() && !dumb) {
            (true, _) => Self::Json,
            (false, true) => Self::Terminal { lines: 0 },
            (false, false) => Self::Lines(Columns::default()),
        }
    }

    /// How long to wait for more after a change.
    pub(super) const fn gathers(&self) -> Duration {
        match self {
            Self::Terminal { .. } => GATHERED_FOR_EYES,
            Self::Lines(_) | Self::Json => Duration::ZERO,
        }
    }

    /// Shows the list for the first time.
    pub(super) fn begin(&mut self, jobs: &[Value], fields: &[&str]) -> Result<(), Error> {
        match self {
            Self::Terminal { .. } => self.show(|| jobs.to_vec(), &[], fields),
            Self::Json => print_array(jobs.iter().map(|job| with_id(job, fields))),
            Self::Lines(columns) => {
                columns.fit(&head(fields));
                columns.fit(&usual(fields));
                let rows: Vec<Vec<String>> = jobs.iter().map(|job| cells(job, fields)).collect();
                rows.iter().for_each(|row| columns.fit(row));
                output::print(columns.head(&head(fields)))?;
                rows.iter().try_for_each(|row| output::print(columns.row(row)))
            }
        }
    }

    /// Shows what has changed. `jobs` gives the whole list as it is now.
    pub(super) fn show(
        &mut self,
        jobs: impl FnOnce() -> Vec<Value>,
        changed: &[(u64, Option<Value>)],
        fields: &[&str],
    ) -> Result<(), Error> {
        match self {
            Self::Terminal { lines } => {
                let (width, height) = size();
                let rows: Vec<Vec<String>> = jobs().iter().map(|job| cells(job, fields)).collect();
                let page = page(&output::table(&head(fields), &rows), width, height);
                *lines = draw(*lines, &page)?;
                Ok(())
            }
            Self::Json => print_array(changed.iter().map(|(id, job)| match job {
                Some(job) => with_id(job, fields),
                None => json!({ "id": id, "gone": true }),
            })),
            Self::Lines(columns) => changed.iter().try_for_each(|(id, job)| match job {
                Some(job) => {
                    let row = cells(job, fields);
                    columns.fit(&row);
                    output::print(columns.row(&row))
                }
                None => output::print(format!("job {id} is in the list no more")),
            }),
        }
    }
}

/// A row of the usual width: what comes later is not known yet.
fn usual(fields: &[&str]) -> Vec<String> {
    let width = |field: &&str| match *field {
        "id" => 5,
        "status" => 9,
        "label" | "summary" => 16,
        _ => 0,
    };
    fields.iter().map(|field| " ".repeat(width(field))).collect()
}

fn with_id(job: &Value, fields: &[&str]) -> Value {
    only(job, &[&["id"], fields].concat())
}

fn print_array(jobs: impl Iterator<Item = Value>) -> Result<(), Error> {
    output::print(jobs.collect::<Value>())
}

fn size() -> (usize, usize) {
    let size = terminal_size::terminal_size();
    size.map_or(USUAL_SIZE, |(width, height)| (width.0.into(), height.0.into()))
}

/// As much of a table as a terminal of that size can show, line by line.
fn page(table: &str, width: usize, height: usize) -> Vec<String> {
    let lines: Vec<&str> = table.lines().collect();
    // The cursor stands on a line of its own.
    let room = height.saturating_sub(1).max(2);
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    let mut page: Vec<String> = lines[..shown].iter().map(|line| cut(line, width)).collect();
    if shown < lines.len() {
        page.push(cut(&format!("... and {} more", lines.len() - shown), width));
    }
    page
}

/// Draws a page over the lines that were drawn before; how many there are now.
fn draw(drawn: usize, page: &[String]) -> Result<usize, Error> {
    let mut over = String::new();
    if drawn > 0 {
        over = format!("\x1b[{drawn}A\r\x1b[J");
    }
    // Past what takes colours away where they are not wanted: this is no colour.
    let moved = stdout().write_all(over.as_bytes());
    moved.map_err(|error| Error::io("cannot write the result", error))?;
    output::print(page.join("\n"))?;
    Ok(page.len())
}

/// The first characters of a line, colours not counted.
fn cut(line: &str, width: usize) -> String {
    let (mut cut, mut seen, mut in_style) = (String::new(), 0, false);
    for character in line.chars() {
        let begins = character == '\x1b';
        if !in_style && !begins {
            seen += 1;
        }
        if in_style || begins || seen <= width {
            cut.push(character);
        }
        in_style = begins || (in_style && character != 'm');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_their_colours_are_not() {
        assert_eq!(cut("\x1b[32msuccess\x1b[0m more", 4), "\x1b[32msucc\x1b[0m");
        assert_eq!(cut("h\u{e9}llo", 2), "h\u{e9}");
        assert_eq!(cut("short", 80), "short");
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let table = "ID\n1\n2\n3\n4";
        assert_eq!(page(table, 80, 6), ["ID", "1", "2", "3", "4"]);
        assert_eq!(page(table, 80, 5), ["ID", "1", "2", "... and 2 more"]);
        assert_eq!(page(table, 80, 0), ["ID", "... and 4 more"]);
    }
}
