//! Two threads, sets of four locks out of a thousand, some of them asked for much more often
//! than others (Zipf, 0.9).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lockmaster::engine::locks::{OwnerId, RequestOptions, WaitPolicy};
use lockmaster::runtime::{Asked, LockManager, LockOptions, Locks};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest};
use parking_lot::RwLock;

use crate::Numbers;

const NAMES: usize = 1000;
const SETS: usize = 4096;
const RUN: Duration = Duration::from_millis(100);
const ROUNDS: usize = 15;

struct Sets {
    ids: Vec<Vec<usize>>,
    requests: Vec<LockRequest>,
}

fn sets() -> Sets {
    let mut numbers = Numbers(0xABCD_EF01);
    let mut weights: Vec<f64> = (1..=NAMES).map(|i| (i as f64).powf(-0.9)).collect();
    for i in 1..NAMES {
        weights[i] += weights[i - 1];
    }
    let node = Hierarchy::default().level("node").expect("there is one");
    let mut sets = Sets { ids: Vec::new(), requests: Vec::new() };
    for _ in 0..SETS {
        let mut ids = std::collections::BTreeSet::new();
        while ids.len() < 4 {
            let point = numbers.fraction() * weights[NAMES - 1];
            ids.insert(weights.partition_point(|weight| *weight < point));
        }
        let mut request = LockRequest::new();
        for id in &ids {
            let name = format!("node{id:04}");
            request.add(node, &name, LockMode::Exclusive).expect("the name is fine");
        }
        sets.ids.push(ids.into_iter().collect());
        sets.requests.push(request);
    }
    sets
}

fn work(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// How many sets two threads get done in a second.
fn rate(body: impl Fn(usize) + Sync) -> f64 {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let begin = Instant::now();
    thread::scope(|scope| {
        for first in [0, SETS / 2] {
            let (stop, done, body) = (&stop, &done, &body);
            scope.spawn(move || {
                let mut i = first;
                while !stop.load(Ordering::Relaxed) {
                    body(i % SETS);
                    i += 1;
                }
                done.fetch_add((i - first) as u64, Ordering::Relaxed);
            });
        }
        thread::sleep(RUN);
        stop.store(true, Ordering::Relaxed);
    });
    done.into_inner() as f64 / begin.elapsed().as_secs_f64()
}

fn separate(sets: &Sets, time: Duration) -> f64 {
    let locks: Vec<RwLock<()>> = (0..NAMES).map(|_| RwLock::new(())).collect();
    rate(|i| {
        let guards: Vec<_> = sets.ids[i].iter().map(|id| locks[*id].write()).collect();
        work(time);
        drop(guards);
    })
}

fn blocking(sets: &Sets, time: Duration) -> f64 {
    let locks = Locks::new(Hierarchy::default());
    rate(|i| {
        locks
            .with(&sets.requests[i], LockOptions::default(), |_| work(time))
            .expect("nothing refuses it");
    })
}

/// As the job queue does it: what has to wait is put aside and the next is looked at.
fn queued(sets: &Sets, time: Duration) -> f64 {
    let manager = LockManager::new(Hierarchy::default(), WaitPolicy::default());
    let (stop, done, next) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Some(owner) = granted(&manager, sets, &next) else { continue };
                    work(time);
                    manager.release_all(owner);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(RUN);
        stop.store(true, Ordering::Relaxed);
    });
    done.into_inner() as f64 / begin.elapsed().as_secs_f64()
}

/// One who was waiting, or the next that need not wait.
fn granted(manager: &LockManager<()>, sets: &Sets, next: &AtomicU64) -> Option<OwnerId> {
    if let Some((owner, ())) = manager.pump(1).pop() {
        return Some(owner);
    }
    let owner = next.fetch_add(1, Ordering::Relaxed);
    let request = &sets.requests[owner as usize % SETS];
    match manager.request(OwnerId(owner), request, RequestOptions::default(), ()) {
        Ok(Asked::Granted(())) => Some(OwnerId(owner)),
        Ok(Asked::Waiting) => None,
        Err((error, ())) => panic!("{error}"),
    }
}

pub(crate) fn run() {
    let sets = sets();
    println!("sets per second, two threads, best of {ROUNDS} rounds; last: jobs / RwLocks");
    println!("{:>8} {:>12} {:>12} {:>12}", "work", "RwLocks", "guards", "jobs");
    for micros in [0, 1, 20] {
        let time = Duration::from_micros(micros);
        // In turn, so that whatever else the machine does meets all of them.
        let mut best = [0.0_f64; 3];
        for _ in 0..ROUNDS {
            for (best, measure) in best.iter_mut().zip([separate, blocking, queued]) {
                *best = best.max(measure(&sets, time));
            }
        }
        let [plain, guards, jobs] = best;
        println!("{micros:>5} us {plain:>12.0} {guards:>12.0} {jobs:>12.0} {:>8.2}", jobs / plain);
    }
}
