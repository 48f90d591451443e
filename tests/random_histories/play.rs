//! What is done to a master: at random, from two threads.

use std::num::NonZeroU32;
use std::sync::Arc;

use lockmaster::vocabulary::{FilterAction, FilterId, NewFilter};
use lockmaster::{
    CrashPolicy, Dependency, ErrorKind, JobId, JobRef, Master, NewJob, OpCode, Priority, Status,
    TypedOp,
};

use crate::deed::{Deed, End, NAMES, Want, World};
use crate::random::Random;

pub(crate) struct Play {
    pub(crate) random: Random,
    pub(crate) world: Arc<World>,
    number: u64,
    submitted: u64,
}

impl Play {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        // Tests of one process play the same seed at once.
        let number = random.next() ^ u64::from(std::process::id()) ^ thread_number();
        Self { random, world: World::of(number), number, submitted: 0 }
    }

    /// Does so many things; another thread cancels and hurries meanwhile.
    pub(crate) fn act(&mut self, master: &Master, things: usize) {
        let mut others = Random::new(self.random.next());
        let most = self.submitted + 100;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..things {
                    disturb(master, &mut others, most);
                    std::thread::yield_now();
                }
            });
            for _ in 0..things {
                match self.random.below(3) {
                    0 => self.submit(master),
                    1 => disturb(master, &mut self.random, self.submitted),
                    _ => std::thread::yield_now(),
                }
            }
        });
    }

    pub(crate) fn wait_for_all(&mut self, master: &Master) {
        let rules = master.filters().value;
        rules.iter().for_each(|state| _ = master.delete_filter(state.rule.id).unwrap());
        for view in master.jobs().value {
            let status = master.wait(view.job.id).unwrap().status;
            assert!(status.is_final(), "{status}");
        }
    }

    fn submit(&mut self, master: &Master) {
        let count = self.random.below(4) + 1;
        let jobs = (0..count).map(|place| self.job(place)).collect();
        let ids = master.submit(jobs).unwrap();
        assert_eq!(ids.len(), count);
        self.submitted = ids[count - 1].get();
    }

    fn job(&mut self, place: usize) -> NewJob {
        let ops = self.random.below(4) + 1;
        NewJob::of((0..ops).map(|_| self.opcode(place)).collect::<Vec<_>>())
    }

    fn opcode(&mut self, place: usize) -> OpCode {
        let mut opcode = self.deed().opcode().unwrap();
        while self.random.one_in(4) {
            if let Some(on) = self.earlier(place) {
                opcode = opcode.after(Dependency { on, statuses: self.statuses() });
            }
        }
        opcode.with_priority(self.priority())
    }

    fn earlier(&mut self, place: usize) -> Option<JobRef> {
        if place > 0 && self.random.one_in(2) {
            return Some(JobRef::Batch(self.random.below(place) as u32));
        }
        let recent = self.random.below(20) as u64;
        JobId::new(self.submitted.saturating_sub(recent)).map(JobRef::Id)
    }

    fn statuses(&mut self) -> Vec<Status> {
        let all = [Status::Success, Status::Error, Status::Canceled];
        all.into_iter().filter(|_| self.random.one_in(2)).collect()
    }

    fn priority(&mut self) -> Priority {
        Priority::new(self.random.below(40) as i64 - 20).unwrap()
    }

    fn deed(&mut self) -> Deed {
        let ends = [
            End::Error,
            End::Panic,
            End::WrongArguments,
            End::WrongPrerequisites,
            End::PanicInLocks,
            End::Heeding,
        ];
        let policies = [CrashPolicy::Fail, CrashPolicy::Retry, CrashPolicy::Undo];
        Deed {
            world: self.number,
            wants: self.wants(),
            cluster: self.random.one_in(12),
            at_once: self.random.one_in(2),
            end: if self.random.one_in(5) { ends[self.random.below(6)] } else { End::Well },
            undo: self.random.one_in(2),
            undo_fails: self.random.one_in(5),
            on_crash: policies[self.random.below(3)],
            turns: self.random.below(6),
        }
    }

    /// Up to one want a name; a level is asked for by names or as a whole.
    fn wants(&mut self) -> Vec<Want> {
        let mut wants = Vec::new();
        for level in ["instance", "node"] {
            let whole = self.random.one_in(10);
            let names: Vec<Option<u8>> =
                if whole { vec![None] } else { (0..NAMES).map(Some).collect() };
            for name in names {
                if whole || self.random.one_in(3) {
                    let alone = self.random.one_in(2);
                    wants.push(Want { level: level.to_owned(), name, alone });
                }
            }
        }
        wants
    }
}

/// Cancels, hurries or asks after any job.
fn disturb(master: &Master, random: &mut Random, most: u64) {
    let recent = random.below(30) as u64;
    let Some(id) = JobId::new(most.saturating_sub(recent)) else { return };
    let done = match random.below(7) {
        6 => change_rules(master, random),
        0 => master.cancel(id).map(|_| ()),
        1 => {
            let priority = Priority::new(random.below(40) as i64 - 20).unwrap();
            master.change_priority(id, priority).map(|_| ())
        }
        2 => {
            _ = master.why(id);
            Ok(())
        }
        3 => {
            _ = master.locks(true);
            Ok(())
        }
        _ => Ok(()),
    };
    let kinds = [ErrorKind::NotFound, ErrorKind::Refused];
    assert!(done.as_ref().err().is_none_or(|error| kinds.contains(&error.kind())), "{done:?}");
}

/// Holds jobs back, all or the older ones, or lets them go.
fn change_rules(master: &Master, random: &mut Random) -> Result<(), lockmaster::Error> {
    let id = FilterId::of_random(random.below(2) as u128);
    let limit = FilterAction::RateLimit(NonZeroU32::MIN);
    let actions = [FilterAction::Pause, limit, FilterAction::Accept];
    let predicates = [r#"[["jobid", ["<", "id", "watermark"]]]"#, "[]"][random.below(2)].parse()?;
    let action = actions[random.below(3)];
    match random.one_in(2) {
        true => master.delete_filter(id).map(|_| ()),
        false => {
            let new = NewFilter { action, predicates, ..NewFilter::default() };
            master.replace_filter(id, new).map(|_| ())
        }
    }
}

/// A number that differs between the threads of the test harness.
fn thread_number() -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    std::thread::current().id().hash(&mut hasher);
    hasher.finish()
}
