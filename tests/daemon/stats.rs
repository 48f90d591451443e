//! What the daemon counts is what happened.

use std::io::{Read, Write};
use std::net::TcpStream;

use regex::Regex;
use serde_json::Value;

use crate::process::{Daemon, Place};

#[test]
fn the_counters_are_what_happened() {
    let place = Place::new();
    let _daemon = place.start();
    place.submit(&["duration=1000", "on_nodes=[\"a\"]"]);
    place.submit(&["duration=1e-6", "on_nodes=[\"a\"]"]);
    place.submit(&["duration=0"]);
    place.run(&["submit", "OP_NO_SUCH"]);
    place.expect(0, &["wait", "--until", "running", "1"]);
    place.expect(0, &["wait", "--until", "waiting", "2"]);
    place.run(&["wait", "3"]);
    let stats = stats(&place);
    let of = |field: &str| stats[field].as_u64();
    let counted = ["jobs", "unfinished", "waiting", "submitted", "refused", "failed"].map(of);
    assert_eq!(counted, [3, 2, 1, 3, 1, 1].map(Some), "{stats}");
    assert_eq!(stats["longest_wait"]["job"], 2);
    let node = &stats["levels"][2];
    assert_eq!((&node["level"], &node["wait"]["count"]), (&"node".into(), &1.into()), "{stats}");
    let page = place.expect(0, &["stats", "--prometheus"]);
    for sample in ["jobs_queued 0", "jobs_running 1", "jobs_waiting 1", "jobs_unfinished 2"] {
        assert!(
            page.lines().any(|line| line == format!("lockmaster_{sample}")),
            "{sample}: {page}"
        );
    }
    place.run(&["cancel", "1"]);
    place.expect(0, &["wait", "2"]);
    let after = self::stats(&place);
    assert_eq!(after["levels"][2]["hold"]["count"], 2, "{after}");
    assert!(after["levels"][2]["wait"]["sum"].as_f64() > Some(0.0), "the second had to wait");
    assert!(place.expect(0, &["stats"]).contains("1 succeeded, 1 failed, 1 canceled"));
}

/// What a line tells of; how much it was may have changed since.
fn name(line: &str) -> &str {
    line.rsplit_once(' ').unwrap().0
}

fn stats(place: &Place) -> Value {
    serde_json::from_str(&place.expect(0, &["stats", "--json"])).unwrap()
}

#[test]
fn prometheus_reads_the_same_from_the_page_and_from_the_command() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["--metrics", "127.0.0.1:0"]);
    let (_daemon, line) = Daemon::start_and_find(command, "metrics address=");
    let address = line.rsplit('=').next().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (_, page) = answer.split_once("\r\n\r\n").unwrap();
    let said = place.expect(0, &["stats", "--prometheus"]);
    assert!(page.lines().map(name).eq(said.lines().map(name)), "{page}\n{said}");
    let sample = Regex::new(r#"^lockmaster_[a-z_]+(\{[a-z]+="[^"]+"(,[a-z]+="[^"]+")?\})? \S+$"#);
    let (sample, comment) = (sample.unwrap(), Regex::new("^# (HELP|TYPE) lockmaster_").unwrap());
    let promised = [
        "jobs_unfinished",
        "jobs_running",
        "longest_wait_seconds",
        "submissions_refused_total",
        "lock_wait_seconds_bucket{level=\"node\",le=\"+Inf\"}",
        "lock_hold_seconds_bucket{level=\"instance\",le=\"+Inf\"}",
        "log_sync_seconds_count",
        "log_batch_transactions_sum",
    ];
    for promised in promised {
        let name = format!("lockmaster_{promised}");
        assert!(page.lines().any(|line| self::name(line) == name), "{name}: {page}");
    }
    for line in page.lines() {
        assert!(sample.is_match(line) || comment.is_match(line), "{line}");
    }
}
