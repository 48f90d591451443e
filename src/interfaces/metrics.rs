//! Counters in the text format of Prometheus, and a page on a loopback port that shows them.
//!
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

mod page;

use std::fmt::Write;

pub use page::MetricsPage;

use crate::runtime::{Histogram, Stats};

/// The counters in the text format of Prometheus.
#[must_use]
pub fn prometheus(stats: &Stats) -> String {
    let mut text = Exposition::default();
    text.gauges(stats);
    text.counters(stats);
    let wait = "How long requests waited for locks";
    text.levels("lock_wait_seconds", wait, stats, |(_, wait, _)| wait);
    let hold = "How long opcodes held locks, from when they had all they asked for";
    text.levels("lock_hold_seconds", hold, stats, |(_, _, hold)| hold);
    text.head("log_sync_seconds", "histogram", "How long the log took to be written and synced");
    text.histogram("log_sync_seconds", "", &stats.syncs, 1e6);
    text.head("log_batch_transactions", "histogram", "How many transactions were written at once");
    text.histogram("log_batch_transactions", "", &stats.batches, 1.0);
    text.text
}

#[derive(Default)]
struct Exposition {
    text: String,
}

type Level = (String, Histogram, Histogram);

impl Exposition {
    fn gauges(&mut self, stats: &Stats) {
        let longest = stats.longest_wait.map_or(0.0, |(_, waited)| waited.as_secs_f64());
        let queued = stats.unfinished.saturating_sub(stats.active);
        let running = stats.active.saturating_sub(stats.waiting);
        let gauges = [
            ("jobs", "Jobs in the queue, those that have ended included", stats.jobs as f64),
            ("jobs_unfinished", "Jobs that have not ended", stats.unfinished as f64),
            ("jobs_queued", "Jobs that nobody has taken up yet", queued as f64),
            ("jobs_running", "Jobs that execute, or wait for disk", running as f64),
            ("jobs_active", "Jobs that execute or wait for locks or disk", stats.active as f64),
            ("jobs_waiting", "Jobs that wait for locks", stats.waiting as f64),
            ("longest_wait_seconds", "How long the oldest of them has waited", longest),
            ("workers", "Opcodes that can execute at once", stats.workers.0 as f64),
            ("workers_free", "Workers with nothing to do", stats.workers.1 as f64),
        ];
        for (name, help, value) in gauges {
            self.head(name, "gauge", help);
            self.line(name, "", value);
        }
    }

    fn counters(&mut self, stats: &Stats) {
        let (submitted, refused) = stats.submitted;
        self.head("jobs_submitted_total", "counter", "Jobs that were taken in");
        self.line("jobs_submitted_total", "", submitted as f64);
        self.head("submissions_refused_total", "counter", "Submissions that were refused");
        self.line("submissions_refused_total", "", refused as f64);
        self.head("opcodes_ended_total", "counter", "Opcodes that have ended");
        for (status, count) in ["success", "error", "canceled"].iter().zip(stats.ended) {
            self.line("opcodes_ended_total", &format!("{{status=\"{status}\"}}"), count as f64);
        }
    }

    fn levels(&mut self, name: &str, help: &str, stats: &Stats, of: impl Fn(&Level) -> &Histogram) {
        self.head(name, "histogram", help);
        for level in &stats.levels {
            self.histogram(name, &format!("level=\"{}\",", escaped(&level.0)), of(level), 1e6);
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.put(&format!("# HELP lockmaster_{name} {help}.\n# TYPE lockmaster_{name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        self.put(&format!("lockmaster_{name}{labels} {value}\n"));
    }

    fn histogram(&mut self, name: &str, labels: &str, all: &Histogram, unit: f64) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in all.buckets() {
            let le = bound as f64 / unit;
            self.line(&bucket, &format!("{{{labels}le=\"{le}\"}}"), count as f64);
        }
        self.line(&bucket, &format!("{{{labels}le=\"+Inf\"}}"), all.count() as f64);
        let labels = match labels.trim_end_matches(',') {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        self.line(&format!("{name}_sum"), &labels, all.sum() as f64 / unit);
        self.line(&format!("{name}_count"), &labels, all.count() as f64);
    }

    fn put(&mut self, text: &str) {
        // Writing to a string cannot fail.
        let _ = self.text.write_str(text);
    }
}

/// The value of a label; names of levels have nothing else to escape.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
