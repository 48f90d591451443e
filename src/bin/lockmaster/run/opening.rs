//! Reading the job file and opening the state directory.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockmaster::interfaces::catalogue::Catalogue;
use lockmaster::interfaces::command::{end_leftovers, state_id};
use lockmaster::interfaces::job_file::JobFile;
use lockmaster::interfaces::test_delay::TestDelay;
use lockmaster::runtime::{Master, MasterBuilder, Registry, TypedOp};
use lockmaster::vocabulary::{Error, ErrorKind, Hierarchy, OpId};

use super::RunArgs;
use crate::output;

/// How long what is left over of an interrupted run may take to end when asked.
const GRACE: Duration = Duration::from_secs(5);

/// Reads the catalogues and the job file; one that cannot be read is a bad file as well.
pub(super) fn read(args: &RunArgs) -> Result<JobFile, Error> {
    read_files(args).map_err(|error| match error.kind() {
        ErrorKind::Io => Error::invalid(error.to_string())
            .hint("the first argument of `lockmaster run` is the path of a job file"),
        _ => error,
    })
}

fn read_files(args: &RunArgs) -> Result<JobFile, Error> {
    let mut known = Catalogue::new(Hierarchy::default()).with_other(OpId::new(TestDelay::ID)?);
    for path in &args.catalogue {
        known = known.and_file(path)?;
    }
    JobFile::load(&args.file, known)
}

/// The state directory: the one named, or one beside the others of this working directory.
pub(super) fn state_dir(args: &RunArgs) -> PathBuf {
    let of_file = || {
        let name = args.file.file_stem().unwrap_or_default();
        Path::new(".lockmaster").join(name)
    };
    args.state_dir.clone().unwrap_or_else(of_file)
}

/// Opens the state directory, paused.
pub(super) fn open(args: &RunArgs, file: &JobFile, state_dir: &Path) -> Result<Master, Error> {
    create(state_dir)?;
    let id = state_id(state_dir)?;
    let register = |registry: &mut Registry| {
        registry.add_typed::<TestDelay>()?;
        file.catalogue.register(registry, &id)
    };
    let leftovers = id.clone();
    with_workers(Master::builder(state_dir), args, file)
        .program(format!("lockmaster run {}", args.file.display()))
        .hierarchy(file.catalogue.hierarchy().clone())
        .units(register)
        .before_recovery(move |_| end_what_is_left(&leftovers))
        .paused()
        .start()
}

fn create(state_dir: &Path) -> Result<(), Error> {
    let created = DirBuilder::new().recursive(true).mode(0o750).create(state_dir);
    created.map_err(|error| {
        Error::io(format!("cannot create the state directory {}", state_dir.display()), error)
            .hint("name a directory you may write to with --state-dir DIR")
    })
}

fn with_workers(builder: MasterBuilder, args: &RunArgs, file: &JobFile) -> MasterBuilder {
    match args.workers.or(file.catalogue.settings().workers) {
        Some(workers) => builder.workers(workers),
        None => builder,
    }
}

/// Commands of an interrupted run may still be running: they have to end before their opcodes
/// are decided.
fn end_what_is_left(state_id: &str) -> Result<(), Error> {
    let ended = end_leftovers(state_id, GRACE)?;
    if !ended.is_empty() {
        output::progress(format!(
            "ended {} processes that were left of the interrupted run",
            ended.len()
        ));
    }
    Ok(())
}
