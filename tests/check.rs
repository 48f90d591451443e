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
fn where_no_directory_is_named_that_of_the_daemon_is_checked() {
    let dir = filled();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockmaster"));
    let output = command.arg("check").env("LOCKMASTER_STATE_DIR", dir.path()).output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout.starts_with(b"3 jobs, 3 of them not ended, "));
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

/// Flips a bit of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, &bytes).unwrap();
}

/// Where the second frame of a segment begins.
fn second_frame(dir: &Path) -> usize {
    let bytes = std::fs::read(segment(dir)).unwrap();
    48 + 8 + u32::from_le_bytes(bytes[48..52].try_into().unwrap()) as usize
}

#[test]
fn damage_is_named_with_segment_and_offset_and_what_stands_behind_it_and_is_not_touched() {
    let dir = filled();
    let offset = second_frame(dir.path());
    flip(&segment(dir.path()), offset + 30);
    let before = read(dir.path());
    for more in [&[][..], &["--repair"]] {
        let (code, said, _) = check(dir.path(), more);
        assert_eq!(code, Some(1));
        let place = format!(
            "damaged: {} is damaged at offset {offset}: whole frames follow from offset ",
            segment(dir.path()).display()
        );
        assert!(said.starts_with(&place), "{said}");
        // One of a job, and the one that closes the log.
        let rest = "whole: 1 record before it, and 2 writes behind it, about jobs 3\n";
        assert!(said.contains(rest), "{said}");
        assert!(said.contains("nothing was changed"), "{said}");
        assert!(read(dir.path()) == before);
    }
}

#[test]
fn a_damaged_log_is_cut_off_only_where_its_rest_is_given_up_and_a_copy_of_it_is_kept() {
    let dir = filled();
    let (offset, whole) = (second_frame(dir.path()), read(dir.path()).0);
    flip(&segment(dir.path()), offset + 30);
    let (code, _, said) = check(dir.path(), &["--give-up-rest"]);
    assert!(code == Some(2) && said.contains("--repair"), "{said}");
    let (code, said, _) = check(dir.path(), &["--repair", "--give-up-rest"]);
    assert_eq!(code, Some(1), "{said}");
    let cut = format!("cut off: {} from offset {offset}", segment(dir.path()).display());
    assert!(said.contains(&cut) && said.contains("left: 1 job, 1 of them not ended"), "{said}");
    let kept = std::fs::read(dir.path().join("log.damaged.1/00000001.log")).unwrap();
    assert!(kept.len() == whole.len() && kept != whole, "the log as it was is kept");
    let (code, said, _) = check(dir.path(), &[]);
    assert!(code == Some(0) && said.starts_with("1 job, 1 of them not ended"), "{said}");
    let master = Master::builder(dir.path()).unit::<TestDelay>().paused().start().unwrap();
    let ids: Vec<u64> = master.jobs().value.iter().map(|view| view.job.id.get()).collect();
    assert_eq!(ids, [1]);
}

#[test]
fn a_damaged_header_and_a_renamed_segment_are_told_and_not_cut_where_nothing_would_be_left() {
    let dir = filled();
    flip(&segment(dir.path()), 20);
    let (code, said, _) = check(dir.path(), &[]);
    let words = format!("{} is damaged at offset 0, in its header", segment(dir.path()).display());
    assert!(code == Some(1) && said.contains(&words), "{said}");
    let (code, _, said) = check(dir.path(), &["--repair", "--give-up-rest"]);
    assert!(code == Some(2) && said.contains("nothing before the damage is whole"), "{said}");
    std::fs::rename(segment(dir.path()), dir.path().join("log/00000002.log")).unwrap();
    flip(&dir.path().join("log/00000002.log"), 20);
    let (code, said, _) = check(dir.path(), &[]);
    assert!(code == Some(1) && said.contains("00000002.log is segment 1 under another"), "{said}");
}

#[test]
fn archived_jobs_that_cannot_be_read_are_named_and_so_is_a_damaged_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let master = Master::builder(dir.path()).unit::<TestDelay>().start().unwrap();
    for _ in 0..3 {
        let id = master.submit_one(NewJob::default()).unwrap();
        assert!(master.archive(id).unwrap().value);
    }
    drop(master);
    let (code, said, _) = check(dir.path(), &[]);
    assert!(code == Some(0) && said.ends_with("3 archived jobs in 1 file\n"), "{said}");
    let file = dir.path().join("archive/00000000.jobs");
    flip(&file, 60);
    std::fs::write(dir.path().join("config.json"), "{").unwrap();
    let (code, said, _) = check(dir.path(), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("2 archived jobs in 1 file"), "{said}");
    let place = format!("{}: what stands at offset 48 is no record", file.display());
    assert!(said.contains(&place), "{said}");
    assert!(said.contains("damaged: 1 archived job cannot be read, about jobs 1;"), "{said}");
    assert!(said.contains("config.json"), "{said}");
    std::fs::write(&file, "").unwrap();
    let (_, said, _) = check(dir.path(), &[]);
    assert!(said.contains("3 archived jobs cannot be read, about jobs 1, 2, 3;"), "{said}");
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
