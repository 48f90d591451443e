//! The measurements of the queue.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockmaster::runtime::Registry;
use lockmaster::vocabulary::{Error, JobId, NewJob};
use lockmaster::{Master, Shutdown};

use super::unit::{Nothing, batch};
use super::{Figure, QueueArgs, disk};
use crate::output;

/// How many jobs are submitted one at a time, at most.
const SINGLES: usize = 2_000;
/// How many threads submit at once.
const SUBMITTERS: usize = 64;

/// A directory of this process that is removed in the end.
struct Place {
    path: PathBuf,
    next: usize,
}

impl Place {
    fn new(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(format!(".lockmaster-bench-{}", std::process::id()));
        std::fs::create_dir(&path)
            .map_err(|error| Error::io(format!("cannot create {}", path.display()), error))?;
        Ok(Self { path, next: 0 })
    }

    fn state_dir(&mut self) -> PathBuf {
        self.next += 1;
        self.path.join(format!("state{}", self.next))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It is ours alone; what cannot be removed is left for its owner to see.
        _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Measures everything.
pub(super) fn measure(args: &QueueArgs) -> Result<Vec<Figure>, Error> {
    if args.jobs == 0 || args.batch == 0 || args.ops == 0 {
        return Err(Error::invalid("there is nothing to measure: 0 jobs, batch or opcodes"));
    }
    let mut place = Place::new(&args.dir)?;
    let mut figures = Vec::new();
    output::progress("measuring submissions");
    // First, while the process has no memory to spare: it measures that, too.
    figures.extend(batches(args, &mut place)?);
    figures.extend(singles(args, &mut place)?);
    figures.push(many_submitters(args, &mut place)?);
    for repeatable in [false, true] {
        output::progress("measuring whole cycles");
        figures.extend(cycles(args, &mut place, repeatable)?);
    }
    output::progress("measuring the latency of one job");
    figures.extend(latency(args, &mut place)?);
    Ok(figures)
}

fn open(state_dir: &Path, workers: usize, paused: bool) -> Result<Master, Error> {
    let builder = Master::builder(state_dir).units(Registry::add_typed::<Nothing>);
    let builder = builder.workers(workers).program("lockmaster bench");
    if paused { builder.paused().start() } else { builder.start() }
}

fn rate(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64()
}

/// So many jobs in submissions of `batch`, made before anything is measured.
fn batches_of(
    args: &QueueArgs,
    jobs: usize,
    at_a_time: usize,
    repeatable: bool,
) -> Result<Vec<Vec<NewJob>>, Error> {
    let firsts = (0..jobs).step_by(at_a_time);
    firsts.map(|first| batch(first, at_a_time.min(jobs - first), args.ops, repeatable)).collect()
}

/// Has many threads do that with `each` jobs of their own; how long each job took, in order, and
/// all together.
fn at_once(
    args: &QueueArgs,
    each: usize,
    act: impl Fn(Vec<NewJob>) -> Result<(), Error> + Sync,
) -> Result<(Vec<Duration>, Duration), Error> {
    let mut jobs = batches_of(args, each * SUBMITTERS, 1, false)?.into_iter();
    let shares: Vec<Vec<_>> = (0..SUBMITTERS).map(|_| jobs.by_ref().take(each).collect()).collect();
    let one = |jobs| {
        let began = Instant::now();
        act(jobs).map(|()| began.elapsed())
    };
    let all = |share: Vec<_>| share.into_iter().map(one).collect::<Result<Vec<_>, Error>>();
    let began = Instant::now();
    let took: Result<Vec<_>, Error> = std::thread::scope(|scope| {
        let all = &all;
        let threads: Vec<_> =
            shares.into_iter().map(|share| scope.spawn(move || all(share))).collect();
        // A thread that panicked has been reported by its panic.
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(Vec::new()))).collect()
    });
    let (mut took, whole) = (took?.concat(), began.elapsed());
    took.sort_unstable();
    Ok((took, whole))
}

/// Submissions of one job, one after the other.
fn singles(args: &QueueArgs, place: &mut Place) -> Result<Vec<Figure>, Error> {
    let jobs = args.jobs.min(SINGLES);
    let master = open(&place.state_dir(), 1, true)?;
    let submissions = batches_of(args, jobs, 1, false)?;
    let began = Instant::now();
    submissions.into_iter().try_for_each(|jobs| master.submit(jobs).map(|_| ()))?;
    let took = began.elapsed();
    let bytes = 150 * args.ops;
    let raw: Duration = disk::appends(&place.path, jobs, bytes)?.into_iter().sum();
    let figure = Figure::new("submit one by one", rate(jobs, took), "jobs/s");
    Ok(vec![figure.beside("a plain file, as many syncs", rate(jobs, raw))])
}

/// Submissions of one job by many threads at once: they share syncs.
fn many_submitters(args: &QueueArgs, place: &mut Place) -> Result<Figure, Error> {
    let master = open(&place.state_dir(), 1, true)?;
    let each = (args.jobs / SUBMITTERS).max(1);
    let took = at_once(args, each, |jobs| master.submit(jobs).map(|_| ()))?.1;
    let (jobs, syncs) = (each * SUBMITTERS, master.syncs());
    let raw: Duration = disk::appends(&place.path, 200, 150)?.into_iter().sum();
    let what = format!(
        "submit one by one, {SUBMITTERS} at once, {:.1} a sync",
        jobs as f64 / syncs as f64
    );
    let figure = Figure::new(what, rate(jobs, took), "jobs/s");
    Ok(figure.beside("a plain file, one writer", rate(200, raw)))
}

/// Submissions of whole batches, and what it takes to open the queue they make again.
fn batches(args: &QueueArgs, place: &mut Place) -> Result<Vec<Figure>, Error> {
    let state_dir = place.state_dir();
    let master = open(&state_dir, 1, true)?;
    let before = resident();
    let (mut number, mut took) = (0, Duration::ZERO);
    while number < args.jobs {
        let jobs = batch(number, args.batch.min(args.jobs - number), args.ops, false)?;
        number += jobs.len();
        let began = Instant::now();
        master.submit(jobs)?;
        took += began.elapsed();
    }
    let memory = resident().saturating_sub(before) as f64 / args.jobs as f64;
    let syncs = usize::try_from(master.syncs()).unwrap_or(usize::MAX).max(1);
    master.shutdown(Shutdown::Finish, None)?;
    drop(master);
    let (bytes, reopened) = reopen(&state_dir)?;
    let raw = raw_appends(place, bytes, syncs)?;
    Ok(vec![
        Figure::new(
            format!("submit in batches of {}", args.batch),
            rate(args.jobs, took),
            "jobs/s",
        )
        .beside("a plain file, same bytes and syncs", rate(args.jobs, raw)),
        Figure::new("a queued job in the log", bytes as f64 / args.jobs as f64, "bytes"),
        Figure::new("a queued job in memory", memory, "bytes"),
        Figure::new(format!("open {} queued jobs", args.jobs), reopened.as_secs_f64(), "s"),
    ])
}

/// How long a plain file takes for so many bytes in so many writes, each synced.
fn raw_appends(place: &Place, bytes: u64, syncs: usize) -> Result<Duration, Error> {
    let each = usize::try_from(bytes).unwrap_or(usize::MAX) / syncs;
    Ok(disk::appends(&place.path, syncs, each)?.into_iter().sum())
}

fn reopen(state_dir: &Path) -> Result<(u64, Duration), Error> {
    let mut count = 0u64;
    let (store, report) =
        lockmaster::store::LogStore::open(state_dir, "lockmaster bench", &mut |_| count += 1)?;
    drop(store);
    let began = Instant::now();
    let master = open(state_dir, 1, true)?;
    let took = began.elapsed();
    drop(master);
    Ok((report.bytes, took))
}

/// Jobs submitted, locked, run, finished, and their end on disk.
fn cycles(args: &QueueArgs, place: &mut Place, repeatable: bool) -> Result<Vec<Figure>, Error> {
    let state_dir = place.state_dir();
    let master = open(&state_dir, args.workers, false)?;
    let submissions = batches_of(args, args.jobs, args.batch, repeatable)?;
    let mut ids: Vec<JobId> = Vec::with_capacity(args.jobs);
    let began = Instant::now();
    for jobs in submissions {
        ids.extend(master.begin_submit(jobs, None)?.value);
    }
    for id in ids {
        master.wait(id)?;
    }
    let took = began.elapsed();
    let what = if repeatable { "repeatable" } else { "start on disk before it runs" };
    let syncs = usize::try_from(master.syncs()).unwrap_or(usize::MAX).max(1);
    master.shutdown(Shutdown::Finish, None)?;
    drop(master);
    let raw = raw_appends(place, reopen(&state_dir)?.0, syncs)?;
    Ok(vec![
        Figure::new(format!("whole cycle, {what}"), rate(args.jobs, took), "jobs/s")
            .beside("a plain file, same bytes and syncs", rate(args.jobs, raw)),
        Figure::new(format!("whole cycle, {what}"), syncs as f64 / args.jobs as f64, "syncs a job"),
    ])
}

/// Jobs from submission to the moment their end is on disk and their client told: one at a time,
/// and many clients at once.
fn latency(args: &QueueArgs, place: &mut Place) -> Result<Vec<Figure>, Error> {
    let master = open(&place.state_dir(), args.workers, false)?;
    let one = |jobs: Vec<NewJob>| {
        let ids = master.submit(jobs)?;
        ids.into_iter().try_for_each(|id| master.wait(id).map(|_| ()))
    };
    let mut took = Vec::new();
    for jobs in batches_of(args, args.jobs.min(SINGLES), 1, false)? {
        let began = Instant::now();
        one(jobs)?;
        took.push(began.elapsed());
    }
    let (many, _) = at_once(args, (args.jobs / SUBMITTERS).max(1), one)?;
    let mut raw = disk::appends(&place.path, 500, 150)?;
    took.sort_unstable();
    raw.sort_unstable();
    let sync = micros(&raw, 50);
    let many_of = format!("one of {SUBMITTERS} jobs at once, submit to end");
    Ok(vec![
        Figure::new("one job, submit to end, median", micros(&took, 50), "us")
            .beside("one sync of a plain file", sync),
        Figure::new("one job, submit to end, p99", micros(&took, 99), "us"),
        Figure::new(format!("{many_of}, median"), micros(&many, 50), "us")
            .beside("one sync of a plain file", sync),
        Figure::new(format!("{many_of}, p99"), micros(&many, 99), "us"),
    ])
}

/// What so many percent of those times do not exceed; they are in order.
fn micros(times: &[Duration], percent: usize) -> f64 {
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6
}

/// The bytes of memory this process has; 0 where the system does not say.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
