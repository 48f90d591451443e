//! The critical sections of the drivers: C-5 to C-14 and C-19.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lockmaster::ErrorKind;
use lockmaster::interfaces::lock_spec::LockSpec;
use lockmaster::runtime::{LockOptions, Locks};
use lockmaster::vocabulary::{LockName, Scope};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::cinder_drivers::{SECTIONS, Section, fields, hierarchy, locks, race};
use crate::helper::{set, wait_until};

fn here() -> (TempDir, Locks) {
    let directory = tempfile::tempdir().unwrap();
    let locks = locks(directory.path()).unwrap();
    (directory, locks)
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// The name that comes of a template.
fn rendered(spec: &LockSpec, fields: &Value) -> String {
    let request = spec.render(&hierarchy().unwrap(), &object(fields)).unwrap();
    let names = request.levels().flat_map(|(_, locks)| locks.names().map(|(name, _)| name));
    names.map(LockName::as_str).collect::<Vec<_>>().join(" ")
}

fn spec(level: &str, template: &str) -> LockSpec {
    LockSpec::new().exclusive(level, template).unwrap()
}

fn of(driver: &str, method: &str) -> Section {
    *SECTIONS.iter().find(|section| section.driver == driver && section.method == method).unwrap()
}

/// The race of a section happens without its lock, and not with it; the second waited.
fn races_only_without_its_lock(driver: &str, method: &str) {
    let (section, (_directory, locks)) = (of(driver, method), here());
    let without = race(&section, None).unwrap();
    assert!(!without.faults.is_empty() && without.refused.is_none(), "{without:?}");
    let with = race(&section, Some(&locks)).unwrap();
    assert!(with.faults.is_empty(), "{with:?}");
    assert!(with.refused.unwrap().contains("is busy"), "{method} keeps the second waiting");
    assert!(locks.locks().is_empty());
}

#[test]
fn lio_runs_its_tool_once_at_a_time() {
    races_only_without_its_lock("LIO", "_execute");
}

#[test]
fn nvmet_keeps_a_subsystem_that_is_used_again() {
    races_only_without_its_lock("NVMET", "delete_nvmeof_target");
}

#[test]
fn hgst_gives_a_device_to_one_volume() {
    races_only_without_its_lock("HGST", "create_volume");
}

#[test]
fn solidfire_makes_one_template_volume_of_an_image() {
    races_only_without_its_lock("SolidFire", "clone_image");
}

#[test]
fn infinidat_keeps_a_host_that_is_mapped_again() {
    races_only_without_its_lock("Infinidat", "terminate_connection");
}

#[test]
fn kaminario_asks_the_array_it_means() {
    races_only_without_its_lock("Kaminario FC", "initialize_connection");
    races_only_without_its_lock("Kaminario iSCSI", "terminate_connection");
}

/// C-10, the array's part: exactly one host is created.
#[test]
fn c10_unity_creates_a_host_once() {
    races_only_without_its_lock("Dell Unity", "create_host");
}

#[test]
fn c11_unity_attaches_under_the_lock_that_creating_the_host_takes_again() {
    races_only_without_its_lock("Dell Unity", "_detach_and_delete_host");
}

#[test]
fn c14_dothill_logs_in_once() {
    races_only_without_its_lock("Dothill", "_get_session_key");
}

#[test]
fn c14_dothill_maps_two_volumes_to_two_numbers() {
    races_only_without_its_lock("Dothill", "map_volume");
}

#[test]
fn c5_templates_render_as_the_drivers_do() {
    let names: Vec<String> = SECTIONS
        .iter()
        .map(|section| rendered(&section.spec().unwrap(), &Value::Object(fields())))
        .collect();
    let expected = [
        "lioadm",
        "nvmetcli",
        "cinder-hgst-devices",
        "solidfire-i1",
        "infinidat-10.0.0.9-lock",
        "Kaminario-10.0.0.7",
        "Kaminario-10.0.0.7",
        "U1-h1",
        "U1-h1",
        "lenovo-a1",
        "lenovo-a1-map",
    ];
    assert_eq!(names, expected);
    let fields = json!({"f_name": "func", "foo": {"val": 7}, "bar": {"val": 8}});
    let spec = spec("volume", "lock-{f_name}-{foo.val}-{bar[val]}");
    assert_eq!(rendered(&spec, &fields), "lock-func-7-8");
}

#[test]
fn the_scopes_are_those_of_the_table() {
    let hierarchy = hierarchy().unwrap();
    for section in &SECTIONS {
        let expected = match section.driver {
            "LIO" | "NVMET" => Scope::Node,
            "HGST" | "SolidFire" => Scope::Process,
            _ => Scope::Global,
        };
        let level = hierarchy.level(section.level).unwrap();
        assert_eq!(hierarchy.get(level).scope(), expected, "{}", section.driver);
    }
}

#[test]
fn c6_a_field_that_is_missing_or_empty_is_an_error_and_nothing_runs() {
    let (_directory, locks) = here();
    let cases = [
        ("pure-{nope}", "nope", json!({"host": "h1"})),
        ("pure-{connector.host}", "connector.host", json!({"connector": {"ip": "x"}})),
        ("pure-{connector[host]}", "connector[host]", json!({"connector": {"ip": "x"}})),
        ("pure-{connector[host]}", "connector[host]", json!({"connector": {"host": null}})),
        ("pure-{connector[host]}", "connector[host]", json!({"connector": {"host": ""}})),
    ];
    for (template, field, fields) in cases {
        let mut ran = false;
        let error = spec("backend-host", template)
            .with(&locks, &object(&fields), LockOptions::default(), |_| ran = true)
            .unwrap_err();
        let said = error.to_string();
        assert!(said.contains(template) && said.contains(field), "{said}");
        assert!(error.hint_text().is_some(), "{said}");
        assert!(!ran && locks.locks().is_empty());
    }
    let missing = spec("backend-host", "{nope}");
    let error = missing.render(&hierarchy().unwrap(), &object(&json!({"host": "h1"})));
    assert!(error.unwrap_err().hint_text().unwrap().contains("host"), "the fields there are");
    let default = spec("backend-host", "pure-{connector[host]|-}");
    assert_eq!(rendered(&default, &json!({"connector": {"host": null}})), "pure--");
}

#[test]
fn c7_a_plain_name_with_braces_is_refused_and_a_wrong_template_says_where() {
    assert!(LockName::new("{self.driver_prefix}-{volume.id}").is_err());
    for (template, at) in [("a-{b", "byte"), ("a-}b", "byte"), ("{b!r}", "byte")] {
        let error = LockSpec::new().exclusive("volume", template).unwrap_err().to_string();
        assert!(error.contains(at) && error.contains(template), "{error}");
    }
}

#[test]
fn c8_opposite_orders_of_the_same_templates_never_hang() {
    let (_directory, locks) = here();
    let many = |order: &str| {
        let mut spec = LockSpec::new();
        for name in order.split_whitespace() {
            spec = spec.exclusive("driver-process", name).unwrap();
        }
        spec
    };
    let (one, other) = (many("b a b c"), many("c b a c"));
    assert_eq!(rendered(&one, &json!({})), "a b c");
    let inside = AtomicU32::new(0);
    thread::scope(|scope| {
        for spec in [&one, &other] {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    spec.with(&locks, &Map::new(), LockOptions::default(), |_| {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    })
                    .unwrap();
                }
            });
        }
    });
    assert!(locks.locks().is_empty());
}

#[test]
fn c9_who_does_not_get_the_lock_does_not_run() {
    let (_directory, locks) = here();
    let lioadm = spec("node-tool", "lioadm");
    let runs = AtomicU32::new(0);
    let run = |options| {
        lioadm.with(&locks, &Map::new(), options, |_| runs.fetch_add(1, Ordering::SeqCst))
    };
    lioadm
        .with(&locks, &Map::new(), LockOptions::default(), |_| {
            thread::scope(|scope| {
                let tried = scope.spawn(|| run(LockOptions::asap())).join().unwrap().unwrap_err();
                assert_eq!(tried.kind(), ErrorKind::InUse);
                assert!(tried.to_string().contains("node-tool/lioadm"), "{tried}");
                let (begin, timeout) = (Instant::now(), Duration::from_millis(200));
                let waited = scope.spawn(move || run(LockOptions::within(timeout)));
                assert_eq!(waited.join().unwrap().unwrap_err().kind(), ErrorKind::InUse);
                assert!(begin.elapsed() >= timeout);
            });
        })
        .unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    run(LockOptions::asap()).unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// Two that are inside together, each under its own lock.
fn overlap(locks: &Locks, [one, other]: [&str; 2]) {
    let meeting = Barrier::new(2);
    thread::scope(|scope| {
        for name in [one, other] {
            let meeting = &meeting;
            scope.spawn(move || {
                let request = set(locks.hierarchy(), &format!("backend-host/{name}"));
                locks.with(&request, LockOptions::default(), |_| meeting.wait()).unwrap();
            });
        }
    });
}

#[test]
fn c10_other_hosts_and_other_arrays_overlap() {
    let (_directory, locks) = here();
    overlap(&locks, ["U1-h1", "U1-h2"]);
    overlap(&locks, ["U1-h1", "U2-h1"]);
}

/// The hosts of an array, and how many volumes each has.
#[derive(Default)]
struct Hosts(Mutex<Vec<u32>>);

#[test]
fn c12_nobody_attaches_to_a_host_that_was_deleted() {
    let (_directory, locks) = here();
    let (host, hosts) = (spec("backend-host", "U1-h1"), Arc::new(Hosts::default()));
    thread::scope(|scope| {
        for _ in 0..2 {
            let (locks, host, hosts) = (&locks, &host, Arc::clone(&hosts));
            scope.spawn(move || {
                for _ in 0..200 {
                    under(locks, host, || attach(locks, host, &hosts));
                    under(locks, host, || detach(&hosts));
                }
            });
        }
    });
    assert!(hosts.0.lock().unwrap().is_empty(), "the last one deleted it");
}

fn under<R>(locks: &Locks, spec: &LockSpec, body: impl FnOnce() -> R) -> R {
    spec.with(locks, &Map::new(), LockOptions::default(), |_| body()).unwrap()
}

/// In steps, each of which another could come between.
fn attach(locks: &Locks, host: &LockSpec, hosts: &Hosts) {
    let missing = || hosts.0.lock().unwrap().is_empty();
    under(locks, host, || {
        if missing() {
            thread::yield_now();
            hosts.0.lock().unwrap().push(0);
        }
    });
    thread::yield_now();
    let mut hosts = hosts.0.lock().unwrap();
    assert_eq!(hosts.len(), 1, "attached to a host that was deleted, or created twice");
    hosts[0] += 1;
}

fn detach(hosts: &Hosts) {
    hosts.0.lock().unwrap()[0] -= 1;
    thread::yield_now();
    if hosts.0.lock().unwrap()[0] == 0 {
        thread::yield_now();
        hosts.0.lock().unwrap().clear();
    }
}

#[test]
fn c13_where_empty_hosts_stay_only_creating_one_is_locked() {
    let (_directory, locks) = here();
    let attach = spec("backend-host", "U1-h1").when("remove_empty_host");
    let create = spec("backend-host", "U1-h1");
    let (meeting, inside) = (Barrier::new(2), AtomicU32::new(0));
    let off = object(&json!({"remove_empty_host": false}));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let body = || {
                    meeting.wait();
                    under(&locks, &create, || {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    });
                };
                attach.with(&locks, &off, LockOptions::default(), |_| body()).unwrap();
            });
        }
    });
    let on = object(&json!({"remove_empty_host": true}));
    let nested = attach.with(&locks, &on, LockOptions::default(), |_| {
        thread::scope(|scope| {
            let other = || attach.with(&locks, &on, LockOptions::asap(), |_| ());
            scope.spawn(other).join().unwrap()
        })
    });
    assert_eq!(nested.unwrap().unwrap_err().kind(), ErrorKind::InUse);
}

#[test]
fn c14_a_plain_request_comes_between_those_of_a_map_and_a_session_is_renewed_within() {
    let (_directory, locks) = here();
    let (map, session) = (spec("backend-map", "lenovo-a1-map"), spec("backend-api", "lenovo-a1"));
    let order = Mutex::new(Vec::new());
    let did = |what: &'static str| order.lock().unwrap().push(what);
    under(&locks, &map, || {
        under(&locks, &session, || did("first request"));
        thread::scope(|scope| {
            scope.spawn(|| under(&locks, &session, || did("plain request")));
        });
        under(&locks, &session, || {
            under(&locks, &session, || did("session renewed"));
            did("second request");
        });
    });
    let expected = ["first request", "plain request", "session renewed", "second request"];
    assert_eq!(*order.lock().unwrap(), expected);
    // The other way round is against the order, and is refused at once.
    let nested =
        under(&locks, &session, || map.with(&locks, &Map::new(), LockOptions::default(), |_| ()));
    assert_eq!(nested.unwrap_err().kind(), ErrorKind::Refused);
}

/// PowerMax: what a map that fails takes back needs the lock that the map holds.
#[test]
fn c19_a_way_back_takes_its_own_locks_again_and_the_first_error_is_told() {
    let (_directory, locks) = here();
    let (volume, view) = (spec("volume", "v1"), spec("backend-map", "emc-mv-m1-0001"));
    let views = Mutex::new(BTreeSet::new());
    let undo = || under(&locks, &view, || assert!(views.lock().unwrap().remove("v1")));
    let map = || -> Result<(), &str> {
        under(&locks, &view, || {
            views.lock().unwrap().insert("v1");
            Err("the array is full").inspect_err(|_| undo())
        })
    };
    assert_eq!(under(&locks, &volume, map), Err("the array is full"));
    assert!(views.lock().unwrap().is_empty());
    wait_until("nothing is held", || locks.locks().is_empty());
}
