//! How fast ended jobs are archived, and what making the log shorter costs those who submit
//! meanwhile: the same submissions, once to a master that never copies its queue and once to one
//! that does so all the time, taking turns on the same disk.
//!
//! `cargo bench --bench archive [-- DIRECTORY]`; the directory decides which disk is measured.

use std::path::Path;
use std::time::{Duration, Instant};

use lockmaster::interfaces::test_delay::TestDelay;
use lockmaster::vocabulary::Error;
use lockmaster::{Master, NewJob, TypedOp};

const QUEUED: usize = 20_000;
const ROUNDS: usize = 8;
const SUBMISSIONS: usize = 1000;
const FOREVER: Duration = Duration::from_secs(3600);

fn master(dir: &Path, spare: u64) -> Result<Master, Error> {
    Master::builder(dir).unit::<TestDelay>().paused().spare_log(spare).start()
}

/// Jobs that stay in the queue, with about 100 bytes of parameters.
fn queued() -> Result<Vec<NewJob>, Error> {
    let opcode = TestDelay::new(1.0, &[&"x".repeat(60)]).opcode()?;
    Ok(vec![NewJob::of([opcode]); QUEUED])
}

/// A job that has ended when it is submitted, of that many bytes.
fn ended(bytes: usize) -> NewJob {
    NewJob::default().labelled("x".repeat(bytes))
}

fn log_of(dir: &Path) -> std::io::Result<(u64, u64)> {
    let (mut bytes, mut last) = (0, 0);
    for entry in std::fs::read_dir(dir.join("log"))? {
        let entry = entry?;
        bytes += entry.metadata()?.len();
        let number = entry.file_name().to_string_lossy().trim_end_matches(".log").parse();
        last = last.max(number.unwrap_or(0));
    }
    Ok((bytes, last))
}

/// Submits one job after the other, each waiting for the disk.
fn submit_singly(master: &Master, took: &mut Vec<Duration>) -> Result<(), Error> {
    for _ in 0..SUBMISSIONS {
        let began = Instant::now();
        master.submit_one(ended(2000))?;
        took.push(began.elapsed());
    }
    Ok(())
}

fn show(name: &str, dir: &Path, mut took: Vec<Duration>) -> std::io::Result<()> {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let mean = took.iter().sum::<Duration>() / u32::try_from(took.len()).unwrap_or(1);
    let (bytes, segments) = log_of(dir)?;
    println!(
        "{name:>14}: mean {mean:.1?}, p50 {:.1?}, p99 {:.1?}, most {:.1?}; log {} KiB, {} segments begun",
        at(0.5),
        at(0.99),
        at(1.0),
        bytes >> 10,
        segments
    );
    Ok(())
}

fn submissions(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    println!("single submissions of 2 KB beside {QUEUED} queued jobs:");
    let places = [dir.join("never"), dir.join("often")];
    let masters = [master(&places[0], u64::MAX / 4)?, master(&places[1], 0)?];
    masters.iter().try_for_each(|master| master.submit(queued()?).map(drop))?;
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (master, took) in masters.iter().zip(&mut took) {
            submit_singly(master, took)?;
            master.auto_archive(Duration::ZERO, FOREVER)?;
        }
    }
    drop(masters);
    let [never, often] = took;
    show("never copied", &places[0], never)?;
    show("copied often", &places[1], often)?;
    Ok(())
}

fn archiving(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    for (jobs, bytes) in [(100_000, 100), (20_000, 2000)] {
        let master = master(&dir.join(format!("archive-{bytes}")), u64::MAX / 4)?;
        for _ in 0..jobs / 1000 {
            master.submit(vec![ended(bytes); 1000])?;
        }
        let began = Instant::now();
        let answer = master.auto_archive(Duration::ZERO, FOREVER)?;
        master.wait_durable(answer.position)?;
        let (took, archived) = (began.elapsed(), answer.value.archived);
        let rate = archived as f64 / took.as_secs_f64();
        println!("archived {archived} jobs of {bytes} bytes in {took:.2?}: {rate:.0} jobs/s");
        let began = Instant::now();
        let ids = (1..=jobs as u64).step_by(977).filter_map(lockmaster::JobId::new);
        let read = ids.map(|id| master.archived(id)).collect::<Result<Vec<_>, Error>>()?;
        let each = began.elapsed() / u32::try_from(read.len())?;
        println!("reading one of them: {each:.1?}");
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let dir = match place {
        Some(place) => tempfile::tempdir_in(place)?,
        None => tempfile::tempdir()?,
    };
    submissions(dir.path())?;
    archiving(dir.path())
}
