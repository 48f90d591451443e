//! Stories about reservations: nobody waits for ever, and nobody deadlocks because of it.

use lockmaster::engine::locks::{Outcome, OwnerId, RequestOptions, Reserves, WaitPolicy};
use lockmaster::vocabulary::{Hierarchy, Priority};

use crate::stage::{NOBODY, Stage, opportunistic, urgent};

#[test]
fn a_reservation_never_holds_up_an_owner_that_is_further_on() {
    let mut stage = Stage::bypass(0);
    assert_eq!(stage.ask(1, "instance/x"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/z"), Outcome::Granted);
    // 3 waits for x and has x and y reserved at once; 1 needs y to get done with x.
    assert_eq!(stage.ask(3, "instance/x node/y"), Outcome::Waiting);
    assert_eq!(stage.ask(1, "node/y"), Outcome::Granted);
    assert_eq!(stage.ask(4, "node/y"), Outcome::Waiting);
    assert_eq!(stage.done(1), [3]);
    assert_eq!(stage.done(3), [4]);
}

/// The same, where an owner asks for the rest through another one.
#[test]
fn a_reservation_never_holds_up_who_asks_on_behalf_of_an_owner_that_is_further_on() {
    let mut stage = Stage::bypass(0);
    let instance = Hierarchy::default().level("instance").unwrap();
    let beneath = RequestOptions { beneath: Some(instance), ..RequestOptions::default() };
    assert_eq!(stage.ask(1, "instance/x"), Outcome::Granted);
    assert_eq!(stage.ask(3, "instance/x node/y"), Outcome::Waiting);
    assert_eq!(stage.ask(2, "node/y"), Outcome::Waiting, "it is reserved");
    assert_eq!(stage.ask_with(4, "node/y", beneath), Ok(Outcome::Granted), "for 1");
    let refused = stage.ask_with(5, "instance/z", beneath).unwrap_err().to_string();
    assert!(refused.contains("instance/z cannot be requested while a deeper lock"), "{refused}");
    assert_eq!(stage.done(4), NOBODY);
    assert_eq!(stage.done(1), [3]);
}

#[test]
fn those_further_on_wait_for_what_is_held_and_are_granted_it_before_a_reservation() {
    let mut stage = Stage::bypass(0);
    assert_eq!(stage.ask(1, "instance/x"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/y"), Outcome::Granted);
    assert_eq!(stage.ask(3, "instance/x node/y"), Outcome::Waiting);
    assert_eq!(stage.ask(1, "node/y"), Outcome::Waiting);
    assert_eq!(stage.done(2), [1]);
    assert_eq!(stage.done(1), [3]);
}

#[test]
fn a_demoted_reservation_lets_others_in() {
    let mut stage = Stage::bypass(0);
    assert_eq!(stage.ask(1, "node/n:s"), Outcome::Granted);
    assert_eq!(stage.ask_with(2, "node/n", urgent(Priority::HIGH)), Ok(Outcome::Waiting));
    assert_eq!(stage.ask(3, "node/n:s"), Outcome::Waiting);
    assert!(stage.table.set_priority(OwnerId(2), Priority::LOW));
    assert_eq!(stage.pump(), [3]);
}

#[test]
fn an_opportunistic_request_does_not_take_what_is_reserved() {
    let mut stage = Stage::bypass(0);
    assert_eq!(stage.ask(1, "node/a"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/a node/b"), Outcome::Waiting);
    assert_eq!(stage.ask_with(3, "node/b node/c", opportunistic(1)), Ok(Outcome::Granted));
    assert_eq!(stage.held(3), "node/c");
}

#[test]
fn a_stream_of_sharers_does_not_starve_one_who_wants_the_lock_alone() {
    let mut stage = Stage::bypass(10);
    assert_eq!(stage.ask(1, "node/n:s"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/n"), Outcome::Waiting);
    let mut passed = 0;
    for owner in 3..100 {
        if stage.ask(owner, "node/n:s") == Outcome::Waiting {
            break;
        }
        passed += 1;
        stage.done(owner - if owner == 3 { 2 } else { 1 });
    }
    assert_eq!(passed, 10);
    assert_eq!(stage.done(12), [2]);
}

#[test]
fn a_stream_of_owners_that_come_back_deeper_does_not_starve_one_either() {
    let mut stage = Stage::bypass(10);
    assert_eq!(stage.ask(1, "instance/i1"), Outcome::Granted);
    assert_eq!(stage.ask(1, "node/n:s"), Outcome::Granted);
    assert_eq!(stage.ask(1_000, "node/n"), Outcome::Waiting);
    let mut owner = 1;
    while stage.ask(owner + 1, &format!("instance/i{}", owner + 1)) == Outcome::Granted {
        owner += 1;
        assert_eq!(stage.ask(owner, "node/n:s"), Outcome::Granted);
        stage.done(owner - 1);
        assert!(owner < 100, "owners that hold nothing yet are kept out at last");
    }
    let waits = stage.table.explain(OwnerId(owner + 1), stage.now).unwrap().waits.unwrap();
    assert_eq!(
        (waits.lock.as_str(), waits.in_the_way[0].owner),
        ("instance/[gate]", OwnerId(1_000))
    );
    assert_eq!(stage.done(owner), [1_000, owner + 1]);
}

#[test]
fn between_two_reservations_some_are_let_through() {
    let policy = WaitPolicy { max_bypass: 0, rest: 3, ..WaitPolicy::default() };
    let mut stage = Stage::new(policy);
    let reserves =
        |stage: &Stage| stage.table.explain(OwnerId(3), stage.now).unwrap().waits.unwrap().reserves;
    assert_eq!(stage.ask(1, "node/a"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/a"), Outcome::Waiting);
    assert_eq!(stage.ask(3, "node/a node/b"), Outcome::Waiting);
    assert_eq!(reserves(&stage), Reserves::WhenThereIsRoom);
    assert_eq!(stage.done(1), [2]);
    // That was the first grant since 2 reserved no more.
    assert_eq!(stage.ask(4, "node/b"), Outcome::Granted);
    assert_eq!(reserves(&stage), Reserves::WhenThereIsRoom);
    assert_eq!(stage.ask(5, "node/c"), Outcome::Granted);
    assert_eq!(reserves(&stage), Reserves::Already);
    assert_eq!(stage.done(4), NOBODY);
    assert_eq!(stage.ask(6, "node/b"), Outcome::Waiting);
}

#[test]
fn nobody_is_passed_more_often_than_the_bound() {
    let policy = WaitPolicy { max_bypass: 20, rest: 7, ..WaitPolicy::default() };
    let mut stage = Stage::new(policy);
    let (holders, victims) = (4, 3);
    // There is always somebody who holds a node; three want them all.
    for owner in 0..holders {
        assert_eq!(stage.ask(owner, &format!("node/n{owner}")), Outcome::Granted);
    }
    for victim in 1000..1000 + victims {
        assert_eq!(stage.ask(victim, "node/*"), Outcome::Waiting);
    }
    let (mut running, mut passed, mut served) = ((0..holders).collect::<Vec<_>>(), 0, Vec::new());
    for owner in holders.. {
        let next = stage.ask(owner, &format!("node/n{owner}"));
        running.extend((next == Outcome::Granted).then_some(owner));
        let granted = stage.done(running.remove(0));
        passed += u64::from(next == Outcome::Granted) + granted.len() as u64;
        served.extend(granted.iter().filter(|o| **o >= 1000).map(|victim| (*victim, passed)));
        running.extend(granted);
        if served.len() as u64 == victims {
            break;
        }
    }
    for (place, (victim, passed)) in (0..).zip(served) {
        assert_eq!(victim, 1000 + place, "the oldest first");
        let bound = policy.max_bypass + place * policy.rest + (place + 1) * holders;
        assert!(passed <= bound, "{victim} was passed by {passed}, at most {bound}");
    }
}
