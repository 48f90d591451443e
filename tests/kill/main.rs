//! The daemon killed again and again under the load of several clients: nothing that was
//! acknowledged is lost, nothing runs twice that must not, and ids have no gaps.
//!
//! A few seconds in every test run. An hour of it, with the counts:
//!
//! ```text
//! LOCKMASTER_KILL_SECONDS=3600 cargo test --release --test kill -- --nocapture
//! ```
//!
//! `LOCKMASTER_SEED=...` draws the same numbers again; what the threads make of them differs.

#![cfg(all(not(loom), feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod daemon;
mod ledger;
#[path = "../random_histories/random.rs"]
mod random;
mod verdict;

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use daemon::Place;
use random::Random;

/// How many clients there are.
const CLIENTS: usize = 4;
/// The daemon is killed when at most so many more submissions were acknowledged.
const BETWEEN_KILLS: usize = 60;
/// How long a daemon that is killed while it starts may take for that, at most, in microseconds.
const STARTING: usize = 30_000;

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    kills: u64,
    kills_while_starting: u64,
    submissions: u64,
    repeated: u64,
    jobs: u64,
    executions: u64,
    interrupted: u64,
    canceled: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.kills_while_starting += other.kills_while_starting;
        self.submissions += other.submissions;
        self.repeated += other.repeated;
        self.jobs += other.jobs;
        self.executions += other.executions;
        self.interrupted += other.interrupted;
        self.canceled += other.canceled;
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Kills one daemon after the other on one state directory while the clients go on, lets the
/// last one carry everything out, and looks at what has become of it.
fn play(random: &mut Random, kills: u64) -> Counts {
    let place = Place::new();
    let mut counts = Counts::default();
    let clients = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let random = Random::new(random.next());
                let place = &place;
                scope.spawn(move || client::run(place, number, random))
            })
            .collect();
        for _ in 0..kills {
            place.start();
            place.wait_for_acknowledged(1 + random.below(BETWEEN_KILLS));
            place.kill();
            counts.kills += 1;
            while random.one_in(3) {
                let micros = random.below(STARTING) as u64;
                place.kill_while_starting(Duration::from_micros(micros));
                counts.kills_while_starting += 1;
            }
        }
        place.start();
        place.stop_clients();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let jobs = client::wait_for_all(&place);
    place.end_in_good_order();
    verdict::check(&place, &clients, &jobs, &mut counts);
    counts
}

#[test]
fn a_daemon_that_is_killed_under_load_loses_nothing_and_runs_nothing_twice() {
    let seed = number("LOCKMASTER_SEED").unwrap_or_else(|| Random::of_now().next());
    println!("draw the same numbers again with LOCKMASTER_SEED={seed}");
    let mut random = Random::new(seed);
    let (began, mut all) = (Instant::now(), Counts::default());
    let Some(seconds) = number("LOCKMASTER_KILL_SECONDS") else {
        return println!("{:?}", play(&mut random, 12));
    };
    while began.elapsed() < Duration::from_secs(seconds) {
        all += play(&mut random, 40);
        println!("{:>6} s: {all:?}", began.elapsed().as_secs());
    }
}
