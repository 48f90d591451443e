//! `lockmaster check`, as somebody meets it whose disk has gone wrong.

#![cfg(all(not(loom), feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lockmaster::interfaces::test_delay::TestDelay;
use lockmaster::{Master, NewJob, TypedOp};

/// A state directory with three jobs that wait, written in three appends and not closed.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::builder(dir.path()).unit::<TestDelay>().paused().start().unwrap();
    for _ in 0..3 {
        let job = NewJob::of([TestDelay::new(1.0, &[]).opcode().unwrap()]);
        master.submit_one(job).unwrap();
    }
    dir
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("log/00000001.log")
}

fn check(dir: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_lockmaster"))
        .args(["check", "--state-dir"])
        .arg(dir)
        .args(more)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// The content, and where what is used of it ends.
fn read(dir: &Path) -> (Vec<u8>, usize) {
    let bytes = std::fs::read(segment(dir)).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (bytes, used)
}

#[test]
fn a_whole_log_is_counted_and_not_changed() {
    let dir = filled();
    let before = read(dir.path());
    let (code, said, _) = check(dir.path(), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("in 1 segment of 3 records and "), "{said}");
    assert!(said.starts_with("3 jobs, 3 of them not ended, "), "{said}");
    assert!(read(dir.path()) == before);
}

#[test]
fn a_half_written_end_is_told_and_cut_off_only_where_asked() {
    let dir = filled();
    let (mut bytes, used) = read(dir.path());
    // The frame that closes the log is 17 bytes long; what is left of it is torn.
    bytes[used - 5..used].fill(0);
    std::fs::write(segment(dir.path()), &bytes).unwrap();
    let (code, said, _) = check(dir.path(), &[]);
    let expected = format!("12 half-written bytes from offset {}\n", used - 17);
    assert!(code == Some(0) && said.ends_with(&expected), "{said}");
    assert!(read(dir.path()).0 == bytes, "nothing was changed");
    let (code, said, _) = check(dir.path(), &["--repair"]);
    assert!(code == Some(0) && said.contains("12 bytes cut off; no job was lost"), "{said}");
    let (code, said, _) = check(dir.path(), &[]);
    assert!(code == Some(0) && !said.contains("half-written"), "{said}");
    assert!(said.contains("3 jobs"), "{said}");
}

#[test]
fn damage_is_named_with_segment_and_offset_and_never_touched() {
    let dir = filled();
    let (mut bytes, _) = read(dir.path());
    bytes[48 + 30] ^= 1;
    std::fs::write(segment(dir.path()), &bytes).unwrap();
    for more in [&[][..], &["--repair"]] {
        let (code, said, _) = check(dir.path(), more);
        assert_eq!(code, Some(1));
        let place = format!("damaged: {} is damaged at offset 48", segment(dir.path()).display());
        assert!(said.starts_with(&place), "{said}");
        assert!(said.contains("0 records before it are whole"), "{said}");
        assert!(read(dir.path()).0 == bytes);
    }
}

#[test]
fn a_directory_without_a_log_or_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, said) = check(dir.path(), &[]);
    assert!(code == Some(2) && said.contains("there is no log in"), "{code:?}: {said}");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was made");
    let dir = filled();
    let master = Master::builder(dir.path()).unit::<TestDelay>().paused().start().unwrap();
    let (code, _, said) = check(dir.path(), &[]);
    assert!(code == Some(3) && said.contains("in use by"), "{code:?}: {said}");
    drop(master);
}
