//! Stories about levels of which only so many may share a lock.

use lockmaster::engine::locks::{LockError, Mode, Outcome, OwnerId};

use crate::stage::{ASAP, NOBODY, Stage, set};

#[test]
fn a_counted_lock_is_shared_by_as_many_as_may_and_no_more() {
    let mut stage = Stage::with_slots(1000);
    for owner in [1, 2] {
        assert_eq!(stage.ask(owner, "slot/a:s"), Outcome::Granted);
    }
    assert_eq!(stage.ask(3, "slot/a:s"), Outcome::Waiting);
    assert_eq!(stage.ask(4, "slot/a"), Outcome::Waiting);
    assert_eq!(stage.ask(5, "slot/b:s"), Outcome::Granted);
    let busy = stage.ask_with(6, "slot/a:s", ASAP).unwrap_err();
    assert!(matches!(busy, LockError::Busy { owner: Some(OwnerId(1 | 2)), .. }), "{busy}");
    let waits = stage.table.explain(OwnerId(3), stage.now).unwrap().waits.unwrap();
    let in_the_way: Vec<_> = waits.in_the_way.iter().map(|b| (b.owner.0, b.mode)).collect();
    assert_eq!(in_the_way, [(1, Mode::Shared), (2, Mode::Shared)]);
    assert_eq!(waits.capacity.map(u8::from), Some(2));
    let listed: Vec<_> = stage.table.locks().into_iter().map(|r| (r.lock, r.capacity)).collect();
    assert_eq!(listed, ["slot/a", "slot/b"].map(|lock| (lock.to_owned(), waits.capacity)));
    assert_eq!(stage.done(1), [3]);
    assert_eq!(stage.done(2), NOBODY);
    assert_eq!(stage.done(3), [4]);
    assert_eq!(stage.ask(6, "slot/a:s"), Outcome::Waiting);
    stage.table.downgrade(OwnerId(4), &set("slot/a")).unwrap();
    assert_eq!(stage.pump(), [6]);
    assert_eq!(stage.ask(7, "slot/a:s"), Outcome::Waiting);
    stage.table.release(OwnerId(4), &set("slot/a")).unwrap();
    assert_eq!(stage.pump(), [7]);
    assert_eq!(stage.ask(8, "slot/c slot/d"), Outcome::Granted);
    stage.table.downgrade(OwnerId(8), &set("slot/*")).unwrap();
    assert_eq!(stage.held(8), "slot/c:s slot/d:s");
}

#[test]
fn all_counted_locks_can_be_had_exclusive_only() {
    let mut stage = Stage::with_slots(1000);
    let refused = "slot/[lockset] cannot be shared: at most 2 may share each lock of that level; \
                   request it exclusive, or name the locks";
    assert_eq!(stage.refuse(1, "slot/*:s"), refused);
    assert_eq!(stage.refuse(1, "slot/*:s slot/a"), refused);
    assert_eq!(stage.ask(1, "slot/*"), Outcome::Granted);
    assert_eq!(stage.ask(2, "slot/a:s"), Outcome::Waiting);
    let downgraded = stage.table.downgrade(OwnerId(1), &set("slot/*")).unwrap_err();
    assert_eq!(downgraded.to_string(), refused);
    let narrowed = stage.table.narrow(OwnerId(1), &set("slot/*:s")).unwrap_err();
    assert_eq!(narrowed.to_string(), refused);
    stage.table.narrow(OwnerId(1), &set("slot/a:s slot/b")).unwrap();
    assert_eq!(stage.pump(), [2]);
    assert_eq!(stage.ask(3, "slot/a:s"), Outcome::Waiting);
    stage.table.release(OwnerId(1), &set("slot/*:s")).unwrap();
    assert_eq!(stage.pump(), [3]);
}

#[test]
fn a_reserved_place_is_kept_and_the_others_are_not() {
    let mut stage = Stage::with_slots(0);
    assert_eq!(stage.ask(9, "node/n"), Outcome::Granted);
    for owner in [1, 2] {
        assert_eq!(stage.ask(owner, "slot/a:s"), Outcome::Granted);
    }
    assert_eq!(stage.ask(3, "node/n slot/a:s"), Outcome::Waiting);
    assert_eq!(stage.done(1), NOBODY);
    assert_eq!(stage.ask(4, "slot/a:s"), Outcome::Waiting);
    let waits = stage.table.explain(OwnerId(4), stage.now).unwrap().waits.unwrap();
    let in_the_way: Vec<_> = waits.in_the_way.iter().map(|b| (b.owner.0, b.since)).collect();
    assert_eq!(in_the_way, [(3, None)], "there is a place, and it is kept for 3");
    assert_eq!(stage.done(2), [4]);
    assert_eq!(stage.ask(5, "slot/a:s"), Outcome::Waiting);
    assert_eq!(stage.done(9), [3]);
    assert_eq!(stage.done(4), [5]);
}
