//! What LUXI costs: requests a second, from submission to success, lists of many jobs, memory of
//! idle clients. Each figure stands beside one of the same run: an echo server on the same kind
//! of socket, that sends back what it gets, or a sync of the same disk.
//!
//! `cargo bench --bench luxi [-- DIRECTORY]`; the directory decides which disk is measured.

mod daemon;
mod echo;
mod load;

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon::Daemon;
use load::{Connection, request};
use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{JobId, NewJob, OpCode, OpId, Params, Status};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const IDLE_CLIENTS: usize = 5_000;

fn main() -> Outcome {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let first = args.next();
    if first.as_deref() == Some("echo") {
        return Ok(echo::serve(Path::new(&args.next().ok_or("a socket")?))?);
    }
    daemon::raise_file_limit();
    let dir = tempfile::tempdir_in(first.map_or_else(|| PathBuf::from("."), PathBuf::from))?;
    requests(dir.path())?;
    submissions(dir.path())?;
    idle_clients(dir.path())?;
    for jobs in [1_000, 100_000] {
        lists(dir.path(), jobs)?;
    }
    Ok(())
}

/// The status of one job, asked by so many clients that each have one request on its way.
fn requests(dir: &Path) -> Outcome {
    let (daemon, echo) = (Daemon::start(dir, "")?, Daemon::echo(dir)?);
    submit(&mut daemon.client()?, 1, "1e-6")?;
    let asked = request("QueryJobs", r#"[[1],["status"]]"#);
    println!("requests a second            here       echo");
    for clients in [1, 64, 1_000] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            ours.push(load::rate(&daemon.socket, clients, &asked)?);
            theirs.push(load::rate(&echo.socket, clients, &asked)?);
        }
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        println!("{clients:>5} clients        {ours:>12.0} {theirs:>10.0}   {:.2}", ours / theirs);
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One job after the other, each followed until it has succeeded.
fn submissions(dir: &Path) -> Outcome {
    const ROUNDS: usize = 300;
    let daemon = Daemon::start(dir, "")?;
    let mut client = daemon.client()?;
    let mut file = File::create(dir.join("plain"))?;
    let (mut followed, mut synced) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let id = submit(&mut client, 1, "1e-6")?;
        let mut known = None;
        while known != Some(Status::Success) {
            known = Some(client.wait_for_change(id, known, 0)?.status);
        }
        followed.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        file.write_all(&[7; 512])?;
        file.sync_data()?;
        synced.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (ours, disk) = (median(&mut followed), median(&mut synced));
    println!("\nsubmit to success, one job: {ours:.2} ms; a sync of the disk: {disk:.2} ms");
    Ok(())
}

/// Submits jobs that sleep so long, and gives the first of their ids.
fn submit(client: &mut Client, jobs: usize, seconds: &str) -> Outcome<JobId> {
    let params = format!(r#"{{"duration":{seconds},"on_master":false}}"#);
    let op = OpCode::new(OpId::new("OP_TEST_DELAY")?, Params::from_json(&params)?);
    let mut first = None;
    for batch in (0..jobs).step_by(10_000) {
        let count = 10_000.min(jobs - batch);
        let ids = client.submit(&vec![NewJob::of([op.clone()]); count])?;
        first = first.or(ids.first().copied());
    }
    first.ok_or_else(|| "no job was submitted".into())
}

/// What each of many clients costs that have asked once and then say nothing.
fn idle_clients(dir: &Path) -> Outcome {
    let asked = request("QueryJobs", r#"[[1],["status"]]"#);
    for (name, daemon) in [("here", Daemon::start(dir, "")?), ("echo", Daemon::echo(dir)?)] {
        let once = |connection: &mut Connection| connection.ask(&asked);
        once(&mut Connection::open(&daemon.socket)?)?;
        let before = daemon.resident_bytes()?;
        let mut clients = Vec::new();
        for _ in 0..IDLE_CLIENTS {
            let mut client = Connection::open(&daemon.socket)?;
            once(&mut client)?;
            clients.push(client);
        }
        let each = daemon.resident_bytes()?.saturating_sub(before) / IDLE_CLIENTS;
        println!("{name}: {each} bytes for each of {} idle clients", clients.len());
    }
    Ok(())
}

/// A list of so many queued jobs, and what others feel while lists are made all the time.
fn lists(dir: &Path, jobs: usize) -> Outcome {
    let daemon = Daemon::start(dir, "workers = 1\n")?;
    let mut client = daemon.client()?;
    submit(&mut client, jobs + 1, "600")?;
    println!("\n{jobs} queued jobs");
    let table =
        |filter: &str| request("Query", &format!(r#"["job",["id","status","summary"],{filter}]"#));
    let mut connection = Connection::open(&daemon.socket)?;
    for (name, asked) in [
        ("list of all", table("null")),
        ("list of all by status", table(r#"["|",["==","status","queued"]]"#)),
        ("list of none by status", table(r#"["|",["==","status","error"]]"#)),
        ("all fields of all", request("QueryJobs", r#"[null,["id","ops","oplog","status"]]"#)),
    ] {
        let (mut took, mut bytes) = (Vec::new(), 0);
        for _ in 0..7 {
            let began = Instant::now();
            bytes = connection.ask(&asked)?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
        println!("{name:<24} {:>8.2} ms  {:>8} KiB", median(&mut took), bytes >> 10);
    }
    let quiet = of_others(&daemon)?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let busy = std::thread::scope(|scope| {
        let lists = scope.spawn(|| {
            let mut connection = Connection::open(&daemon.socket).ok()?;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                connection.ask(&table("null")).ok()?;
            }
            Some(())
        });
        let busy = of_others(&daemon);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        lists.join().ok().flatten().ok_or("the lists failed")?;
        busy
    })?;
    for (name, quiet, busy) in
        [("one job asked for", quiet.0, busy.0), ("one job submitted", quiet.1, busy.1)]
    {
        println!("{name}: {quiet} alone, {busy} while lists are made");
    }
    println!("resident: {} MiB", daemon.resident_bytes()? >> 20);
    Ok(())
}

/// Asking for one job, and submitting one: median, and the slowest of a hundred.
fn of_others(daemon: &Daemon) -> Outcome<(String, String)> {
    let mut connection = Connection::open(&daemon.socket)?;
    let mut client = daemon.client()?;
    let asked = request("QueryJobs", r#"[[1],["status"]]"#);
    let ask = spread(1000, || connection.ask(&asked).map(|_| ()))?;
    let submit = spread(200, || submit(&mut client, 1, "600").map(|_| ()))?;
    Ok((ask, submit))
}

fn spread(times: usize, mut work: impl FnMut() -> Outcome) -> Outcome<String> {
    let mut took = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        work()?;
        took.push(began.elapsed());
    }
    took.sort();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let (half, most) = (took[times / 2], took[times * 99 / 100]);
    Ok(format!("{:.2} ms (99 of 100: {:.2})", millis(half), millis(most)))
}
