//! One history: random steps over several lives of a master, each checked.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::iter::Sum;
use std::ops::AddAssign;
use std::sync::Arc;

use super::jobs;
use super::laws::{self, Before, Deeds, Moment};
use super::life::{Life, Start, Time};
use super::random::Random;
use super::shadow::Shadow;
use super::world::{Meanwhile, World, world};
use crate::runtime::{CancelAnswer, Limits};
use crate::store::sim::{Fault, SimDisk};
use crate::vocabulary::{ErrorKind, Job, JobId, JobOp, OpErrorKind, Outcome, Record, UndoState};

/// What has happened, so that a run can say that it was worth its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) histories: u64,
    pub(super) steps: u64,
    jobs: u64,
    crashes: u64,
    torn_writes: u64,
    restarts: u64,
    cancelled: u64,
    undone: u64,
    interrupted: u64,
    late: u64,
    postponed: u64,
    children: u64,
    copies: u64,
}

impl AddAssign for Told {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.steps += other.steps;
        self.jobs += other.jobs;
        self.crashes += other.crashes;
        self.torn_writes += other.torn_writes;
        self.restarts += other.restarts;
        self.cancelled += other.cancelled;
        self.undone += other.undone;
        self.interrupted += other.interrupted;
        self.late += other.late;
        self.postponed += other.postponed;
        self.children += other.children;
        self.copies += other.copies;
    }
}

impl Told {
    /// What a job that has ended went through.
    fn count(&mut self, job: &Job) {
        let failed = |kind| {
            let kinds = job.ops.iter().filter_map(|op| match op.outcome() {
                Some(Outcome::Error(error)) => Some(error.kind),
                _ => None,
            });
            u64::from(kinds.into_iter().any(|found| found == kind))
        };
        self.undone += u64::from(job.ops.iter().any(|op| op.undo == UndoState::Done));
        self.interrupted += failed(OpErrorKind::Interrupted);
        self.late += failed(OpErrorKind::TimedOut);
        self.postponed += u64::from(job.ops.iter().any(|op| op.tries.count > 0));
        let is_child = |op: &JobOp| op.opcode.comment.is_some();
        self.children += u64::from(job.ops.iter().any(is_child));
    }
}

impl Sum for Told {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}

impl Told {
    /// A simulation in which something never happens checks nothing of it.
    pub(super) fn assert_that_everything_happened(&self) {
        let Self { crashes, torn_writes, restarts, cancelled, undone, .. } = *self;
        let Self { interrupted, late, postponed, children, copies, .. } = *self;
        let all = [crashes, torn_writes, restarts, cancelled, undone, interrupted, late];
        for often in all.into_iter().chain([postponed, children, copies]) {
            assert!(often > self.histories / 100, "{self:?}");
        }
    }
}

/// How the power or the process goes.
#[derive(Clone, Copy, Debug)]
enum Crash {
    /// The process is killed: what it wrote is there.
    Kill,
    /// The power goes: what was not synced may be there in part.
    Power,
}

pub(super) struct History {
    random: Random,
    tell: bool,
    disk: SimDisk,
    time: Time,
    /// None only between two lives.
    life: Option<Life>,
    shadow: Shadow,
    before: Before,
    deeds: Deeds,
    /// Jobs that were told, in this life, that they were cancelled before anything ran.
    stopped: BTreeSet<JobId>,
    /// How many of the world's notes are from earlier lives, and how many are checked.
    notes_before: usize,
    notes_checked: usize,
    told: Told,
}

impl History {
    pub(super) fn new(seed: u64, tell: bool) -> Self {
        world(|world| *world = World::default());
        let mut random = Random::new(seed);
        let (disk, time) = (SimDisk::default(), Time::default());
        let life = open(&disk, &time, &mut random);
        Self {
            random,
            tell,
            disk,
            time,
            life: Some(life),
            shadow: Shadow::new(Limits::default().feedback_bytes),
            before: Before::default(),
            deeds: Deeds::new(),
            stopped: BTreeSet::new(),
            notes_before: 0,
            notes_checked: 0,
            told: Told { histories: 1, ..Told::default() },
        }
    }

    /// Random steps, then no more of them until nothing goes on.
    pub(super) fn play(mut self) -> Told {
        // Short ones find most, and are read more easily.
        let most = if self.random.one_in(10) { 80 } else { 20 };
        let steps = self.random.below(most) + 4;
        for _ in 0..steps {
            self.step();
        }
        self.settle();
        self.told
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.tell {
            println!("{:4} {}", self.told.steps, what());
        }
    }

    fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    fn life_mut(&mut self) -> &mut Life {
        self.life.as_mut().unwrap()
    }

    fn step(&mut self) {
        self.told.steps += 1;
        let micros = self.random.below(2_000_000) as i64 - 100_000;
        self.time.pass(micros);
        match self.random.below(40) {
            0..5 => self.submit(),
            5..8 => self.cancel(),
            8..10 => self.hurry(),
            10 => self.drain(),
            11 => self.look(),
            12 => self.crash(),
            13 => self.crash_while_writing(),
            39 => self.pass_time(),
            14 if self.random.one_in(2) => self.restart(),
            14..30 => self.work(),
            _ => _ = self.write(),
        }
        self.check();
    }

    fn submit(&mut self) {
        let next = self.next_id();
        let batch = jobs::batch(&mut self.random, next);
        let count = batch.len() as u64;
        match self.life().core.master().begin_submit(batch, None) {
            Ok(answer) => {
                let expected: Vec<u64> = (next..next + count).collect();
                let ids: Vec<u64> = answer.value.iter().map(|id| id.get()).collect();
                assert_eq!(ids, expected, "the ids of a batch follow one another");
                self.told.jobs += count;
                self.learn();
                self.say(|| format!("submitted {ids:?}"));
            }
            Err(error) => {
                // Drained, or it depends on a job that is not there.
                let fits = [ErrorKind::Refused, ErrorKind::Invalid, ErrorKind::NotFound];
                assert!(fits.contains(&error.kind()), "{error}");
                assert_eq!(self.next_id(), next, "nothing is half submitted");
            }
        }
    }

    /// What the jobs are that are new.
    fn learn(&mut self) {
        let inner = Arc::clone(self.life().inner());
        let shell = inner.shell();
        for job in shell.queue.jobs().rev() {
            match self.deeds.entry(job.id) {
                Entry::Occupied(_) => break,
                Entry::Vacant(new) => _ = new.insert(laws::deeds_of(&job)),
            }
        }
    }

    /// What is due by the clock.
    fn pass_time(&mut self) {
        let next = self.life_mut().core.pass_time();
        self.say(|| format!("looked at the clock; next at {next:?}"));
    }

    /// The number that the next job gets.
    fn next_id(&self) -> u64 {
        self.life().job_ids().last().map_or(1, |last| last.get() + 1)
    }

    fn any_job(&mut self) -> Option<JobId> {
        let ids = self.life().job_ids();
        (!ids.is_empty()).then(|| ids[self.random.below(ids.len())])
    }

    fn cancel(&mut self) {
        let Some(id) = self.any_job() else { return };
        let answer = self.life().core.master().cancel(id).unwrap().value;
        self.say(|| format!("cancelled {id}: {answer:?}"));
        if [CancelAnswer::Dequeued, CancelAnswer::StoppedWaiting].contains(&answer) {
            self.told.cancelled += 1;
            self.stopped.insert(id);
            let shell = self.life().inner().shell();
            let job = shell.queue.get(id).unwrap();
            let at_once = job.status().is_final() || job.to_undo().is_some();
            assert!(at_once, "a job that does not run is cancelled at once: {job:#?}");
        }
    }

    fn hurry(&mut self) {
        let Some(id) = self.any_job() else { return };
        let priority = jobs::priority(&mut self.random);
        let hurried = self.life().core.master().change_priority(id, priority);
        let fits = hurried.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Refused);
        assert!(fits, "{hurried:?}");
        self.say(|| format!("hurried {id}: {}", hurried.is_ok()));
    }

    fn drain(&mut self) {
        let drained = self.random.one_in(3);
        self.life().core.master().set_drained(drained).unwrap();
        self.say(|| format!("drained: {drained}"));
    }

    /// Whoever asks gets an answer in whatever state things are.
    fn look(&mut self) {
        let Some(id) = self.any_job() else { return };
        let master = self.life().core.master();
        let known = (master.why(id).is_some(), master.progress(id, 0).is_some());
        assert_eq!(known, (true, true));
        _ = master.locks(true);
    }

    /// One task, during which somebody else may act, and the process may die.
    fn work(&mut self) {
        let tasks = self.life_mut().core.tasks();
        if tasks == 0 {
            return;
        }
        let which = self.random.below(tasks);
        self.let_somebody_act();
        let dies = self.random.one_in(30);
        world(|world| world.crash = dies);
        let noted = world(|world| world.notes.len());
        self.life_mut().core.work(which);
        let (done, notes) = world(|world| {
            (world.meanwhile, world.crash) = (None, false);
            (world.notes.len() > noted, world.notes[noted..].to_vec())
        });
        self.say(|| format!("carried out task {which} of {tasks}: {notes:?}"));
        self.learn();
        self.check();
        if dies && done {
            self.die(&[]);
        } else if self.life().inner().shell().stopping {
            self.say(|| "interrupted while it executed".to_owned());
            self.end(true);
        }
    }

    fn let_somebody_act(&mut self) {
        if !self.random.one_in(5) {
            return;
        }
        let Some(id) = self.any_job() else { return };
        let meanwhile = match self.random.below(6) {
            0 => Meanwhile::Interrupt,
            1 => Meanwhile::Hurry(id, jobs::priority(&mut self.random)),
            _ => Meanwhile::Cancel(id),
        };
        let handle = self.life().handle();
        world(|world| world.meanwhile = Some((handle, meanwhile)));
    }

    /// Whether there was something to write, and it could be written.
    fn write(&mut self) -> bool {
        let written = self.life().unwritten();
        let wrote = self.life_mut().core.write_log();
        if wrote {
            self.shadow.extend(&written);
            self.say(|| format!("wrote {} transactions", written.len()));
            let same = self.life().inner().shell().queue == *self.shadow.queue();
            assert!(same, "what is read back is not what lives: {:#?}", self.shadow.queue());
        }
        wrote
    }

    fn crash(&mut self) {
        self.die(&[]);
    }

    /// The disk fails, or the power, at some change that a write makes.
    fn crash_while_writing(&mut self) {
        let written = self.life().unwritten();
        let fault = match self.random.below(3) {
            0 => Fault::Stop,
            1 => Fault::Refuse,
            _ => Fault::Tear(self.random.below(17)),
        };
        let after = self.random.below(4);
        self.disk.set_fault(Some((after, fault)));
        self.write();
        self.disk.set_fault(None);
        if !self.life().core.master().has_failed() {
            return;
        }
        self.say(|| format!("{fault:?} after {after} changes, of {} transactions", written.len()));
        self.told.torn_writes += 1;
        self.check_world();
        self.die(&written);
    }

    /// Nothing more is done by this process; another one reads what it left.
    fn die(&mut self, being_written: &[Vec<Record>]) {
        let crash = if self.random.one_in(2) { Crash::Power } else { Crash::Kill };
        self.say(|| format!("crash: {crash:?}"));
        self.told.crashes += 1;
        // Not even the log is closed.
        self.disk.set_fault(Some((0, Fault::Stop)));
        self.life = None;
        self.disk.set_fault(None);
        if matches!(crash, Crash::Power) {
            self.disk.lose_power(self.random.next());
        }
        self.begin_again(being_written);
    }

    fn begin_again(&mut self, being_written: &[Vec<Record>]) {
        let (store, records, found) = Life::read(&self.disk).unwrap();
        self.shadow.assert_read_back(&found, being_written);
        self.shadow.become_(found);
        let copied = records.iter().any(|record| matches!(record, Record::Copied { .. }));
        self.told.copies += u64::from(copied);
        let start = how_to_start(&mut self.random);
        self.life = Some(Life::begin(store, records, &start, &self.time));
        self.before.forget();
        self.stopped.clear();
        self.deeds.retain(|id, _| self.shadow.queue().get(*id).is_some());
        self.notes_before = world(|world| world.notes.len());
        self.notes_checked = self.notes_before;
    }

    /// An orderly end, which loses nothing.
    fn restart(&mut self) {
        let now = self.random.one_in(2);
        self.say(|| format!("restart, at once: {now}"));
        self.life().core.master().stop_starting();
        if now {
            self.life().core.master().interrupt();
        }
        self.end(now);
    }

    /// What executes comes to its end; the next life begins.
    fn end(&mut self, now: bool) {
        self.told.restarts += 1;
        while self.life_mut().core.work(0) || self.write() {
            self.learn();
            self.check();
        }
        assert_eq!(self.life().core.master().busy_workers(), 0);
        let executing = self.life().inner().shell().queue.executing().count();
        assert!(now || executing == 0, "whatever had started has ended");
        self.life = None;
        self.begin_again(&[]);
    }

    /// Has everything go on until nothing does: then everything has ended.
    fn settle(&mut self) {
        self.say(|| "no more of this".to_owned());
        loop {
            let tasks = self.life_mut().core.tasks();
            let which = self.random.below(tasks);
            if !self.life_mut().core.work(which) && !self.write() && !self.wait() {
                break;
            }
            self.told.steps += 1;
            self.learn();
            self.check();
        }
        self.assert_settled();
    }

    /// Whether there was something to wait for.
    fn wait(&mut self) -> bool {
        let next = self.life_mut().core.pass_time();
        let done = self.life_mut().core.tasks() > 0 || !self.life().unwritten().is_empty();
        next.iter().filter(|_| !done).for_each(|next| self.time.reach(*next));
        done || next.is_some()
    }

    fn assert_settled(&mut self) {
        self.check_queue();
        let master = self.life().core.master();
        assert_eq!(master.busy_workers(), 0);
        assert_eq!(master.locks(false).value.locks, [], "somebody holds a lock");
        assert_eq!(master.config().reservations(), [], "somebody has something reserved");
        let inner = Arc::clone(self.life().inner());
        let shell = inner.shell();
        world(|world| laws::assert_ended_rightly(&shell.queue, &self.deeds, &world.notes));
        shell.queue.jobs().for_each(|job| self.told.count(&job));
    }

    /// What is true after every step. All of it is looked at after each only where a history is
    /// told: what is wrong stays wrong, and looking takes longer than the step.
    fn check(&mut self) {
        self.check_world();
        if self.tell || self.told.steps % 4 == 0 {
            self.check_queue();
        }
    }

    fn check_queue(&mut self) {
        let inner = Arc::clone(self.life().inner());
        let shell = inner.shell();
        shell.queue.check();
        self.before.compare(&shell.queue);
        laws::assert_alone(&shell.queue, &self.deeds);
    }

    /// What deeds did since was allowed.
    fn check_world(&mut self) {
        world(|world| {
            for place in self.notes_checked..world.notes.len() {
                let moment = Moment {
                    shadow: &self.shadow,
                    deeds: &self.deeds,
                    earlier: &world.notes[..place],
                    in_this_life: self.notes_before,
                    crashed: self.told.crashes + self.told.restarts > 0,
                    stopped: &self.stopped,
                };
                moment.assert_allowed(&world.notes[place]);
            }
            self.notes_checked = world.notes.len();
        });
    }
}

fn how_to_start(random: &mut Random) -> Start {
    let spare_log = random.one_of(&[100, 1000, 10_000]);
    Start { workers: random.below(4) + 1, spare_log }
}

fn open(disk: &SimDisk, time: &Time, random: &mut Random) -> Life {
    let (store, records, _) = Life::read(disk).unwrap();
    Life::begin(store, records, &how_to_start(random), time)
}
