//! Warnings about locks that are waited for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockmaster::runtime::LockOptions;
use lockmaster::{JobId, LockMode, LockRequest, NewJob};
use tracing::Level;

use super::observer::Observer;
use super::stage::{Script, Stage};

const SECOND: Duration = Duration::from_secs(1);

/// A stage where job 1 holds the instances `a` and `b` and waits for the disk, and what is logged
/// as a warning.
fn with_holder(threshold: Option<Duration>) -> (Stage, Observer) {
    let mut stage = Stage::with(|builder| builder.slow_lock(threshold));
    let op = stage.op("holder", Script::default().locking(&["a", "b"]));
    stage.submit(NewJob::of([op]));
    stage.work();
    (stage, Observer::up_to(Level::WARN))
}

/// Submits a job that wants these instances, and has it take its place.
fn submit(stage: &mut Stage, name: &str, instances: &'static [&'static str]) -> JobId {
    let op = stage.op(name, Script::default().locking(instances));
    let id = stage.submit(NewJob::of([op]));
    stage.work();
    id
}

/// Lets time pass, has the alarm look, and gives the warnings.
fn after(stage: &mut Stage, observer: &Observer, time: Duration) -> Vec<String> {
    stage.pass(time);
    observer.during(|| stage.core.pass_time());
    observer.take()
}

#[test]
fn a_job_that_waits_long_is_told_of_with_who_is_in_its_way() {
    let (mut stage, observer) = with_holder(Some(60 * SECOND));
    stage.pass(15 * SECOND);
    submit(&mut stage, "waiter", &["a"]);
    assert_eq!(stage.core.pass_time().unwrap().as_micros(), 75_000_000, "that is when it is slow");
    assert_eq!(after(&mut stage, &observer, 59 * SECOND), [""; 0]);
    let expected = "waits long for a lock job=2 op=0 id=\"OP_PLAY\" lock=instance/a \
                    mode=exclusive waited=1m0s holders=job 1 (OP_PLAY), exclusive for 1m15s others=0";
    assert_eq!(after(&mut stage, &observer, SECOND), [expected]);
    assert_eq!(after(&mut stage, &observer, 59 * SECOND), [""; 0], "not twice");
    let again = after(&mut stage, &observer, SECOND);
    assert!(again[0].contains("waited=2m0s"), "but when it has waited twice as long: {again:?}");
    stage.run();
    assert_eq!(stage.core.pass_time(), None, "nobody waits, so nobody looks");
}

#[test]
fn the_chain_behind_the_holder_is_named_and_who_waits_for_the_same_is_counted() {
    let (mut stage, observer) = with_holder(Some(SECOND));
    let chained = Script::default().declaring(|level, locks| match level {
        "instance" => locks.shared("c"),
        "node" => locks.exclusive("n"),
        _ => Ok(()),
    });
    let op = stage.op("chained", chained);
    stage.submit(NewJob::of([op]));
    let both = Script::default().declaring(|level, locks| match level {
        "instance" => locks.exclusive("d"),
        "node" => locks.exclusive("n"),
        _ => Ok(()),
    });
    let op = stage.op("both", both);
    stage.submit(NewJob::of([op]));
    stage.work();
    // Job 2 holds node n and waits for the disk; 3 holds instance d and waits for 2; 4 and 5 want d.
    submit(&mut stage, "last", &["d"]);
    submit(&mut stage, "very last", &["d"]);
    let told = after(&mut stage, &observer, SECOND);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("job=3 ") && told[0].ends_with("others=0"), "{told:?}");
    let chain = "holders=job 3 (OP_PLAY), exclusive for 1s \
                 chain=\"job 3 (OP_PLAY) waits for node/n: job 2 (OP_PLAY), exclusive for 1s\" others=1";
    assert!(told[1].contains("job=4 ") && told[1].ends_with(chain), "{told:?}");
}

#[test]
fn a_client_that_waits_and_a_client_that_holds_are_called_by_their_names() {
    let mut stage = Stage::with(|builder| builder.slow_lock(Some(SECOND)));
    let observer = Observer::up_to(Level::WARN);
    let mut web = LockRequest::new();
    let instance = stage.core.master().hierarchy().level("instance").unwrap();
    web.add(instance, "web", LockMode::Exclusive).unwrap();
    let granted = Arc::new(AtomicBool::new(false));
    for name in ["backup.sh", "restore.sh"] {
        let client = stage.core.master().begin_client(name);
        let granted = Arc::clone(&granted);
        let told = move |result: Result<(), _>| granted.store(result.is_ok(), Ordering::Relaxed);
        stage.core.master().lock_for(client, &web, LockOptions::default(), Box::new(told));
    }
    assert!(granted.load(Ordering::Relaxed), "the first has it");
    let told = after(&mut stage, &observer, SECOND);
    let expected = "waits long for a lock client=\"restore.sh\" lock=instance/web mode=exclusive \
                    waited=1s holders=backup.sh, exclusive for 1s others=0";
    assert_eq!(told, [expected]);
}

#[test]
fn thousands_who_wait_for_one_lock_are_one_line() {
    let (mut stage, observer) = with_holder(Some(SECOND));
    let op = stage.op("waiter", Script::default().locking(&["a"]));
    let jobs = vec![NewJob::of([op]); 5_000];
    stage.core.master().begin_submit(jobs, None).unwrap();
    stage.work();
    let told = after(&mut stage, &observer, SECOND);
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with("others=1023"), "it counts those it looked at: {told:?}");
}

#[test]
fn who_wants_no_warnings_gets_none_and_pays_for_no_look() {
    for off in [None, Some(Duration::ZERO)] {
        let (mut stage, observer) = with_holder(off);
        submit(&mut stage, "waiter", &["a"]);
        assert_eq!(stage.core.pass_time(), None);
        assert_eq!(after(&mut stage, &observer, 3600 * SECOND), [""; 0]);
    }
}
