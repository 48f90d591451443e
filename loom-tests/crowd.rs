//! Many threads at once, more than loom can go through: under shuttle in random orders, and with
//! real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use lockmaster::engine::locks::{LockError, WaitPolicy};
use lockmaster::runtime::{CancelCause, CancelToken, LockOptions, Locks};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Priority, Timestamp};

use crate::{crowd, thread};

const NODES: usize = 5;

/// How each node is held: so many readers, or -1 for a writer.
#[derive(Default)]
struct Witness([AtomicIsize; NODES]);

impl Witness {
    /// Holds those nodes for a moment and objects to whoever holds one in conflict.
    fn hold(&self, nodes: &[(usize, LockMode)]) {
        for &(node, mode) in nodes {
            let before = match mode {
                LockMode::Shared => self.0[node].fetch_add(1, Ordering::SeqCst),
                LockMode::Exclusive => self.0[node].swap(-1, Ordering::SeqCst),
            };
            assert!(before == 0 || before > 0 && mode == LockMode::Shared, "node {node}: {before}");
        }
        thread::yield_now();
        for &(node, mode) in nodes {
            match mode {
                LockMode::Shared => self.0[node].fetch_sub(1, Ordering::SeqCst),
                LockMode::Exclusive => self.0[node].swap(0, Ordering::SeqCst),
            };
        }
    }
}

/// Two neighbours of a ring, one of them shared by every third.
fn neighbours(number: usize) -> [(usize, LockMode); 2] {
    let second = if number % 3 == 0 { LockMode::Shared } else { LockMode::Exclusive };
    [(number % NODES, LockMode::Exclusive), ((number + 1) % NODES, second)]
}

fn request(instance: Option<&str>, nodes: &[(usize, LockMode)]) -> LockRequest {
    let hierarchy = Hierarchy::default();
    let mut request = LockRequest::new();
    if let Some(name) = instance {
        request.add(hierarchy.level("instance").unwrap(), name, LockMode::Exclusive).unwrap();
    }
    for (node, mode) in nodes {
        request.add(hierarchy.level("node").unwrap(), &format!("n{node}"), *mode).unwrap();
    }
    request
}

/// Locks among which the oldest two requests reserve at once: as much order as can be had, and
/// so as many ways to get stuck.
fn strict() -> Locks {
    let policy = WaitPolicy { max_bypass: 0, window: 2, ..WaitPolicy::default() };
    Locks::with_policy(Hierarchy::default(), policy)
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn forty_threads_with_overlapping_sets_all_come_to_their_turn_and_never_in_conflict() {
    crowd("crowd: overlapping sets", || {
        let (locks, witness) = (strict(), Arc::new(Witness::default()));
        let taker = |number| {
            let (locks, witness) = (locks.clone(), Arc::clone(&witness));
            thread::spawn(move || {
                let nodes = neighbours(number);
                let request = request(None, &nodes);
                locks.with(&request, LockOptions::default(), |_| witness.hold(&nodes)).unwrap();
            })
        };
        join((0..40).map(taker).collect());
        assert!(locks.locks().is_empty());
    });
}

#[test]
fn threads_that_go_level_by_level_and_threads_that_ask_at_once_do_not_stop_each_other() {
    crowd("crowd: one and two stages", || {
        let (locks, witness) = (strict(), Arc::new(Witness::default()));
        let taker = |number: usize| {
            let (locks, witness) = (locks.clone(), Arc::clone(&witness));
            thread::spawn(move || {
                let (nodes, owner) = (neighbours(number), locks.owner());
                let instance = ["web", "db", "mail"][number % 3];
                let _guards = if number % 2 == 0 {
                    let both = request(Some(instance), &nodes);
                    (owner.lock(&both, LockOptions::default()).unwrap(), None)
                } else {
                    let first = owner.lock(&request(Some(instance), &[]), LockOptions::default());
                    let then = owner.lock(&request(None, &nodes), LockOptions::default());
                    (first.unwrap(), Some(then.unwrap()))
                };
                witness.hold(&nodes);
            })
        };
        join((0..24).map(taker).collect());
        assert!(locks.locks().is_empty());
    });
}

#[test]
fn deadlines_and_changes_of_priority_among_waiters_leave_nobody_behind() {
    crowd("crowd: deadlines and priorities", || {
        let (locks, witness) = (strict(), Arc::new(Witness::default()));
        let owners: Vec<_> = (0..16).map(|_| locks.owner()).collect();
        let ids: Vec<_> = owners.iter().map(lockmaster::runtime::LockOwner::id).collect();
        let taker = |(number, owner): (usize, lockmaster::runtime::LockOwner)| {
            let witness = Arc::clone(&witness);
            thread::spawn(move || {
                let nodes = neighbours(number);
                let hour = LockOptions::within(Duration::from_secs(3600));
                let options = if number % 4 == 0 { hour } else { LockOptions::default() };
                match owner.lock(&request(None, &nodes), options) {
                    Ok(_guard) => witness.hold(&nodes),
                    Err(error) => assert!(matches!(error, LockError::TimedOut { .. }), "{error}"),
                }
            })
        };
        let mut threads: Vec<_> = owners.into_iter().enumerate().map(taker).collect();
        let changer = locks.clone();
        threads.push(thread::spawn(move || {
            for (id, priority) in ids.into_iter().zip((-20..20).step_by(3)) {
                changer.set_priority(id, Priority::new(priority).unwrap());
            }
        }));
        let timer = locks.clone();
        threads.push(thread::spawn(move || {
            for _ in 0..3 {
                timer.expire_at(Timestamp::from_micros(i64::MAX));
                thread::yield_now();
            }
        }));
        join(threads);
        assert!(locks.locks().is_empty());
    });
}

#[test]
fn fifty_waiters_hear_of_one_cancel() {
    crowd("crowd: one cancel", || {
        let token = CancelToken::new();
        let waiter = |_| {
            let token = token.clone();
            thread::spawn(move || assert_eq!(token.wait(), CancelCause::Requested))
        };
        let waiters = (0..50).map(waiter).collect();
        token.set(CancelCause::Requested);
        join(waiters);
    });
}
