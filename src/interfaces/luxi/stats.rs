//! What the master has done, as JSON.

use serde_json::{Value, json};

use super::fields::time;
use crate::runtime::{Histogram, Stats};

/// The counters as an object; times in seconds.
pub(super) fn stats_to_json(stats: &Stats) -> Value {
    let levels = stats.levels.iter().map(|(level, wait, hold)| {
        json!({ "level": level, "wait": seconds(wait), "hold": seconds(hold) })
    });
    let longest = stats
        .longest_wait
        .map(|(job, waited)| json!({ "job": job, "seconds": waited.as_secs_f64() }));
    json!({
        "since": time(Some(stats.since)), "now": time(Some(stats.now)),
        "jobs": stats.jobs, "unfinished": stats.unfinished, "active": stats.active,
        "waiting": stats.waiting, "longest_wait": longest,
        "workers": stats.workers.0, "free_workers": stats.workers.1,
        "submitted": stats.submitted.0, "refused": stats.submitted.1,
        "succeeded": stats.ended[0], "failed": stats.ended[1], "canceled": stats.ended[2],
        "levels": levels.collect::<Value>(),
        "sync": seconds(&stats.syncs),
        "batch": distribution(&stats.batches, 1.0),
    })
}

fn seconds(micros: &Histogram) -> Value {
    distribution(micros, 1e6)
}

fn distribution(all: &Histogram, unit: f64) -> Value {
    let scaled = |size: u64| size as f64 / unit;
    json!({
        "count": all.count(), "sum": scaled(all.sum()), "mean": scaled(all.mean()),
        "p50": all.quantile(0.5).map(scaled), "p99": all.quantile(0.99).map(scaled),
    })
}
