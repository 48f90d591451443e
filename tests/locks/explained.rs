//! Stories about what the table tells of itself.

use std::time::Duration;

use lockmaster::engine::locks::{Outcome, OwnerId, Reserves, WaitPolicy};
use lockmaster::vocabulary::{Hierarchy, Priority, Timestamp};

use crate::stage::{NOBODY, Stage, urgent};

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
    for (owner, passed) in [(5, 2), (6, 3), (7, 4)] {
        assert_eq!(stage.ask(owner, &format!("node/o{owner}")), Outcome::Granted);
        let later = stage.table.explain(OwnerId(3), stage.now).unwrap().waits.unwrap();
        let reserves = Reserves::After { grants: 5 - passed, time };
        assert_eq!((later.passed, later.reserves), (passed, reserves));
    }
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
