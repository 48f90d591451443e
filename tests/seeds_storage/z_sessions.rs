//! Sessions: nesting, owners, who exports, what fails, which hosts.
#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone is not general enough in its lifetimes"
)]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lockmaster::runtime::{ConfigWriter, LockOptions, Locks};
use lockmaster::vocabulary::{LockMode, LockRequest};

use super::process::Process;
use super::z_races::place;
use super::zpool::fake::{Failed, Zpool};
use super::zpool::{Agent, Intent, locks, pool_of};

const USE: Intent = Intent::Use { keep_imported: false };

fn agent(zpool: &Zpool, locks: &Locks) -> Agent {
    Agent::new(zpool.clone(), Some(locks.clone()))
}

fn pool(locks: &Locks) -> LockRequest {
    let mut request = LockRequest::new();
    request.add(locks.hierarchy().level("zpool").unwrap(), "pA", LockMode::Exclusive).unwrap();
    request
}

/// Whether another thread gets pA's lock at once.
fn is_free(locks: &Locks) -> bool {
    let tries = || locks.with(&pool(locks), LockOptions::asap(), |_| ()).is_ok();
    thread::scope(|scope| scope.spawn(tries).join().unwrap())
}

fn tried_by_a_process(directory: &std::path::Path) -> String {
    let mut process = Process::start(directory, "other", "try", true);
    process.actor.go();
    process.actor.arrive().to_owned()
}

/// Opens so many sessions within each other, and looks in each whether others are kept out.
fn nested(agent: &Agent, locks: &Locks, left: u32) -> Result<(), Failed> {
    if left == 0 {
        return Ok(());
    }
    agent.session("pA", USE, LockOptions::default(), |_| {
        assert!(!is_free(locks), "{left} to go in");
        nested(agent, locks, left - 1)?;
        assert!(!is_free(locks), "{left} gone out");
        Ok(())
    })
}

#[test]
fn z7_a_thread_may_nest_sessions_and_keeps_all_others_out_until_the_last_has_ended() {
    let (directory, zpool) = place();
    let locks = locks(directory.path()).unwrap();
    let agent = agent(&zpool, &locks);
    nested(&agent, &locks, 9).unwrap();
    assert!(is_free(&locks));
    agent
        .session("pA", USE, LockOptions::default(), |_| {
            nested(&agent, &locks, 8)?;
            let told = tried_by_a_process(directory.path());
            assert!(told.contains(&format!("held by process {}", std::process::id())), "{told}");
            Ok(())
        })
        .unwrap();
    assert_eq!(tried_by_a_process(directory.path()), "done");
}

#[test]
fn z8_an_owner_takes_its_locks_along_and_no_thread_inherits_those_of_a_dead_one() {
    let (directory, _) = place();
    let locks = locks(directory.path()).unwrap();
    let owner = locks.owner();
    std::mem::forget(owner.lock(&pool(&locks), LockOptions::default()).unwrap());
    assert!(!is_free(&locks), "this thread is not the owner's thread, either");
    let moved = thread::scope(|scope| {
        let (locks, request) = (&locks, pool(&locks));
        scope
            .spawn(move || {
                let again = owner.lock(&request, LockOptions::asap()).is_ok();
                (again, !is_free(locks))
            })
            .join()
    });
    assert_eq!(moved.unwrap(), (true, true));
    // A thread that dies with a lock, and hundred after it that could get its number.
    let (directory, _) = place();
    let locks = super::zpool::locks(directory.path()).unwrap();
    let dies = || {
        let here = locks.here();
        std::mem::forget(here.lock(&pool(&locks), LockOptions::default()).unwrap());
    };
    thread::scope(|scope| scope.spawn(dies).join().unwrap());
    assert!((0..100).all(|_| !is_free(&locks)));
}

#[test]
fn z9_only_who_imported_a_pool_exports_it() {
    let (directory, zpool) = place();
    let locks = locks(directory.path()).unwrap();
    let agent = agent(&zpool, &locks);
    agent
        .session("pA", USE, LockOptions::default(), |_| {
            agent.session("pA", USE, LockOptions::default(), |session| session.available())?;
            assert!(zpool.imported()?.contains_key("pA"));
            Ok(())
        })
        .unwrap();
    assert_eq!(
        zpool.log().unwrap(),
        ["list", "import", "list", "export"].map(|c| format!("test {c}"))
    );
    zpool.import("pA", false).unwrap();
    agent.session("pA", USE, LockOptions::default(), |session| session.available()).unwrap();
    assert_eq!(zpool.imported().unwrap().get("pA"), Some(&false), "it was there before");
}

#[test]
fn z10_whatever_fails_the_lock_is_given_back() {
    let (directory, zpool) = place();
    let locks = locks(directory.path()).unwrap();
    let agent = agent(&zpool, &locks);
    let session = |body: &dyn Fn() -> bool| {
        agent.session("pA", USE, LockOptions::default(), |session| {
            Ok((session.available().is_ok(), body()))
        })
    };
    zpool.fail("list", "internal error").unwrap();
    assert_eq!(session(&|| true), Err(Failed("internal error".into())));
    assert!(is_free(&locks));
    zpool.fail("import", "I/O error").unwrap();
    assert_eq!(session(&|| is_free(&locks)), Ok((false, false)), "unavailable, and still locked");
    assert!(is_free(&locks));
    zpool.fail("export", "I/O error").unwrap();
    assert_eq!(session(&|| true), Err(Failed("I/O error".into())));
    assert!(is_free(&locks));
}

#[test]
fn z11_a_busy_pool_is_exported_later_and_one_that_stays_busy_is_told_of() {
    let (directory, zpool) = place();
    let locks = locks(directory.path()).unwrap();
    let agent = agent(&zpool, &locks);
    let busy = "cannot export 'pA': pool is busy";
    for (times, expected) in [(3, Ok(())), (12, Err(Failed(busy.into())))] {
        (0..times).for_each(|_| zpool.fail("export", busy).unwrap());
        let ended = agent.session("pA", USE, LockOptions::default(), |session| session.available());
        assert_eq!(ended, expected);
        assert!(is_free(&locks));
    }
    let exports = zpool.log().unwrap().iter().filter(|ran| *ran == "test export").count();
    assert_eq!(exports, 4 + 12);
}

/// A command of a resource agent has little time; it says who was in its way.
#[test]
fn z19_who_waits_in_vain_is_told_by_whom_it_was_held_up() {
    let (directory, zpool) = place();
    let locks = locks(directory.path()).unwrap();
    let holder = Process::before(directory.path(), "scan", "export");
    let waits = LockOptions::within(Duration::from_millis(50));
    let Failed(told) = agent(&zpool, &locks).unmount("pA/ds", waits).unwrap_err();
    assert!(told.contains(&format!("held by process {}", holder.pid())), "{told}");
    assert!(told.contains("process::work"), "the command: {told}");
}

#[test]
fn z21_a_pool_stays_as_long_as_one_of_its_datasets_is_mounted() {
    let (directory, zpool) = place();
    let locks = locks(directory.path()).unwrap();
    let agent = agent(&zpool, &locks);
    let now = LockOptions::default;
    agent.mount("pA/a", now()).unwrap();
    agent.mount("pA/b", now()).unwrap();
    agent.unmount("pA/a", now()).unwrap();
    assert!(zpool.imported().unwrap().contains_key("pA"));
    agent.unmount("pA/b", now()).unwrap();
    assert!(zpool.imported().unwrap().is_empty());
}

/// Each host has locks of its own; the configuration of a master that both ask stands in for
/// what they share.
#[test]
fn z22_one_host_writes_to_a_pool_and_others_may_look_at_it() {
    let (directory, zpool) = place();
    let cluster = Arc::new(ConfigWriter::in_memory());
    let only = serde_json::json!({ "pA": null });
    cluster
        .update(None, |value| {
            *value = only;
            Ok(())
        })
        .unwrap();
    let hosts = ["hA", "hB"].map(|host| {
        let locks = locks(&directory.path().join(host)).unwrap();
        Agent::new(zpool.clone().on(host), Some(locks)).in_cluster(Arc::clone(&cluster))
    });
    let now = LockOptions::default;
    // Two that race for a pool: one gets it.
    let won = thread::scope(|scope| {
        let tries = hosts.each_ref().map(|host| scope.spawn(|| host.mount("pA/ds", now())));
        tries.map(|tried| tried.join().unwrap())
    });
    let (winner, loser) = if won[0].is_ok() { (0, 1) } else { (1, 0) };
    let name = hosts[winner].zpool.host.clone();
    assert_eq!(won[winner], Ok(()));
    assert_eq!(won[loser], Err(Failed(format!("pA is written to by \"{name}\""))));
    hosts[loser].scan(&["pA"], now()).unwrap();
    // The winner is fenced; somebody who knows has the other host take over.
    hosts[loser].take_over("pA").unwrap();
    hosts[loser].mount("pA/ds", now()).unwrap();
    hosts[loser].unmount("pA/ds", now()).unwrap();
    assert_eq!(cluster.read().value["pA"], serde_json::Value::Null);
}

#[test]
fn z23_a_dataset_is_locked_with_its_pool_and_pools_not_with_each_other() {
    let (directory, zpool) = place();
    zpool.make("pB").unwrap();
    let locks = locks(directory.path()).unwrap();
    let agent = agent(&zpool, &locks);
    assert_eq!((pool_of("pA/ds1"), pool_of("pA")), (Ok("pA"), Ok("pA")));
    assert!(["", "/x", "..", "../x"].into_iter().all(|name| pool_of(name).is_err()));
    agent
        .session("pA/ds1", USE, LockOptions::default(), |_| {
            assert!(!is_free(&locks));
            let other = || agent_of_other(&zpool, &locks);
            thread::scope(|scope| scope.spawn(other).join().unwrap())
        })
        .unwrap();
}

fn agent_of_other(zpool: &Zpool, locks: &Locks) -> Result<(), Failed> {
    agent(zpool, locks).session("pB", USE, LockOptions::asap(), |session| session.available())
}
