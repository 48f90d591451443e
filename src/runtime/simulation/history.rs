//! One history: random steps over several lives of a master, each checked.

mod archiving;
mod clients;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::jobs;
use super::laws::{self, Before, Deeds, Moment};
use super::life::{Life, Start, Time};
use super::random::Random;
use super::rules::Gate;
use super::shadow::Shadow;
use super::world::{Meanwhile, World, world};
use crate::runtime::Limits;
use crate::store::sim::{Fault, SimDisk};
use crate::vocabulary::{Job, JobId, NewJob, Record};
pub(super) use told::Told;

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
    archive_disk: SimDisk,
    time: Time,
    /// None only between two lives.
    life: Option<Life>,
    shadow: Shadow,
    before: Before,
    deeds: Deeds,
    /// The jobs that have left the queue, as they were.
    archived: BTreeMap<JobId, Job>,
    /// Which jobs were submitted under which key.
    keys: BTreeMap<String, (Vec<JobId>, Vec<NewJob>)>,
    gate: Gate,
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
        let (disk, archive_disk, time) = (SimDisk::default(), SimDisk::default(), Time::default());
        let (store, records, _) = Life::read(&disk).unwrap();
        let start = how_to_start(&mut random);
        let life = Life::begin((store, records), &archive_disk, &start, &time);
        Self {
            random,
            tell,
            disk,
            archive_disk,
            time,
            life: Some(life),
            shadow: Shadow::new(Limits::default().feedback_bytes),
            before: Before::default(),
            deeds: Deeds::new(),
            archived: BTreeMap::new(),
            keys: BTreeMap::new(),
            gate: Gate::default(),
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
        match self.random.below(47) {
            40 | 41 => self.archive(),
            42..44 => self.change_rules(),
            44..47 => self.submit_under_a_key(),
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

    /// What is due by the clock.
    fn pass_time(&mut self) {
        let next = self.life_mut().core.pass_time();
        self.say(|| format!("looked at the clock; next at {next:?}"));
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
            self.archive_disk.lose_power(self.random.next());
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
        let life = Life::begin((store, records), &self.archive_disk, &start, &self.time);
        self.life = Some(life);
        self.before.forget();
        self.stopped.clear();
        let queue = self.shadow.queue();
        // Whatever is not in the queue again is in the archive, or was never on disk.
        self.archived.retain(|id, _| queue.get(*id).is_none());
        let known = |id: &JobId| queue.get(*id).is_some() || self.archived.contains_key(id);
        self.deeds.retain(|id, _| known(id));
        self.keys.retain(|_, (ids, _)| known(&ids[0]));
        let shell = Arc::clone(self.life().inner());
        self.gate = Gate::begin_again(&shell.shell().queue, &self.deeds);
        self.assert_archived();
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

    fn go_on(&mut self) {
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
    }

    /// Has everything go on until nothing does, with the rules as they are; then without any.
    fn settle(&mut self) {
        self.say(|| "no more of this".to_owned());
        self.go_on();
        let inner = Arc::clone(self.life().inner());
        Gate::assert_explained(&inner.shell().queue, &self.deeds);
        for state in self.life().core.master().filters().value {
            self.gate.rules_changed(&inner.shell().queue);
            self.life().core.master().delete_filter(state.rule.id).unwrap();
            self.check();
        }
        self.go_on();
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
        world(|world| {
            let (queue, archived) = (&shell.queue, &self.archived);
            laws::assert_ended_rightly(queue, archived, &self.deeds, &world.notes);
        });
        shell.queue.jobs().for_each(|job| self.told.count(&job));
        drop(shell);
        self.archived.values().for_each(|job| self.told.count(job));
        self.told.paused += u64::from(self.gate.paused);
        self.told.rejected += u64::from(self.gate.rejected);
        self.told.limited += u64::from(self.gate.limited);
        self.assert_archived();
    }

    /// What is true after every step. All of it is looked at after each only where a history is
    /// told: what is wrong stays wrong, and looking takes longer than the step.
    fn check(&mut self) {
        self.check_world();
        let inner = Arc::clone(self.life().inner());
        let shell = inner.shell();
        self.gate.look(&shell.queue, &self.deeds, shell.stopping);
        drop(shell);
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
                    archived: &self.archived,
                    gate: &self.gate,
                    deeds: &self.deeds,
                    earlier: &world.notes[..place],
                    in_this_life: self.notes_before,
                    crashed: self.told.crashes + self.told.restarts > 0,
                    stopped: &self.stopped,
                };
                moment.assert_allowed(&world.notes[place]);
            }
            self.notes_checked = world.notes.len();
            for told in std::mem::take(&mut world.succeeded) {
                laws::assert_told_rightly(&self.deeds, &world.notes, told);
            }
        });
    }
}

fn how_to_start(random: &mut Random) -> Start {
    let spare_log = random.one_of(&[100, 1000, 10_000]);
    Start { workers: random.below(4) + 1, spare_log }
}
