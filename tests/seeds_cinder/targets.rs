//! Shared targets: S-1 to S-13.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Barrier, Mutex, OnceLock};
use std::thread;

use lockmaster::runtime::{ConfigWriter, LockOptions, Locks};
use lockmaster::{Error, ErrorKind};
use serde_json::json;
use tempfile::TempDir;

use crate::helper::{helper, say, set, stop_here, wait_until};
use crate::shared_targets::{
    Arrays, Host, Records, TargetSharing, Volume, backend_id, detach_against_attach, locks, race,
};

/// A node with its locks, and the records of volumes of backend `b1`.
struct Node {
    directory: TempDir,
    locks: Locks,
    records: Records,
}

impl Node {
    fn new(sharing: TargetSharing) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let locks = locks(&directory.path().join("locks")).unwrap();
        let node = Self { directory, locks, records: Records::default() };
        for id in ["V-A", "V-B"] {
            node.records.put(Volume::new(id, "b1", sharing)).unwrap();
        }
        node.start("b1", None).unwrap();
        fs::create_dir(node.host().directory).unwrap();
        node
    }

    fn start(&self, backend: &str, sharing: Option<TargetSharing>) -> Result<usize, Error> {
        self.records.start(&self.locks, backend, sharing, 100, &mut || Ok(()))
    }

    fn host(&self) -> Host<'_> {
        self.host_with(Some(&self.locks))
    }

    fn host_with<'a>(&'a self, locks: Option<&'a Locks>) -> Host<'a> {
        let directory = self.directory.path().join("host");
        Host { directory, manual_scan: false, locks, records: &self.records }
    }

    fn attach(&self, volume: &str) {
        self.host().attach("a1", volume, LockOptions::default(), &|_| ()).unwrap();
    }

    fn detach(&self, volume: &str) {
        self.host().detach("a1", volume, LockOptions::default(), &|_| ()).unwrap();
    }

    fn race_of_detach_and_attach(&self) -> (Option<String>, bool) {
        fs::remove_dir_all(self.host().directory).unwrap();
        detach_against_attach(&self.host(), &self.host()).unwrap()
    }
}

#[test]
fn s1_what_is_attached_while_the_last_one_leaves_can_be_read_with_the_guard_only() {
    let node = Node::new(TargetSharing::default());
    let (waited, reads) = node.race_of_detach_and_attach();
    assert!(waited.unwrap().contains("backend-node/b1 is busy") && reads);
    fs::create_dir(node.host().directory).unwrap();
    let bare = || node.host_with(None);
    let (waited, reads) = detach_against_attach(&bare(), &bare()).unwrap();
    assert!(waited.is_none() && !reads, "V-B is lost");
}

#[test]
fn s2_an_attach_that_found_a_session_still_has_it_when_it_scans() {
    let node = Node::new(TargetSharing::default());
    let against = |locks| {
        node.attach("V-A");
        let (one, other) = (node.host_with(locks), node.host_with(locks));
        race(
            |cut| one.attach("a1", "V-B", LockOptions::default(), cut),
            |options| other.detach("a1", "V-A", options, &|_| ()),
        )
    };
    against(Some(&node.locks)).unwrap();
    assert!(node.host().reads("a1", "V-B"));
    node.detach("V-B");
    let error = against(None).unwrap_err();
    assert!(error.to_string().contains("scan"), "{error}");
}

#[test]
fn s2_two_that_attach_log_in_once_and_the_last_that_leaves_logs_out() {
    let node = Node::new(TargetSharing::default());
    let both = |locks| {
        let (one, other) = (node.host_with(locks), node.host_with(locks));
        race(
            |cut| one.attach("a1", "V-A", LockOptions::default(), cut),
            |options| other.attach("a1", "V-B", options, &|_| ()),
        )
    };
    both(Some(&node.locks)).unwrap();
    node.detach("V-A");
    assert!(node.host().is_logged_in("a1") && node.host().reads("a1", "V-B"));
    node.detach("V-B");
    assert!(!node.host().is_logged_in("a1"));
    let error = both(None).unwrap_err();
    assert!(error.to_string().contains("log in"), "{error}");
}

#[test]
fn s2_of_two_that_leave_at_once_the_last_logs_out_with_the_guard_only() {
    let node = Node::new(TargetSharing::default());
    let both = |locks| {
        node.attach("V-A");
        node.attach("V-B");
        let (one, other) = (node.host_with(locks), node.host_with(locks));
        race(
            |cut| one.detach("a1", "V-A", LockOptions::default(), cut),
            |options| other.detach("a1", "V-B", options, &|_| ()),
        )
    };
    assert!(both(Some(&node.locks)).unwrap().unwrap().contains("backend-node/b1 is busy"));
    assert!(!node.host().is_logged_in("a1"));
    assert!(both(None).unwrap().is_none());
    assert!(node.host().is_logged_in("a1"), "each took the other one for the last");
}

/// What a helping process does: `HOW WHAT VOLUME DIRECTORY`.
pub(crate) fn serve(directory: &Path, order: &str) {
    static SERVICE: OnceLock<(Locks, Records)> = OnceLock::new();
    let words: Vec<&str> = order.splitn(4, ' ').collect();
    let &[how, what, volume, place] = &*words else { panic!("what is {order:?}?") };
    let place = PathBuf::from(place);
    let (locks, records) = SERVICE.get_or_init(|| {
        let locks = locks(directory).unwrap();
        let records = match how {
            "durable" => durable(&place),
            _ => eight_volumes(),
        };
        if what != "migrate" {
            records.start(&locks, "b1", None, 100, &mut || Ok(())).unwrap();
        }
        (locks, records)
    });
    let locks = (how != "bare").then_some(locks);
    let host = Host { directory: place, manual_scan: false, locks, records };
    let (options, go) = (LockOptions::default(), |_: &str| ());
    let stop_at = |here: &'static str| {
        move |point: &str| {
            if point == here {
                stop_here();
            }
        }
    };
    match what {
        "start" => (),
        "attach" => host.attach("a1", volume, options, &go).unwrap(),
        "attach-and-stop" => host.attach("a1", volume, options, &stop_at("looked")).unwrap(),
        "detach-and-stop" => host.detach("a1", volume, options, &stop_at("looked")).unwrap(),
        "detach-half" => host.detach("a1", volume, options, &stop_at("disconnected")).unwrap(),
        "random" => at_random(&host, volume),
        "migrate" => migrate_and_stop(locks.unwrap(), records),
        _ => panic!("what is {what:?}?"),
    }
    say("done");
}

fn eight_volumes() -> Records {
    let records = Records::default();
    let volume = |number: u8| {
        let id = format!("V-{}", char::from(b'A' + number));
        Volume::new(&id, "b1", TargetSharing::default())
    };
    records.put_all(&(0..8).map(volume).collect::<Vec<Volume>>()).unwrap();
    records
}

/// Records that outlive their process.
fn durable(place: &Path) -> Records {
    Records::new(ConfigWriter::open(place.join("records.json")).unwrap())
}

/// Four threads, each with a volume of its own, which it attaches and detaches, or looks whether it
/// is there where it should be. Which four, and in which order, follows from the seed.
fn at_random(host: &Host<'_>, seed: &str) {
    let seed: u64 = seed.parse().unwrap();
    let ours = if seed % 2 == 0 { "ABCD" } else { "EFGH" };
    thread::scope(|scope| {
        for (number, letter) in ours.chars().enumerate() {
            let seed = seed * 31 + number as u64 + 1;
            scope.spawn(move || one_at_random(host, &format!("V-{letter}"), seed));
        }
    });
}

fn one_at_random(host: &Host<'_>, volume: &str, mut random: u64) {
    let (mut attached, options) = (false, LockOptions::default());
    let pause = |_: &str| thread::yield_now();
    let toggle = |attached: bool| match attached {
        true => host.detach("a1", volume, options, &pause).unwrap(),
        false => host.attach("a1", volume, options, &pause).unwrap(),
    };
    for _ in 0..200 {
        // Marsaglia's xorshift64.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        assert_eq!(host.reads("a1", volume), attached, "{volume}");
        if random % 4 > 0 {
            toggle(attached);
            attached = !attached;
        }
    }
    if attached {
        toggle(attached);
    }
}

/// Two processes in the race of S-1; whether V-B can be read at the end.
fn race_of_processes(how: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let (locks, host) = (directory.path().join("locks"), directory.path().join("host"));
    fs::create_dir_all(host.join("a1")).unwrap();
    fs::write(host.join("a1/V-A"), "").unwrap();
    let (mut one, mut other) = (helper(&locks), helper(&locks));
    let place = host.display();
    for service in [&mut one, &mut other] {
        assert_eq!(service.ask(&format!("target {how} start - {place}")), "done");
    }
    assert_eq!(one.ask(&format!("target {how} detach-and-stop V-A {place}")), "cut");
    other.tell(&format!("target {how} attach V-B {place}"));
    if how == "bare" {
        assert_eq!(other.hear(), "done");
    } else {
        other.wait_until_it_waits();
    }
    assert_eq!(one.ask("go on"), "done");
    if how != "bare" {
        assert_eq!(other.hear(), "done");
    }
    host.join("a1/V-B").exists()
}

#[test]
fn s3_two_services_of_one_node_lose_a_volume_without_the_guard_and_none_with_it() {
    assert!(!race_of_processes("bare"), "V-B is lost");
    assert!(race_of_processes("guarded"));
}

#[test]
fn s3_two_services_of_four_threads_each_that_attach_and_detach_at_random_lose_nothing() {
    let seed = std::env::var("CINDER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id())) & !1;
    println!("CINDER_SEED={seed} replays this");
    let directory = tempfile::tempdir().unwrap();
    let (locks, host) = (directory.path().join("locks"), directory.path().join("host"));
    fs::create_dir(&host).unwrap();
    let mut services = [helper(&locks), helper(&locks)];
    for (service, seed) in services.iter_mut().zip([seed + 2, seed + 3]) {
        service.tell(&format!("target guarded random {seed} {}", host.display()));
    }
    services.iter().for_each(|service| assert_eq!(service.hear(), "done"));
    assert!(!host.join("a1").exists(), "the last one logged out");
}

/// Both are inside together.
fn overlap(one: &Host<'_>, other: &Host<'_>, arrays: [&str; 2]) {
    let meeting = Barrier::new(2);
    let cut = |_: &str| {
        meeting.wait();
    };
    for host in [one, other] {
        fs::create_dir_all(&host.directory).unwrap();
    }
    thread::scope(|scope| {
        let options = LockOptions::default();
        let second = scope.spawn(move || other.attach(arrays[1], "V-B", options, &cut));
        one.attach(arrays[0], "V-A", options, &cut).unwrap();
        second.join().unwrap().unwrap();
    });
}

#[test]
fn s4_two_nodes_overlap_and_so_do_two_backends_of_one_node() {
    let nodes = [Node::new(TargetSharing::Shared), Node::new(TargetSharing::Shared)];
    overlap(&nodes[0].host(), &nodes[1].host(), ["a1", "a1"]);
    let node = Node::new(TargetSharing::Shared);
    node.records.put(Volume::new("V-B", "b2", TargetSharing::Shared)).unwrap();
    node.start("b2", None).unwrap();
    overlap(&node.host(), &node.host(), ["a1", "a2"]);
}

#[test]
fn s5_who_needs_the_guard_follows_from_the_record_and_the_host() {
    let cases = [
        (TargetSharing::NotShared, false, false),
        (TargetSharing::NotShared, true, false),
        (TargetSharing::default(), false, true),
        (TargetSharing::default(), true, false),
        (TargetSharing::Always, false, true),
        (TargetSharing::Always, true, true),
    ];
    for (sharing, manual_scan, locked) in cases {
        let node = Node::new(sharing);
        let host = Host { manual_scan, ..node.host() };
        host.attach("a1", "V-A", LockOptions::default(), &|_| ()).unwrap();
        let file = node.directory.path().join("locks/backend-node/b1.lock");
        assert_eq!(file.exists(), locked, "{sharing:?}, manual scan: {manual_scan}");
    }
    let node = Node::new(TargetSharing::NotShared);
    overlap(&node.host(), &node.host(), ["a1", "a2"]);
}

#[test]
fn s5_what_is_not_reported_is_taken_for_shared() {
    let reported = TargetSharing::reported;
    for (shared, protocol, expected) in [
        (Some(true), "iSCSI", TargetSharing::Shared),
        (None, "iSCSI", TargetSharing::Shared),
        (None, "unheard-of", TargetSharing::Shared),
        (Some(true), "NVMe-oF", TargetSharing::Always),
        (None, "nvmet_tcp", TargetSharing::Always),
        (Some(false), "NVMe-oF", TargetSharing::NotShared),
        (Some(false), "iSCSI", TargetSharing::NotShared),
        (Some(true), "nfs", TargetSharing::NotShared),
        (None, "ceph", TargetSharing::NotShared),
    ] {
        assert_eq!(reported(shared, protocol), expected, "{shared:?} {protocol}");
    }
}

#[test]
fn s6_two_services_of_one_backend_need_one_name() {
    let [one, two] = ["s1", "s2"].map(|service| backend_id(None, service));
    let mut arrays = Arrays::default();
    arrays.start("SN1", &one, false).unwrap();
    let error = arrays.start("SN1", &two, false).unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.hint_text().is_some(), "{error}");
    arrays.start("SN2", &two, false).unwrap();
    // Told that they share no target, it lets both in.
    arrays.start("SN1", &two, true).unwrap();
    let race = |backends: [&str; 2]| {
        let node = Node::new(TargetSharing::Shared);
        for (volume, backend) in ["V-A", "V-B"].into_iter().zip(backends) {
            node.records.put(Volume::new(volume, backend, TargetSharing::Shared)).unwrap();
            node.start(backend, None).unwrap();
        }
        node.race_of_detach_and_attach().1
    };
    assert!(!race([&one, &two]), "by service, V-B is lost");
    let [one, two] = ["s1", "s2"].map(|service| backend_id(Some("b1"), service));
    assert!(race([&one, &two]), "by backend, it is not");
}

/// V-B's record changes while its attach waits for the guard of `b1`; what that guard keeps out
/// afterwards, and whether another backend's is held then.
fn change_while_it_waits(to: Volume) -> (bool, bool) {
    let node = Node::new(TargetSharing::Shared);
    node.start("b2", None).unwrap();
    let hierarchy = node.locks.hierarchy().clone();
    let busy = |lock: &str| {
        let request = set(&hierarchy, lock);
        let ask = || node.locks.with(&request, LockOptions::asap(), |_| ()).is_err();
        thread::scope(|scope| scope.spawn(ask).join().unwrap())
    };
    let waits = || {
        let reports = node.locks.locks();
        let guard = reports.iter().find(|report| report.lock == "backend-node/b1");
        guard.is_some_and(|guard| !guard.waiters.is_empty())
    };
    let (inside, leave) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        let guard = node.locks.owner();
        let guard =
            guard.lock(&set(&hierarchy, "backend-node/b1"), LockOptions::default()).unwrap();
        let attach = scope.spawn(|| {
            let cut = |_: &str| {
                inside.wait();
                leave.wait();
            };
            node.host().attach("a1", "V-B", LockOptions::default(), &cut)
        });
        wait_until("the attach waits", waits);
        node.records.put(to).unwrap();
        drop(guard);
        inside.wait();
        let found = (busy("backend-node/b1"), busy("backend-node/b2"));
        leave.wait();
        attach.join().unwrap().unwrap();
        found
    })
}

#[test]
fn s7_a_service_set_up_anew_is_locked_by_its_new_name_or_keeps_a_configured_one() {
    let volume = |backend: &str| Volume::new("V-B", backend, TargetSharing::Shared);
    assert_eq!(change_while_it_waits(volume("b2")), (false, true));
    let names = ["old", "new"].map(|service| backend_id(Some("b1"), service));
    assert_eq!(change_while_it_waits(volume(&names[1])), (true, false));
    assert_eq!(names[0], names[1]);
}

/// What keeps others out while a volume is detached whose service was set up anew since it was
/// attached.
fn locked_while_detached(configured: Option<&str>) -> String {
    let node = Node::new(TargetSharing::Shared);
    let [old, new] = ["s1", "s2"].map(|service| backend_id(configured, service));
    let anew = |backend: &str, status: &str| {
        node.start(backend, None).unwrap();
        let volume = Volume::new("V-A", backend, TargetSharing::Shared);
        node.records.put(Volume { status: status.to_owned(), ..volume }).unwrap();
    };
    anew(&old, "available");
    node.attach("V-A");
    anew(&new, "in-use");
    let held = Mutex::new(String::new());
    let look = |point: &str| {
        let reports = node.locks.locks().into_iter().filter(|report| !report.holders.is_empty());
        let mut locks = reports.map(|report| report.lock);
        if point == "looked" {
            *held.lock().unwrap() = locks.find(|lock| lock.starts_with("backend-node/")).unwrap();
        }
    };
    node.host().detach("a1", "V-A", LockOptions::default(), &look).unwrap();
    held.into_inner().unwrap()
}

#[test]
fn s7_what_was_attached_under_an_old_name_is_detached_under_the_one_that_all_use_now() {
    assert_eq!(locked_while_detached(Some("b1")), "backend-node/b1");
    assert_eq!(locked_while_detached(None), "backend-node/s2");
}

#[test]
fn s10_a_record_that_changes_during_the_wait_is_followed() {
    let volume = |sharing| Volume::new("V-B", "b1", sharing);
    assert_eq!(change_while_it_waits(volume(TargetSharing::NotShared)), (false, false));
    assert_eq!(change_while_it_waits(volume(TargetSharing::Always)), (true, false));
}

fn count(records: &Records, sharing: TargetSharing) -> usize {
    (0..1000).filter(|id| records.get(&format!("v{id}")).unwrap().sharing == sharing).count()
}

/// A thousand volumes of `b1` and two of another backend.
fn fill(records: &Records, sharing: TargetSharing) {
    let ours = |number| Volume::new(&format!("v{number}"), "b1", sharing);
    let theirs = ["V-A", "V-B"].map(|id| Volume::new(id, "b2", TargetSharing::Always));
    records.put_all(&(0..1000).map(ours).chain(theirs).collect::<Vec<Volume>>()).unwrap();
}

fn thousand(sharing: TargetSharing) -> Node {
    let node = Node::new(TargetSharing::NotShared);
    fill(&node.records, sharing);
    node
}

/// A service that starts, and stops after its third batch.
fn migrate_and_stop(locks: &Locks, records: &Records) {
    let to = match records.get("v0").unwrap().sharing {
        TargetSharing::NotShared => TargetSharing::Shared,
        _ => TargetSharing::NotShared,
    };
    let mut batches = 0;
    let mut third = || {
        batches += 1;
        if batches == 3 {
            stop_here();
        }
        Ok(())
    };
    records.start(locks, "b1", Some(to), 100, &mut third).unwrap();
}

#[test]
fn s8_a_service_killed_while_it_starts_is_made_up_for_by_the_next_in_both_directions() {
    let (shared, own) = (TargetSharing::Shared, TargetSharing::NotShared);
    for (from, to) in [(shared, own), (own, shared)] {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        fill(&durable(place), from);
        let mut service = helper(&place.join("locks"));
        let order = format!("target durable migrate - {}", place.display());
        assert_eq!(service.ask(&order), "cut");
        service.kill();
        let (locks, records) = (locks(&place.join("locks")).unwrap(), durable(place));
        assert_eq!(count(&records, to), 300);
        let start = || records.start(&locks, "b1", Some(to), 100, &mut || Ok(())).unwrap();
        assert_eq!((start(), start()), (700, 0));
        let nothing_reported = records.start(&locks, "b1", None, 100, &mut || Ok(()));
        assert_eq!(nothing_reported.unwrap(), 0);
        assert_eq!(count(&durable(place), to), 1000);
        assert_eq!(records.get("V-A").unwrap().sharing, TargetSharing::Always);
    }
}

#[test]
fn s9_nobody_attaches_before_all_records_say_that_targets_are_shared() {
    let node = thousand(TargetSharing::NotShared);
    let waits = || {
        let reports = node.locks.locks();
        let backend = reports.iter().find(|report| report.lock == "backend/b1");
        backend.is_some_and(|backend| !backend.waiters.is_empty())
    };
    let cut = |_: &str| assert_eq!(count(&node.records, TargetSharing::Shared), 1000);
    thread::scope(|scope| {
        let mut attach = None;
        let mut in_the_middle = || {
            let host = || node.host().attach("a1", "v7", LockOptions::default(), &cut);
            attach.get_or_insert_with(|| scope.spawn(host));
            wait_until("the attach waits", waits);
            Ok(())
        };
        let shared = Some(TargetSharing::Shared);
        node.records.start(&node.locks, "b1", shared, 100, &mut in_the_middle).unwrap();
        attach.unwrap().join().unwrap().unwrap();
    });
    // Nor after a start that failed.
    let mut crash = || Err(Error::new(ErrorKind::Stopped, "crashed"));
    let own = Some(TargetSharing::NotShared);
    node.records.start(&node.locks, "b1", own, 100, &mut crash).unwrap_err();
    let error = node.host().attach("a1", "v8", LockOptions::default(), &|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[test]
fn s11_a_view_shows_the_backend_and_not_the_host() {
    let view = |sharing| Volume::new("v1", "b1", sharing).view();
    let expected = |shared| json!({"id": "v1", "shared_targets": shared, "backend_id": "b1"});
    assert_eq!(view(TargetSharing::Shared), expected(Some(true)));
    assert_eq!(view(TargetSharing::NotShared), expected(Some(false)));
    assert_eq!(view(TargetSharing::Always), expected(None));
}

#[test]
fn s12_what_a_killed_service_left_half_done_is_put_right_and_its_lock_is_free() {
    for what in ["attach-and-stop", "detach-and-stop", "detach-half"] {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let records = durable(place);
        records.put(Volume::new("V-A", "b1", TargetSharing::Shared)).unwrap();
        drop(records);
        let mut service = helper(&place.join("locks"));
        let mut ask =
            |what: &str| service.ask(&format!("target durable {what} V-A {}", place.display()));
        if what != "attach-and-stop" {
            assert_eq!(ask("attach"), "done");
        }
        assert_eq!(ask(what), "cut");
        service.kill();
        let (locks, records) = (locks(&place.join("locks")).unwrap(), durable(place));
        let host = Host {
            directory: place.to_owned(),
            manual_scan: false,
            locks: Some(&locks),
            records: &records,
        };
        let left = (host.is_mapped("a1", "V-A"), host.reads("a1", "V-A"));
        assert_eq!(left, (true, what == "detach-and-stop"), "{what}");
        records.start(&locks, "b1", None, 100, &mut || Ok(())).unwrap();
        for _ in 0..2 {
            host.recover("a1", "V-A").unwrap();
            assert_eq!(records.get("V-A").unwrap().status, "available");
            assert!(!host.is_mapped("a1", "V-A") && !host.reads("a1", "V-A"));
        }
        assert!(!host.is_logged_in("a1") && locks.locks().is_empty());
    }
}

#[test]
fn s13_a_mapping_in_use_is_taken_away_by_the_service_only() {
    let node = Node::new(TargetSharing::Shared);
    node.attach("V-A");
    let error = node.host().terminate("a1", "V-A", false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let found = |what: &str| {
        let host = node.host();
        assert_eq!(
            (host.reads("a1", "V-A"), host.is_mapped("a1", "V-A")),
            (true, what == "mapped")
        );
    };
    found("mapped");
    node.host().terminate("a1", "V-A", true).unwrap();
    found("taken away");
    node.detach("V-A");
    node.attach("V-A");
    node.detach("V-A");
    node.host().terminate("a1", "V-A", false).unwrap();
}
