//! What is drawn: a row of spans for each job, in microseconds since 1970.

use serde_json::Value;

use crate::follow::said;
use crate::{times, wording};

/// The fields of a job that a chart is made of.
pub(super) const FIELDS: [&str; 7] =
    ["label", "received_ts", "summary", "opstatus", "opstart", "opexec", "opend"];

/// Jobs over time.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) rows: Vec<Row>,
    /// The first and the last moment of all.
    pub(super) from: i64,
    pub(super) to: i64,
}

/// A job.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) status: String,
    pub(super) spans: Vec<Span>,
}

/// A piece of a job's time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// `queued`, `waiting`, `running`, or the status with which the opcode ended.
    pub(super) kind: String,
    pub(super) from: i64,
    pub(super) to: i64,
    /// What happened.
    pub(super) what: String,
}

impl Chart {
    /// The chart of those jobs, seen at `now`.
    pub(super) fn of(jobs: &[Value], now: i64) -> Self {
        let rows: Vec<Row> = jobs.iter().map(|job| Row::of(job, now)).collect();
        let spans = || rows.iter().flat_map(|row| &row.spans);
        let from = spans().map(|span| span.from).min().unwrap_or(now);
        let to = spans().map(|span| span.to).max().unwrap_or(now).max(from + 1);
        Self { from, to, rows }
    }

    /// How far a moment is from the first, where the last is 1.
    pub(super) fn place(&self, moment: i64) -> f64 {
        (moment - self.from) as f64 / (self.to - self.from) as f64
    }

    /// The time of day of a moment.
    pub(super) fn clock(&self, moment: i64) -> String {
        times::clock(moment, self.to - self.from)
    }
}

impl Row {
    fn of(job: &Value, now: i64) -> Self {
        let mut before = micros(&job["received_ts"]);
        let mut spans = Vec::new();
        for index in 0..job["summary"].as_array().map_or(0, Vec::len) {
            let of = |field: &str| &job[field][index];
            let (status, what) = (said(of("opstatus")), said(of("summary")));
            let open = before.filter(|_| !is_final(&status)).map(|_| now);
            // When it was taken up is on record only once it executes.
            let before_it = if status == "waiting" { "waiting" } else { "queued" };
            let (start, exec) = (micros(of("opstart")), micros(of("opexec")));
            let end = micros(of("opend")).or(open);
            let ran = if is_final(&status) { status.as_str() } else { "running" };
            let taken = start.or(end);
            let held = exec.or(end);
            for (kind, from, to) in
                [(before_it, before, taken), ("waiting", start, held), (ran, exec, end)]
            {
                spans.extend(Span::of(kind, from, to, &what));
            }
            before = end;
            if open.is_some() {
                break;
            }
        }
        let status = said(&job["status"]);
        Self { name: wording::name(&job["id"], &job["label"]), status, spans }
    }
}

impl Span {
    fn of(kind: &str, from: Option<i64>, to: Option<i64>, what: &str) -> Option<Self> {
        let (from, to) = (from?, to?);
        (from < to).then(|| Self { kind: kind.to_owned(), from, to, what: what.to_owned() })
    }
}

fn is_final(status: &str) -> bool {
    ["success", "error", "canceled"].contains(&status)
}

fn micros(pair: &Value) -> Option<i64> {
    pair[0].as_i64()?.checked_mul(1_000_000)?.checked_add(pair[1].as_i64()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spans(job: &Value) -> Vec<(String, i64, i64)> {
        let row = Row::of(job, 100_000_000);
        row.spans.into_iter().map(|span| (span.kind, span.from, span.to)).collect()
    }

    fn span(kind: &str, from: i64, to: i64) -> (String, i64, i64) {
        (kind.to_owned(), from * 1_000_000, to * 1_000_000)
    }

    #[test]
    fn the_time_of_a_job_is_cut_where_something_happened() {
        let job = json!({
            "id": 1, "label": null, "status": "running", "received_ts": [1, 0],
            "summary": ["A", "B", "C"], "opstatus": ["success", "running", "queued"],
            "opstart": [[3, 0], [9, 0], null], "opexec": [[4, 0], [10, 0], null],
            "opend": [[9, 0], null, null],
        });
        let expected = [
            span("queued", 1, 3),
            span("waiting", 3, 4),
            span("success", 4, 9),
            span("waiting", 9, 10),
            span("running", 10, 100),
        ];
        assert_eq!(spans(&job), expected);
    }

    #[test]
    fn what_never_started_was_queued_until_its_end() {
        let job = json!({
            "id": 1, "label": null, "status": "canceled", "received_ts": [1, 0],
            "summary": ["A"], "opstatus": ["canceled"], "opstart": [null], "opexec": [null],
            "opend": [[7, 0]],
        });
        assert_eq!(spans(&job), [span("queued", 1, 7)]);
    }

    #[test]
    fn a_chart_of_nothing_has_a_width() {
        let chart = Chart::of(&[], 5);
        assert!(chart.from < chart.to && chart.rows.is_empty());
    }
}
