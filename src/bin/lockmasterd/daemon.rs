//! The life of the daemon: start, serve, stop as told.

use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use lockmaster::interfaces::command::{end_leftovers, state_id};
use lockmaster::interfaces::hook_directory::HookDirectory;
use lockmaster::interfaces::luxi::{Server, ServerHandle, ServerLimits, Service};
use lockmaster::interfaces::metrics::{MetricsPage, prometheus};
use lockmaster::interfaces::test_delay::TestDelay;
use lockmaster::interfaces::test_jqueue::TestJqueue;
use lockmaster::runtime::{Master, Shutdown};
use lockmaster::vocabulary::{Error, ErrorKind};
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::arguments::Arguments;
use crate::config::Config;
use crate::lock_dir;
use crate::service_manager;

/// How long executing opcodes may take to stop when told to stop at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long after TERM what a dead daemon left running gets KILL.
const LEFTOVER_GRACE: Duration = Duration::from_secs(5);

/// Where, in the state directory, uploads of the configuration are prepared.
const SPOOL: &str = "spool";

/// What the main thread is told.
enum Event {
    /// Somebody wants the daemon to stop.
    Signal(i32),
    /// The log cannot be written any more.
    Failed,
    /// The master has shut down, or did not within its time.
    Down(Result<(), Error>),
    /// The server has ended.
    Unserved(Result<(), Error>),
}

/// Runs the daemon until it is told to stop.
pub(crate) fn run(arguments: &Arguments, config: &Config) -> Result<(), Error> {
    raise_file_limit();
    let (sender, events) = unbounded();
    // Before the start: a signal during recovery is kept and acted upon afterwards.
    watch_signals(sender.clone())?;
    let master = Arc::new(start_master(arguments, config)?);
    watch_log(&master, sender.clone());
    let service: Arc<dyn Service> = Arc::<Master>::clone(&master);
    show_metrics(&master, arguments.metrics)?;
    let limits = ServerLimits::default();
    let server = Server::bind_for(&arguments.socket, service, limits, config.access()?)?;
    let handle = server.handle();
    spawn("luxi", sender.clone(), move || Event::Unserved(server.run()))?;
    let (socket, state) = (arguments.socket.display(), arguments.state_dir.display());
    tracing::info!(%socket, %state, "ready");
    service_manager::keep_alive(&master)?;
    service_manager::ready(&socket.to_string());
    Life { master, handle, sender, shutdowns: 0, pending: 0 }.live(&events)
}

fn start_master(arguments: &Arguments, config: &Config) -> Result<Master, Error> {
    let (hierarchy, catalogues) = config.load()?;
    let hierarchy = config.scoped(hierarchy)?;
    let foreign = config.foreign(&lock_dir::with_plain(hierarchy.clone())?)?;
    let (hierarchy, lock_dir) = lock_dir::open(arguments.lock_dir.as_deref(), hierarchy, foreign)?;
    make_state_dir(&arguments.state_dir)?;
    let state_id = state_id(&arguments.state_dir)?;
    // Commands run in other directories.
    let socket = std::path::absolute(&arguments.socket)
        .map_err(|error| Error::io("cannot tell where the socket is", error))?;
    let mut builder = Master::builder(&arguments.state_dir)
        .program("lockmasterd")
        .hierarchy(hierarchy)
        .limits(config.limits())
        .config_options(config.kept(&arguments.state_dir.join(SPOOL))?)
        .unit::<TestDelay>()
        .unit::<TestJqueue>();
    if let Some(dir) = lock_dir {
        builder = builder.lock_dir(dir);
    }
    let settings = catalogues.iter().find_map(|catalogue| catalogue.settings().workers);
    if let Some(workers) = config.workers().or(settings) {
        builder = builder.workers(workers);
    }
    if let Some(threshold) = config.slow_lock()? {
        builder = builder.slow_lock(threshold);
    }
    for catalogue in catalogues {
        let catalogue = catalogue.with_socket(&socket);
        builder = builder.units(|registry| catalogue.register(registry, &state_id));
    }
    if let Some(path) = config.hooks() {
        builder = builder.hook(HookDirectory::open(&path, &state_id)?.with_socket(&socket));
    }
    builder.before_recovery(move |_| end_what_still_runs(&state_id)).start()
}

/// Ends what the commands of a daemon that died have left running.
fn end_what_still_runs(state_id: &str) -> Result<(), Error> {
    for leftover in end_leftovers(state_id, LEFTOVER_GRACE)? {
        tracing::warn!(?leftover, "ended what an earlier daemon left running");
    }
    Ok(())
}

/// Makes the state directory, and what it is in, where they are missing.
fn make_state_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(|error| {
        Error::io(format!("cannot make the state directory {}", path.display()), error)
            .hint("name another one with --state-dir")
    })
}

/// The daemon from the moment it is ready.
struct Life {
    master: Arc<Master>,
    handle: ServerHandle,
    sender: Sender<Event>,
    /// How many shutdowns were begun, and how many of them have not ended.
    shutdowns: u32,
    pending: u32,
}

impl Life {
    /// Acts on events until the server has ended, which it does last.
    fn live(mut self, events: &Receiver<Event>) -> Result<(), Error> {
        let mut outcome = Ok(());
        for event in events {
            match event {
                Event::Signal(signal) => {
                    tracing::info!(signal, "told to stop");
                    self.begin_shutdown()?;
                }
                Event::Failed if self.shutdowns == 0 => self.begin_shutdown()?,
                Event::Failed => {}
                Event::Down(result) => outcome = self.down(result),
                Event::Unserved(result) => return outcome.and(result),
            }
        }
        outcome
    }

    /// The first shutdown lets executing opcodes finish, the second stops them.
    fn begin_shutdown(&mut self) -> Result<(), Error> {
        let (how, patience) = match self.shutdowns {
            0 => (Shutdown::Finish, None),
            1 => (Shutdown::Now, Some(PATIENCE)),
            _ => return Ok(()),
        };
        service_manager::stopping();
        self.shutdowns += 1;
        self.pending += 1;
        let master = Arc::clone(&self.master);
        spawn("shutdown", self.sender.clone(), move || Event::Down(master.shutdown(how, patience)))
    }

    /// The log is at its end when all shutdowns are; one that lost its patience ends it all.
    fn down(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        self.pending -= 1;
        let impatient = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Refused);
        if let Err(error) = &result {
            tracing::error!(%error, "not everything could be ended");
        }
        if self.pending == 0 || impatient {
            self.handle.stop();
        }
        result
    }
}

/// Hears of a log that cannot be written: no place in it is as far as this one.
fn watch_log(master: &Master, sender: Sender<Event>) {
    master.on_durable(u64::MAX, move |result| {
        if let Err(error) = result {
            tracing::error!(%error, "the log cannot be written");
            // Only a main thread that has ended does not listen.
            let _ = sender.send(Event::Failed);
        }
    });
}

/// Shows the counters of the master to whoever scrapes them.
fn show_metrics(master: &Arc<Master>, address: Option<SocketAddr>) -> Result<(), Error> {
    let Some(address) = address else { return Ok(()) };
    let page = MetricsPage::bind(address)?;
    tracing::info!(address = %page.address()?, "metrics");
    let master = Arc::clone(master);
    let run = move || page.run(|| prometheus(&master.stats()));
    let failed = |error: io::Error| Error::io("cannot start the thread metrics", error);
    thread::Builder::new().name("metrics".to_owned()).spawn(run).map(|_| ()).map_err(failed)
}

fn watch_signals(sender: Sender<Event>) -> Result<(), Error> {
    let failed = |error| Error::io("cannot listen to signals", error);
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
    let watch = move || signals.forever().try_for_each(|it| sender.send(Event::Signal(it)));
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
    Ok(())
}

fn spawn(
    name: &str,
    sender: Sender<Event>,
    work: impl FnOnce() -> Event + Send + 'static,
) -> Result<(), Error> {
    let mine = name.to_owned();
    let report = move || {
        let event = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            let message = format!("the thread {mine} has panicked");
            Event::Unserved(Err(Error::new(ErrorKind::Stopped, message)))
        });
        // Only a main thread that has ended does not listen.
        let _ = sender.send(event);
    };
    let failed = |error: io::Error| Error::io(format!("cannot start the thread {name}"), error);
    thread::Builder::new().name(name.to_owned()).spawn(report).map(|_| ()).map_err(failed)
}

/// Lets the daemon have as many connections as the system allows.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
