//! The races of the runtime, each as a small scenario.
//!
//! Built with `--cfg loom`, loom runs every scenario in every order the threads can interleave:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
//!     cargo test --profile loom --no-default-features --test loom
//! ```
//!
//! Add `--cfg spurious` to have waits return without a notification too, or `--cfg shuttle` to
//! have shuttle run them, and the crowded ones, in random orders. Otherwise they run with real
//! threads, as in every `cargo test`, and the lock-order checker watches them.
//! `design/testing.md` says what that proves.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cancel_token;
mod checker;
mod commits;
mod config_writer;
#[cfg(any(not(loom), shuttle))]
mod crowd;
mod facade;
mod lock_manager;
mod locks;
mod master;
mod tasks;
mod watch;
mod workers;

/// Threads that loom or shuttle schedules, or real ones.
#[cfg(all(loom, not(shuttle)))]
use loom::thread;
#[cfg(shuttle)]
use shuttle::thread;
#[cfg(not(loom))]
use std::thread;

/// Runs `scenario` in every interleaving and says on stderr how many there were, and whether
/// that was all of them.
///
/// `LOOM_MAX_PREEMPTIONS`, `LOOM_MAX_PERMUTATIONS` and `LOOM_MAX_DURATION` bound the search.
#[cfg(all(loom, not(shuttle)))]
fn model(name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    explore(name, None, scenario);
}

/// Runs `scenario`, which is too long for every interleaving, in those with so many preemptions.
#[cfg(all(loom, not(shuttle)))]
fn bounded(name: &str, preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    explore(name, Some(preemptions), scenario);
}

#[cfg(all(loom, not(shuttle)))]
fn explore(name: &str, preemptions: Option<usize>, scenario: impl Fn() + Send + Sync + 'static) {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let mut loom = loom::model::Builder::new();
    loom.max_branches = loom.max_branches.max(10_000);
    loom.preemption_bound = loom.preemption_bound.or(preemptions);
    // Where loom looks at its limits. It stops there as if it had finished.
    loom.checkpoint_interval = 1000;
    let executions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    loom.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        scenario();
    });
    let executions = executions.load(Ordering::Relaxed);
    let limited = loom.max_permutations.is_some() || loom.max_duration.is_some();
    let cut_short = limited && (executions + 1) % loom.checkpoint_interval == 0;
    let extent = match loom.preemption_bound {
        _ if cut_short => "bounded".to_owned(),
        Some(most) => format!("bounded by {most} preemptions"),
        None => "exhaustive".to_owned(),
    };
    let line = format!("{name}: {executions} executions, {extent}\n");
    // Past the capture of the test harness: a number nobody sees keeps nobody honest.
    let _ = std::io::stderr().write_all(line.as_bytes());
    assert!(executions > 1, "{name} has nothing to interleave");
}

/// As [`model`]: only loom has to be told where to stop.
#[cfg(any(not(loom), shuttle))]
fn bounded(name: &str, _preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    model(name, scenario);
}

/// Runs `scenario` some times with real threads.
#[cfg(not(loom))]
fn model(_name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    const ROUNDS: usize = 100;
    (0..ROUNDS).for_each(|_| scenario());
}

/// Runs `scenario`, which has many threads, a few times with real threads.
#[cfg(not(loom))]
fn crowd(_name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    const ROUNDS: usize = 5;
    (0..ROUNDS).for_each(|_| scenario());
}

#[cfg(shuttle)]
fn model(name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    at_random(name, scenario, 1000);
}

#[cfg(shuttle)]
fn crowd(name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    at_random(name, scenario, 500);
}

/// Runs `scenario` in so many random orders, from the seed in `SHUTTLE_SEED` or a new one, which
/// it says on stderr; a failure also prints its schedule.
#[cfg(shuttle)]
fn at_random(name: &str, scenario: impl Fn() + Send + Sync + 'static, executions: usize) {
    use std::hash::{BuildHasher, RandomState};

    let given = std::env::var("SHUTTLE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(name));
    eprintln!("{name}: {executions} executions at random, SHUTTLE_SEED={seed}");
    shuttle::check_random_with_seed(scenario, seed, executions);
}
