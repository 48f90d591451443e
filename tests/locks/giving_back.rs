//! Stories about giving back a part: downgrade, narrow, early release, counted re-entry.

use lockmaster::engine::locks::{LockError, Outcome, OwnerId};

use crate::stage::{Stage, set};

#[test]
fn a_downgrade_lets_others_share() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/a node/b"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/a:s"), Outcome::Waiting);
    assert_eq!(stage.ask(3, "node/*:s"), Outcome::Waiting);
    stage.table.downgrade(OwnerId(1), &set("node/a")).unwrap();
    assert_eq!(stage.pump(), [2]);
    stage.table.downgrade(OwnerId(1), &set("node/*")).unwrap();
    assert_eq!(stage.held(1), "node/a:s node/b:s");
    assert_eq!(stage.pump(), [3]);
}

#[test]
fn a_whole_level_can_be_downgraded_and_narrowed() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "instance/i node/*"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/x"), Outcome::Waiting);
    assert_eq!(stage.ask(3, "node/b:s"), Outcome::Waiting);
    stage.table.narrow(OwnerId(1), &set("node/a node/b:s")).unwrap();
    assert_eq!(stage.held(1), "instance/i node/a node/b:s");
    assert_eq!(stage.pump(), [2, 3]);
    let refused = stage.table.narrow(OwnerId(1), &set("node/c")).unwrap_err();
    assert_eq!(refused, LockError::NotHeld { lock: "node/c".to_owned() });
    let refused = stage.table.narrow(OwnerId(1), &set("node/b")).unwrap_err();
    assert_eq!(refused, LockError::WouldDeadlock { lock: "node/b".to_owned() });
    assert_eq!(stage.ask(4, "cluster/BGL:s node/*:s node/z"), Outcome::Waiting);
    for owner in [1, 2, 3] {
        stage.done(owner);
    }
    assert_eq!(stage.held(4), "cluster/BGL:s node/*:s node/z");
    stage.table.downgrade(OwnerId(4), &set("node/*")).unwrap();
    assert_eq!(stage.held(4), "cluster/BGL:s node/*:s");
}

#[test]
fn a_whole_level_held_alone_can_be_shared() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/*"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/a:s"), Outcome::Waiting);
    stage.table.downgrade(OwnerId(1), &set("node/*")).unwrap();
    assert_eq!(stage.held(1), "node/*:s");
    assert_eq!(stage.pump(), [2]);
}

#[test]
fn some_locks_can_be_released_early() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "instance/i node/a node/b"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/a"), Outcome::Waiting);
    stage.table.release(OwnerId(1), &set("node/a")).unwrap();
    assert_eq!(stage.pump(), [2]);
    stage.table.release(OwnerId(1), &set("node/*")).unwrap();
    assert_eq!(stage.held(1), "instance/i");
    assert_eq!(stage.ask(1, "node/c"), Outcome::Granted);
}

#[test]
fn at_a_reentrant_level_what_is_held_can_be_locked_again_and_is_released_as_often() {
    let mut stage = Stage::with_slots(1000);
    let instance = [crate::model::hierarchy().level("instance").unwrap()];
    assert_eq!(stage.ask(1, "instance/a instance/b:s node/n"), Outcome::Granted);
    assert_eq!(stage.ask(1, "instance/a:s"), Outcome::Granted);
    assert_eq!(stage.ask(1, "instance/b:s"), Outcome::Granted);
    let alone = "instance/b is held shared and cannot be made exclusive; \
                 release it and request it anew";
    assert_eq!(stage.refuse(1, "instance/b"), alone);
    assert_eq!(stage.refuse(1, "node/n"), "node/n is held already");
    assert_eq!(stage.ask(2, "instance/a"), Outcome::Waiting);
    let refused = stage.table.release(OwnerId(1), &set("instance/a")).unwrap_err().to_string();
    assert_eq!(refused, "instance/[lockset] was locked again; release that first");
    for left in [true, true, false] {
        stage.table.release_levels(OwnerId(1), &instance).unwrap();
        assert_eq!(stage.held(1).contains("instance"), left);
        assert_eq!(stage.pump().is_empty(), left);
    }
}
