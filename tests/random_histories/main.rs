//! Any history a real master can live through: jobs with locks, dependencies, priorities,
//! failures, panics and undos, cancelled and hurried at any moment, by several threads, over
//! several lives of one state directory. What has to be true of all of them is checked.
//!
//! A few seconds; `LOCKMASTER_HISTORIES=500` plays so many, `LOCKMASTER_SEED=...` one again.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deed;
mod laws;
mod play;
mod random;

use lockmaster::runtime::JobView;
use lockmaster::store::MemoryStore;
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

#[test]
fn in_memory_a_crash_anywhere_is_recovered_from() {
    each_seed(|seed| {
        let mut play = Play::new(seed);
        let store = MemoryStore::recording();
        let master = Master::builder("").store(Box::new(store.clone()), Vec::new());
        let master = master.unit::<Deed>().workers(play.random.below(8) + 1).start().unwrap();
        play.act(&master, 200);
        play.wait_for_all(&master);
        master.shutdown(Shutdown::Finish, None).unwrap();
        laws::check(&play.world, &jobs_of(&master));
        let log = store.transactions();
        for _ in 0..5 {
            let kept = play.random.below(log.len() + 1);
            crash_after(&mut play, log[..kept].concat());
        }
    });
}

/// Starts a master on what a crash has left, twice: the second crash is at once.
fn crash_after(play: &mut Play, kept: Vec<lockmaster::vocabulary::Record>) {
    let ended = laws::ended(&kept);
    let store = MemoryStore::recording();
    let builder = Master::builder("").store(Box::new(store.clone()), kept.clone());
    drop(builder.unit::<Deed>().paused().start().unwrap());
    let kept = [kept, store.transactions().concat()].concat();
    play.world.forget();
    let builder = Master::builder("").store(Box::new(MemoryStore::volatile()), kept);
    let master = builder.unit::<Deed>().workers(4).start().unwrap();
    play.wait_for_all(&master);
    let jobs = jobs_of(&master);
    play.world.assert_alone();
    laws::assert_nothing_is_done_again(&play.world, &ended);
    laws::assert_statuses(&jobs);
}
