//! How fast the log is, each figure beside the raw limit of the same disk in the same run: the
//! same bytes in a plain file filled with zeros, with the same number of syncs.
//!
//! `cargo bench --bench log [-- DIRECTORY]`; the directory decides which disk is measured.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockmaster::store::{LogStore, Store};
use lockmaster::vocabulary::{Error, JobId, NewJob, OpCode, OpId, Params, Record, Timestamp};

const ROUNDS: usize = 21;

/// A submission of one job with about 100 bytes of parameters.
fn submission(job: u64) -> Result<Vec<Record>, Error> {
    let text = format!(r#"{{"instance":"web{job}","node":"node1","text":"{}"}}"#, "x".repeat(60));
    let opcode = OpCode::new(OpId::new("OP_BENCH")?, Params::from_json(&text)?);
    let first = JobId::FIRST.plus(job);
    let time = Timestamp::from_micros(1_700_000_000_000_000);
    Ok(vec![Record::Submitted { time, first, jobs: vec![NewJob::of([opcode])], origin: None }])
}

fn open(dir: &Path) -> Result<(LogStore, u64), Error> {
    let (store, report) = LogStore::open(dir, "a benchmark", &mut |_| {})?;
    Ok((store, report.bytes))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = work();
    (done, began.elapsed())
}

/// A file that is filled already, and where in it the next bytes go.
struct Raw {
    file: File,
    offset: u64,
}

impl Raw {
    fn filled(path: &Path, bytes: usize) -> std::io::Result<Self> {
        let file = File::create(path)?;
        file.write_all_at(&vec![0; bytes], 0)?;
        file.sync_all()?;
        Ok(Self { file, offset: 0 })
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.file.sync_data()
    }
}

/// The bytes one append of those transactions takes in the log.
fn bytes_of(dir: &Path, transactions: &[Vec<Record>]) -> Result<usize, Error> {
    const APPENDS: u64 = 100;
    drop(open(dir)?);
    let (mut store, before) = open(dir)?;
    (0..APPENDS).try_for_each(|_| store.append(transactions))?;
    drop(store);
    Ok(((open(dir)?.1 - before) / APPENDS) as usize)
}

/// Store and raw file take turns, so that what else the machine does strikes both.
fn measure(dir: &Path, appends: usize, batch: usize) -> Result<(), Box<dyn std::error::Error>> {
    let state = dir.join(format!("state-{batch}"));
    let transactions: Vec<_> =
        (0..batch as u64).map(submission).collect::<Result<Vec<_>, Error>>()?;
    let bytes = vec![1; bytes_of(&state, &transactions)?];
    let (mut store, _) = open(&state)?;
    let mut raw = Raw::filled(&dir.join("raw"), ROUNDS * appends * bytes.len())?;
    let (mut ours, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (done, took) = timed(|| (0..appends).try_for_each(|_| store.append(&transactions)));
        done?;
        ours.push(took);
        let (done, took) = timed(|| (0..appends).try_for_each(|_| raw.append(&bytes)));
        done?;
        limits.push(took);
    }
    drop(store);
    let (reopened, replay) = timed(|| open(&state));
    reopened?;
    let jobs = (appends * batch) as f64;
    let (ours, limit) = (median(ours).as_secs_f64(), median(limits).as_secs_f64());
    println!(
        "{batch:>5} a sync: {:>8.0} jobs/s, raw {:>8.0} ({:.2} of it); {} bytes a job; replayed {:>8.0} jobs/s",
        jobs / ours,
        jobs / limit,
        limit / ours,
        bytes.len() / batch,
        jobs * ROUNDS as f64 / replay.as_secs_f64(),
    );
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let base = named.map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let dir = tempfile::tempdir_in(base)?;
    for (appends, batch) in [(100, 1), (100, 10), (50, 100), (20, 1000)] {
        measure(dir.path(), appends, batch)?;
    }
    Ok(())
}
