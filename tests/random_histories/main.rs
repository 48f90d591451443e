//! Any history a real master can live through: jobs with locks, dependencies, priorities,
//! failures, panics and undos, cancelled and hurried at any moment, by several threads, over
//! several lives of one state directory. What has to be true of all of them is checked. Crashes are
//! the simulation's (`src/runtime/simulation.rs`), which has one thread and any number of them.
//!
//! A few seconds; `LOCKMASTER_HISTORIES=500` plays so many, `LOCKMASTER_SEED=...` one again.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deed;
mod laws;
mod play;
mod random;

use lockmaster::runtime::JobView;
use lockmaster::{Master, Shutdown};

use deed::Deed;
use play::Play;
use random::Random;

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    if let Some(seed) = number("LOCKMASTER_SEED") {
        return vec![seed];
    }
    let mut random = Random::of_now();
    (0..number("LOCKMASTER_HISTORIES").unwrap_or(5)).map(|_| random.next()).collect()
}

fn each_seed(test: impl Fn(u64)) {
    for seed in seeds() {
        println!("play this again with LOCKMASTER_SEED={seed}");
        test(seed);
    }
}

fn jobs_of(master: &Master) -> Vec<lockmaster::vocabulary::Job> {
    master.jobs().value.into_iter().map(|view: JobView| view.job).collect()
}

#[test]
fn on_disk_whatever_is_thrown_at_a_master_over_several_lives() {
    each_seed(|seed| {
        let mut play = Play::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut before = None;
        let lives = 3;
        for life in 1..=lives {
            let workers = play.random.below(8) + 1;
            let builder = Master::builder(dir.path()).unit::<Deed>().workers(workers).paused();
            let master = builder.start().unwrap();
            if let Some(before) = before.take() {
                assert!(jobs_of(&master) == before, "live is not what was replayed");
            }
            master.resume();
            play.act(&master, 150);
            if life == lives {
                play.wait_for_all(&master);
            }
            master.shutdown(Shutdown::Finish, None).unwrap();
            before = Some(jobs_of(&master));
        }
        laws::check(&play.world, &before.unwrap_or_default());
    });
}
