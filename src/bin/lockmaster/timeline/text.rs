//! The chart in the terminal.

use clap::builder::styling::{AnsiColor, Style};

use super::chart::{Chart, Row};
use crate::output;

/// How long a name may be before it is cut.
const NAME: usize = 28;

/// How many columns the terminal has; 100 where there is none.
pub(super) fn columns() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| width.0.into())
}

/// The chart in so many columns.
pub(super) fn drawn(chart: &Chart, columns: usize) -> String {
    let longest = chart.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let names = longest.min(NAME);
    let bars = columns.saturating_sub(names + 12).clamp(10, 200);
    let (from, to) = (chart.clock(chart.from), chart.clock(chart.to));
    let head = format!("{:names$}  {from}{to:>1$}", "", bars.saturating_sub(from.len()));
    let rows = chart.rows.iter().map(|row| line(chart, row, names, bars));
    let legend = format!("{:names$}  · queued  ▒ waits for locks  █ executes", "");
    [head].into_iter().chain(rows).chain([legend]).collect::<Vec<_>>().join("\n")
}

fn line(chart: &Chart, row: &Row, names: usize, bars: usize) -> String {
    let name: String = row.name.chars().take(NAME).collect();
    let mut line = format!("{name:names$}  ");
    for column in 0..bars {
        let (style, mark) = mark(chart, row, column as f64 / bars as f64, 1.0 / bars as f64);
        line.push_str(&format!("{style}{mark}{style:#}"));
    }
    format!("{line}  {}", output::status(&row.status))
}

/// What a column shows: the last of what happened within it.
fn mark(chart: &Chart, row: &Row, from: f64, wide: f64) -> (Style, char) {
    let within = |span: &&super::chart::Span| {
        chart.place(span.from) < from + wide && chart.place(span.to) > from
    };
    match row.spans.iter().rfind(within).map(|span| span.kind.as_str()) {
        None => (Style::new(), ' '),
        Some("queued") => (Style::new().dimmed(), '·'),
        Some("waiting") => (AnsiColor::Yellow.on_default(), '▒'),
        Some(kind) => (output::style_of(kind), '█'),
    }
}
