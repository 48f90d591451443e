//! Up to which job the end of a run has been shown to somebody.

use std::fs;
use std::path::{Path, PathBuf};

use lockmaster::runtime::JobView;
use lockmaster::vocabulary::JobId;

use crate::output;

/// A file in the state directory with the number of the last job whose end was shown. Where it
/// cannot be read, nothing was: it costs no more than a summary shown twice.
pub(super) struct Shown {
    path: PathBuf,
    last: u64,
}

impl Shown {
    pub(super) fn of(state_dir: &Path) -> Self {
        let path = state_dir.join("shown");
        let text = fs::read_to_string(&path).unwrap_or_default();
        Self { path, last: text.trim().parse().unwrap_or_default() }
    }

    /// Whether that job came after all that was shown.
    pub(super) fn is_before(&self, job: JobId) -> bool {
        self.last < job.get()
    }

    /// Those jobs were shown, if all of them have ended.
    pub(super) fn mark(&self, views: &[JobView]) {
        let all_ended = views.iter().all(|view| view.status.is_final());
        let last = views.iter().map(|view| view.job.id.get()).max();
        let Some(last) = last.filter(|last| all_ended && *last > self.last) else { return };
        if let Err(error) = fs::write(&self.path, format!("{last}\n")) {
            let path = self.path.display();
            output::progress(format!("the next run will show this again: {path}: {error}"));
        }
    }
}
