//! `lockmaster list --watch`: the list as it changes.
//!
//! The daemon says which jobs have changed; only those are looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use lockmaster::interfaces::luxi::{Changes, Client};
use lockmaster::vocabulary::{Error, JobId};
use serde_json::{Value, json};

use super::screen::Screen;
use super::{ListArgs, asked, filter, one_of, sort};
use crate::daemon::{query, query_where};
use crate::output;
use crate::which::{self, resolve};

/// Shows the list, and then what changes in it, until the daemon stops.
pub(super) fn run(
    args: &ListArgs,
    client: &mut Client,
    fields: &[&str],
) -> Result<ExitCode, Error> {
    output::end_when_unread()?;
    let mut screen = Screen::new(args.json);
    let mut changes = client.changes(None, screen.gathers())?;
    // Jobs that are named have to exist.
    if !args.jobs.is_empty() {
        let named = resolve(client, &args.jobs)?;
        query(client, &named, &[])?;
    }
    let mut list = List { args, fields, conditions: conditions(args), jobs: BTreeMap::new() };
    list.update(client, &changes, None)?;
    screen.begin(&list.in_order(), fields)?;
    loop {
        let last = changes.last;
        changes = client.changes(Some(changes.mark), screen.gathers())?;
        let changed = list.update(client, &changes, last)?;
        if !changed.is_empty() {
            screen.show(|| list.in_order(), &list.rows(&changed), fields)?;
        }
    }
}

/// What holds of the jobs that are listed, also of those to come.
fn conditions(args: &ListArgs) -> Vec<Value> {
    let named = (!args.jobs.is_empty()).then(|| which::filter(&args.jobs));
    named.into_iter().chain([filter(args)].into_iter().filter(|filter| !filter.is_null())).collect()
}

/// The jobs that are listed, as they were when they were looked at last.
struct List<'a> {
    args: &'a ListArgs,
    fields: &'a [&'a str],
    conditions: Vec<Value>,
    jobs: BTreeMap<u64, Value>,
}

impl List<'_> {
    /// Looks at what has changed, and at what is new since that id was given out. The ids of those
    /// that look different now, or are in the list no more.
    fn update(
        &mut self,
        client: &mut Client,
        changes: &Changes,
        last: Option<JobId>,
    ) -> Result<BTreeSet<u64>, Error> {
        let Some(ids) = &changes.jobs else {
            let found = self.look(client, &[])?;
            let all: Vec<u64> = self.jobs.keys().copied().collect();
            return Ok(self.replace(all, found));
        };
        let mut found = match ids.is_empty() {
            true => Vec::new(),
            false => self.look(client, &[one_of("id", ids)])?,
        };
        if changes.last > last {
            let above = last.map_or(0, JobId::get);
            let new = [json!([">", "id", above]), json!(["<=", "id", changes.last])];
            found.extend(self.look(client, &new)?);
        }
        Ok(self.replace(ids.iter().map(|id| id.get()), found))
    }

    /// The jobs of the list for which that holds, too.
    fn look(&self, client: &mut Client, conditions: &[Value]) -> Result<Vec<Value>, Error> {
        // All of them have to hold, also where it is one: a job that is named by its id and
        // nothing else is found in the archive, too.
        let all =
            [json!("&")].into_iter().chain(conditions.iter().chain(&self.conditions).cloned());
        query_where(client, &all.collect(), &asked(self.args, self.fields))
    }

    /// Puts those that were found in place of what is known of these.
    fn replace(
        &mut self,
        these: impl IntoIterator<Item = u64>,
        found: Vec<Value>,
    ) -> BTreeSet<u64> {
        let found: BTreeMap<u64, Value> =
            found.into_iter().filter_map(|job| Some((job["id"].as_u64()?, job))).collect();
        let gone = these.into_iter().filter(|id| !found.contains_key(id));
        let mut changed: BTreeSet<u64> = gone.filter(|id| self.jobs.remove(id).is_some()).collect();
        for (id, job) in found {
            if self.jobs.get(&id) != Some(&job) {
                changed.insert(id);
                self.jobs.insert(id, job);
            }
        }
        changed
    }

    fn in_order(&self) -> Vec<Value> {
        let mut jobs: Vec<Value> = self.jobs.values().cloned().collect();
        sort(self.args, &mut jobs);
        jobs
    }

    /// Those jobs; of those that are in the list no more, nothing.
    fn rows(&self, ids: &BTreeSet<u64>) -> Vec<(u64, Option<Value>)> {
        ids.iter().map(|id| (*id, self.jobs.get(id).cloned())).collect()
    }
}
