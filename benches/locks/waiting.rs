//! A great many requests that wait.

use std::time::Instant;

use lockmaster::engine::locks::{LockTable, Outcome, OwnerId, RequestOptions, WaitPolicy};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Timestamp};

use crate::Numbers;

const NOW: Timestamp = Timestamp::from_micros(0);
const OPTIONS: RequestOptions = RequestOptions {
    priority: lockmaster::vocabulary::Priority::NORMAL,
    deadline: None,
    kind: lockmaster::engine::locks::RequestKind::Exact,
    beneath: None,
};

/// Bytes of memory this process has, as the kernel counts them.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn percentile(times: &mut [u64], part: f64) -> u64 {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * part) as usize]
}

pub(crate) fn run() {
    // First, while the process has no memory to spare.
    for set in [4, 1] {
        million(set);
    }
    hot();
}

/// A million requests of that many locks out of 100,000 each, behind one that holds everything.
fn million(set: usize) {
    let waiters = 1_000_000;
    let node = Hierarchy::default().level("node").expect("there is one");
    let names: Vec<String> = (0..100_000).map(|i| format!("node{i:06}.example.com")).collect();
    let mut table = LockTable::new(Hierarchy::default(), WaitPolicy::default());
    let mut all = LockRequest::new();
    all.add_all(node, LockMode::Exclusive).expect("nothing else is asked for");
    assert_eq!(table.request(OwnerId(0), &all, OPTIONS, NOW), Ok(Outcome::Granted));
    // Names in existence, so that their memory is not counted with the requests'.
    let everything = names.iter().fold(LockRequest::new(), |mut request, name| {
        request.add(node, name, LockMode::Shared).expect("the name is fine");
        request
    });
    let names_exist = table.prepare(everything).expect("the names are fine");
    let mut numbers = Numbers(99);
    let before = resident();
    let begin = Instant::now();
    for owner in 1..=waiters {
        let mut request = LockRequest::new();
        for id in numbers.distinct(set, names.len()) {
            request.add(node, &names[id], LockMode::Exclusive).expect("the name is fine");
        }
        assert_eq!(table.request(OwnerId(owner), &request, OPTIONS, NOW), Ok(Outcome::Waiting));
    }
    let each = begin.elapsed().as_nanos() as u64 / waiters;
    let bytes = (resident() - before) / waiters as usize;
    println!("{waiters} requests of {set} locks wait: {bytes} bytes each, {each} ns to ask");

    let begin = Instant::now();
    assert!(table.release_all(OwnerId(0)));
    let mut running = table.pump(100, NOW);
    println!("  ALL is released, 100 are granted: {:.3} ms", begin.elapsed().as_secs_f64() * 1e3);
    let (mut times, mut done) = (Vec::new(), 0);
    let begin = Instant::now();
    while let Some(owner) = running.pop() {
        let step = Instant::now();
        table.release_all(owner);
        running.extend(table.pump(100 - running.len(), NOW));
        times.push(step.elapsed().as_nanos() as u64);
        done += 1;
    }
    let each = begin.elapsed().as_nanos() as u64 / done;
    assert_eq!(done, waiters);
    let at = |times: &mut Vec<u64>, part| percentile(times, part) as f64 / 1e3;
    println!(
        "  drained, 100 at a time: {each} ns each; p50 {:.1}, p99 {:.1}, p99.99 {:.1} us",
        at(&mut times, 0.5),
        at(&mut times, 0.99),
        at(&mut times, 0.9999)
    );
    table.discard(names_exist);
    assert!(table.is_idle());
}

/// A hundred thousand requests for the same lock.
fn hot() {
    let node = Hierarchy::default().level("node").expect("there is one");
    let mut table = LockTable::new(Hierarchy::default(), WaitPolicy::default());
    let mut request = LockRequest::new();
    request.add(node, "hot", LockMode::Exclusive).expect("the name is fine");
    let waiters = 100_000;
    for owner in 0..=waiters {
        _ = table.request(OwnerId(owner), &request, OPTIONS, NOW);
    }
    let begin = Instant::now();
    for owner in 0..waiters {
        assert!(table.release_all(OwnerId(owner)));
        assert_eq!(table.pump(1, NOW), [OwnerId(owner + 1)]);
    }
    let each = begin.elapsed().as_nanos() as u64 / waiters;
    println!("{waiters} requests for one lock: {each} ns for each release and grant");
}
