//! On what terms jobs and opcodes are carried out: `deadline`, `retries`, `keep_locks`.

use super::super::catalogue::{durations, retries};
use super::super::located::{Fields, Located};
use crate::vocabulary::{Error, JobTerms, OpTerms};

/// The terms of a job.
pub(super) fn of_job(job: &Fields<'_>) -> Result<JobTerms, Error> {
    let within = job.get("deadline").map(durations::read_positive).transpose()?;
    let keep_locks = job.get("keep_locks").map_or(Ok(false), |at| at.boolean())?;
    Ok(JobTerms { within, keep_locks })
}

/// Takes a term of an opcode, if `key` is one.
pub(super) fn read_of_op(terms: &mut OpTerms, key: &str, value: Located<'_>) -> Result<(), Error> {
    match key {
        "deadline" => terms.within = Some(durations::read_positive(value)?),
        "retries" => terms.retries = Some(retries::read(value)?),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::JobFile;
    use crate::interfaces::catalogue::Catalogue;
    use crate::vocabulary::Retries;

    fn read(text: &str) -> Result<JobFile, String> {
        let known = Catalogue::new(Default::default()).with_any_other();
        JobFile::parse("f.toml", text, known).map_err(|error| error.to_string())
    }

    #[test]
    fn terms_are_read_for_jobs_and_for_their_opcodes() {
        let text = "[[job]]\ndeadline = '2h'\nkeep_locks = true\n\
                    op = [{ OP_ID = 'OP_X', deadline = '5m', retries = 3 }, { OP_ID = 'OP_X' }]\n\
                    [[job]]\nop = [{ OP_ID = 'OP_X', retries = { tries = 9, first = '2m' } }]\n";
        let jobs = read(text).unwrap().jobs;
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!((jobs[0].terms.within, jobs[0].terms.keep_locks), (Some(minutes(120)), true));
        let first = &jobs[0].ops[0].terms;
        assert_eq!(first.within, Some(minutes(5)));
        assert_eq!(first.retries, Some(Retries { tries: 3, ..Retries::default() }));
        assert_eq!(jobs[0].ops[1].terms, Default::default());
        let longer = Retries { tries: 9, first: minutes(2), most: minutes(2) };
        assert_eq!(
            jobs[1].ops[0].terms.retries,
            Some(longer),
            "the longest is not below the first"
        );
    }

    #[test]
    fn terms_that_cannot_be_are_refused_with_their_place() {
        for (job, op, place, expected) in [
            ("deadline = 5", "", "2:12", "expected a duration such as"),
            ("deadline = '0s'", "", "2:12", "longer than nothing"),
            ("keep_locks = 'yes'", "", "2:14", "expected"),
            ("deadlin = '5s'", "", "2:1", "no field \"deadlin\""),
            ("", ", retries = 0", "3:35", "0 is not a number of tries from 1 to 1000"),
            ("", ", retries = 'often'", "3:35", "how many times it is tried in all"),
            ("", ", retries = { first = '1s' }", "3:35", "needs the field \"tries\""),
            ("", ", retries = { tries = 2, forst = '1s' }", "3:48", "no field \"forst\""),
            (
                "",
                ", retries = { tries = 2, first = '9s', most = '1s' }",
                "3:69",
                "the longest wait is shorter",
            ),
        ] {
            let text = format!("[[job]]\n{job}\nop = [{{ OP_ID = 'OP_X'{op} }}]\n");
            let error = read(&text).unwrap_err();
            assert!(error.starts_with(&format!("f.toml:{place}: ")), "{text}{error}");
            assert!(error.contains(expected), "{text}{error}");
        }
    }
}
