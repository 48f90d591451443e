//! Taking and releasing a set of locks, one thread, nobody else.

use std::collections::HashMap;
use std::sync::Arc;

use lockmaster::engine::locks::{LockTable, Outcome, OwnerId, RequestOptions, WaitPolicy};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Timestamp};
use parking_lot::{Mutex, RwLock};

use crate::{Numbers, nanos};

const NOW: Timestamp = Timestamp::from_micros(0);
/// As many different sets in turn, so that they are not all in the cache.
const SETS: usize = 1000;

fn table() -> LockTable {
    LockTable::new(Hierarchy::default(), WaitPolicy::default())
}

fn request(names: &[String], ids: &[usize]) -> LockRequest {
    let node = Hierarchy::default().level("node").expect("there is one");
    let mut request = LockRequest::new();
    for id in ids {
        request.add(node, &names[*id], LockMode::Exclusive).expect("the name is fine");
    }
    request
}

pub(crate) fn run() {
    println!("exclusive set of k out of n, ns for taking and releasing it");
    println!(
        "{:>4} {:>7} {:>9} {:>9} {:>9} {:>11} {:>9}",
        "k", "n", "by handle", "+ mutex", "RwLocks", "by name", "map+RwL"
    );
    for n in [1000, 100_000] {
        for k in [1, 2, 10, 100] {
            row(k, n);
        }
    }
    all();
}

fn row(k: usize, n: usize) {
    let mut numbers = Numbers(0x1234_5678_9ABC_DEF1);
    let names: Vec<String> = (0..n).map(|i| format!("node{i:06}.example.com")).collect();
    let sets: Vec<Vec<usize>> = (0..SETS).map(|_| numbers.distinct(k, n)).collect();
    let count = 50_000 / k + 1000;
    let by_handle = handles(&names, &sets, count, false);
    let mutexed = handles(&names, &sets, count, true);
    let separate = rwlocks(n, &sets, count);
    let by_name = by_name(&names, &sets, count);
    let mapped = mapped(&names, &sets, count);
    println!(
        "{k:>4} {n:>7} {by_handle:>9.0} {mutexed:>9.0} {separate:>9.0} {by_name:>11.0} {mapped:>9.0}   with mutex / RwLocks: {:.2}, by name / map: {:.2}",
        mutexed / separate,
        by_name / mapped
    );
}

/// The table with sets looked up before; all names exist.
fn handles(names: &[String], sets: &[Vec<usize>], count: usize, mutexed: bool) -> f64 {
    let mut table = table();
    let everything: Vec<usize> = (0..names.len()).collect();
    let all = table.prepare(request(names, &everything)).expect("the names are fine");
    let sets: Vec<_> =
        sets.iter().map(|ids| table.prepare(request(names, ids)).expect("fine")).collect();
    let options = RequestOptions::default();
    let time = if mutexed {
        let table = Mutex::new(table);
        nanos(count, |i| {
            let set = &sets[i % SETS];
            let outcome = table.lock().request_prepared(OwnerId(i as u64), set, options, NOW);
            assert_eq!(outcome, Ok(Outcome::Granted));
            table.lock().release_all(OwnerId(i as u64));
        })
    } else {
        nanos(count, |i| {
            let outcome = table.request_prepared(OwnerId(i as u64), &sets[i % SETS], options, NOW);
            assert_eq!(outcome, Ok(Outcome::Granted));
            table.release_all(OwnerId(i as u64));
        })
    };
    drop(all);
    time
}

fn rwlocks(n: usize, sets: &[Vec<usize>], count: usize) -> f64 {
    let locks: Vec<RwLock<()>> = (0..n).map(|_| RwLock::new(())).collect();
    nanos(count, |i| {
        let guards: Vec<_> = sets[i % SETS].iter().map(|id| locks[*id].write()).collect();
        drop(guards);
    })
}

/// The table, names looked up each time; they exist only as long as they are held.
fn by_name(names: &[String], sets: &[Vec<usize>], count: usize) -> f64 {
    let mut table = table();
    let sets: Vec<_> = sets.iter().map(|ids| request(names, ids)).collect();
    nanos(count / 4, |i| {
        let (owner, options) = (OwnerId(i as u64), RequestOptions::default());
        assert_eq!(table.request(owner, &sets[i % SETS], options, NOW), Ok(Outcome::Granted));
        table.release_all(owner);
    })
}

/// What one writes without a table: a map of locks, names sorted.
fn mapped(names: &[String], sets: &[Vec<usize>], count: usize) -> f64 {
    let locks: HashMap<String, Arc<RwLock<()>>> =
        names.iter().map(|name| (name.clone(), Arc::default())).collect();
    let sets: Vec<Vec<&str>> =
        sets.iter().map(|ids| ids.iter().map(|id| names[*id].as_str()).collect()).collect();
    nanos(count / 4, |i| {
        let mut set = sets[i % SETS].clone();
        set.sort_unstable();
        let locks: Vec<_> = set.iter().map(|name| Arc::clone(&locks[*name])).collect();
        let guards: Vec<_> = locks.iter().map(|lock| lock.write()).collect();
        drop(guards);
    })
}

/// All locks of a level, while a hundred thousand of them exist.
fn all() {
    let mut numbers = Numbers(7);
    let n = 100_000;
    let names: Vec<String> = (0..n).map(|i| format!("node{i:06}.example.com")).collect();
    let everything: Vec<usize> = (0..n).collect();
    let mut table = table();
    let members = table.prepare(request(&names, &everything)).expect("the names are fine");
    let node = Hierarchy::default().level("node").expect("there is one");
    let mut request = LockRequest::new();
    request.add_all(node, LockMode::Exclusive).expect("nothing else is asked for");
    let options = RequestOptions::default();
    let take = |table: &mut LockTable, i| {
        assert_eq!(table.request(OwnerId(i), &request, options, NOW), Ok(Outcome::Granted));
        table.release_all(OwnerId(i));
    };
    let time = nanos(100_000, |i| take(&mut table, i as u64));
    let owner = OwnerId(numbers.next());
    let explicit = nanos(20, |_| {
        let outcome = table.request_prepared(owner, &members, options, NOW);
        assert_eq!(outcome, Ok(Outcome::Granted));
        table.release_all(owner);
    });
    let handle = table.prepare(request.clone()).expect("the request is fine");
    let by_handle = nanos(100_000, |i| {
        let outcome = table.request_prepared(OwnerId(i as u64), &handle, options, NOW);
        assert_eq!(outcome, Ok(Outcome::Granted));
        table.release_all(OwnerId(i as u64));
    });
    println!(
        "ALL of {n} existing locks: {by_handle:.0} ns by handle, {time:.0} ns; \
         each of them by handle: {explicit:.0} ns"
    );
}
