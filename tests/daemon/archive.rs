//! Archiving, over the command line and over restarts.

use lockmaster::interfaces::luxi::Client;
use serde_json::json;

use crate::process::{Place, text};

#[test]
fn archived_jobs_leave_the_list_and_are_still_found() {
    let place = Place::new();
    let daemon = place.start();
    for _ in 0..3 {
        let id = place.submit(&["duration=1e-6", "repeat=1"]);
        place.expect(0, &["wait", &id]);
    }
    let held = place.submit(&["duration=600"]);
    place.wait_for_status(&held, "running");
    let said = place.expect(1, &["archive", "2", &held]);
    assert_eq!(said, format!("2: archived\n{held}: not archived: it is running\n"));
    assert_eq!(place.expect(0, &["archive", "2"]), "2: was archived before\n");
    let ids = |args: &[&str]| place.expect(0, &[&["list", "-o", "id"], args].concat());
    assert_eq!(ids(&[]), "ID\n1\n3\n4\n");
    let with_archived = "ID  ARCHIVED\n1   false\n2   true\n3   false\n4   false\n";
    assert_eq!(ids(&["--archived"]), with_archived);
    assert_eq!(place.expect(0, &["wait", "2"]), "2 success\n");
    assert_eq!(place.expect(0, &["watch", "2"]), " - INFO: Test delay iteration 0/0\n");
    assert!(place.expect(0, &["info", "2"]).contains("success"));
    assert_eq!(place.expect(0, &["archive", "--older-than", "1h"]), "archived 0 jobs\n");
    assert_eq!(place.expect(0, &["archive", "--all"]), "archived 2 jobs\n");
    daemon.kill();
    let _daemon = place.start();
    assert_eq!(ids(&[]), "ID\n4\n", "what was archived stays so");
    let after = place.submit(&["duration=1e-6"]);
    assert_eq!(after, "5");
    let with_archived = place.expect(0, &["list", "--archived", "-o", "id,status", "1", "2", "3"]);
    assert_eq!(with_archived.lines().count(), 4, "{with_archived}");
}

#[test]
fn what_cannot_be_archived_is_said_and_nothing_is_done() {
    let place = Place::new();
    let _daemon = place.start();
    for args in [&["archive"][..], &["archive", "1", "--all"], &["archive", "--older-than", "x"]] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
    }
    let missing = place.run(&["archive", "7"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("there is no job 7"), "{}", text(&missing.stderr));
}

#[test]
fn a_job_may_depend_on_an_archived_one() {
    let place = Place::new();
    let _daemon = place.start();
    let first = place.submit(&["duration=1e-6"]);
    place.expect(0, &["wait", &first]);
    place.expect(0, &["archive", &first]);
    let op = json!({
        "OP_ID": "OP_TEST_DELAY", "reason": [], "duration": 1e-6, "depends": [[1, ["success"]]],
    });
    let mut client = Client::connect(&place.path("socket")).unwrap();
    assert_eq!(client.call::<u64>("SubmitJob", &json!([[op]])).unwrap(), 2);
    assert_eq!(place.expect(0, &["wait", "2"]), "2 success\n");
}
