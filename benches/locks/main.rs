//! What the locks cost, beside what one would use without them, in the same run.
//!
//! `cargo bench --bench locks` runs everything; `-- sets`, `-- threads`, `-- waiting` or
//! `-- policy` runs a part. Ratios within one run mean something, absolute times are this
//! machine's.

mod policy;
mod sets;
mod threads;
mod waiting;

use std::hint::black_box;
use std::time::Instant;

/// A sequence of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Between 0 and 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `count` different numbers below `limit`, in order.
    fn distinct(&mut self, count: usize, limit: usize) -> Vec<usize> {
        let mut chosen = std::collections::BTreeSet::new();
        while chosen.len() < count {
            chosen.insert(self.below(limit));
        }
        chosen.into_iter().collect()
    }
}

/// The best of 25 runs of the nanoseconds one of `count` calls takes: whatever else the machine
/// does only makes a run longer.
fn nanos(count: usize, mut call: impl FnMut(usize)) -> f64 {
    let run = |_| {
        let begin = Instant::now();
        for i in 0..count {
            call(black_box(i));
        }
        begin.elapsed().as_nanos() as f64 / count as f64
    };
    (0..25).map(run).fold(f64::INFINITY, f64::min)
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let parts: [(&str, fn()); 4] = [
        ("waiting", waiting::run),
        ("sets", sets::run),
        ("threads", threads::run),
        ("policy", policy::run),
    ];
    for (name, run) in parts {
        if asked.is_empty() || asked.iter().any(|part| part == name) {
            println!("\n== {name} ==");
            run();
        }
    }
}
