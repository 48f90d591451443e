//! Stories about asking: what is granted, what is refused, and with which words.

use lockmaster::engine::locks::{LockError, Outcome, OwnerId, RequestOptions};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Timestamp};

use crate::stage::{ASAP, NOBODY, Stage, opportunistic, set};

#[test]
fn a_request_is_granted_whole_or_not_at_all() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/b"), Outcome::Granted);
    assert_eq!(stage.ask(2, "instance/i node/a node/b"), Outcome::Waiting);
    assert_eq!(stage.held(2), "");
    assert_eq!(stage.ask(3, "instance/i node/a"), Outcome::Granted);
    assert_eq!(stage.done(1), NOBODY);
    assert_eq!(stage.done(3), [2]);
    assert_eq!(stage.held(2), "instance/i node/a node/b");
}

#[test]
fn all_locks_of_a_level_conflict_with_each_of_them_even_if_nobody_named_it_before() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/*:s node/n9"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/n1:s"), Outcome::Granted);
    assert_eq!(stage.ask(3, "node/n1"), Outcome::Waiting);
    assert_eq!(stage.ask(4, "node/n9:s"), Outcome::Waiting);
    assert_eq!(stage.ask(5, "node/*:s"), Outcome::Waiting);
    assert_eq!(stage.ask(6, "instance/n1"), Outcome::Granted);
    assert_eq!(stage.done(1), [4, 5]);
    assert_eq!(stage.done(5), NOBODY);
    assert_eq!(stage.done(2), [3]);
}

#[test]
fn each_refusal_names_the_locks_and_changes_nothing() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "instance/a:s node/b"), Outcome::Granted);
    assert_eq!(
        stage.refuse(1, "instance/c"),
        "instance/c cannot be requested while node/b is held: levels are locked in order"
    );
    assert_eq!(stage.refuse(1, "node/b"), "node/b is held already");
    assert_eq!(
        stage.refuse(1, "instance/a"),
        "instance/a is held shared and cannot be made exclusive; release it and request it anew"
    );
    assert_eq!(stage.ask(2, "node/b"), Outcome::Waiting);
    assert_eq!(
        stage.refuse(2, "node/c"),
        "the owner still waits for node/b; withdraw that request first"
    );
    let busy = stage.ask_with(3, "node/b", ASAP).unwrap_err().to_string();
    assert_eq!(busy, "node/b is busy: owner 1 is in the way");
    let missing = stage.table.release(OwnerId(1), &set("node/c")).unwrap_err().to_string();
    assert_eq!(missing, "node/c is not held");
    let few = stage.ask_with(3, "node/b node/c", opportunistic(2)).unwrap_err().to_string();
    assert_eq!(few, "too few locks are free: 1; at least 2 are needed");
    let long = Hierarchy::builder().level("a").level("b").level("c").level("d").build().unwrap();
    let mut foreign = LockRequest::new();
    foreign.add(long.level("d").unwrap(), "x", LockMode::Shared).unwrap();
    let options = RequestOptions::default();
    let unknown = stage.table.request(OwnerId(3), &foreign, options, stage.now).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no lock level of rank 3; this hierarchy has 3");
    assert_eq!(stage.held(1), "instance/a:s node/b");
    assert_eq!(stage.held(3), "");
}

#[test]
fn two_owners_that_both_want_to_upgrade_are_both_told_at_once() {
    let mut stage = Stage::bypass(1000);
    for owner in [1, 2] {
        assert_eq!(stage.ask(owner, "node/n:s"), Outcome::Granted);
    }
    for owner in [1, 2] {
        let refused = stage.ask_with(owner, "node/n", RequestOptions::default()).unwrap_err();
        assert_eq!(refused, LockError::WouldDeadlock { lock: "node/n".to_owned() });
    }
}

#[test]
fn whoever_does_not_wait_is_refused_without_a_look_at_everything_held() {
    let (mut table, now) = (Stage::bypass(1000).table, Timestamp::default());
    let mut ask = |owner, node, options| {
        table.request(OwnerId(owner), &set(&format!("node/n{node}")), options, now)
    };
    for owner in 0..1000 {
        assert_eq!(ask(owner, owner, RequestOptions::default()), Ok(Outcome::Granted));
    }
    let mut named = 0;
    for owner in 0..1000 {
        let refused = ask(1000, owner, ASAP).unwrap_err();
        let LockError::Busy { lock, owner: holder } = refused else { panic!("{refused}") };
        assert_eq!(lock, format!("node/n{owner}"));
        assert!(holder.is_none_or(|holder| holder == OwnerId(owner)));
        named += usize::from(holder.is_some());
    }
    assert_eq!(named, 128, "as many as it takes to look at 256 locks, set locks included");
}

#[test]
fn a_request_for_nothing_is_granted_and_leaves_no_trace() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, ""), Outcome::Granted);
    assert!(stage.table.is_idle());
}

#[test]
fn names_are_forgotten_once_nobody_uses_them() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/a"), Outcome::Granted);
    assert!(stage.ask_with(2, "node/a node/b", ASAP).is_err());
    assert_eq!(stage.ask(2, "node/a node/c"), Outcome::Waiting);
    let locks = |stage: &Stage| -> Vec<_> {
        stage.table.locks().into_iter().map(|report| report.lock).collect()
    };
    assert_eq!(locks(&stage), ["node/a", "node/c"]);
    stage.table.withdraw(OwnerId(2));
    stage.done(1);
    assert_eq!(locks(&stage), Vec::<String>::new());
}

#[test]
fn an_opportunistic_request_takes_what_is_free_if_it_is_enough() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/b"), Outcome::Granted);
    assert_eq!(stage.ask_with(2, "node/a node/b node/c:s", opportunistic(2)), Ok(Outcome::Granted));
    assert_eq!(stage.held(2), "node/a node/c:s");
    assert_eq!(stage.ask_with(3, "node/a node/b", opportunistic(0)), Ok(Outcome::Granted));
    assert_eq!(stage.held(3), "");
    assert_eq!(stage.ask_with(3, "node/*:s node/d", opportunistic(1)), Ok(Outcome::Granted));
    assert_eq!(stage.held(3), "node/d");
}
