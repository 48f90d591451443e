//! A run as plain lines: for logs and pipes.

use std::collections::HashMap;
use std::time::Duration;

use lockmaster::runtime::JobView;
use lockmaster::vocabulary::{FeedbackEntry, JobId};

use super::follow::{Run, Show};
use super::summary;
use crate::output;

/// Prints a line whenever a job has come further.
pub(super) struct Lines {
    verbose: bool,
    last: HashMap<JobId, String>,
}

impl Lines {
    pub(super) fn new(verbose: bool) -> Self {
        Self { verbose, last: HashMap::new() }
    }
}

impl Show for Lines {
    fn changed(&mut self, run: &Run<'_>, view: &JobView, said: &[FeedbackEntry]) {
        let seconds = run.began.elapsed().as_secs_f64();
        let name = view.job.name();
        if self.verbose {
            for entry in said {
                say(&format!("{seconds:7.2}s {name}: | {}", entry.text));
            }
        }
        let now = summary::doing(run, view);
        if self.last.get(&view.job.id) != Some(&now) {
            say(&format!("{seconds:7.2}s {name}: {now}"));
            self.last.insert(view.job.id, now);
        }
    }

    fn refresh(&mut self, _: &Run<'_>) -> Option<Duration> {
        None
    }

    fn say(&mut self, sentence: &str) {
        output::progress(sentence);
    }
}

/// Says what has been said by jobs.
fn say(line: &str) {
    output::progress(output::harmless(line));
}
