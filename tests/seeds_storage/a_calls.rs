//! The six calls from outside: the status is the lock.

use std::path::Path;
use std::thread;

use lockmaster::runtime::{ConditionalUpdate, ConfigWriter, LockDir, LockOptions, Locks};
use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest, Scope};
use serde_json::{Value, json};

use super::attach_detach::backend::{Backend, Failed};
use super::attach_detach::calls::{Connector, Volume};
use super::attach_detach::guard::Caller;
use super::attach_detach::{jobs, make, start};
use super::process::Process;
use super::zpool::fake;

/// A configuration with volume v1, and a backend.
struct Place {
    directory: tempfile::TempDir,
    config: ConfigWriter,
    backend: Backend,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (config, backend) = (ConfigWriter::in_memory(), Backend::new(directory.path()));
        make(&config, "v1").unwrap();
        Self { directory, config, backend }
    }

    fn volume(&self) -> Volume<'_> {
        Volume { config: &self.config, backend: &self.backend, name: "v1" }
    }

    fn set(&self, member: &str, value: Value) {
        let place = format!("/volumes/v1/{member}");
        self.config.update_where(ConditionalUpdate::new().set(&place, value)).unwrap();
    }

    /// Attaches the volume to an instance.
    fn attached(instance: &str) -> Self {
        let place = Self::new();
        place.volume().reserve(instance, 0).unwrap();
        place.volume().initialize(&Connector::new(instance, "host1")).unwrap();
        place.volume().attach(&Connector::new(instance, "host1")).unwrap();
        place
    }
}

impl Volume<'_> {
    /// The newer way to reserve: with an attachment, of which one instance may have several (while
    /// it moves to another host).
    pub(crate) fn create_attachment(&self, id: &str, instance: &str) -> Result<(), Failed> {
        self.edit(|volume| {
            let mut all = volume["attachments"].as_object().into_iter().flatten();
            let ours = all.any(|(_, one)| one["instance"] == instance);
            let status = volume["status"].clone();
            if status != "available" && !ours {
                let message =
                    format!("Volume status must be available or downloading, is {status}");
                return Err(Failed::new("InvalidVolume", message));
            }
            volume["attachments"][id] = json!({ "instance": instance, "state": "reserved" });
            volume["status"] = json!("reserved");
            volume["attach_status"] = json!("reserved");
            Ok(())
        })
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T, Failed>) -> String {
    result.unwrap_err().kind
}

const STATUSES: [&str; 9] = [
    "creating",
    "attaching",
    "in-use",
    "detaching",
    "deleting",
    "error",
    "maintenance",
    "uploading",
    "reserved",
];

#[test]
fn a1_a_volume_goes_from_available_to_in_use_and_back() {
    let place = Place::new();
    let (volume, web1) = (place.volume(), Connector::new("web1", "host1"));
    assert_eq!(volume.status(), "available");
    volume.reserve("web1", 7).unwrap();
    assert_eq!(volume.status(), "attaching");
    let info = volume.initialize(&web1).unwrap();
    assert_eq!(volume.status(), "attaching");
    for field in
        ["qos_specs", "access_mode", "encrypted", "cacheable", "discard", "enforce_multipath"]
    {
        assert!(info["data"].get(field).is_some(), "{field}");
    }
    volume.attach(&web1).unwrap();
    assert_eq!(
        (volume.status().as_str(), &volume.read()["attach_status"]),
        ("in-use", &json!("attached"))
    );
    volume.begin_detaching().unwrap();
    assert_eq!(volume.status(), "detaching");
    volume.terminate().unwrap();
    assert_eq!(volume.status(), "detaching");
    volume.detach(Some("web1")).unwrap();
    assert_eq!(
        (volume.status().as_str(), &volume.read()["attach_status"]),
        ("available", &json!("detached"))
    );
}

#[test]
fn a2_of_a_hundred_threads_that_reserve_a_volume_one_gets_it() {
    let place = Place::new();
    let results: Vec<Result<(), Failed>> = thread::scope(|scope| {
        let place = &place;
        let reserve = move |number| place.volume().reserve(&format!("web{number}"), 0);
        let threads: Vec<_> = (0..100).map(|number| scope.spawn(move || reserve(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let refused: Vec<Failed> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 99);
    for failed in refused {
        assert_eq!(failed.kind, "InvalidVolume");
        assert!(failed.message.contains("is \"attaching\", not \"available\""), "{failed}");
    }
}

/// What one of several processes does, none of which is the master.
pub(crate) fn reserve_in_this_process(directory: &Path) -> Result<(), fake::Failed> {
    let hierarchy = Hierarchy::builder().scoped_level("volume", Scope::Node).build()?;
    let level = hierarchy.level("volume")?;
    let locks = Locks::builder(hierarchy).dir(LockDir::open(&directory.join("locks"))?).open();
    let mut request = LockRequest::new();
    request
        .add(level, "v1", LockMode::Exclusive)
        .map_err(|error| fake::Failed(error.to_string()))?;
    locks.with(&request, LockOptions::default(), |_| {
        let config = ConfigWriter::open(directory.join("config.json"))?;
        let backend = Backend::new(directory);
        let volume = Volume { config: &config, backend: &backend, name: "v1" };
        volume.reserve("web", 0).map_err(|failed| fake::Failed(failed.to_string()))
    })?
}

#[test]
fn a2_of_ten_processes_that_reserve_a_volume_one_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    make(&ConfigWriter::open(directory.path().join("config.json")).unwrap(), "v1").unwrap();
    let start = |_| Process::start(directory.path(), "web", "reserve", true);
    let mut processes: Vec<Process> = (0..10).map(start).collect();
    processes.iter_mut().for_each(|process| process.actor.go());
    let ends: Vec<String> =
        processes.iter_mut().map(|process| process.actor.arrive().to_owned()).collect();
    assert_eq!(ends.iter().filter(|end| *end == "done").count(), 1, "{ends:?}");
    let refused = ends.iter().filter(|end| end.contains("is \"attaching\", not \"available\""));
    assert_eq!(refused.count(), 9, "{ends:?}");
}

#[test]
fn a3_only_an_available_volume_can_be_reserved_and_one_in_use_where_several_may_have_it() {
    let place = Place::new();
    for multiattach in [false, true] {
        place.set("multiattach", json!(multiattach));
        for status in STATUSES {
            place.set("status", json!(status));
            let reserved = place.volume().reserve("web1", 0).is_ok();
            assert_eq!(reserved, multiattach && status == "in-use", "{status}");
        }
    }
}

#[test]
fn a4_what_was_reserved_becomes_what_it_was() {
    let place = Place::new();
    for status in STATUSES {
        place.set("status", json!(status));
        place.volume().unreserve().unwrap();
        let expected = if status == "attaching" { "available" } else { status };
        assert_eq!(place.volume().status(), expected);
    }
    let place = Place::attached("web1");
    place.set("status", json!("attaching"));
    place.volume().unreserve().unwrap();
    assert_eq!(place.volume().status(), "in-use");
}

#[test]
fn a5_detaching_begins_with_a_volume_in_use_that_does_not_migrate() {
    for status in STATUSES.into_iter().filter(|status| *status != "in-use") {
        let place = Place::attached("web1");
        place.set("status", json!(status));
        assert_eq!(kind(place.volume().begin_detaching()), "InvalidVolume", "{status}");
    }
    let place = Place::attached("web1");
    place.set("attach_status", json!("detached"));
    assert_eq!(kind(place.volume().begin_detaching()), "InvalidVolume");
    for (migration, expected) in [
        (Value::Null, "detaching"),
        (json!("deleting"), "detaching"),
        (json!("error"), "detaching"),
        (json!("success"), "detaching"),
        (json!("migrating"), "in-use"),
    ] {
        let place = Place::attached("web1");
        place.set("migration_status", migration.clone());
        place.volume().begin_detaching().unwrap();
        assert_eq!(place.volume().status(), expected, "{migration}");
    }
}

#[test]
fn a6_only_a_detaching_volume_is_rolled_back() {
    let place = Place::attached("web1");
    for status in STATUSES {
        place.set("status", json!(status));
        place.volume().roll_detaching().unwrap();
        let expected = if status == "detaching" { "in-use" } else { status };
        assert_eq!(place.volume().status(), expected);
    }
}

#[test]
fn a7_a_wrong_connector_changes_nothing() {
    let place = Place::new();
    place.volume().reserve("web1", 0).unwrap();
    let nowhere = Connector::new("web1", "");
    assert_eq!(kind(place.volume().initialize(&nowhere)), "InvalidInput");
    assert_eq!(place.backend.log("v1").unwrap(), [""; 0]);
    assert_eq!(place.volume().status(), "attaching");
    place.volume().unreserve().unwrap();
    assert_eq!(place.volume().status(), "available");
}

#[test]
fn a8_an_initialization_that_fails_anywhere_leaves_no_export() {
    for (call, expected) in [
        ("create_export", "VolumeBackendAPIException"),
        ("save", "ExportFailure"),
        ("initialize_connection", "VolumeBackendAPIException"),
    ] {
        let place = Place::new();
        place.volume().reserve("web1", 0).unwrap();
        match call {
            // The write is refused, since somebody else has written it.
            "save" => place.set("exported", json!(true)),
            _ => place.backend.fail(call, "v1").unwrap(),
        }
        let web1 = Connector::new("web1", "host1");
        assert_eq!(kind(place.volume().initialize(&web1)), expected, "{call}");
        assert_eq!(place.backend.of("v1").unwrap(), (false, false, false), "{call}");
        assert_eq!(place.volume().status(), "attaching", "{call}");
    }
}

#[test]
fn a9_where_taking_back_fails_too_both_errors_are_told_and_a_recovery_ends_it() {
    let place = Place::new();
    let master = start(&place.directory.path().join("state")).unwrap();
    make(master.config(), "v1").unwrap();
    let volume = Volume { config: master.config(), backend: &place.backend, name: "v1" };
    volume.reserve("web1", 0).unwrap();
    place.backend.fail("initialize_connection", "v1").unwrap();
    place.backend.fail("remove_export", "v1").unwrap();
    let failed = volume.initialize(&Connector::new("web1", "host1")).unwrap_err();
    assert!(failed.message.starts_with("initialize_connection failed; then: "), "{failed}");
    assert!(failed.message.ends_with("remove_export failed"), "{failed}");
    assert_eq!(volume.read()["recover"], true);
    let subject = jobs::Subject::new("v1", "web1", &place.backend);
    let recover = lockmaster::TypedOp::opcode(&jobs::Recover { subject }).unwrap();
    let id = master.submit_one(lockmaster::NewJob::of([recover])).unwrap();
    master.wait(id).unwrap();
    assert_eq!(place.backend.of("v1").unwrap(), (false, false, false));
    assert_eq!((volume.status().as_str(), &volume.read()["recover"]), ("available", &json!(false)));
}

#[test]
fn a10_attaching_again_is_the_same_attachment_and_for_another_instance_refused() {
    let place = Place::attached("web1");
    let before = place.volume().read();
    place.volume().attach(&Connector::new("web1", "host1")).unwrap();
    assert_eq!(place.volume().read(), before);
    assert_eq!(kind(place.volume().attach(&Connector::new("web2", "host1"))), "InvalidVolume");
    assert_eq!(place.volume().read(), before);
}

#[test]
fn a11_a_read_only_volume_is_not_attached_to_be_written_to() {
    let place = Place::new();
    place.set("readonly", json!(true));
    place.volume().reserve("web1", 0).unwrap();
    let attached = place.volume().attach(&Connector::new("web1", "host1"));
    assert_eq!(kind(attached), "InvalidVolumeAttachMode");
    let volume = place.volume().read();
    assert_eq!(volume["attachments"]["web1"]["state"], "error_attaching");
    assert_eq!(volume["attach_status"], "detached");
}

#[test]
fn a12_a_volume_in_maintenance_is_left_alone() {
    let place = Place::attached("web1");
    place.set("status", json!("maintenance"));
    let web1 = Connector::new("web1", "host1");
    assert_eq!(kind(place.volume().initialize(&web1)), "InvalidVolume");
    assert_eq!(kind(place.volume().attach(&web1)), "InvalidVolume");
    assert_eq!(kind(place.volume().detach(Some("web1"))), "InvalidVolume");
}

#[test]
fn a13_a_volume_of_two_instances_is_in_use_until_both_have_let_go() {
    let place = Place::attached("web1");
    place.set("multiattach", json!(true));
    place.volume().reserve("web2", 0).unwrap();
    place.volume().attach(&Connector::new("web2", "host2")).unwrap();
    assert_eq!(kind(place.volume().detach(None)), "InvalidVolume");
    place.volume().detach(Some("web1")).unwrap();
    assert_eq!(place.volume().status(), "in-use");
    place.volume().detach(Some("web2")).unwrap();
    assert_eq!(place.volume().status(), "available");
}

#[test]
fn a14_detaching_what_is_not_attached_only_computes_the_state() {
    let place = Place::attached("web1");
    place.volume().detach(Some("nobody")).unwrap();
    assert_eq!(place.volume().status(), "in-use");
    let place = Place::new();
    place.volume().detach(Some("nobody")).unwrap();
    assert_eq!(place.volume().status(), "available");
    place.set("status", json!("detaching"));
    place.volume().detach(None).unwrap();
    assert_eq!(place.volume().status(), "available");
}

#[test]
fn a15_a_volume_that_is_busy_otherwise_keeps_its_status() {
    for (member, value) in [("status", "uploading"), ("migration_status", "migrating")] {
        let place = Place::attached("web1");
        place.set(member, json!(value));
        let before = place.volume().status();
        place.volume().detach(Some("web1")).unwrap();
        let volume = place.volume().read();
        assert_eq!(
            (&volume["status"], &volume["attach_status"]),
            (&json!(before), &json!("detached"))
        );
    }
}

#[test]
fn a16_a_volume_is_reserved_until_the_last_reservation_of_its_instance_is_gone() {
    let place = Place::new();
    place.volume().create_attachment("one", "web1").unwrap();
    place.volume().create_attachment("two", "web1").unwrap();
    let refused = place.volume().create_attachment("three", "web2").unwrap_err();
    assert!(refused.message.contains("must be available or downloading"), "{refused}");
    place.volume().detach(Some("one")).unwrap();
    assert_eq!(place.volume().status(), "reserved");
    place.volume().detach(Some("two")).unwrap();
    assert_eq!(place.volume().status(), "available");
}

#[test]
fn a22_a_reservation_whose_owner_is_gone_can_be_seen_and_reset() {
    let place = Place::new();
    place.volume().reserve("web1", 1_700_000_000).unwrap();
    let reservation = place.volume().read()["reservation"].clone();
    assert_eq!(reservation, json!({ "owner": "web1", "since": 1_700_000_000 }));
    place.volume().unreserve().unwrap();
    assert_eq!(place.volume().read()["reservation"], Value::Null);
    place.volume().reserve("web2", 0).unwrap();
}

/// What Cinder's tests of its deletion guard assert: of whose attachments, who asks, what of it.
#[test]
fn what_an_instance_uses_is_taken_away_for_the_service_only() {
    let uses = |instance: &str| (instance != "gone").then(|| instance.to_owned());
    let asked = |place: &Place, caller: Caller<'_>, id: Option<&str>| {
        place.volume().terminate_for(caller, id).map_err(|failed| failed.kind)
    };
    let conflict = || Err("ConflictNovaUsingAttachment".to_owned());
    let user = || Caller::User(&uses);
    let place = Place::attached("web1");
    for id in [None, Some("web1"), Some("nobody")] {
        assert_eq!(asked(&place, user(), id), conflict(), "{id:?}");
    }
    assert_eq!(place.backend.of("v1").unwrap(), (true, true, false), "nothing has changed");
    // The instance is gone, or has another one, or was never connected, or nobody has any.
    assert_eq!(asked(&Place::attached("gone"), user(), None), Ok(()));
    let another = |_: &str| Some("another".to_owned());
    assert_eq!(asked(&place, Caller::User(&another), Some("web1")), Ok(()));
    assert_eq!(asked(&Place::new(), user(), None), Ok(()));
    let reserved = Place::new();
    reserved.volume().create_attachment("one", "one").unwrap();
    assert_eq!(asked(&reserved, user(), Some("one")), Ok(()));
    // Another volume's; and which of several.
    make(&place.config, "v2").unwrap();
    let v2 = Volume { name: "v2", ..place.volume() };
    let mismatch = v2.terminate_for(user(), Some("web1")).unwrap_err();
    assert_eq!(mismatch.kind, "InvalidInput");
    place.set("attachments/web2", json!({ "host": "host2", "state": "attached" }));
    assert_eq!(asked(&place, user(), None), conflict());
    assert_eq!(asked(&place, Caller::Service, None), Ok(()));
}
