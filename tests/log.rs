//! The log on a real file system, as a user of the library meets it.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lockmaster::store::{LogStore, ReplayReport, Store};
use lockmaster::vocabulary::{Error, ErrorKind, JobId, Record, Timestamp};

fn record(job: u64) -> Record {
    let job = JobId::new(job).expect("jobs count from 1");
    Record::CancelRequested { job, time: Timestamp::from_micros(7) }
}

fn open(dir: &Path) -> Result<(LogStore, Vec<Record>, ReplayReport), Error> {
    let mut records = Vec::new();
    let (store, report) = LogStore::open(dir, "a test", &mut |record| records.push(record))?;
    Ok((store, records, report))
}

#[test]
fn what_was_appended_is_replayed_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let (mut store, records, report) = open(&state).unwrap();
    assert_eq!((records.len(), report.records, report.torn), (0, 0, None));
    store.append(&[vec![record(1), record(2)], vec![], vec![record(3)]]).unwrap();
    store.append(&[]).unwrap();
    store.append(&[vec![record(4)]]).unwrap();
    drop(store);
    let (_store, records, report) = open(&state).unwrap();
    assert_eq!(records, (1..=4).map(record).collect::<Vec<_>>());
    assert_eq!((report.records, report.segments, report.torn), (4, 1, None));
}

#[test]
fn a_second_opener_is_told_who_came_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let refusal = open(dir.path()).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::InUse);
    let sentence = refusal.to_string();
    assert!(sentence.contains("in use by a test, pid "), "{sentence}");
    assert!(sentence.contains(&std::process::id().to_string()), "{sentence}");
    let again = open(dir.path()).unwrap_err().to_string();
    assert_eq!(again, sentence, "asking does not destroy the answer");
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn a_place_that_cannot_be_used_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("no/such/place");
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    for (place, kind, words) in [
        (absent.as_path(), ErrorKind::NotFound, "there is no directory"),
        (file.as_path(), ErrorKind::Invalid, "is not a directory"),
        (Path::new("/proc/state"), ErrorKind::Io, "cannot make the directory"),
    ] {
        let error = open(place).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains(&place.display().to_string()), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.hint_text().is_some(), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a directory");
}

#[test]
fn others_cannot_read_what_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let _open = open(&state).unwrap();
    for (name, most) in [("", 0o750), ("lock", 0o640), ("log", 0o750), ("log/00000001.log", 0o640)]
    {
        let mode = state.join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !most, 0, "{name} has mode {mode:o}");
    }
}

fn first_segment(state: &Path) -> PathBuf {
    state.join("log/00000001.log")
}

/// A state directory with three appended records, and where in the segment each frame ends.
fn filled(state: &Path) -> Vec<usize> {
    let (mut store, ..) = open(state).unwrap();
    let append = |job| {
        store.append(&[vec![record(job)]]).unwrap();
        let bytes = std::fs::read(first_segment(state)).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
    };
    (1..=3).map(append).collect()
}

#[test]
fn a_torn_tail_is_cut_and_reported_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let ends = filled(dir.path());
    let bytes = std::fs::read(first_segment(dir.path())).unwrap();
    std::fs::write(first_segment(dir.path()), &bytes[..ends[2] - 2]).unwrap();
    let (mut store, records, report) = open(dir.path()).unwrap();
    assert_eq!(records, [record(1), record(2)]);
    let torn = report.torn.expect("a torn tail is reported");
    assert_eq!(torn.segment, first_segment(dir.path()));
    assert_eq!(torn.offset, ends[1] as u64);
    assert_eq!(torn.bytes, (ends[2] - 2 - ends[1]) as u64);
    store.append(&[vec![record(9)]]).unwrap();
    drop(store);
    assert_eq!(open(dir.path()).unwrap().1, [record(1), record(2), record(9)]);
}

#[test]
fn damage_is_refused_with_file_and_offset_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ends = filled(dir.path());
    let mut bytes = std::fs::read(first_segment(dir.path())).unwrap();
    bytes[ends[0] + 20] ^= 4;
    std::fs::write(first_segment(dir.path()), &bytes).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let place = format!("{} is damaged at offset {}", first_segment(dir.path()).display(), ends[0]);
    assert!(error.to_string().starts_with(&place), "{error}");
    assert!(error.hint_text().unwrap().contains("copy of the state directory"), "{error:?}");
    assert_eq!(std::fs::read(first_segment(dir.path())).unwrap(), bytes);
}

/// Says which state directory the test below, run again as a child, should fill.
const CHILD_FILLS: &str = "LOCKMASTER_TEST_CHILD_FILLS";

/// Appends records without end and tells of each when it is durable.
fn append_until_killed(state: &Path) -> ! {
    let (mut store, records, _) = open(state).unwrap();
    let mut job = records.len() as u64;
    loop {
        job += 1;
        store.append(&[vec![record(job)]]).unwrap();
        println!("acknowledged {job}");
    }
}

/// Starts a child that appends, kills it after it acknowledged `count` more, and returns the
/// last one it acknowledged.
fn kill_after(state: &Path, count: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_a_killed_process_acknowledged_is_there", "--nocapture"])
        .env(CHILD_FILLS, state)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
        line.split("acknowledged ").nth(1).map(|number| number.parse::<u64>().unwrap())
    });
    let seen = numbers.by_ref().take(count).last();
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said between the last line read and its death counts as well.
    numbers.last().max(seen).expect("the child acknowledged something")
}

#[test]
fn what_a_killed_process_acknowledged_is_there() {
    if let Some(state) = std::env::var_os(CHILD_FILLS) {
        append_until_killed(Path::new(&state));
    }
    let dir = tempfile::tempdir().unwrap();
    for count in [1, 10, 100, 3, 250] {
        let acknowledged = kill_after(dir.path(), count);
        let records = open(dir.path()).unwrap().1;
        assert!(records.len() as u64 >= acknowledged, "{} < {acknowledged}", records.len());
        assert_eq!(records, (1..=records.len() as u64).map(record).collect::<Vec<_>>());
    }
}

#[test]
fn nothing_is_acknowledged_once_somebody_has_deleted_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let (mut store, _, _) = open(&state).unwrap();
    store.append(&[vec![record(1)]]).unwrap();
    std::fs::remove_dir_all(&state).unwrap();
    let error = store.append(&[vec![record(2)]]).unwrap_err();
    assert!(error.to_string().contains("deleted"), "{error}");
}
