//! Stories about waiting: who is granted next, and how waiting ends otherwise.

use std::time::Duration;

use lockmaster::engine::locks::{LockError, Outcome, OwnerId, RequestOptions, WaitPolicy};
use lockmaster::vocabulary::{Priority, Timestamp};

use crate::stage::{NOBODY, Stage, urgent};

#[test]
fn a_compatible_request_behind_a_held_back_one_is_not_left_idle() {
    let mut stage = Stage::new(WaitPolicy { max_bypass: 0, rest: 0, ..WaitPolicy::default() });
    assert_eq!(stage.ask(1, "node/a"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/b"), Outcome::Granted);
    // 3 has a:s and b reserved; 4 wants a alone and is behind it; 5 shares a and is not in the way.
    assert_eq!(stage.ask(3, "node/a:s node/b"), Outcome::Waiting);
    assert_eq!(stage.ask(4, "node/a"), Outcome::Waiting);
    assert_eq!(stage.ask(5, "node/a:s"), Outcome::Waiting);
    assert_eq!(stage.done(1), [5]);
}

#[test]
fn a_withdrawn_request_frees_its_place() {
    let mut stage = Stage::bypass(0);
    assert_eq!(stage.ask(1, "node/n:s"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/n"), Outcome::Waiting);
    assert_eq!(stage.ask(3, "node/n:s"), Outcome::Waiting);
    assert!(stage.table.withdraw(OwnerId(2)));
    assert!(!stage.table.withdraw(OwnerId(2)));
    assert_eq!(stage.pump(), [3]);
}

#[test]
fn a_request_that_ran_out_of_time_lets_those_behind_it_in() {
    let mut stage = Stage::bypass(0);
    assert_eq!(stage.ask(1, "node/n:s"), Outcome::Granted);
    let deadline = stage.now.plus(Duration::from_secs(5));
    let options = RequestOptions { deadline: Some(deadline), ..RequestOptions::default() };
    assert_eq!(stage.ask_with(2, "node/n", options), Ok(Outcome::Waiting));
    assert_eq!(stage.ask(3, "node/n:s"), Outcome::Waiting);
    assert_eq!(stage.table.next_deadline(), Some(deadline));
    let told = |owner| stage.table.explain(OwnerId(owner), stage.now).unwrap().waits.unwrap();
    assert_eq!((told(2).deadline, told(3).deadline), (Some(deadline), None));
    stage.later(Duration::from_secs(4));
    assert_eq!(stage.table.expire(stage.now), []);
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.table.expire(stage.now), [OwnerId(2)]);
    assert_eq!(stage.pump(), [3]);
    assert_eq!(stage.table.next_deadline(), None);
    let refused = stage.ask_with(2, "node/n", options).unwrap_err();
    assert!(matches!(refused, LockError::Busy { .. }), "a deadline in the past is a try");
}

#[test]
fn an_owner_that_dies_gives_everything_back_and_stops_waiting() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "instance/a"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/n"), Outcome::Granted);
    assert_eq!(stage.ask(1, "node/n"), Outcome::Waiting);
    assert_eq!(stage.ask(3, "instance/a"), Outcome::Waiting);
    assert_eq!(stage.done(1), [3]);
    assert_eq!(stage.done(2), NOBODY);
    assert_eq!(stage.done(3), NOBODY);
    assert!(stage.table.is_idle());
    assert_eq!(stage.table.locks(), []);
}

#[test]
fn more_urgent_requests_come_first_and_a_change_counts_at_once() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/n"), Outcome::Granted);
    for (owner, priority) in
        [(2, Priority::LOW), (3, Priority::NORMAL), (4, Priority::HIGH), (5, Priority::NORMAL)]
    {
        assert_eq!(stage.ask_with(owner, "node/n", urgent(priority)), Ok(Outcome::Waiting));
    }
    assert_eq!(stage.done(1), [4]);
    assert!(stage.table.set_priority(OwnerId(2), Priority::MOST_URGENT));
    assert!(!stage.table.set_priority(OwnerId(4), Priority::LOW), "4 waits no more");
    assert_eq!(stage.done(4), [2]);
    assert_eq!(stage.done(2), [3]);
    assert_eq!(stage.done(3), [5]);
}

#[test]
fn urgency_is_worth_a_head_start_and_no_more() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/n"), Outcome::Granted);
    assert_eq!(stage.ask_with(2, "node/n", urgent(Priority::LEAST_URGENT)), Ok(Outcome::Waiting));
    stage.later(WaitPolicy::default().quantum * 39 + Duration::from_micros(1));
    assert_eq!(stage.ask_with(3, "node/n", urgent(Priority::MOST_URGENT)), Ok(Outcome::Waiting));
    assert_eq!(stage.done(1), [2]);
}

#[test]
fn only_as_many_are_granted_as_somebody_wants() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/*"), Outcome::Granted);
    for owner in 2..6 {
        assert_eq!(stage.ask(owner, &format!("node/n{owner}")), Outcome::Waiting);
    }
    assert!(stage.table.release_all(OwnerId(1)));
    assert_eq!(stage.table.pump(2, stage.now), [OwnerId(2), OwnerId(3)]);
    assert_eq!(stage.table.pump(0, stage.now), []);
    assert_eq!(stage.pump(), [4, 5]);
}

#[test]
fn those_are_left_waiting_before_whom_somebody_else_comes_unless_they_hold_something() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "cluster/BGL:s"), Outcome::Granted);
    assert_eq!(stage.ask(2, "cluster/BGL:s instance/i"), Outcome::Granted);
    assert_eq!(stage.ask(9, "node/*"), Outcome::Granted);
    let due = |seconds| Timestamp::default().plus(Duration::from_secs(seconds));
    for (owner, what) in [(3, "node/a"), (1, "node/b"), (4, "node/c"), (2, "node/d")] {
        stage.later(Duration::from_secs(10));
        assert_eq!(stage.ask(owner, what), Outcome::Waiting);
    }
    assert!(!stage.table.has_to_try());
    stage.table.release_all(OwnerId(9));
    assert!(stage.table.has_to_try());
    let mut pump = |before, tries| {
        let (granted, more) = stage.table.pump_within(9, before, tries, stage.now);
        (granted.into_iter().map(|owner| owner.0).collect::<Vec<_>>(), more)
    };
    // 2 holds an instance, and so comes first and keeps others out. 1 shares the big lock only:
    // it is due at 20 s, 3 at 10 s, 4 at 30 s.
    assert_eq!(pump(Some(due(0)), 9), (vec![2], false));
    assert_eq!(pump(None, 0), (vec![], true));
    assert_eq!(pump(Some(due(20)), 9), (vec![1, 3], false));
    assert_eq!(pump(Some(due(29)), 9), (vec![], false));
    assert_eq!(pump(Some(due(30)), 1), (vec![4], false));
    assert_eq!(pump(None, 0), (vec![], false));
}

#[test]
fn a_pump_stops_after_so_many_tries_and_goes_on_where_it_stopped() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/*"), Outcome::Granted);
    for owner in 2..7 {
        assert_eq!(stage.ask(owner, &format!("node/n{owner}")), Outcome::Waiting);
    }
    stage.table.release_all(OwnerId(1));
    let granted = |owners: [u64; 2]| owners.map(OwnerId).to_vec();
    assert_eq!(stage.table.pump_within(9, None, 2, stage.now), (granted([2, 3]), true));
    assert_eq!(stage.table.pump_within(9, None, 2, stage.now), (granted([4, 5]), true));
    assert_eq!(stage.table.pump_within(9, None, 2, stage.now), (vec![OwnerId(6)], false));
}

#[test]
fn a_step_of_priority_is_worth_half_a_minute() {
    let policy = WaitPolicy::default();
    let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
    assert_eq!(policy.due(at(1000), Priority::NORMAL), at(1000));
    assert_eq!(policy.due(at(1000), Priority::HIGH), at(700));
    assert_eq!(policy.due(at(1000), Priority::LEAST_URGENT), at(1570));
}
