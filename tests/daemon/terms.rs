//! Hooks, retries and deadlines, as somebody who writes no Rust meets them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lockmaster::interfaces::luxi::Client;

use crate::process::{Daemon, Place};

const CATALOGUE: &str = r#"
[[opcode]]
id = "OP_MAKE_ROOM"
params.flag = "path"
argv = ["sh", "-c", 'test -e "$1" && exit; : > "$1"; echo no room >&2; exit 75', "sh", "{flag}"]
retry_codes = [75]
retries = { tries = 3, first = "10ms" }

[[opcode]]
id = "OP_ASK"
argv = ["sh", "-c", '"$CLI" why "$LOCKMASTER_JOB"', "sh"]
environment = { CLI = "CLI_PATH" }

[[opcode]]
id = "OP_HOPE"
argv = ["sh", "-c", "echo no luck >&2; exit 75"]
retry_codes = [75]
"#;

/// A program in a directory of hooks.
fn hook(place: &Place, directory: &str, name: &str, script: &str) {
    let directory = place.path("hooks").join(directory);
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn start(place: &Place) -> Daemon {
    fs::create_dir_all(place.path("hooks")).unwrap();
    let catalogue = CATALOGUE.replace("CLI_PATH", env!("CARGO_BIN_EXE_lockmaster"));
    fs::write(place.path("catalogue.toml"), catalogue).unwrap();
    let config = "catalogue = ['catalogue.toml']\nhooks = 'hooks'\n";
    fs::write(place.path("lockmasterd.toml"), config).unwrap();
    let mut command = place.command();
    command.arg("--config").arg(place.path("lockmasterd.toml"));
    Daemon::start(command)
}

fn submit_file(place: &Place, path: &Path, text: &str) -> String {
    fs::write(path, text).unwrap();
    place.expect(0, &["submit", path.to_str().unwrap()]).trim().to_owned()
}

/// Waits until the job waits for its next try.
fn wait_until_tried(place: &Place, id: &str) {
    let mut client = Client::connect(&place.path("socket")).unwrap();
    let id = id.parse().unwrap();
    let (mut known, mut serial) = (None, 0);
    while client.why(id).unwrap()["reason"] != "later" {
        let change = client.wait_for_change(id, known, serial).unwrap();
        known = Some(change.status);
        serial = change.log.last().map_or(serial, |entry| entry.0);
    }
}

#[test]
fn hooks_of_all_opcodes_and_of_one_run_around_it_in_the_order_of_their_names() {
    let place = Place::new();
    let say = "echo \"$LOCKMASTER_HOOK_PHASE of $LOCKMASTER_HOOK_PATH:\" $(basename $0)";
    for (directory, name) in [
        ("test-delay-pre.d", "20-b"),
        ("test-delay-pre.d", "10-a"),
        ("test-delay-pre.d", "30-left.dpkg-old"),
        ("global-pre.d", "99-global"),
        ("test-delay-post.d", "10-after"),
        ("make-room-pre.d", "10-other"),
    ] {
        hook(&place, directory, name, say);
    }
    hook(&place, "global-post.d", "fails", "echo broken >&2; exit 3");
    let _daemon = start(&place);
    let id = place.submit(&["duration=0.000001"]);
    place.expect(0, &["wait", &id]);
    let info = place.expect(0, &["info", &id]);
    let said: Vec<&str> =
        info.lines().filter_map(|line| line.trim().strip_prefix("log ")).collect();
    assert_eq!(said.len(), 6, "{info}");
    for (line, expected) in said.iter().zip([
        "pre of test-delay: 99-global",
        "pre of test-delay: 10-a",
        "pre of test-delay: 20-b",
        "post of test-delay: 10-after",
        "broken",
        "WARNING: a hook failed after the execution: global-post.d/fails failed, exit code 3",
    ]) {
        assert!(line.contains(expected), "{line} instead of {expected}");
    }
}

#[test]
fn a_hook_that_fails_before_it_refuses_the_opcode() {
    let place = Place::new();
    hook(&place, "test-delay-pre.d", "quota", "echo no quota left >&2; exit 1");
    let _daemon = start(&place);
    let id = place.submit(&["duration=0.000001"]);
    place.expect(1, &["wait", &id]);
    let info = place.expect(0, &["info", &id]);
    let refusal = "a hook refuses: test-delay-pre.d/quota failed, exit code 1: no quota left";
    assert!(info.contains(refusal), "{info}");
}

#[test]
fn a_command_and_a_hook_talk_to_the_daemon_whose_they_are() {
    let place = Place::new();
    hook(&place, "ask-post.d", "tell", "echo after it, $LOCKMASTER_SOCKET");
    let _daemon = start(&place);
    let job = "[[job]]\n[[job.op]]\nOP_ID = \"OP_ASK\"\n";
    let id = submit_file(&place, &place.path("ask.toml"), job);
    place.expect(0, &["wait", "--quiet", &id]);
    let log = place.expect(0, &["info", &id]);
    assert!(log.contains(&format!("job {id} has been executing OP_ASK")), "{log}");
    assert!(log.contains(&format!("after it, {}", place.path("socket").display())), "{log}");
}

#[test]
fn a_command_that_says_to_try_again_is_tried_again() {
    let place = Place::new();
    let _daemon = start(&place);
    let flag = place.path("flag");
    let flag = format!("flag={}", flag.display());
    let id = place.expect(0, &["submit", "OP_MAKE_ROOM", &flag]).trim().to_owned();
    place.expect(0, &["wait", &id]);
    let info = place.expect(0, &["info", &id]);
    assert!(info.contains("tried in vain: 1 times"), "{info}");
}

#[test]
fn a_job_says_until_when_it_waits_and_its_deadline_ends_it() {
    let place = Place::new();
    let _daemon = start(&place);
    let path = place.path("jobs.toml");
    let waits = "[[job]]\nlabel = 'waits'\ndeadline = '2h'\nkeep_locks = true\n\
                 op = [{ OP_ID = 'OP_HOPE', retries = { tries = 9, first = '1h' }, deadline = '1h' }]\n";
    let id = submit_file(&place, &path, waits);
    wait_until_tried(&place, &id);
    let info = place.expect(0, &["info", &id]);
    for expected in [
        "for its second try: sh: exit code 75: no luck",
        "\n  deadline: 2",
        "\n  locks: kept from its first opcode to its end",
        "deadline: 1 h after its turn",
        "tried in vain: 1 times; again at 2",
    ] {
        assert!(info.contains(expected), "{expected}\n{info}");
    }
    place.expect(0, &["cancel", &id]);
    let late = "[[job]]\ndeadline = '1s'\nop = [{ OP_ID = 'OP_HOPE', retries = { tries = 9, first = '1h' } }]\n";
    let id = submit_file(&place, &path, late);
    place.expect(1, &["wait", &id]);
    let info = place.expect(0, &["info", &id]);
    let missed = "the job has not ended within 1s of its submission (sh: exit code 75: no luck)";
    assert!(info.contains(missed), "{info}");
}

#[test]
fn the_command_line_gives_a_deadline_to_jobs_that_have_none() {
    let place = Place::new();
    let _daemon = start(&place);
    let submit = ["submit", "OP_TEST_DELAY", "duration=3600", "--deadline"];
    place.expect(1, &[&submit[..], &["1s", "--wait"]].concat());
    let info = place.expect(0, &["info", "1"]);
    assert!(info.contains("the job has not ended within 1s of its submission"), "{info}");
    place.expect(2, &[&submit[..], &["0s"]].concat());
    place.expect(2, &[&submit[..], &["soon"]].concat());
    let path = place.path("jobs.toml");
    let op = "op = [{ OP_ID = 'OP_HOPE', retries = { tries = 9, first = '1h' } }]\n";
    fs::write(&path, format!("[[job]]\ndeadline = '1h'\n{op}[[job]]\n{op}")).unwrap();
    place.expect(0, &["submit", path.to_str().unwrap(), "--deadline", "1s"]);
    place.expect(1, &["wait", "3"]);
    let first = place.expect(0, &["list", "2", "-o", "status"]);
    assert!(!first.contains("error"), "its own deadline is an hour: {first}");
    place.expect(0, &["cancel", "2"]);
}
