//! What a policy of waiting does to throughput and to the longest wait, in virtual time, with
//! the real table.
//!
//! A mix like that of a Ganeti cluster of 2,000 instances and 200 nodes: 70 % {instance, 2 nodes
//! shared}, 25 % {instance, 2 nodes}, 3 % {20 nodes}, 1.8 % {all nodes shared}, 0.2 % {all
//! nodes}; one job a second, lasting 8 s in the median and 16 s in the mean.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use lockmaster::engine::locks::{LockTable, Outcome, OwnerId, RequestOptions, WaitPolicy};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Timestamp};

use crate::Numbers;

const JOBS: usize = 30_000;

struct Job {
    arrives: i64,
    lasts: i64,
    request: LockRequest,
    whole: bool,
}

fn jobs(seed: u64, arrival_micros: i64) -> Vec<Job> {
    let mut numbers = Numbers(seed);
    (0..JOBS as i64)
        .map(|i| {
            let (request, whole) = request(&mut numbers);
            let lasts = (8e6 * (1.177 * normal(&mut numbers)).exp()) as i64;
            Job { arrives: i * arrival_micros, lasts, request, whole }
        })
        .collect()
}

/// Box and Muller.
fn normal(numbers: &mut Numbers) -> f64 {
    let (a, b) = (1.0 - numbers.fraction(), numbers.fraction());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

fn request(numbers: &mut Numbers) -> (LockRequest, bool) {
    let hierarchy = Hierarchy::default();
    let level = |name| hierarchy.level(name).expect("there is one");
    let mut request = LockRequest::new();
    let kind = numbers.fraction();
    if kind >= 0.98 {
        let mode = if kind < 0.998 { LockMode::Shared } else { LockMode::Exclusive };
        request.add_all(level("node"), mode).expect("nothing else is asked for");
        return (request, true);
    }
    let (nodes, mode) = match kind {
        kind if kind < 0.7 => (2, LockMode::Shared),
        kind if kind < 0.95 => (2, LockMode::Exclusive),
        _ => (20, LockMode::Exclusive),
    };
    if nodes == 2 {
        let instance = format!("i{}", numbers.below(2000));
        request.add(level("instance"), &instance, LockMode::Exclusive).expect("fine");
    }
    for node in numbers.distinct(nodes, 200) {
        request.add(level("node"), &format!("n{node}"), mode).expect("fine");
    }
    (request, false)
}

struct Result {
    per_second: f64,
    mean_wait: f64,
    longest: f64,
    longest_whole: f64,
}

fn simulate(jobs: &[Job], policy: WaitPolicy) -> Result {
    let mut table = LockTable::new(Hierarchy::default(), policy);
    let mut ends = BinaryHeap::new();
    let (mut next, mut now, mut waits) = (0, 0, vec![0; jobs.len()]);
    while next < jobs.len() || !ends.is_empty() {
        let end = ends.peek().map_or(i64::MAX, |Reverse((end, _))| *end);
        let mut started = Vec::new();
        if next < jobs.len() && jobs[next].arrives <= end {
            now = jobs[next].arrives;
            let (owner, at) = (OwnerId(next as u64), Timestamp::from_micros(now));
            let options = RequestOptions::default();
            match table.request(owner, &jobs[next].request, options, at).expect("fine") {
                Outcome::Granted => started.push(owner),
                Outcome::Waiting => {}
            }
            next += 1;
        } else if let Some(Reverse((end, owner))) = ends.pop() {
            now = end;
            table.release_all(OwnerId(owner));
        }
        started.extend(table.pump(usize::MAX, Timestamp::from_micros(now)));
        for owner in started {
            let job = &jobs[owner.0 as usize];
            waits[owner.0 as usize] = now - job.arrives;
            ends.push(Reverse((now + job.lasts, owner.0)));
        }
    }
    assert!(table.is_idle(), "all were served");
    let whole = jobs.iter().zip(&waits).filter(|(job, _)| job.whole).map(|(_, wait)| *wait);
    let seconds = |micros: i64| micros as f64 / 1e6;
    Result {
        per_second: jobs.len() as f64 / seconds(now),
        mean_wait: seconds(waits.iter().sum::<i64>()) / jobs.len() as f64,
        longest_whole: seconds(whole.max().unwrap_or(0)),
        longest: seconds(waits.into_iter().max().unwrap_or(0)),
    }
}

pub(crate) fn run() {
    let ours = WaitPolicy::default();
    let patient = Duration::MAX;
    let policies = [
        ("pure barging", WaitPolicy { window: 0, ..ours }),
        ("ours, window 1", ours),
        ("ours, window 2", WaitPolicy { window: 2, ..ours }),
        ("without rest", WaitPolicy { rest: 0, ..ours }),
        (
            "strict order",
            WaitPolicy {
                max_bypass: 0,
                rest: 0,
                window: usize::MAX,
                max_bypass_age: patient,
                ..ours
            },
        ),
    ];
    for (mix, arrival) in [("light: 1 job/s", 1_000_000), ("overload: 20 jobs/s", 50_000)] {
        println!("{mix}, {JOBS} jobs");
        println!(
            "{:>16} {:>8} {:>9} {:>11} {:>9} {:>9}",
            "", "jobs/s", "relative", "mean wait", "longest", "of ALL"
        );
        let jobs = jobs(0x5EED_0001, arrival);
        let mut barging = None;
        for (name, policy) in policies {
            let result = simulate(&jobs, policy);
            let relative = result.per_second / *barging.get_or_insert(result.per_second);
            println!(
                "{name:>16} {:>8.3} {relative:>9.2} {:>9.0} s {:>7.0} s {:>7.0} s",
                result.per_second, result.mean_wait, result.longest, result.longest_whole
            );
        }
    }
}
