//! Jobs are named by id, range or label, chosen by conditions, and drawn.

use crate::process::{Place, text};

#[test]
fn jobs_are_named_by_range_and_label() {
    let place = Place::new();
    let _daemon = place.start();
    for label in ["nap", "nap", "rest", ":7up"] {
        place.submit(&["duration=0.1e-3", "--label", label.trim_start_matches(':')]);
    }
    assert_eq!(place.expect(0, &["wait", "rest", "1-3"]), "3 success\n1 success\n2 success\n");
    assert_eq!(place.expect(0, &["list", ":7up", "-o", "id"]), "ID\n4\n");
    assert_eq!(place.expect(0, &["list", "nap", "-o", "id", "--sort", "-id"]), "ID\n2\n1\n");
    let cases: [(&[&str], &str); 5] = [
        (&["info", "siesta"], "error: no job has the label \"siesta\"\n"),
        (&["wait", "7-9"], "error: there is no job from 7 to 9\n"),
        (&["why", "nap"], "error: 2 jobs are meant\nhint: say which one: 1, 2\n"),
        (&["cancel", "9-7"], "the range 9-7 is empty"),
        (&["wait", "7up"], "\"7up\" is neither the id of a job nor a range of ids"),
    ];
    for (args, said) in cases {
        let output = place.run(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

#[test]
fn lists_are_narrowed_by_conditions() {
    let place = Place::new();
    let _daemon = place.start();
    place.submit(&["duration=1e-6", "--label", "web1", "--priority", "-5"]);
    place.submit(&["duration=1e-6", "--label", "web2"]);
    place.submit(&["duration=0"]);
    place.run(&["wait", "--quiet", "1-3"]);
    let cases: [(&[&str], &str); 7] = [
        (&["--where", "label~^web"], "1\n2\n"),
        (&["--where", "label~^web", "--where", "label!=web2"], "1\n"),
        (&["--where", "label="], "3\n"),
        (&["--where", "opstatus=error"], "3\n"),
        (&["--where", "opstatus!=error", "--sort", "-label"], "2\n1\n"),
        (&["--where", "id>1", "--status", "success,canceled"], "2\n"),
        (&["1-2", "--status", "error"], ""),
    ];
    for (args, ids) in cases {
        let list = place.expect(0, &[&["list", "-o", "id"], args].concat());
        assert_eq!(list, format!("ID\n{ids}"), "{args:?}");
    }
    let wrong = place.run(&["list", "--where", "colour=red"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        text(&wrong.stderr).contains("those are id, priority, status,"),
        "{}",
        text(&wrong.stderr)
    );
}

#[test]
fn the_first_of_several_that_ends_is_told() {
    let place = Place::new();
    let _daemon = place.start();
    let long = place.submit(&["duration=1000"]);
    let short = place.submit(&["duration=1e-6"]);
    let first = place.expect(0, &["wait", "--any", &long, &short]);
    assert_eq!(first, format!("{short} success\n"));
    assert_eq!(place.expect(0, &["wait", "--until", "running", &long]), "1 running\n");
}

#[test]
fn a_timeline_has_a_row_for_each_job() {
    let place = Place::new();
    let _daemon = place.start();
    place.submit(&["duration=1000", "on_nodes=[\"a\"]", "--label", "<first>"]);
    place.expect(0, &["wait", "--until", "running", "1"]);
    place.submit(&["duration=1e-6", "on_nodes=[\"a\"]"]);
    place.expect(0, &["wait", "--until", "waiting", "2"]);
    let drawn = place.expect(0, &["timeline"]);
    let rows: Vec<&str> = drawn.lines().skip(1).take(2).collect();
    assert!(rows[0].starts_with("job 1 (<first>)  ") && rows[0].ends_with("█  running"), "{drawn}");
    assert!(rows[1].starts_with("job 2  ") && rows[1].ends_with("▒  waiting"), "{drawn}");
    let picture = place.expect(0, &["timeline", "--svg", "-"]);
    assert!(picture.starts_with("<svg ") && picture.contains("job 1 (&lt;first&gt;)"), "{picture}");
    let graph = place.expect(0, &["locks", "--graph=svg"]);
    assert!(graph.contains(">node/a</text>"), "{graph}");
    assert!(place.expect(0, &["locks", "--graph"]).starts_with("digraph"));
}

#[test]
fn a_drained_queue_takes_no_jobs_until_it_is_opened_again() {
    let place = Place::new();
    let daemon = place.start();
    place.expect(0, &["drain"]);
    daemon.kill();
    let _daemon = place.start();
    assert_eq!(place.expect(0, &["drain", "--status"]), "drained: no more jobs are accepted\n");
    let refused = place.run(&["submit", "OP_TEST_DELAY", "duration=1"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    place.expect(0, &["drain", "--off"]);
    assert_eq!(place.submit(&["duration=1e-6"]), "1");
}

#[test]
fn shells_and_man_get_what_they_need() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.expect(0, &["completions", shell]);
        assert!(script.contains("timeline") && script.contains("lockmaster"), "{shell}");
    }
    let pages = place.path("man1");
    place.expect(0, &["man", pages.to_str().unwrap()]);
    let page = std::fs::read_to_string(pages.join("lockmaster-why.1")).unwrap();
    assert!(page.contains(".SH SYNOPSIS") && page.contains("lock"), "{page}");
    assert!(!page.contains("[default:"), "the socket is another one for everybody: {page}");
    let page = place.command().arg("--man").output().unwrap();
    assert!(page.status.success(), "{}", text(&page.stderr));
    let page = text(&page.stdout);
    assert!(page.contains(".TH lockmasterd 8") && page.contains("Signals:"), "{page}");
}
