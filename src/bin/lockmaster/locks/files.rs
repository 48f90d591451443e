//! `lockmaster locks --files`: the locks that are files of this machine, with or without a daemon.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lockmaster::runtime::{FenceReport, LockDir};
use lockmaster::vocabulary::{Error, LockMode};
use serde_json::{Value, json};

use crate::{output, times};

/// Prints which processes hold which locks, and which wait for them, the next one first.
pub(super) fn run(path: &Path, as_json: bool) -> Result<ExitCode, Error> {
    let reports = LockDir::open(path)?.list()?;
    match as_json {
        true => output::print_json(&reports.iter().map(told).collect())?,
        false => {
            let head = ["LOCK", "WHO", "PROCESS", "MODE", "FOR", "WHAT"].map(str::to_owned);
            let now = jiff::Timestamp::now().as_microsecond();
            let rows: Vec<Vec<String>> =
                reports.iter().flat_map(|report| rows(report, now)).collect();
            output::print_table(&head, &rows)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn told(report: &FenceReport) -> Value {
    let holder = |(pid, mode): &(u32, LockMode)| json!({ "process": pid, "mode": mode });
    json!({
        "lock": report.name.to_string(),
        "holders": report.holders.iter().map(holder).collect::<Value>(),
        "waiters": report.waiters,
        "record": report.record,
    })
}

fn rows(report: &FenceReport, now: i64) -> Vec<Vec<String>> {
    // Whoever has a single lock of a level shares the whole of it: that says nothing new.
    let implied = |mode| report.name.name().is_none() && mode == LockMode::Shared;
    let row = |who: String, process: u32, mode: &str, long: String, what: String| {
        let process = if process == 0 { "elsewhere".to_owned() } else { process.to_string() };
        vec![output::harmless(&report.name.to_string()), who, process, mode.to_owned(), long, what]
    };
    let unsaid = || "-".to_owned();
    let mut rows = Vec::new();
    for (pid, mode) in report.holders.iter().filter(|(_, mode)| !implied(*mode)) {
        let record = report.record.as_ref().filter(|record| record.pid == *pid);
        let (long, what) = record.map_or((unsaid(), unsaid()), |r| (since(r.since, now), said(r)));
        rows.push(row("holds".to_owned(), *pid, mode_name(*mode), long, what));
    }
    if let Some(record) = report.record.as_ref().filter(|record| !record.is_alive()) {
        let long = since(record.since, now);
        rows.push(row("died with it".to_owned(), record.pid, "exclusive", long, said(record)));
    }
    let waits = report.waiters.iter().zip(1..);
    rows.extend(
        waits.map(|(pid, turn)| row(format!("waits, {turn}."), *pid, "-", unsaid(), unsaid())),
    );
    rows
}

const fn mode_name(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Shared => "shared",
        LockMode::Exclusive => "exclusive",
    }
}

fn since(micros: i64, now: i64) -> String {
    let long = u64::try_from(now.saturating_sub(micros)).unwrap_or_default();
    times::said(Duration::from_micros(long))
}

fn said(record: &lockmaster::runtime::OwnerRecord) -> String {
    let note = if record.note.is_empty() { "" } else { ": " };
    output::harmless(&format!("{}{note}{}", record.who, record.note))
}
