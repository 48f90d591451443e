//! Random jobs on random terms, with cancels, kills and time that goes on, step by step in random
//! order; and what has to be true of all that came to its end.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockmaster::vocabulary::{JobTerms, OpTerms, Retries, UndoState};
use lockmaster::{CrashPolicy, JobId, NewJob, OpCode, OpError, Status};
use serde_json::Value;

use super::stage::{Script, Stage};

/// How many are played where `LOCKMASTER_HISTORIES` says nothing.
const HISTORIES: u64 = 100;
const STEPS: usize = 120;
const LOCKS: [&str; 4] = ["a", "b", "c", "d"];

/// A generator that is good enough for histories (splitmix64, by Sebastiano Vigna).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn seconds(&mut self, most: usize) -> Duration {
        Duration::from_secs(1 + self.below(most) as u64)
    }
}

/// What is outside of masters, and outlives them.
#[derive(Default)]
struct World {
    /// Deeds that are done and not taken back: job and opcode.
    done: BTreeSet<(JobId, u32)>,
    /// Locks of jobs that keep them and have begun.
    kept: HashMap<&'static str, JobId>,
    /// Who executed although another kept its lock.
    faults: Vec<String>,
}

struct History {
    random: Random,
    stage: Stage,
    world: Arc<Mutex<World>>,
    scripts: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        let (random, stage) = (Random(seed), Stage::new());
        Self { random, stage, world: Arc::default(), scripts: 0 }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..4 => self.submit(),
            4..11 => {
                let tasks = self.stage.core.tasks().max(1);
                let which = self.random.below(tasks);
                self.stage.core.work(which);
            }
            11..16 => _ = self.stage.core.write_log(),
            16..18 => self.pass_time(),
            18 => self.cancel(),
            _ if self.random.once_in(4) => self.kill(),
            _ => {}
        }
        self.forget_kept_of_ended();
    }

    fn submit(&mut self) {
        let keep_locks = self.random.once_in(3);
        let within = self.random.once_in(4).then(|| self.random.seconds(20));
        let ops: Vec<OpCode> = (0..1 + self.random.below(3)).map(|_| self.op(keep_locks)).collect();
        self.stage.submit(NewJob::of(ops).on_terms(JobTerms { within, keep_locks }));
    }

    fn op(&mut self, keep_locks: bool) -> OpCode {
        let lock = LOCKS[self.random.below(LOCKS.len())];
        let (outcome, lacks, moves) =
            (self.random.below(6), self.random.below(3), self.random.below(3));
        let follows = self.random.once_in(6).then(|| {
            let child = self.script(9, lock, (0, 0), false);
            self.stage.op("child", child)
        });
        let name = format!("script {}", self.scripts);
        self.scripts += 1;
        let mut script = self.script(outcome, lock, (lacks, moves), keep_locks);
        if let Some(child) = follows {
            let execute = Arc::clone(&script.execute);
            script = script.does(move |context| {
                context.submit_with_end(NewJob::of([child.clone()]));
                execute(context)
            });
        }
        let within = self.random.once_in(5).then(|| self.random.seconds(15));
        let wait = self.random.seconds(3);
        let retries = Some(Retries { tries: 4, first: wait, most: 2 * wait });
        self.stage.op(&name, script).on_terms(OpTerms { within, retries })
    }

    fn script(
        &mut self,
        outcome: usize,
        lock: &'static str,
        (lacks, moves): (usize, usize),
        keeps: bool,
    ) -> Script {
        let (world, undone) = (Arc::clone(&self.world), Arc::clone(&self.world));
        let (moved, harmless) = (Mutex::new(moves), self.random.once_in(3));
        let mut script = Script::default()
            .declaring(move |level, locks| match level {
                "instance" => locks.exclusive(lock),
                _ => Ok(()),
            })
            .checks(move |context| {
                if context.tried() < u32::try_from(lacks).unwrap() {
                    return Err(OpError::temporary("no room"));
                }
                let mut moved = moved.lock().unwrap();
                if *moved == 0 {
                    return Ok(());
                }
                *moved -= 1;
                Err(OpError::changed("moved"))
            })
            .does(move |context| {
                let (job, op) = (context.job(), context.op_index());
                let mut world = world.lock().unwrap();
                let holder = world.kept.get(lock).copied();
                if holder.is_some_and(|holder| holder != job) {
                    world.faults.push(format!("job {job}: {lock} is kept by {holder:?}"));
                }
                if keeps {
                    world.kept.insert(lock, job);
                }
                if !harmless {
                    world.done.insert((job, op));
                }
                drop(world);
                match outcome {
                    0 => Err(OpError::exec("no luck")),
                    1 => panic!("as asked"),
                    _ => Ok(Value::Null),
                }
            })
            .undoes(move |context| {
                undone.lock().unwrap().done.remove(&(context.job(), context.op_index()));
                Ok(())
            });
        if harmless {
            script.undo = None;
        }
        script.on_crash = match self.random.once_in(2) {
            true => CrashPolicy::Retry,
            false if harmless => CrashPolicy::Fail,
            false => CrashPolicy::Undo,
        };
        script
    }

    fn pass_time(&mut self) {
        let time = self.random.seconds(3);
        self.stage.pass(time);
        self.stage.core.pass_time();
    }

    fn cancel(&mut self) {
        let jobs = self.stage.core.master().jobs().value;
        if !jobs.is_empty() {
            let id = jobs[self.random.below(jobs.len())].job.id;
            self.stage.core.master().cancel(id).unwrap();
        }
    }

    /// The master dies, with whatever it has not written.
    fn kill(&mut self) {
        self.stage = self.stage.killed();
        self.world.lock().unwrap().kept.clear();
    }

    fn forget_kept_of_ended(&mut self) {
        let mut world = self.world.lock().unwrap();
        let stage = &self.stage;
        world.kept.retain(|_, id| !stage.status(*id).is_final());
    }

    /// Lets everything come to its end.
    fn finish(&mut self) {
        for _ in 0..1000 {
            self.run();
            let mut jobs = self.stage.core.master().jobs().value.into_iter();
            if jobs.all(|job| job.status.is_final()) {
                return;
            }
            self.stage.pass(Duration::from_secs(1));
        }
        panic!("not everything ends: {:#?}", self.stage.core.master().jobs());
    }

    /// As [`Stage::run`], and looks after each step who has ended.
    fn run(&mut self) {
        self.stage.core.pass_time();
        loop {
            while self.stage.core.work(0) {
                self.forget_kept_of_ended();
            }
            if !self.stage.core.write_log() && self.stage.core.tasks() == 0 {
                return;
            }
        }
    }

    fn check(&self) {
        assert!(self.stage.core.master().locks(false).value.locks.is_empty(), "a lock is left");
        assert_eq!(self.stage.core.master().busy_workers(), 0);
        let world = self.world.lock().unwrap();
        assert!(world.faults.is_empty(), "{:?}", world.faults);
        for view in self.stage.core.master().jobs().value {
            for (op, index) in view.job.ops.iter().zip(0..) {
                let is_done = world.done.contains(&(view.job.id, index));
                let has_deed = op.undo == UndoState::Possible;
                assert_eq!(is_done, view.status == Status::Success && has_deed, "{view:#?}");
                assert!(!matches!(op.undo, UndoState::Wanted), "{view:#?}");
            }
        }
    }
}

fn play(seed: u64) {
    let mut history = History::new(seed);
    (0..STEPS).for_each(|_| history.step());
    history.finish();
    history.check();
}

#[test]
fn whatever_happens_every_job_ends_done_or_taken_back_and_nothing_is_left() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("LOCKMASTER_LIFE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LOCKMASTER_HISTORIES").unwrap_or(HISTORIES),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| play(seed)) {
            eprintln!("replay with LOCKMASTER_LIFE_SEED={seed} cargo test --test life random");
            std::panic::resume_unwind(panic);
        }
    }
}
