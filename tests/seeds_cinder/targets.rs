//! Shared targets: S-1 to S-13.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Barrier, OnceLock};
use std::thread;

use lockmaster::runtime::{LockOptions, Locks};
use lockmaster::{Error, ErrorKind};
use serde_json::json;
use tempfile::TempDir;

use crate::helper::{Helper, say, set, stop_here, wait_until};
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
            node.records.put(Volume::new(id, "b1", sharing));
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
        self.host().attach("a1", volume, LockOptions::default(), &|| ()).unwrap();
    }

    fn detach(&self, volume: &str) {
        self.host().detach("a1", volume, LockOptions::default(), &|| ()).unwrap();
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
            |options| other.detach("a1", "V-A", options, &|| ()),
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
            |options| other.attach("a1", "V-B", options, &|| ()),
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

/// What a helping process does: `HOW WHAT VOLUME DIRECTORY`.
pub(crate) fn serve(directory: &Path, order: &str) {
    static SERVICE: OnceLock<(Locks, Records)> = OnceLock::new();
    let (locks, records) = SERVICE.get_or_init(|| {
        let (locks, records) = (locks(directory).unwrap(), Records::default());
        for id in ["V-A", "V-B", "V-C", "V-D", "V-E", "V-F", "V-G", "V-H"] {
            records.put(Volume::new(id, "b1", TargetSharing::default()));
        }
        records.start(&locks, "b1", None, 100, &mut || Ok(())).unwrap();
        (locks, records)
    });
    let words: Vec<&str> = order.splitn(4, ' ').collect();
    let &[how, what, volume, place] = &*words else { panic!("what is {order:?}?") };
    let locks = (how != "bare").then_some(locks);
    let host = Host { directory: PathBuf::from(place), manual_scan: false, locks, records };
    let (options, go) = (LockOptions::default(), || ());
    match what {
        "start" => (),
        "attach" => host.attach("a1", volume, options, &go).unwrap(),
        "detach-and-stop" => host.detach("a1", volume, options, &stop_here).unwrap(),
        "random" => at_random(&host, volume),
        "half" => half_attach(locks.unwrap(), Path::new(place), volume),
        _ => panic!("what is {what:?}?"),
    }
    say("done");
}

/// Attaches and detaches four volumes at random, and looks whether those it has are there. Which
/// four, and in which order, follows from the seed.
fn at_random(host: &Host<'_>, seed: &str) {
    let mut random: u64 = seed.parse().unwrap();
    let ours = if random % 2 == 0 { "ABCD" } else { "EFGH" };
    let mut attached = [false; 4];
    let mut toggle = |number: usize| {
        let volume = format!("V-{}", &ours[number..=number]);
        let options = LockOptions::default();
        assert_eq!(host.reads("a1", &volume), attached[number], "{volume}");
        match attached[number] {
            true => host.detach("a1", &volume, options, &thread::yield_now).unwrap(),
            false => host.attach("a1", &volume, options, &thread::yield_now).unwrap(),
        }
        attached[number] = !attached[number];
        attached
    };
    let mut last = [false; 4];
    for _ in 0..200 {
        // Marsaglia's xorshift64.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        last = toggle(usize::try_from(random % 4).unwrap());
    }
    for number in (0..4).filter(|number| last[*number]) {
        toggle(number);
    }
}

/// Two processes in the race of S-1; whether V-B can be read at the end.
fn race_of_processes(how: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let (locks, host) = (directory.path().join("locks"), directory.path().join("host"));
    fs::create_dir_all(host.join("a1")).unwrap();
    fs::write(host.join("a1/V-A"), "").unwrap();
    let (mut one, mut other) = (Helper::start(&locks), Helper::start(&locks));
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
fn s3_two_services_that_attach_and_detach_at_random_lose_nothing() {
    let seed = std::env::var("CINDER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id())) & !1;
    println!("CINDER_SEED={seed} replays this");
    let directory = tempfile::tempdir().unwrap();
    let (locks, host) = (directory.path().join("locks"), directory.path().join("host"));
    fs::create_dir(&host).unwrap();
    let mut services = [Helper::start(&locks), Helper::start(&locks)];
    for (service, seed) in services.iter_mut().zip([seed + 2, seed + 3]) {
        service.tell(&format!("target guarded random {seed} {}", host.display()));
    }
    services.iter().for_each(|service| assert_eq!(service.hear(), "done"));
    assert!(!host.join("a1").exists(), "the last one logged out");
}

/// Both are inside together.
fn overlap(one: &Host<'_>, other: &Host<'_>, arrays: [&str; 2]) {
    let meeting = Barrier::new(2);
    let cut = || {
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
    node.records.put(Volume::new("V-B", "b2", TargetSharing::Shared));
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
        host.attach("a1", "V-A", LockOptions::default(), &|| ()).unwrap();
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
    arrays.start("SN1", &one).unwrap();
    let error = arrays.start("SN1", &two).unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.hint_text().is_some(), "{error}");
    arrays.start("SN2", &two).unwrap();
    let race = |backends: [&str; 2]| {
        let node = Node::new(TargetSharing::Shared);
        for (volume, backend) in ["V-A", "V-B"].into_iter().zip(backends) {
            node.records.put(Volume::new(volume, backend, TargetSharing::Shared));
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
            let cut = || {
                inside.wait();
                leave.wait();
            };
            node.host().attach("a1", "V-B", LockOptions::default(), &cut)
        });
        wait_until("the attach waits", waits);
        node.records.put(to);
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

#[test]
fn s10_a_record_that_changes_during_the_wait_is_followed() {
    let volume = |sharing| Volume::new("V-B", "b1", sharing);
    assert_eq!(change_while_it_waits(volume(TargetSharing::NotShared)), (false, false));
    assert_eq!(change_while_it_waits(volume(TargetSharing::Always)), (true, false));
}

fn count(records: &Records, sharing: TargetSharing) -> usize {
    (0..1000).filter(|id| records.get(&format!("v{id}")).unwrap().sharing == sharing).count()
}

/// A thousand volumes of `b1` and one of another backend.
fn thousand(sharing: TargetSharing) -> Node {
    let node = Node::new(TargetSharing::NotShared);
    for number in 0..1000 {
        node.records.put(Volume::new(&format!("v{number}"), "b1", sharing));
    }
    for id in ["V-A", "V-B"] {
        node.records.put(Volume::new(id, "b2", TargetSharing::Always));
    }
    node
}

#[test]
fn s8_a_start_that_was_cut_short_is_made_up_for_by_the_next_in_both_directions() {
    let (shared, own) = (TargetSharing::Shared, TargetSharing::NotShared);
    for (from, to) in [(shared, own), (own, shared)] {
        let node = thousand(from);
        let mut batches = 0;
        let mut crash = || {
            batches += 1;
            let crashed = || Err(Error::new(ErrorKind::Stopped, "crashed"));
            if batches == 3 { crashed() } else { Ok(()) }
        };
        node.records.start(&node.locks, "b1", Some(to), 100, &mut crash).unwrap_err();
        assert_eq!(count(&node.records, to), 300);
        assert_eq!(node.start("b1", Some(to)).unwrap(), 700);
        assert_eq!(node.start("b1", Some(to)).unwrap(), 0);
        assert_eq!(node.start("b1", None).unwrap(), 0, "nothing is reported");
        assert_eq!(count(&node.records, to), 1000);
        assert_eq!(node.records.get("V-A").unwrap().sharing, TargetSharing::Always);
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
    let cut = || assert_eq!(count(&node.records, TargetSharing::Shared), 1000);
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
    let error = node.host().attach("a1", "v8", LockOptions::default(), &|| ()).unwrap_err();
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

/// The steps on either side of the point where the process is killed, as files: the mapping on the
/// array and the device of the host. `attach` stops after the one, `detach` before the other.
fn half_attach(locks: &Locks, place: &Path, what: &str) {
    let request = set(locks.hierarchy(), "backend/b1:s volume/V-A backend-node/b1");
    let half = || {
        fs::write(place.join("state"), format!("{what}ing")).unwrap();
        match what {
            "attach" => fs::write(place.join("mapping"), "").unwrap(),
            _ => fs::remove_file(place.join("device")).unwrap(),
        }
        stop_here();
    };
    locks.with(&request, LockOptions::default(), |_| half()).unwrap();
}

/// What the service does when it starts: whatever was half done is undone, or done again.
fn recover(locks: &Locks, place: &Path) {
    let request = set(locks.hierarchy(), "backend/b1:s volume/V-A backend-node/b1");
    let body = || {
        // Each may be gone already.
        for thing in ["device", "mapping"] {
            let _ = fs::remove_file(place.join(thing));
        }
        fs::write(place.join("state"), "available").unwrap();
    };
    locks.with(&request, LockOptions::default(), |_| body()).unwrap();
}

#[test]
fn s12_what_a_killed_service_left_half_done_is_put_right_and_its_lock_is_free() {
    for what in ["attach", "detach"] {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let locks = locks(&place.join("locks")).unwrap();
        if what == "detach" {
            for thing in ["device", "mapping"] {
                fs::write(place.join(thing), "").unwrap();
            }
        }
        let mut service = Helper::start(&place.join("locks"));
        let order = format!("target guarded half {what} {}", place.display());
        assert_eq!(service.ask(&order), "cut");
        assert!(place.join("mapping").exists() && !place.join("device").exists());
        service.kill();
        for _ in 0..2 {
            recover(&locks, place);
            assert_eq!(fs::read_to_string(place.join("state")).unwrap(), "available");
            assert!(!place.join("mapping").exists() && !place.join("device").exists());
        }
        assert!(locks.locks().is_empty());
    }
}

#[test]
fn s13_a_mapping_in_use_is_taken_away_by_the_service_only() {
    let node = Node::new(TargetSharing::Shared);
    node.attach("V-A");
    let error = node.host().terminate("a1", "V-A", false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(node.host().reads("a1", "V-A"), "nothing has changed");
    node.host().terminate("a1", "V-A", true).unwrap();
    node.detach("V-A");
    node.host().terminate("a1", "V-A", false).unwrap();
}
