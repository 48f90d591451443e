//! What the fuzzers of job files and of the protocol call (`fuzz/`): any text is understood or
//! refused in words.

use super::catalogue::Catalogue;
use super::job_file::JobFile;
use crate::vocabulary::Hierarchy;

pub use super::luxi::fuzzing::{filter, luxi};

/// A job file in TOML, or in JSON where it begins as such.
///
/// # Panics
///
/// Where a refusal does not name the file.
pub fn job_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let is_json = text.trim_start().starts_with('[');
    let name = if is_json { "jobs.json" } else { "jobs.toml" };
    let known = Catalogue::new(Hierarchy::default()).with_any_other();
    if let Err(error) = JobFile::parse(name, &text, known) {
        assert!(error.to_string().contains(name), "it says where: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::corpus::replay;

    #[test]
    fn any_text_is_a_job_file_or_an_error_that_names_it() {
        replay("job_file", job_file);
    }

    #[test]
    fn any_bytes_are_requests_or_refused() {
        replay("luxi", luxi);
    }

    #[test]
    fn any_json_is_a_filter_or_refused() {
        replay("filter", filter);
    }
}
