//! Which jobs are meant: ids, ranges of ids, and labels.

use std::collections::HashSet;
use std::str::FromStr;

use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{Error, ErrorKind, JobId};
use serde_json::{Value, json};

/// How jobs are named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The job of that id.
    Id(JobId),
    /// All jobs from the one to the other that there are, such as `3-7`.
    Range(JobId, JobId),
    /// All jobs of that label.
    Label(String),
}

impl Which {
    fn filter(&self) -> Value {
        match self {
            Self::Id(id) => json!(["=", "id", id]),
            Self::Range(first, last) => json!(["&", [">=", "id", first], ["<=", "id", last]]),
            Self::Label(label) => json!(["=", "label", label]),
        }
    }
}

impl FromStr for Which {
    type Err = Error;

    /// What begins with a digit is an id or a range; everything else is a label. A label that
    /// begins with a digit is written with a colon before it.
    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(label) = text.strip_prefix(':').filter(|label| !label.is_empty()) {
            return Ok(Self::Label(label.to_owned()));
        }
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return match text.is_empty() || text.starts_with([':', '-']) {
                true => Err(text.parse::<JobId>().err().unwrap_or_else(|| wrong(text))),
                false => Ok(Self::Label(text.to_owned())),
            };
        }
        let id = |text: &str| text.parse::<JobId>().map_err(|_| wrong(text));
        let Some((first, last)) = text.split_once('-') else { return id(text).map(Self::Id) };
        match (id(first)?, id(last)?) {
            (first, last) if first <= last => Ok(Self::Range(first, last)),
            _ => Err(Error::invalid(format!("the range {text} is empty"))
                .hint("the smaller id comes first")),
        }
    }
}

fn wrong(text: &str) -> Error {
    Error::invalid(format!("{text:?} is neither the id of a job nor a range of ids")).hint(
        "jobs are named by id (7), range (7-12) or label (nightly; :7up if it begins with a digit)",
    )
}

/// The ids of the jobs meant, each once, in the order they were named.
///
/// # Errors
///
/// `NotFound` where a label or a range names no job; whether a single id exists is not looked at.
pub(crate) fn resolve(client: &mut Client, which: &[Which]) -> Result<Vec<JobId>, Error> {
    let mut seen = HashSet::new();
    let mut ids = Vec::new();
    for one in which {
        ids.extend(named(client, one)?.into_iter().filter(|id| seen.insert(*id)));
    }
    Ok(ids)
}

/// What holds of the jobs meant, also of those to come, in the daemon's language.
pub(crate) fn filter(which: &[Which]) -> Value {
    [json!("|")].into_iter().chain(which.iter().map(Which::filter)).collect()
}

/// The id of the one job meant.
///
/// # Errors
///
/// `NotFound` where there is none, `Invalid` where several are.
pub(crate) fn resolve_one(client: &mut Client, which: &Which) -> Result<JobId, Error> {
    match named(client, which)?[..] {
        [id] => Ok(id),
        ref ids => {
            let some: Vec<String> = ids.iter().take(10).map(JobId::to_string).collect();
            let more = if ids.len() > some.len() { ", ..." } else { "" };
            Err(Error::invalid(format!("{} jobs are meant", ids.len()))
                .hint(format!("say which one: {}{more}", some.join(", "))))
        }
    }
}

fn named(client: &mut Client, which: &Which) -> Result<Vec<JobId>, Error> {
    let missing = match which {
        Which::Id(id) => return Ok(vec![*id]),
        Which::Range(first, last) => format!("there is no job from {first} to {last}"),
        Which::Label(label) => format!("no job has the label {label:?}"),
    };
    let rows = client.query_where(&which.filter(), &["id"])?;
    let ids: Vec<JobId> = rows.iter().filter_map(|row| id_of(&row[0])).collect();
    match ids.is_empty() {
        true => {
            Err(Error::new(ErrorKind::NotFound, missing)
                .hint("lockmaster list shows those there are"))
        }
        false => Ok(ids),
    }
}

fn id_of(value: &Value) -> Option<JobId> {
    JobId::new(value.as_u64()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_named_by_id_range_or_label() {
        let id = |number| JobId::new(number).unwrap();
        let cases = [
            ("7", Which::Id(id(7))),
            ("7-12", Which::Range(id(7), id(12))),
            ("7-7", Which::Range(id(7), id(7))),
            ("nightly", Which::Label("nightly".to_owned())),
            ("back up web-1", Which::Label("back up web-1".to_owned())),
            (":7up", Which::Label("7up".to_owned())),
        ];
        for (text, which) in cases {
            assert_eq!(text.parse::<Which>().unwrap(), which, "{text}");
        }
        for text in ["", ":", "0", "12-7", "7-", "7x", "7-x", "-7"] {
            assert!(text.parse::<Which>().is_err(), "{text}");
        }
    }
}
