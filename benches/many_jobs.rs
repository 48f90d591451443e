//! What it costs to look at, list, cancel, hurry and submit jobs beside many that are queued and
//! many that have ended: the cost of the first must not grow with the number of the second.
//!
//! `cargo bench --bench many_jobs [-- QUEUED]`; nothing is written to a disk. Each line is of
//! another number of ended jobs beside the same number of queued ones; compare the columns
//! within one run.

use std::time::{Duration, Instant};

use lockmaster::interfaces::test_delay::TestDelay;
use lockmaster::vocabulary::Error;
use lockmaster::{JobId, Master, NewJob, Priority, TypedOp};

const QUEUED: usize = 100_000;
const ENDED: [usize; 3] = [0, 100_000, 400_000];
/// How many operations of each kind are measured.
const TIMES: usize = 2_000;
/// How many jobs are submitted at once.
const BATCH: usize = 10_000;

/// A master that starts nothing, with so many queued jobs and so many that have ended.
fn master(queued: usize, ended: usize) -> Result<(Master, Vec<JobId>), Error> {
    let builder = Master::builder("unused").unit::<TestDelay>().volatile().paused();
    let mut limits = lockmaster::Limits::default();
    limits.queued_jobs = usize::MAX;
    let master = builder.limits(limits).start()?;
    let job = NewJob::of([TestDelay::new(1.0, &[]).opcode()?]);
    let mut ids = Vec::new();
    // Turn by turn, so that the queued ones stand among those that have ended.
    for part in 0..queued.div_ceil(BATCH) {
        ids.extend(master.submit(vec![job.clone(); BATCH.min(queued - part * BATCH)])?);
        let share = ended / queued.div_ceil(BATCH);
        for begun in (0..share).step_by(BATCH) {
            master.submit(vec![NewJob::default(); BATCH.min(share - begun)])?;
        }
    }
    Ok((master, ids))
}

/// Microseconds of one of `count`.
fn each(count: usize, mut act: impl FnMut(usize) -> Result<(), Error>) -> Result<f64, Error> {
    let began = Instant::now();
    (0..count).try_for_each(&mut act)?;
    Ok(micros(began.elapsed()) / count as f64)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn measure(queued: usize, ended: usize) -> Result<(), Error> {
    let (master, ids) = master(queued, ended)?;
    let id = |n: usize| ids[n * 7919 % ids.len()];
    let look = each(TIMES, |n| {
        master.job(id(n)).map(|_| ()).ok_or_else(|| Error::invalid("a queued job is gone"))
    })?;
    let hurry = each(TIMES, |n| master.change_priority(id(n), Priority::HIGH).map(|_| ()))?;
    let submit = each(TIMES, |_| {
        let job = NewJob::of([TestDelay::new(1.0, &[]).opcode()?]);
        master.begin_submit(vec![job], None).map(|_| ())
    })?;
    let list = each(1, |_| {
        assert!(master.jobs_where(|job| !job.status().is_final()).value.len() >= queued);
        Ok(())
    })?;
    let all = each(1, |_| {
        assert!(master.jobs().value.len() >= queued);
        Ok(())
    })?;
    let cancel = each(TIMES.min(queued), |n| master.cancel(ids[n]).map(|_| ()))?;
    println!(
        "{ended:>9} {look:>10.2} {hurry:>10.2} {submit:>10.2} {cancel:>10.2} {:>14.1} {:>14.1}",
        list / 1000.0,
        all / 1000.0,
    );
    Ok(())
}

fn main() -> Result<(), Error> {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let queued = asked.unwrap_or(QUEUED);
    println!("{queued} queued jobs; microseconds an operation, and milliseconds a list");
    println!(
        "{:>9} {:>10} {:>10} {:>10} {:>10} {:>14} {:>14}",
        "ended", "look", "hurry", "submit", "cancel", "list queued", "list all"
    );
    ENDED.into_iter().try_for_each(|ended| measure(queued, ended))
}
