//! The chart as SVG.

use super::chart::{Chart, Row};
use crate::svg::{LINE, Svg, width};
use crate::times;

/// How wide the bars are drawn altogether, in pixels.
const BARS: f64 = 800.0;
const MARGIN: f64 = 10.0;
/// How many marks the axis of time has.
const MARKS: u32 = 4;

/// The chart as SVG.
pub(super) fn drawn(chart: &Chart) -> String {
    let names = chart.rows.iter().map(|row| width(&row.name)).fold(60.0, f64::max) + 2.0 * MARGIN;
    let mut svg = Svg::default();
    let high = MARGIN + (chart.rows.len() + 1) as f64 * LINE;
    for mark in 0..=MARKS {
        let part = f64::from(mark) / f64::from(MARKS);
        let x = names + part * BARS;
        let moment = chart.from + ((chart.to - chart.from) as f64 * part) as i64;
        svg.line("grid", (x, MARGIN + LINE - 6.0), (x, high));
        svg.text("dim", (x, MARGIN + 10.0), &chart.clock(moment));
    }
    for (number, row) in chart.rows.iter().enumerate() {
        draw_row(&mut svg, chart, row, (names, MARGIN + (number + 1) as f64 * LINE));
    }
    legend(&mut svg, high + LINE);
    svg.finish(names + BARS + 12.0 * MARGIN, high + 2.0 * LINE)
}

fn draw_row(svg: &mut Svg, chart: &Chart, row: &Row, (x, y): (f64, f64)) {
    svg.text("", (MARGIN, y + 13.0), &row.name);
    for span in &row.spans {
        let (from, to) = (chart.place(span.from) * BARS, chart.place(span.to) * BARS);
        let long = times::seconds(span.to - span.from);
        let tip = format!("{}: {}, {long}", span.what, span.kind);
        svg.rect(&span.kind, (x + from, y + 2.0), ((to - from).max(1.0), LINE - 8.0), &tip);
    }
    svg.text("dim", (x + BARS + 4.0, y + 13.0), &row.status);
}

fn legend(svg: &mut Svg, y: f64) {
    let kinds = ["queued", "waiting", "running", "success", "error", "canceled"];
    for (x, kind) in (0..).map(|place| MARGIN + f64::from(place) * 130.0).zip(kinds) {
        svg.rect(kind, (x, y - 12.0), (14.0, 14.0), kind);
        svg.text("", (x + 20.0, y), if kind == "waiting" { "waits for locks" } else { kind });
    }
}
