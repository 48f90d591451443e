//! How the daemon starts, dies, and comes back.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;

use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::Status;
use rustix::process::Signal;

use crate::process::{Daemon, Place, text};

/// The socket that ends an interruptible delay, once the job has said where it is.
fn doorbell(place: &Place, id: &str) -> PathBuf {
    let mut client = Client::connect(&place.path("socket")).expect("a daemon");
    let id = id.parse().expect("an id");
    let mut known = None;
    loop {
        let change = client.wait_for_change(id, known, 0).expect("an answer");
        let path = change.log.iter().find(|entry| entry.2 == "delay-test");
        if let Some(path) = path.and_then(|entry| entry.3[0].as_str()) {
            return path.into();
        }
        known = Some(change.status);
        assert!(!change.status.is_final(), "{change:?}");
    }
}

#[test]
fn the_socket_is_for_the_owner_and_the_group() {
    let place = Place::new();
    let _daemon = place.start();
    let mode = place.path("socket").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn after_a_kill_everything_acknowledged_is_there_and_goes_on() {
    let place = Place::new();
    let daemon = place.start();
    let done = place.submit(&["duration=0.000001"]);
    place.expect(0, &["wait", &done]);
    let executed = place.expect(0, &["list", &done, "--json", "-o", "opexec,opend"]);
    let holder = place.submit(&["duration=0.3", "on_nodes=[\"a\"]"]);
    place.wait_for_status(&holder, "running");
    let waiter = place.submit(&["duration=0.000001", "on_nodes=[\"a\"]", "--label", "next"]);
    daemon.kill();
    assert!(place.path("socket").exists(), "a killed daemon leaves its socket behind");
    let _daemon = place.start();
    assert_eq!(place.expect(0, &["list", &done, "--json", "-o", "opexec,opend"]), executed);
    assert_eq!(place.expect(0, &["wait", &holder, &waiter]), "2 success\n3 success\n");
    assert_eq!(place.submit(&["duration=0.000001"]), "4");
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let _daemon = place.start();
    let second = place.command().output().unwrap();
    assert_eq!(second.status.code(), Some(3));
    let said = text(&second.stderr);
    assert!(said.contains("error: ") && said.contains("lockmasterd"), "{said}");
    let other = Place::new();
    let mut same_socket = std::process::Command::new(env!("CARGO_BIN_EXE_lockmasterd"));
    same_socket.arg("--state-dir").arg(other.path("state"));
    let refused = same_socket.arg("--socket").arg(place.path("socket")).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let said = text(&refused.stderr);
    assert!(said.contains("error: another daemon listens at "), "{said}");
    assert!(said.contains("hint: stop it first, or name another --socket"), "{said}");
    place.expect(0, &["list"]);
}

#[test]
fn told_to_stop_it_lets_finish_what_executes_and_keeps_the_rest() {
    let place = Place::new();
    let daemon = place.start();
    let executing = place.submit(&["duration=1000", "interruptible=true", "on_nodes=[\"a\"]"]);
    let bell = doorbell(&place, &executing);
    let waiting = place.submit(&["duration=0.000001", "on_nodes=[\"a\"]"]);
    place.wait_for_status(&waiting, "waiting");
    daemon.signal(Signal::TERM);
    place.wait_for_status(&waiting, "queued");
    let refused = place.run(&["submit", "OP_TEST_DELAY", "duration=1"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    UnixStream::connect(bell).unwrap();
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!place.path("socket").exists());
    let _daemon = place.start();
    assert_eq!(place.expect(0, &["wait", &executing, &waiting]), "1 success\n2 success\n");
}

#[test]
fn told_twice_it_interrupts_what_executes_and_runs_it_again_later() {
    let place = Place::new();
    let daemon = place.start();
    let id = place.submit(&["duration=1000", "interruptible=true"]);
    doorbell(&place, &id);
    daemon.signal(Signal::INT);
    daemon.wait_for_log("told to stop");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    let daemon = place.start();
    place.wait_for_status(&id, "running");
    place.expect(1, &["cancel", &id]);
    assert_eq!(place.expect(1, &["wait", &id]), "1 canceled\n");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn who_waits_for_a_job_hears_its_last_word_before_the_daemon_ends() {
    let place = Place::new();
    let daemon = place.start();
    let id = place.submit(&["duration=1000", "interruptible=true"]);
    let bell = doorbell(&place, &id);
    let mut client = Client::connect(&place.path("socket")).unwrap();
    daemon.signal(Signal::TERM);
    daemon.wait_for_log("told to stop");
    let ring = std::thread::spawn(move || UnixStream::connect(bell).map(|_| ()));
    let change = client.wait_for_change(id.parse().unwrap(), Some(Status::Running), 1).unwrap();
    assert_eq!(change.status, Status::Success);
    ring.join().unwrap().unwrap();
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_bad_configuration_is_refused_with_its_place() {
    let place = Place::new();
    std::fs::write(place.path("config.toml"), "workers = 2\nworker = 3\n").unwrap();
    let output = place.command().arg("--config").arg(place.path("config.toml")).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("config.toml:2:1: unknown field `worker`"), "{said}");
}

#[test]
fn a_configuration_says_levels_and_catalogues_and_they_have_to_agree() {
    let place = Place::new();
    let opcode = "levels = ['site', 'pool']\n[[opcode]]\nid = 'OP_SAY'\nargv = ['echo', 'hi']\n";
    std::fs::write(place.path("say.toml"), opcode).unwrap();
    let config = "levels = ['pool']\ncatalogue = ['say.toml']\n";
    std::fs::write(place.path("config.toml"), config).unwrap();
    let output = place.command().arg("--config").arg(place.path("config.toml")).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("say.toml: the levels "), "{said}");
}

#[test]
fn commands_of_a_catalogue_run_and_what_a_dead_daemon_left_of_them_is_ended() {
    let place = Place::new();
    let opcodes = "[[opcode]]\nid = 'OP_HOLD'\nargv = ['sh', '-c', 'echo held; exec sleep 1000']\n\
                   on_crash = 'fail'\n[[opcode]]\nid = 'OP_SAY'\nparams.what = 'text'\n\
                   argv = ['echo', '{what}']\n";
    std::fs::write(place.path("opcodes.toml"), opcodes).unwrap();
    std::fs::write(place.path("config.toml"), "catalogue = ['opcodes.toml']\n").unwrap();
    let command = || {
        let mut command = place.command();
        command.arg("--config").arg(place.path("config.toml"));
        command
    };
    let daemon = Daemon::start(command());
    let said = place.expect(0, &["submit", "OP_SAY", "what=hello"]);
    assert_eq!(place.expect(0, &["watch", said.trim()]), "hello\n");
    let held = place.expect(0, &["submit", "OP_HOLD"]);
    let held = held.trim();
    let mut watch = place.cli(&["watch", held]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watch.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    daemon.kill();
    watch.wait().unwrap();
    let ended = "ended what an earlier daemon left running";
    let daemon = Daemon::start_saying(command(), ended);
    daemon.wait_for_log("ready");
    assert_eq!(place.expect(1, &["wait", held]), "2 error\n");
}

#[test]
fn a_log_that_cannot_be_written_ends_the_daemon_and_nothing_acknowledged_is_lost() {
    let place = Place::new();
    let daemon = place.start_for_full_disk();
    place.expect(0, &["submit", "OP_TEST_DELAY", "duration=1e-6", "--wait"]);
    daemon.fill_the_disk();
    let refused = place.run(&["submit", "OP_TEST_DELAY", "duration=1e-6"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("File too large"), "{said}");
    assert_eq!(daemon.wait().code(), Some(3));
    let _daemon = place.start();
    assert_eq!(place.expect(0, &["list", "-o", "id,status"]), "ID  STATUS\n1   success\n");
}

#[test]
fn the_log_can_be_json() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["--log-format", "json"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    while !line.contains("ready") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0);
    }
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(entry["fields"]["message"], "ready");
    child.kill().unwrap();
    child.wait().unwrap();
}
