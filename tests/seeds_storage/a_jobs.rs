//! Attaching and detaching as jobs of three opcodes.

use std::path::Path;
use std::thread;
use std::time::Duration;

use lockmaster::runtime::JobView;
use lockmaster::{Error, JobId, Master, NewJob, Shutdown, Status, TypedOp};
use serde_json::Value;

use super::attach_detach::backend::Backend;
use super::attach_detach::calls::{Connector, Volume};
use super::attach_detach::expiry::reserve_for;
use super::attach_detach::jobs::{self, Delete, Recover, Subject};
use super::attach_detach::{self, builder, make, start};
use super::hold_up::Gate;
use super::process::wait_until;

/// A master and a backend, with a volume.
struct Place {
    _directory: tempfile::TempDir,
    master: Master,
    backend: Backend,
    volume: &'static str,
}

const NOTHING: (bool, bool, bool) = (false, false, false);
const ALL: (bool, bool, bool) = (true, true, true);

impl Place {
    fn new(volume: &'static str) -> Self {
        Self::with(volume, start)
    }

    /// One that forgets everything, and does not wait for a disk.
    fn volatile(volume: &'static str) -> Self {
        Self::with(volume, |state| builder(state)?.volatile().start())
    }

    fn with(volume: &'static str, start: fn(&Path) -> Result<Master, Error>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let backend = Backend::new(directory.path());
        let master = start(&directory.path().join("state")).unwrap();
        make(master.config(), volume).unwrap();
        Self { _directory: directory, master, backend, volume }
    }

    fn of<'a>(&'a self, name: &'a str) -> Volume<'a> {
        Volume { config: self.master.config(), backend: &self.backend, name }
    }

    fn subject(&self, instance: &str) -> Subject {
        Subject::new(self.volume, instance, &self.backend)
    }

    fn attach(&self, instance: &str) -> JobId {
        self.master.submit_one(jobs::attach(&self.subject(instance)).unwrap()).unwrap()
    }

    fn detach(&self, instance: &str) -> JobId {
        self.master.submit_one(jobs::detach(&self.subject(instance)).unwrap()).unwrap()
    }

    fn one(&self, op: &impl TypedOp) -> JobId {
        self.master.submit_one(NewJob::of([op.opcode().unwrap()])).unwrap()
    }

    fn wait(&self, id: JobId) -> JobView {
        self.master.wait(id).unwrap()
    }

    fn ended(&self, id: JobId) -> (Status, String, (bool, bool, bool)) {
        let status = self.wait(id).status;
        (status, self.of(self.volume).status(), self.backend.of(self.volume).unwrap())
    }

    fn waits_for_locks(&self, id: JobId) {
        wait_until(|| {
            self.master.locks(false).value.locks.iter().any(|lock| !lock.waiters.is_empty())
        });
        assert_eq!(self.master.job(id).unwrap().value.status, Status::Waiting);
    }
}

fn is(
    status: Status,
    volume: &str,
    backend: (bool, bool, bool),
) -> (Status, String, (bool, bool, bool)) {
    (status, volume.to_owned(), backend)
}

#[test]
fn a1_a_job_attaches_and_a_job_detaches() {
    let place = Place::new("a1");
    assert_eq!(place.ended(place.attach("web1")), is(Status::Success, "in-use", ALL));
    assert_eq!(place.ended(place.detach("web1")), is(Status::Success, "available", NOTHING));
}

#[test]
fn a8_a_job_that_fails_anywhere_leaves_the_volume_available_and_no_export() {
    let place = Place::new("a8");
    for call in ["create_export", "initialize_connection", "connect"] {
        place.backend.fail(call, "a8").unwrap();
        let id = place.attach("web1");
        assert_eq!(place.ended(id), is(Status::Error, "available", NOTHING), "{call}");
    }
    assert_eq!(place.ended(place.attach("web1")), is(Status::Success, "in-use", ALL));
    // Somebody else's volume is not taken back.
    assert_eq!(place.ended(place.attach("web2")), is(Status::Error, "in-use", ALL));
}

#[test]
fn a9_a_job_that_cannot_take_back_everything_says_both_and_marks_the_volume() {
    let place = Place::new("a9");
    place.backend.fail("initialize_connection", "a9").unwrap();
    place.backend.fail("remove_export", "a9").unwrap();
    let job = place.wait(place.attach("web1")).job;
    let failed = format!("{:?}", job.ops[1].outcome());
    assert!(failed.contains("initialize_connection failed"), "{failed}");
    let second: Vec<String> = job.undo_errors().map(|(_, error)| error.message.clone()).collect();
    assert!(second.len() == 1 && second[0].contains("remove_export failed"), "{second:?}");
    assert_eq!(place.of("a9").read()["recover"], true);
    assert_eq!(place.backend.of("a9").unwrap(), (true, false, false));
    let recovered = place.one(&Recover { subject: place.subject("web1") });
    assert_eq!(place.ended(recovered), is(Status::Success, "available", NOTHING));
}

/// A client that deletes the volume as soon as it reads that it is available.
#[test]
fn a17_a_delete_never_overtakes_the_detach_that_makes_the_volume_available() {
    let place = Place::volatile("a17");
    for round in 0..500 {
        let name = "a17";
        make(place.master.config(), name).unwrap();
        place.of(name).reserve("web1", 0).unwrap();
        let connector = Connector::new("web1", "host1");
        place.of(name).attach(&connector).unwrap();
        // The backend is slow to let go: not before the client has seen what it does.
        let gate = Gate::at("terminate_connection", name);
        let detach = place.detach("web1");
        gate.wait();
        assert_eq!(place.of(name).status(), "detaching");
        gate.open();
        wait_until(|| {
            // What a client does meanwhile.
            thread::yield_now();
            place.of(name).status() == "available"
        });
        let delete = place.one(&Delete { subject: place.subject("web1") });
        let (deleted, detached) = (place.wait(delete), place.wait(detach));
        assert_eq!(
            (deleted.status, detached.status),
            (Status::Success, Status::Success),
            "{round}"
        );
        assert!(deleted.job.ops[0].exec_time >= detached.job.end_time(), "{round}");
    }
    let log = place.backend.log("a17").unwrap();
    let round = ["disconnect", "terminate_connection", "remove_export", "delete"];
    assert!(log.chunks(4).all(|calls| calls == round));
}

#[test]
fn a20_different_volumes_are_attached_side_by_side_and_one_volume_by_one_at_a_time() {
    let place = Place::new("a20");
    let gate = Gate::at("create_export", "a20");
    let first = place.attach("web1");
    gate.wait();
    make(place.master.config(), "a20b").unwrap();
    let other = jobs::attach(&Subject::new("a20b", "web2", &place.backend)).unwrap();
    let other = place.master.submit_one(other).unwrap();
    assert_eq!(place.wait(other).status, Status::Success);
    let second = place.detach("web1");
    place.waits_for_locks(second);
    gate.open();
    assert_eq!(place.wait(first).status, Status::Success);
    assert_eq!(place.ended(second), is(Status::Success, "available", NOTHING));
    let calls = place.backend.log("a20").unwrap();
    let attach = ["create_export", "initialize_connection", "connect"];
    assert_eq!(calls[..3], attach);
    assert_eq!(calls[3..], ["disconnect", "terminate_connection", "remove_export"]);
}

#[test]
fn a21_a_job_that_is_cancelled_has_changed_nothing_or_takes_all_of_it_back() {
    let place = Place::new("a21");
    let gate = Gate::at("initialized", "a21");
    let first = place.attach("web1");
    gate.wait();
    let waits = place.attach("web2");
    place.waits_for_locks(waits);
    let before = place.of("a21").read();
    place.master.cancel(waits).unwrap();
    assert_eq!(place.wait(waits).status, Status::Canceled);
    assert_eq!(place.of("a21").read(), before);
    place.master.cancel(first).unwrap();
    gate.open();
    assert_eq!(place.ended(first), is(Status::Canceled, "available", NOTHING));
}

/// Longer than it takes to reserve a volume, on a machine that has other things to do as well.
const SOON: Duration = Duration::from_millis(500);

#[test]
fn a22_a_reservation_expires_by_itself_under_the_lock_and_takes_the_export_along() {
    let place = Place::volatile("a22");
    let volume = place.of("a22");
    let expiry = reserve_for(&place.master, &volume, ("web1", 1), SOON).unwrap();
    volume.initialize(&Connector::new("web1", "host1")).unwrap();
    assert_eq!(place.ended(expiry), is(Status::Success, "available", NOTHING));
    assert_eq!(volume.read()["reservation"], Value::Null);
    // Who comes too late does not have it.
    let late = volume.attach(&Connector::new("web1", "host1"));
    assert_eq!(late.unwrap_err().kind, "InvalidVolume");
}

#[test]
fn a22_what_was_attached_or_reserved_anew_in_time_does_not_expire() {
    let place = Place::volatile("a22");
    let volume = place.of("a22");
    let expiry = reserve_for(&place.master, &volume, ("web1", 1), SOON).unwrap();
    volume.unreserve().unwrap();
    volume.reserve("web1", 2).unwrap();
    assert_eq!(place.ended(expiry), is(Status::Success, "attaching", NOTHING));
    volume.unreserve().unwrap();
    let expiry = reserve_for(&place.master, &volume, ("web1", 3), SOON).unwrap();
    volume.attach(&Connector::new("web1", "host1")).unwrap();
    assert_eq!(place.ended(expiry), is(Status::Success, "in-use", NOTHING));
    // Refused, it leaves a job that finds nothing to do.
    let refused = reserve_for(&place.master, &volume, ("web2", 4), SOON);
    assert_eq!(refused.unwrap_err().kind, "InvalidVolume");
    place.master.jobs().value.iter().for_each(|view| drop(place.wait(view.job.id)));
    assert_eq!(volume.status(), "in-use");
}

#[test]
fn a22_a_reservation_expires_although_its_master_went() {
    let directory = tempfile::tempdir().unwrap();
    let (state, backend) = (directory.path().join("state"), Backend::new(directory.path()));
    let master = start(&state).unwrap();
    make(master.config(), "v1").unwrap();
    let volume = Volume { config: master.config(), backend: &backend, name: "v1" };
    let expiry = reserve_for(&master, &volume, ("web1", 1), 2 * SOON).unwrap();
    master.shutdown(Shutdown::Finish, None).unwrap();
    let master = start(&state).unwrap();
    let volume = Volume { config: master.config(), backend: &backend, name: "v1" };
    let job = master.wait(expiry).unwrap();
    assert_eq!((job.status, volume.status().as_str()), (Status::Success, "available"));
}

#[test]
fn a23_the_backend_lets_go_only_after_the_host_has() {
    let place = Place::new("a23");
    place.wait(place.attach("web1"));
    let gate = Gate::at("terminate_connection", "a23");
    let detach = place.detach("web1");
    gate.wait();
    assert_eq!(place.backend.of("a23").unwrap(), (true, true, false));
    assert_eq!(place.of("a23").status(), "detaching");
    gate.open();
    assert_eq!(place.wait(detach).status, Status::Success);
    // Where the host does not let go, the backend is not asked to.
    place.wait(place.attach("web1"));
    place.backend.fail("disconnect", "a23").unwrap();
    assert_eq!(place.ended(place.detach("web1")), is(Status::Error, "in-use", ALL));
    assert_eq!(place.backend.log("a23").unwrap().last().map(String::as_str), Some("disconnect"));
}

#[test]
fn the_example_shows_what_is_lost_without_a_condition_and_what_is_taken_back() {
    attach_detach::main().unwrap();
    let (directory, mut out) = (tempfile::tempdir().unwrap(), Vec::new());
    attach_detach::show(directory.path(), &mut out).unwrap();
    let expected = "\
looking, then writing: 2 of 2 have it
writing if it is as expected: 1 of 2 have it
six calls: attaching, in-use, detaching, available
a reservation nobody uses: attaching, then available
a user takes away what web1 uses: ConflictNovaUsingAttachment: web1 uses it: detach it from the \
instance
the service takes away what web1 uses: done
job 2: error; the volume is available
  VolumeBackendAPIException: connect failed
job 3: success; the volume is in-use
job 4: success; the volume is available
calls: create_export, initialize_connection, connect, disconnect, terminate_connection, \
remove_export, terminate_connection, remove_export, create_export, initialize_connection, \
disconnect, terminate_connection, remove_export, create_export, initialize_connection, connect, disconnect, terminate_connection, \
remove_export, create_export, initialize_connection, connect, disconnect, terminate_connection, \
remove_export
exported, mapped, connected: (false, false, false)
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
