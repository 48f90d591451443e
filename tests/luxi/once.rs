//! A submission under a key is made once, whatever becomes of the connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{ErrorKind, NewJob, OpCode, OpId, Params, SubmissionKey};

use crate::fake::{Served, request};

fn jobs(count: usize) -> Vec<NewJob> {
    let op = || OpCode::new(OpId::new("OP_X").expect("the id of an opcode"), Params::default());
    (0..count).map(|_| NewJob::of([op()])).collect()
}

/// Everything up to the end of one message.
fn message(stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    BufReader::new(stream).read_until(3, &mut bytes).expect("the client has sent it");
    bytes
}

#[test]
fn a_key_that_is_repeated_gives_the_same_ids() {
    let served = Served::new();
    let key = SubmissionKey::new("k").unwrap();
    let mut client = Client::connect(&served.path).unwrap();
    let first = client.submit_once(&key, &jobs(2)).unwrap();
    assert_eq!(Client::connect(&served.path).unwrap().submit_once(&key, &jobs(2)).unwrap(), first);
    assert_ne!(client.submit(&jobs(2)).unwrap(), first, "without a key it is another one");
    let mut raw = served.connect();
    raw.send(&request("LockmasterSubmit", r#"[[{"label":null,"ops":[]}],"k"]"#));
    assert_eq!(raw.receive().unwrap(), r#"{"success":true,"result":[1,2]}"#);
    raw.send(&request("LockmasterSubmit", r#"[[{"label":null,"ops":[]}]]"#));
    assert_eq!(raw.receive().unwrap(), r#"{"success":true,"result":[5]}"#);
    raw.send(&request("LockmasterSubmit", r#"[[{"label":null,"ops":[]}],""]"#));
    assert!(raw.receive().unwrap().contains("this is no key of a submission"));
}

#[test]
fn a_client_that_loses_its_connection_asks_again_with_the_same_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = thread::spawn(move || {
        let (first, _) = listener.accept().unwrap();
        let asked = message(&first);
        drop(first);
        let (mut second, _) = listener.accept().unwrap();
        assert_eq!(message(&second), asked);
        second.write_all(b"{\"success\":true,\"result\":[7]}\x03").unwrap();
    });
    let ids = Client::connect(&path).unwrap().submit(&jobs(1)).unwrap();
    assert_eq!(ids.iter().map(|id| id.get()).collect::<Vec<_>>(), [7]);
    daemon.join().unwrap();
}

#[test]
fn a_client_that_gets_no_answer_at_all_says_how_to_submit_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = thread::spawn(move || {
        let (first, _) = listener.accept().unwrap();
        message(&first);
    });
    let mut client = Client::connect(&path).unwrap();
    let key = SubmissionKey::new("mine").unwrap();
    let error = client.submit_once(&key, &jobs(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.hint_text().unwrap().contains("again with --key mine"), "{error:?}");
    daemon.join().unwrap();
}
