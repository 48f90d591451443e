//! Lists of jobs, live and archived, and what takes long without keeping others waiting.

use lockmaster::vocabulary::Status;

use crate::fake::{Raw, Served, request};

fn result(text: &str) -> String {
    format!("{{\"success\":true,\"result\":{text}}}")
}

/// A queue of so many jobs; those are archived.
fn with_jobs(jobs: u64, archived: &[u64]) -> (Served, Raw) {
    let served = Served::new();
    let mut client = served.connect();
    (0..jobs).for_each(|_| client.submit());
    for id in archived {
        served.queue.set_status(*id, Status::Success);
        let answer = client.call("ArchiveJob", &format!("[\"{id}\"]"));
        assert_eq!(answer, result("true"));
    }
    (served, client)
}

#[test]
fn a_list_is_whole_and_in_order_in_however_many_pieces_it_is_made() {
    let (_served, mut client) = with_jobs(10, &[]);
    let ids: Vec<String> = (1..=10).map(|id| format!("[{id}]")).collect();
    let answer = client.call("QueryJobs", r#"[null,["id"]]"#);
    assert_eq!(answer, result(&format!("[{}]", ids.join(","))));
    let answer = client.call("Query", r#"["job",["id"],[">","id",7]]"#);
    assert!(answer.ends_with("\"data\":[[[0,8]],[[0,9]],[[0,10]]]}}"), "{answer}");
}

#[test]
fn archived_jobs_are_found_by_id_and_by_whoever_asks_for_them() {
    let (_served, mut client) = with_jobs(6, &[2, 5, 1]);
    let cases = [
        ("QueryJobs", r#"[null,["id"]]"#, "[[3],[4],[6]]"),
        ("QueryJobs", r#"[[5,9,"3"],["id","status"]]"#, r#"[[5,"success"],[9,null],[3,"queued"]]"#),
        (
            "QueryJobs",
            r#"[null,["id","archived"]]"#,
            "[[1,true],[2,true],[3,false],[4,false],[5,true],[6,false]]",
        ),
    ];
    for (method, args, expected) in cases {
        assert_eq!(client.call(method, args), result(expected), "{args}");
    }
    let cases = [
        (r#"["job",["id"],null]"#, "[[[0,3]],[[0,4]],[[0,6]]]"),
        (r#"["job",["id"],["|",["==","id",2],["==","id",3]]]"#, "[[[0,2]],[[0,3]]]"),
        (r#"["job",["id"],["?","archived"]]"#, "[[[0,1]],[[0,2]],[[0,5]]]"),
        (
            r#"["job",["id","archived"],["==","status","success"]]"#,
            "[[[0,1],[0,true]],[[0,2],[0,true]],[[0,5],[0,true]]]",
        ),
    ];
    for (args, expected) in cases {
        let answer = client.call("Query", args);
        assert!(answer.ends_with(&format!("\"data\":{expected}}}}}")), "{args}: {answer}");
    }
}

#[test]
fn a_list_between_two_ids_is_what_a_list_of_all_has_of_it() {
    let (_served, mut client) = with_jobs(7, &[2, 5, 1]);
    let mut ids = |fields: &str, condition: &str| {
        let answer = client.call("Query", &format!(r#"["job",[{fields}],{condition}]"#));
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let rows = answer["result"]["data"].as_array().unwrap().clone();
        rows.iter().map(|row| row[0][1].as_i64().unwrap()).collect::<Vec<i64>>()
    };
    for fields in [r#""id""#, r#""id","archived""#] {
        let all = ids(fields, "null");
        for (least, most) in (-1..=9).flat_map(|least| (-1..=9).map(move |most| (least, most))) {
            let between: Vec<i64> =
                all.iter().copied().filter(|id| (least..=most).contains(id)).collect();
            let (above, below) = (least - 1, most + 1);
            for condition in [
                format!(r#"["&",[">=","id",{least}],["<=","id",{most}]]"#),
                format!(r#"["&",["<","id",{below}],["|",["=","id",3]],["|",[">","id",{above}]]]"#),
            ] {
                let expected = match condition.contains('|') {
                    true => between.iter().copied().filter(|id| *id == 3).collect(),
                    false => between.clone(),
                };
                assert_eq!(ids(fields, &condition), expected, "{fields} {condition}");
            }
        }
    }
}

#[test]
fn jobs_that_are_named_and_more_is_said_of_are_those_of_the_list() {
    let (served, mut client) = with_jobs(5, &[2]);
    served.queue.set_status(4, Status::Running);
    let cases = [
        (r#"["&",["|",["=","id",9],["=","id",4],["=","id",2],["=","id",3]]]"#, "[[[0,3]],[[0,4]]]"),
        (r#"["&",["=","id",4],["=","status","queued"]]"#, "[]"),
        (r#"["&",["=","status","running"],["=","id",4]]"#, "[[[0,4]]]"),
        (r#"["&",["=","id",2],["?","archived"]]"#, "[[[0,2]]]"),
        (r#"["&",["=","id",0]]"#, "[]"),
    ];
    for (filter, expected) in cases {
        let answer = client.call("Query", &format!(r#"["job",["id"],{filter}]"#));
        assert!(answer.ends_with(&format!("\"data\":{expected}}}}}")), "{filter}: {answer}");
    }
}

#[test]
fn archiving_says_what_it_did_and_all_means_all_that_have_ended() {
    let (served, mut client) = with_jobs(4, &[]);
    assert_eq!(client.call("ArchiveJob", "[99]"), result("false"));
    assert_eq!(client.call("ArchiveJob", "[0]"), result("false"));
    served.queue.set_status(2, Status::Success);
    served.queue.set_status(3, Status::Error);
    assert_eq!(client.call("AutoArchiveJobs", "[3600,89]"), result("[0,0]"));
    assert_eq!(client.call("AutoArchiveJobs", "[-1,89]"), result("[2,0]"));
    assert_eq!(client.call("QueryJobs", r#"[null,["id"]]"#), result("[[1],[4]]"));
    let watch = client.call("WaitForJobChange", r#"[2,["status"],null,null,60]"#);
    assert_eq!(watch, r#"{"success":false,"result":["JobLost",["Can't load job file"]]}"#);
}

#[test]
fn who_reads_the_archive_keeps_nobody_waiting_and_gets_its_answers_in_order() {
    let (served, mut client) = with_jobs(3, &[1]);
    served.queue.close_archive(true);
    client.send(&request("QueryJobs", r#"[[1],["status"]]"#));
    client.send(&request("QueryJobs", r#"[[2],["status"]]"#));
    let mut other = served.connect();
    assert_eq!(other.call("QueryJobs", r#"[[3],["status"]]"#), result(r#"[["queued"]]"#));
    let list = other.call("QueryJobs", r#"[null,["id"]]"#);
    assert_eq!(list, result("[[2],[3]]"), "lists of live jobs go on too");
    served.queue.close_archive(false);
    assert_eq!(client.receive().unwrap(), result(r#"[["success"]]"#));
    assert_eq!(client.receive().unwrap(), result(r#"[["queued"]]"#));
}

#[test]
fn a_client_that_leaves_while_the_archive_is_read_harms_nobody() {
    let (served, mut client) = with_jobs(3, &[1]);
    served.queue.close_archive(true);
    client.send(&request("QueryJobs", r#"[[1],["status"]]"#));
    drop(client);
    let mut other = served.connect();
    other.send(&request("QueryJobs", r#"[[1],["status"]]"#));
    served.queue.close_archive(false);
    assert_eq!(other.receive().unwrap(), result(r#"[["success"]]"#));
}

#[test]
fn stopping_answers_who_waits_for_the_archive() {
    let (served, mut client) = with_jobs(2, &[1]);
    served.queue.close_archive(true);
    client.send(&request("QueryJobs", r#"[[1],["status"]]"#));
    let mut other = served.connect();
    other.call("QueryJobs", r#"[[2],["id"]]"#);
    served.handle.stop();
    assert_eq!(other.receive(), None, "who waits for nothing is disconnected");
    served.queue.close_archive(false);
    assert_eq!(client.receive().unwrap(), result(r#"[["success"]]"#));
    assert_eq!(client.receive(), None);
}

#[test]
fn who_waits_for_a_job_that_is_archived_meanwhile_hears_how_it_ended() {
    for (fields, known, told) in [
        (r#"["status"]"#, r#"["queued"]"#, r#"["success"]"#),
        (r#"["status","id"]"#, r#"["queued",1]"#, r#"["success",1]"#),
    ] {
        let (served, mut client) = with_jobs(1, &[]);
        let args = format!("[1,{fields},{known},null,60]");
        client.send(&request("WaitForJobChange", &args));
        served.queue.wait_for_watchers(1);
        served.queue.end_unnoticed(1);
        served.queue.archive_and_tell(1);
        assert_eq!(client.receive().unwrap(), result(&format!("[{told},[]]")));
    }
}

#[test]
fn an_answer_longer_than_the_bound_is_refused_and_the_connection_stays() {
    let served = Served::with(|limits| limits.answer_bytes = 200);
    let mut client = served.connect();
    (0..20).for_each(|_| client.submit());
    let refused = client.call("QueryJobs", r#"[null,["id","status","summary"]]"#);
    assert!(refused.contains("The answer would be longer than 200 bytes"), "{refused}");
    assert!(refused.contains("\"hint\":\"ask for fewer fields"), "{refused}");
    assert_eq!(client.call("QueryJobs", r#"[[7],["id"]]"#), result("[[7]]"));
}

#[test]
fn what_a_watcher_is_told_to_pause_until_is_kept() {
    let served = Served::new();
    let mut client = served.connect();
    let paused = |client: &mut Raw| client.call("QueryConfigValues", r#"[["watcher_pause"]]"#);
    assert_eq!(paused(&mut client), result("[null]"));
    assert_eq!(client.call("SetWatcherPause", "[1795175121.75]"), result("1795175121.75"));
    assert_eq!(paused(&mut client), result("[1795175121]"));
    assert_eq!(client.call("SetWatcherPause", "[null]"), result("null"));
    assert_eq!(paused(&mut client), result("[null]"));
}
