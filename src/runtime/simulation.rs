//! Every step of a master made by one thread, in an order that a seed decides, with a clock and a
//! disk that the seed decides too: random jobs, cancelled and hurried at any moment, crashes at
//! any step. After each step, what has to be true is checked; a seed that fails fails again.
//!
//! ```text
//! cargo test --lib simulation                                               a few seconds
//! LOCKMASTER_HISTORIES=1000000 cargo test --profile loom --lib simulation   the long hunt
//! LOCKMASTER_SEED=123 cargo test --lib simulation -- --nocapture            one again, step by step
//! ```

mod deed;
mod history;
mod hook;
mod jobs;
mod laws;
mod life;
mod random;
mod rules;
mod shadow;
mod world;

use std::panic::{catch_unwind, resume_unwind};

use history::{History, Told};
use random::Random;

/// How many histories are played where nobody says.
const HISTORIES: u64 = 5_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Plays so many histories, each from a seed of its own, on all processors.
fn play_all(histories: u64) -> Told {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let share = histories.div_ceil(threads);
    let play = move |mut seeds: Random| (0..share).map(|_| play(seeds.next())).sum();
    let mut seeds = Random::unlike_before();
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|_| Random::new(seeds.next()))
            .map(|seeds| scope.spawn(move || play(seeds)))
            .collect();
        parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).sum()
    })
}

/// Plays the history of that seed, and says how to play it again where it fails.
fn play(seed: u64) -> Told {
    catch_unwind(|| History::new(seed, false).play()).unwrap_or_else(|panic| {
        eprintln!("play this again with LOCKMASTER_SEED={seed}, and -- --nocapture");
        resume_unwind(panic)
    })
}

#[test]
fn whatever_happens_in_whatever_order_the_laws_hold() {
    if let Some(seed) = number("LOCKMASTER_SEED") {
        _ = History::new(seed, true).play();
        return;
    }
    let told = play_all(number("LOCKMASTER_HISTORIES").unwrap_or(HISTORIES));
    println!("{told:?}");
    if told.histories >= 1000 {
        told.assert_that_everything_happened();
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 1..=50 {
        let [first, second] = [(); 2].map(|()| History::new(seed, false).play());
        assert_eq!(first, second, "seed {seed}");
    }
}
