//! `lockmaster check`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use lockmaster::engine::queue::Queue;
use lockmaster::interfaces::places::default_state_dir;
use lockmaster::runtime::ConfigWriter;
use lockmaster::store::{Archive, DamagedLog, LogStore, ReplayReport};
use lockmaster::vocabulary::{Error, ErrorKind, JobId, Record};

use crate::output;

const OWNER: &str = "lockmaster check";
/// How many jobs are named at most.
const NAMED: usize = 20;

/// See whether a state directory is whole: its log, its archive, its configuration
///
/// Reads all of it and changes nothing. The directory must not be in use. Exits with 1 where
/// something is damaged. A half-written end of the log is no damage: nobody was told of what
/// stood there, and the next start cuts it off.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The state directory; that of the daemon where none is named
    #[arg(long, value_name = "DIR", env = "LOCKMASTER_STATE_DIR", hide_env_values = true, default_value_os_t = default_state_dir())]
    state_dir: PathBuf,

    /// Cut off a half-written end, and say what was cut; damage is left to you
    #[arg(long)]
    repair: bool,

    /// Where the log is damaged, cut it off there, and say what was lost
    ///
    /// A copy of the whole log is kept beside it. What is lost was acknowledged: jobs are gone, or
    /// are as they were before, so that opcodes which have ended may run again. Only where there
    /// is no backup to put the file back from.
    #[arg(long, requires = "repair")]
    give_up_rest: bool,
}

/// What was read of a log.
struct Seen {
    queue: Queue,
    records: u64,
    misfit: Option<Error>,
}

impl Seen {
    fn nothing() -> Self {
        Self { queue: Queue::new(usize::MAX), records: 0, misfit: None }
    }

    fn take(&mut self, record: &Record) {
        if self.misfit.is_none() {
            self.records += 1;
            self.misfit = self.queue.apply(record).err();
        }
    }

    /// Whether what was read is a queue.
    fn fits(&mut self) -> Result<(), Error> {
        self.misfit.take().map_or_else(|| self.queue.replayed(), Err)
    }
}

/// Runs the verb.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Error> {
    let mut seen = Seen::nothing();
    let read = LogStore::check(&args.state_dir, OWNER, &mut |record| seen.take(&record));
    let fits = seen.fits();
    let whole = match read.and_then(|report| fits.map(|()| report)) {
        Ok(report) => {
            whole(args, &seen, &report)?;
            // Which jobs should be archived is known only from a log that is whole.
            check_archive(&args.state_dir, Some(&seen.queue))?
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            damaged(args, &error)?;
            check_archive(&args.state_dir, None)?;
            false
        }
        Err(error) => return Err(error),
    };
    let config = check_config(&args.state_dir)?;
    Ok(ExitCode::from(u8::from(!(whole && config))))
}

fn whole(args: &CheckArgs, seen: &Seen, report: &ReplayReport) -> Result<(), Error> {
    let (jobs, open) = (seen.queue.len(), seen.queue.unfinished());
    output::print(format!(
        "{}, {open} of them not ended, in {} of {} and {} bytes",
        output::count(jobs, "job"),
        output::count(number(report.segments), "segment"),
        output::count(number(report.records), "record"),
        report.bytes
    ))?;
    let Some(torn) = &report.torn else { return Ok(()) };
    let (bytes, offset, segment) = (torn.bytes, torn.offset, torn.segment.display());
    output::print(format!("{segment}: {bytes} half-written bytes from offset {offset}"))?;
    if args.repair {
        cut(&args.state_dir)?;
        output::print(format!("{segment}: {bytes} bytes cut off; no job was lost"))?;
    }
    Ok(())
}

/// Opening the log does it.
fn cut(state_dir: &Path) -> Result<(), Error> {
    LogStore::open(state_dir, OWNER, &mut |_| {}).map(drop)
}

/// Says where the log is damaged and what stands behind it; cuts it off there where asked to.
fn damaged(args: &CheckArgs, error: &Error) -> Result<(), Error> {
    output::print(format!("damaged: {error}"))?;
    let (mut before, mut behind) = (Seen::nothing(), BTreeSet::new());
    let found = DamagedLog::find(
        &args.state_dir,
        OWNER,
        &mut |record| before.take(&record),
        &mut |record| behind.extend(record.job()),
    );
    let Ok(Some(log)) = found else { return output::print("nothing was changed") };
    let (records, frames) = (before.records, number(log.damage().frames));
    let (whole, writes) =
        (output::count(number(records), "record"), output::count(frames, "write"));
    output::print(format!("whole: {whole} before it, and {writes} behind it{}", about(&behind)))?;
    if !args.give_up_rest {
        return output::print(
            "nothing was changed: keep a copy of the state directory, then put the damaged file \
             back from a backup. Where there is none, --repair --give-up-rest cuts the log off \
             there",
        );
    }
    before.fits()?;
    let kept = keep_aside(&args.state_dir)?;
    let place = format!("{} from offset {}", log.damage().segment.display(), log.damage().offset);
    log.cut()?;
    output::print(format!(
        "cut off: {place}, and what came after; left: {}, {} of them not ended. The log as it was is \
         kept in {}",
        output::count(before.queue.len(), "job"),
        before.queue.unfinished(),
        kept.display()
    ))
}

fn about(jobs: &BTreeSet<JobId>) -> String {
    if jobs.is_empty() {
        return String::new();
    }
    let named: Vec<String> = jobs.iter().take(NAMED).map(ToString::to_string).collect();
    let more = jobs.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(", about jobs {}{more}", named.join(", "))
}

/// Copies the log beside itself, durably. Where.
fn keep_aside(state_dir: &Path) -> Result<PathBuf, Error> {
    let names = (1_u32..).map(|n| state_dir.join(format!("log.damaged.{n}")));
    let kept = names.into_iter().find(|path| !path.exists()).unwrap_or_default();
    copy(&state_dir.join("log"), &kept)
        .map_err(|error| Error::io(format!("cannot copy the log to {}", kept.display()), error))?;
    Ok(kept)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        fs::copy(entry.path(), &copied)?;
        fs::File::open(&copied)?.sync_all()?;
    }
    fs::File::open(to)?.sync_all()
}

/// Whether all archived jobs can be read, as far as one knows which these are.
fn check_archive(state_dir: &Path, queue: Option<&Queue>) -> Result<bool, Error> {
    let report = match Archive::open(state_dir).check() {
        Err(error) if error.kind() == ErrorKind::Corrupt => return said(&error),
        report => report?,
    };
    let next = queue.map_or(JobId::FIRST, |queue| queue.begin_copy().1);
    let ids = (JobId::FIRST.get()..next.get()).filter_map(JobId::new);
    let archived = ids.filter(|id| queue.is_some_and(|queue| queue.was_archived(*id)));
    let missing: BTreeSet<JobId> = archived.filter(|id| !report.jobs.contains(id)).collect();
    if report.files > 0 {
        let (jobs, files) = (report.jobs.len(), number(report.files));
        let (jobs, files) = (output::count(jobs, "archived job"), output::count(files, "file"));
        output::print(format!("{jobs} in {files}"))?;
    }
    for (file, offset) in &report.unreadable {
        let file = file.display();
        output::print(format!("{file}: what stands at offset {offset} is no record"))?;
    }
    if !missing.is_empty() {
        let count = output::count(missing.len(), "archived job");
        output::print(format!(
            "damaged: {count} cannot be read{}; put the file back from a backup, the others can",
            about(&missing)
        ))?;
    }
    Ok(missing.is_empty())
}

/// Whether the configuration can be read, where it is at its usual place.
fn check_config(state_dir: &Path) -> Result<bool, Error> {
    match ConfigWriter::open(state_dir.join("config.json")) {
        Err(error) if error.kind() == ErrorKind::Corrupt => said(&error),
        opened => opened.map(|_| true),
    }
}

fn said(error: &Error) -> Result<bool, Error> {
    output::print(format!("damaged: {error}"))?;
    Ok(false)
}

fn number(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
