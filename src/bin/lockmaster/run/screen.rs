//! A run on a terminal: what has ended scrolls by, what runs and what waits for what stays.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lockmaster::runtime::JobView;
use lockmaster::vocabulary::{FeedbackEntry, Status};

use super::follow::{Run, Show};
use super::summary;
use crate::output;

/// How often the times on the screen are brought up to date, and changes are drawn at most.
const REFRESH: Duration = Duration::from_millis(100);
/// How many jobs are shown at a time.
const ROWS: usize = 12;

/// Keeps the state of the run on the screen.
pub(super) struct Screen {
    verbose: bool,
    bar: ProgressBar,
}

impl Screen {
    pub(super) fn new(verbose: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let template = "{bar:30.green/dim} {pos} of {len} jobs in {elapsed}{msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { verbose, bar }
    }
}

impl Show for Screen {
    fn changed(&mut self, run: &Run<'_>, view: &JobView, said: &[FeedbackEntry]) {
        let name = view.job.name();
        if self.verbose {
            let line = |text: &str| output::harmless(&format!("{name} | {text}"));
            said.iter().for_each(|entry| self.say(&line(&entry.text)));
        }
        if view.status.is_final() {
            let doing = summary::doing(run, view);
            let word = view.status.as_str();
            let rest = doing.strip_prefix(word).unwrap_or(&doing);
            let rest = output::harmless(&format!("{name}{rest}"));
            self.say(&format!("{} {rest}", output::status(word)));
        }
    }

    fn refresh(&mut self, run: &Run<'_>) -> Option<Duration> {
        let ended = run.views.values().filter(|view| view.status.is_final()).count();
        self.bar.set_length(run.order.len() as u64);
        self.bar.set_position(ended as u64);
        self.bar.set_message(rows(run));
        Some(REFRESH)
    }

    fn say(&mut self, sentence: &str) {
        self.bar.suspend(|| output::progress(sentence));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What runs first, then what waits for locks, then the rest.
fn rows(run: &Run<'_>) -> String {
    let mut open: Vec<&JobView> = run.in_order().filter(|view| !view.status.is_final()).collect();
    open.sort_by_key(|view| match view.status {
        Status::Running | Status::Canceling => 0,
        Status::Waiting => 1,
        _ => 2,
    });
    let mut text = String::new();
    for view in open.iter().take(ROWS) {
        let (name, doing) = (view.job.name(), summary::doing(run, view));
        let long = summary::how_long(run, view).map_or(String::new(), |long| format!(", {long}"));
        text.push_str("\n  ");
        text.push_str(&output::harmless(&format!("{name}: {doing}{long}")));
    }
    if open.len() > ROWS {
        text.push_str(&format!("\n  and {} more", open.len() - ROWS));
    }
    text
}
