//! Requests that wait as values: whoever takes one back against whoever grants it. A payload is
//! handed out exactly once, whatever comes first.

use std::sync::Arc;

use lockmaster::engine::locks::{OwnerId, RequestOptions, WaitPolicy};
use lockmaster::runtime::{Asked, LockManager};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Priority, Timestamp};

use crate::{model, thread};

type Manager = Arc<LockManager<&'static str>>;

const HOLDER: OwnerId = OwnerId(1);
const FIRST: OwnerId = OwnerId(2);
const SECOND: OwnerId = OwnerId(3);
/// When every deadline of these scenarios has passed.
const LATE: Timestamp = Timestamp::from_micros(i64::MAX / 2);

fn node(mode: LockMode) -> LockRequest {
    let level = Hierarchy::default().level("node").unwrap();
    let mut request = LockRequest::new();
    request.add(level, "n1", mode).unwrap();
    request
}

fn ask(manager: &Manager, owner: OwnerId, mode: LockMode, payload: &'static str) -> bool {
    let options = RequestOptions { deadline: Some(LATE), ..RequestOptions::default() };
    let asked = manager.request(owner, &node(mode), options, payload).unwrap();
    asked == Asked::Granted(payload)
}

/// One node, held alone by [`HOLDER`], with two requests behind it.
fn two_behind_a_holder(policy: WaitPolicy) -> Manager {
    let manager = Arc::new(LockManager::new(Hierarchy::default(), policy));
    assert!(ask(&manager, HOLDER, LockMode::Exclusive, "holder"));
    assert!(!ask(&manager, FIRST, LockMode::Exclusive, "first"));
    assert!(!ask(&manager, SECOND, LockMode::Exclusive, "second"));
    manager
}

/// Releases what the holder has, and grants what follows.
fn release(manager: &Manager) -> thread::JoinHandle<Vec<OwnerId>> {
    let manager = Arc::clone(manager);
    thread::spawn(move || {
        manager.release_all(HOLDER);
        pumped(&manager)
    })
}

fn pumped(manager: &Manager) -> Vec<OwnerId> {
    manager.pump(usize::MAX).into_iter().map(|(owner, _)| owner).collect()
}

fn is_idle(manager: &Manager) -> bool {
    manager.locks().is_empty()
}

#[test]
fn a_withdrawn_request_is_either_handed_back_or_granted_and_the_next_one_moves_up() {
    model("manager: withdrawal against grant", || {
        let manager = two_behind_a_holder(WaitPolicy::default());
        let release = release(&manager);
        let withdrawn = manager.withdraw(FIRST).is_some();
        let mut granted = pumped(&manager);
        granted.extend(release.join().unwrap());
        assert_eq!(granted, [if withdrawn { SECOND } else { FIRST }]);
        manager.release_all(FIRST);
        assert_eq!(pumped(&manager).contains(&SECOND), !withdrawn);
        manager.release_all(SECOND);
        assert!(is_idle(&manager));
    });
}

#[test]
fn a_request_that_expires_is_either_handed_back_or_granted() {
    model("manager: timeout against grant", || {
        let manager = Arc::new(LockManager::new(Hierarchy::default(), WaitPolicy::default()));
        assert!(ask(&manager, HOLDER, LockMode::Exclusive, "holder"));
        assert!(!ask(&manager, FIRST, LockMode::Exclusive, "first"));
        let timer = {
            let manager = Arc::clone(&manager);
            thread::spawn(move || manager.expire_at(LATE).len())
        };
        manager.release_all(HOLDER);
        let granted = pumped(&manager).len();
        assert_eq!(granted + timer.join().unwrap(), 1);
        assert_eq!(manager.held(FIRST).is_empty(), granted == 0);
        manager.release_all(FIRST);
        assert!(is_idle(&manager));
    });
}

/// Nobody releases anything: that the one in front gave up is all that lets the other in.
#[test]
fn a_reader_behind_an_expired_writer_is_let_in_by_the_expiry_alone() {
    model("manager: expired writer lets a reader in", || {
        let policy = WaitPolicy { max_bypass: 0, ..WaitPolicy::default() };
        let manager = Arc::new(LockManager::new(Hierarchy::default(), policy));
        assert!(ask(&manager, HOLDER, LockMode::Shared, "holder"));
        assert!(!ask(&manager, FIRST, LockMode::Exclusive, "writer"));
        let timer = {
            let manager = Arc::clone(&manager);
            thread::spawn(move || {
                let expired = manager.expire_at(LATE);
                (expired, pumped(&manager))
            })
        };
        let at_once = manager
            .request(SECOND, &node(LockMode::Shared), RequestOptions::default(), "reader")
            .unwrap();
        let mut granted = pumped(&manager);
        let (expired, by_timer) = timer.join().unwrap();
        granted.extend(by_timer);
        assert_eq!(expired, [(FIRST, "writer")]);
        assert_eq!(granted.len() + usize::from(at_once == Asked::Granted("reader")), 1);
        assert!(!manager.held(SECOND).is_empty());
    });
}

#[test]
fn an_owner_that_dies_while_it_is_granted_leaves_nothing_behind() {
    model("manager: owner death against grant", || {
        let manager = two_behind_a_holder(WaitPolicy::default());
        let release = release(&manager);
        let died_waiting = manager.release_all(FIRST).is_some();
        let mut granted = pumped(&manager);
        granted.extend(release.join().unwrap());
        assert_eq!(granted.contains(&FIRST), !died_waiting);
        assert_eq!(granted.iter().filter(|owner| **owner == SECOND).count(), 1);
        assert!(manager.held(FIRST).is_empty());
        manager.release_all(SECOND);
        assert!(is_idle(&manager));
    });
}

#[test]
fn a_shutdown_that_takes_all_requests_back_misses_none_and_takes_none_twice() {
    model("manager: shutdown against grant", || {
        let manager = two_behind_a_holder(WaitPolicy::default());
        let release = release(&manager);
        let stopped = [FIRST, SECOND].map(|owner| manager.withdraw(owner).is_some());
        let granted = release.join().unwrap();
        for (owner, stopped) in [FIRST, SECOND].into_iter().zip(stopped) {
            assert!(stopped ^ granted.contains(&owner), "{owner} has one end");
        }
        for owner in [HOLDER, FIRST, SECOND] {
            manager.release_all(owner);
        }
        assert!(is_idle(&manager));
    });
}

#[test]
fn a_change_of_priority_counts_for_every_grant_that_comes_after_it() {
    model("manager: priority change against grant", || {
        let manager = two_behind_a_holder(WaitPolicy::default());
        let urgent = Priority::new(-20).unwrap();
        let changer = {
            let manager = Arc::clone(&manager);
            thread::spawn(move || {
                let waited = manager.set_priority(SECOND, urgent);
                (waited, !manager.held(HOLDER).is_empty())
            })
        };
        assert!(manager.release_all(HOLDER).is_none());
        let granted = pumped(&manager);
        let (waited, in_time) = changer.join().unwrap();
        if in_time || !waited {
            assert_eq!(granted, [SECOND]);
        }
        assert_eq!(granted.len(), 1);
        manager.release_all(granted[0]);
        let other = if granted == [FIRST] { SECOND } else { FIRST };
        assert_eq!(pumped(&manager), [other]);
    });
}

#[test]
fn two_who_pump_at_once_grant_each_request_once() {
    model("manager: two pumps", || {
        let manager = Arc::new(LockManager::new(Hierarchy::default(), WaitPolicy::default()));
        assert!(ask(&manager, HOLDER, LockMode::Exclusive, "holder"));
        for owner in [FIRST, SECOND] {
            assert!(!ask(&manager, owner, LockMode::Shared, "reader"));
        }
        manager.release_all(HOLDER);
        let other = {
            let manager = Arc::clone(&manager);
            thread::spawn(move || manager.pump(1))
        };
        let mut granted = manager.pump(1);
        granted.extend(other.join().unwrap());
        granted.sort_unstable();
        assert_eq!(granted, [(FIRST, "reader"), (SECOND, "reader")]);
    });
}
