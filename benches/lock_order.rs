//! What watching the order of locks costs, against parking_lot's bare mutex in the same run.
//!
//! `cargo bench --bench lock_order --no-default-features --features lock-order`; without the
//! feature it shows that a build that does not watch pays nothing.

use std::hint::black_box;
use std::time::Instant;

use lockmaster::runtime::lock_order::{
    Acquisition, Checker, ClassId, ENABLED, HeldSet, LockClass, Reaction, set_reaction,
};
use lockmaster::runtime::sync::Mutex;

/// A run is short, so that most runs fit between two interruptions on a busy machine.
const ROUNDS: u32 = 5_000;
const RUNS: usize = 401;

static CLASSES: [LockClass; 8] = [const { LockClass::new("bench") }; 8];

fn main() {
    println!("lock-order checker compiled in: {ENABLED}; {RUNS} runs, best (median)");
    for depth in [1, 2, 4, 8] {
        let bare: Vec<_> = (0..depth).map(|_| parking_lot::Mutex::new(0_u64)).collect();
        let ours: Vec<_> = CLASSES[..depth].iter().map(|class| Mutex::new(class, 0_u64)).collect();
        let nested = |lock: &dyn Fn()| measure(depth, lock);
        println!("{depth} nested mutexes, ns per lock and unlock:");
        println!("  parking_lot        {}", nested(&|| descend(&bare, |m| m.lock())));
        for (name, reaction) in [("watched", Reaction::Warn), ("reaction off", Reaction::Off)] {
            set_reaction(reaction);
            println!("  {name:<18} {}", nested(&|| descend(&ours, |m| m.lock())));
        }
    }
    println!("a new order between two of 50 classes, with its backtrace, ns: {}", new_orders());
}

/// Locks all, each while holding those before it, and releases them in reverse.
fn descend<'a, M, G>(mutexes: &'a [M], lock: impl Fn(&'a M) -> G + Copy) {
    if let Some((first, rest)) = mutexes.split_first() {
        let guard = lock(first);
        descend(rest, lock);
        drop(black_box(guard));
    }
}

fn measure(locks: usize, lock_all: &dyn Fn()) -> String {
    let run = || {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| lock_all());
        nanos_each(start, ROUNDS as usize * locks)
    };
    summary((0..RUNS).map(|_| run()).collect())
}

/// All orders between 50 classes, in the order in which they agree.
fn new_orders() -> String {
    let run = || {
        let checker = Checker::new();
        let classes: Vec<ClassId> =
            (0..50).filter_map(|_| checker.register(&LockClass::new("bench"))).collect();
        let start = Instant::now();
        for (i, first) in classes.iter().enumerate() {
            let mut held = HeldSet::of("bench");
            held.push(Acquisition::new(*first, 0));
            for second in &classes[i + 1..] {
                assert!(checker.attempt(&held, &Acquisition::new(*second, 0)).is_none());
            }
        }
        nanos_each(start, 50 * 49 / 2)
    };
    summary((0..RUNS / 10).map(|_| run()).collect())
}

fn nanos_each(start: Instant, times: usize) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / times as f64
}

fn summary(mut nanos: Vec<f64>) -> String {
    nanos.sort_by(f64::total_cmp);
    format!("{:.1} ({:.1})", nanos[0], nanos[nanos.len() / 2])
}
