//! Stories about the lock table, each a behaviour somebody relies on.

use std::time::Duration;

use lockmaster::engine::locks::{
    LockError, LockTable, Mode, Outcome, OwnerId, RequestKind, RequestOptions, Reserves, WaitPolicy,
};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Priority, Timestamp};

/// A table, and a clock that only moves when told.
struct Stage {
    table: LockTable,
    now: Timestamp,
}

/// `"instance/web node/n1:s node/*:s"`: exclusive unless marked shared, `*` for all.
fn set(text: &str) -> LockRequest {
    let hierarchy = crate::model::hierarchy();
    let mut request = LockRequest::new();
    for word in text.split_whitespace() {
        let (lock, mode) = match word.strip_suffix(":s") {
            Some(lock) => (lock, LockMode::Shared),
            None => (word, LockMode::Exclusive),
        };
        let (level, name) = lock.split_once('/').unwrap();
        let level = hierarchy.level(level).unwrap();
        match name {
            "*" => request.add_all(level, mode).unwrap(),
            name => request.add(level, name, mode).unwrap(),
        };
    }
    request
}

impl Stage {
    fn new(policy: WaitPolicy) -> Self {
        Self { table: LockTable::new(Hierarchy::default(), policy), now: Timestamp::default() }
    }

    /// A table of the levels of the model, two of whose slots can be shared at once, on which a
    /// request reserves after that many grants to others.
    fn with_slots(max_bypass: u64) -> Self {
        let policy = WaitPolicy { max_bypass, rest: 0, ..WaitPolicy::default() };
        Self { table: LockTable::new(crate::model::hierarchy(), policy), ..Self::new(policy) }
    }

    /// A table on which a request reserves after that many grants to others.
    fn bypass(max_bypass: u64) -> Self {
        Self::new(WaitPolicy { max_bypass, rest: 0, ..WaitPolicy::default() })
    }

    fn ask_with(
        &mut self,
        owner: u64,
        what: &str,
        options: RequestOptions,
    ) -> Result<Outcome, LockError> {
        let outcome = self.table.request(OwnerId(owner), &set(what), options, self.now);
        self.table.check();
        outcome
    }

    fn ask(&mut self, owner: u64, what: &str) -> Outcome {
        self.ask_with(owner, what, RequestOptions::default()).unwrap()
    }

    fn refuse(&mut self, owner: u64, what: &str) -> String {
        self.ask_with(owner, what, RequestOptions::default()).unwrap_err().to_string()
    }

    fn pump(&mut self) -> Vec<u64> {
        let granted = self.table.pump(usize::MAX, self.now);
        self.table.check();
        granted.into_iter().map(|owner| owner.0).collect()
    }

    /// Releases everything and pumps.
    fn done(&mut self, owner: u64) -> Vec<u64> {
        assert!(self.table.release_all(OwnerId(owner)));
        self.table.check();
        self.pump()
    }

    fn later(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    fn held(&self, owner: u64) -> String {
        let held = self.table.held(OwnerId(owner));
        let hierarchy = crate::model::hierarchy();
        let mut words = Vec::new();
        for (level, locks) in held.levels() {
            let name = hierarchy.name(level);
            let mark = |mode| if mode == LockMode::Shared { ":s" } else { "" };
            words.extend(locks.all().map(|mode| format!("{name}/*{}", mark(mode))));
            words.extend(locks.names().map(|(lock, mode)| format!("{name}/{lock}{}", mark(mode))));
        }
        words.join(" ")
    }
}

const NOBODY: [u64; 0] = [];

const ASAP: RequestOptions = RequestOptions {
    priority: Priority::NORMAL,
    deadline: None,
    kind: RequestKind::Try,
    beneath: None,
};

fn opportunistic(min_count: usize) -> RequestOptions {
    RequestOptions { kind: RequestKind::Opportunistic { min_count }, ..RequestOptions::default() }
}

fn urgent(priority: Priority) -> RequestOptions {
    RequestOptions { priority, ..RequestOptions::default() }
}

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
fn a_demoted_reservation_lets_others_in() {
    let mut stage = Stage::bypass(0);
    assert_eq!(stage.ask(1, "node/n:s"), Outcome::Granted);
    assert_eq!(stage.ask_with(2, "node/n", urgent(Priority::HIGH)), Ok(Outcome::Waiting));
    assert_eq!(stage.ask(3, "node/n:s"), Outcome::Waiting);
    assert!(stage.table.set_priority(OwnerId(2), Priority::LOW));
    assert_eq!(stage.pump(), [3]);
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

#[test]
fn an_opportunistic_request_does_not_take_what_is_reserved() {
    let mut stage = Stage::bypass(0);
    assert_eq!(stage.ask(1, "node/a"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/a node/b"), Outcome::Waiting);
    assert_eq!(stage.ask_with(3, "node/b node/c", opportunistic(1)), Ok(Outcome::Granted));
    assert_eq!(stage.held(3), "node/c");
}

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
fn what_is_held_and_wanted_is_told_without_intentions() {
    let mut stage = Stage::new(WaitPolicy { window: 0, ..WaitPolicy::default() });
    assert_eq!(stage.table.hierarchy(), &Hierarchy::default());
    for owner in 10..20 {
        assert_eq!(stage.ask(owner, &format!("instance/i{owner}")), Outcome::Granted);
    }
    assert_eq!(stage.ask(1, "cluster/BGL:s instance/i node/*:s node/a"), Outcome::Granted);
    assert_eq!(stage.ask(2, "instance/j:s node/b"), Outcome::Waiting);
    for owner in 20..23 {
        assert_eq!(stage.ask(owner, &format!("instance/i{owner}")), Outcome::Granted);
    }
    let report = |owner| stage.table.explain(OwnerId(owner), stage.now).unwrap();
    let holds: Vec<_> = report(1).holds.iter().map(|(l, m, _)| format!("{l} {m}")).collect();
    let expected = [
        "cluster/BGL shared",
        "instance/i exclusive",
        "node/[lockset] shared, some exclusive",
        "node/a exclusive",
    ];
    assert_eq!(holds, expected);
    let waits = report(2).waits.unwrap();
    let wants: Vec<_> = waits.wants.iter().map(|(l, m)| format!("{l} {m}")).collect();
    assert_eq!(wants, ["instance/j shared", "node/b exclusive"]);
    assert_eq!((waits.passed, waits.reserves), (3, Reserves::Never));
    for owner in [1].into_iter().chain(10..23) {
        stage.table.release_all(OwnerId(owner));
    }
    assert!(!stage.table.is_idle(), "nobody holds anything, but somebody waits");
    assert_eq!(stage.pump(), [2]);
    assert!(!stage.table.is_idle());
    assert_eq!(stage.done(2), NOBODY);
    assert!(stage.table.is_idle());
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

#[test]
fn a_chain_is_explained_to_its_end() {
    let mut stage = Stage::bypass(5);
    assert_eq!(stage.ask(1, "node/n"), Outcome::Granted);
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.ask(2, "instance/i"), Outcome::Granted);
    assert_eq!(stage.ask(2, "node/n"), Outcome::Waiting);
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.ask(3, "instance/i node/m"), Outcome::Waiting);
    assert_eq!(stage.ask(4, "node/m"), Outcome::Granted);
    let report = stage.table.explain(OwnerId(3), stage.now).unwrap();
    let waits = report.waits.unwrap();
    assert_eq!((waits.lock.as_str(), waits.passed), ("instance/i", 1));
    assert_eq!(waits.in_the_way[0].owner, OwnerId(2));
    assert_eq!(waits.in_the_way[0].since, Some(Timestamp::from_micros(1_000_000)));
    let chain: Vec<_> =
        waits.chain.iter().map(|l| (l.waiter.0, l.lock.as_str(), l.blocker.0)).collect();
    assert_eq!(chain, [(3, "instance/i", 2), (2, "node/n", 1)]);
    let time = WaitPolicy::default().max_bypass_age;
    assert_eq!(waits.reserves, Reserves::After { grants: 4, time });
    assert_eq!(stage.ask(5, "node/o"), Outcome::Granted);
    let later = stage.table.explain(OwnerId(3), stage.now).unwrap().waits.unwrap();
    assert_eq!((later.passed, later.reserves), (2, Reserves::After { grants: 3, time }));
    let report = stage.table.explain(OwnerId(2), stage.now).unwrap();
    assert_eq!(report.holds.len(), 1);
    assert_eq!(report.holds[0].0, "instance/i");
    assert_eq!(stage.table.explain(OwnerId(9), stage.now), None);
    assert!(stage.table.wait_graph_dot().contains(r#""owner 3" -> "owner 2" [label="instance/i"#));
}

#[test]
fn a_lock_lists_those_who_wait_in_the_order_they_will_be_granted() {
    let mut stage = Stage::bypass(1000);
    assert_eq!(stage.ask(1, "node/n:s"), Outcome::Granted);
    assert_eq!(stage.ask_with(2, "node/n", urgent(Priority::LOW)), Ok(Outcome::Waiting));
    assert_eq!(stage.ask(3, "node/n"), Outcome::Waiting);
    assert_eq!(stage.ask_with(4, "node/n", urgent(Priority::HIGH)), Ok(Outcome::Waiting));
    let locks = stage.table.locks();
    assert_eq!(locks.len(), 1);
    assert_eq!(locks[0].lock, "node/n");
    assert_eq!(locks[0].holders[0].owner, OwnerId(1));
    let waiters: Vec<_> = locks[0].waiters.iter().map(|w| w.owner.0).collect();
    assert_eq!(waiters, [4, 3, 2]);
}
