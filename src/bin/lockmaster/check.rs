//! `lockmaster check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use lockmaster::engine::queue::Queue;
use lockmaster::store::{LogStore, ReplayReport};
use lockmaster::vocabulary::{Error, ErrorKind, Record};

use crate::output;

const OWNER: &str = "lockmaster check";

/// See whether the log of a state directory is whole
///
/// Reads all of it and changes nothing. The directory must not be in use. Exits with 1 where the
/// log is damaged. A half-written end is no damage: nobody was told of what stood there, and the
/// next start cuts it off.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The state directory
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,

    /// Cut off a half-written end, and say what was cut; damage is left to you
    #[arg(long)]
    repair: bool,
}

/// What was read of a log.
struct Seen {
    queue: Queue,
    records: u64,
    misfit: Option<Error>,
}

impl Seen {
    fn take(&mut self, record: &Record) {
        if self.misfit.is_none() {
            self.records += 1;
            self.misfit = self.queue.apply(record).err();
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Error> {
    let mut seen = Seen { queue: Queue::new(usize::MAX), records: 0, misfit: None };
    let read = LogStore::check(&args.state_dir, OWNER, &mut |record| seen.take(&record));
    let fits = seen.misfit.take().map_or_else(|| seen.queue.replayed(), Err);
    match read.and_then(|report| fits.map(|()| report)) {
        Ok(report) => whole(args, &seen, &report),
        Err(error) if error.kind() == ErrorKind::Corrupt => damaged(&seen, &error),
        Err(error) => Err(error),
    }
}

fn whole(args: &CheckArgs, seen: &Seen, report: &ReplayReport) -> Result<ExitCode, Error> {
    let (jobs, open) = (seen.queue.len(), seen.queue.unfinished());
    output::print(format!(
        "{}, {open} of them not ended, in {} of {} and {} bytes",
        output::count(jobs, "job"),
        output::count(number(report.segments), "segment"),
        output::count(number(report.records), "record"),
        report.bytes
    ))?;
    if let Some(torn) = &report.torn {
        let (bytes, offset, segment) = (torn.bytes, torn.offset, torn.segment.display());
        output::print(format!("{segment}: {bytes} half-written bytes from offset {offset}"))?;
        if args.repair {
            cut(&args.state_dir)?;
            output::print(format!("{segment}: {bytes} bytes cut off; no job was lost"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opening the log does it.
fn cut(state_dir: &Path) -> Result<(), Error> {
    LogStore::open(state_dir, OWNER, &mut |_| {}).map(drop)
}

fn damaged(seen: &Seen, error: &Error) -> Result<ExitCode, Error> {
    output::print(format!("damaged: {error}"))?;
    output::print(format!(
        "{} records before it are whole; nothing was changed. Keep a copy of the state directory, \
         then put the damaged file back from a backup",
        seen.records
    ))?;
    Ok(ExitCode::from(1))
}

fn number(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
