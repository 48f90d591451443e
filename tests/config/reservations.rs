//! What a job has chosen and not written down yet.

use lockmaster::runtime::{ConfigSnapshot, ConfigWriter, Why};
use lockmaster::{
    Context, DeclaredLocks, ErrorKind, JobId, LogicalUnit, Master, NewJob, OpCode, OpError, Status,
    TypedOp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Step, next_note, open};

fn job(number: u64) -> JobId {
    JobId::new(number).unwrap()
}

fn free(_: &ConfigSnapshot) -> bool {
    false
}

fn reserved(config: &ConfigWriter) -> Vec<(String, u64)> {
    let all = config.reservations().into_iter();
    all.map(|one| (format!("{} {}", one.kind, one.name), one.owner.get())).collect()
}

#[test]
fn what_is_reserved_or_in_use_is_refused_with_the_reason() {
    let config = ConfigWriter::in_memory();
    config.reserve(job(1), "port", "80", free).unwrap();
    config.reserve(job(1), "vlan", "80", free).unwrap();
    let other = config.reserve(job(2), "port", "80", free).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Refused);
    assert_eq!(other.to_string(), "the port 80 is reserved by job 1");
    let same = config.reserve(job(1), "port", "80", free).unwrap_err();
    assert_eq!(same.to_string(), "the port 80 is reserved by this job already");
    let in_use = config.reserve(job(2), "port", "81", |_| true).unwrap_err();
    assert_eq!(in_use.to_string(), "the port 81 is in use");
    assert!(!config.release(job(2), "port", "80"), "it is not his");
    assert!(config.release(job(1), "port", "80"));
    assert_eq!(reserved(&config), [("vlan 80".to_owned(), 1)]);
}

#[test]
fn a_look_that_panics_leaves_nothing_reserved() {
    let config = ConfigWriter::in_memory();
    let look = std::panic::AssertUnwindSafe(|| {
        config.reserve(job(1), "port", "80", |_| panic!("a bug of the caller's"))
    });
    std::panic::catch_unwind(look).unwrap_err();
    assert_eq!(reserved(&config), []);
}

#[test]
fn the_first_free_one_is_found_and_looking_comes_to_an_end() {
    let config = ConfigWriter::in_memory();
    let ports = || (1..=4).map(|port| port.to_string());
    config.reserve(job(1), "port", "2", free).unwrap();
    let first = |owner| config.reserve_first(owner, "port", ports(), |_, port| port == "1");
    assert_eq!(first(job(2)).unwrap(), "3");
    assert_eq!(first(job(2)).unwrap(), "4", "two for one job are two");
    assert_eq!(first(job(3)).unwrap_err().to_string(), "no port is free: 4 were looked at");
    let endless =
        config.reserve_first(job(3), "port", (1..).map(|p: u64| p.to_string()), |_, _| true);
    assert!(endless.unwrap_err().to_string().contains("65536 were looked at"));
}

#[test]
fn no_two_get_the_same_while_it_moves_from_reservation_to_configuration() {
    let config = ConfigWriter::in_memory();
    let in_use = |now: &ConfigSnapshot, name: &str| now.value.get(name).is_some();
    let take = |owner: JobId| {
        (0..20).for_each(|_| {
            let names = (0..).map(|number: u64| number.to_string());
            let name = config.reserve_first(owner, "number", names, in_use).unwrap();
            let written = config.update(None, |value| {
                let taken = std::mem::replace(&mut value[&name], json!(owner.get()));
                assert_eq!(taken, Value::Null, "{name} was taken twice");
                Ok(())
            });
            written.unwrap();
            assert!(config.release(owner, "number", &name));
        });
    };
    std::thread::scope(|scope| {
        (1..=4).for_each(|owner| _ = scope.spawn(move || take(job(owner))));
    });
    assert_eq!(config.read().version, 80);
}

/// Reserves a port.
#[derive(Serialize, Deserialize)]
struct Claim {
    port: String,
}

impl TypedOp for Claim {
    const ID: &'static str = "OP_CLAIM";
}

impl LogicalUnit for Claim {
    fn declare_locks(&mut self, _: &str, _: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        Ok(())
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        context.config().reserve(context.job(), "port", &self.port, free)?;
        Ok(Value::Null)
    }
}

fn claim(port: &str) -> OpCode {
    Claim { port: port.to_owned() }.opcode().unwrap()
}

fn step(gate: &str, fail: bool) -> OpCode {
    Step { gate: gate.to_owned(), fail, ..Step::default() }.opcode().unwrap()
}

fn master() -> Master {
    Master::builder("").volatile().unit::<Claim>().unit::<Step>().workers(2).start().unwrap()
}

/// Waits until the job waits for a lock.
fn wait_for_lock(master: &Master, id: JobId) {
    loop {
        let (sender, changed) = std::sync::mpsc::channel();
        master.on_change(id, move || _ = sender.send(()));
        if matches!(master.why(id), Some(Why::Lock(_))) {
            return;
        }
        changed.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn a_reservation_lasts_until_the_end_of_its_job_whatever_that_is() {
    let master = master();
    for (gate, fail, end) in [
        ("reservation success", false, Status::Success),
        ("reservation error", true, Status::Error),
    ] {
        let id = master.submit_one(NewJob::of([claim("80"), step(gate, fail)])).unwrap();
        assert_eq!(next_note(gate), "begin");
        assert_eq!(reserved(master.config()), [("port 80".to_owned(), id.get())]);
        let other = master.submit_one(NewJob::of([claim("80")])).unwrap();
        assert_eq!(master.wait(other).unwrap().status, Status::Error);
        assert_eq!(reserved(master.config()).len(), 1, "the other one's end is not its end");
        open(gate);
        assert_eq!(master.wait(id).unwrap().status, end);
        assert_eq!(reserved(master.config()), []);
    }
}

#[test]
fn a_job_that_is_cancelled_before_its_next_opcode_gives_back_what_it_has_reserved() {
    let master = master();
    let holds = |gate: &str| Step { gate: gate.into(), node: vec!["n".into()], ..Step::default() };
    let holder = holds("reservation holder").opcode().unwrap();
    let holder = master.submit_one(NewJob::of([holder])).unwrap();
    assert_eq!(next_note("reservation holder"), "begin");
    let waits = holds("").opcode().unwrap();
    let id = master.submit_one(NewJob::of([claim("80"), waits])).unwrap();
    wait_for_lock(&master, id);
    assert_eq!(reserved(master.config()).len(), 1);
    master.cancel(id).unwrap();
    assert_eq!(master.wait(id).unwrap().status, Status::Canceled);
    assert_eq!(reserved(master.config()), []);
    open("reservation holder");
    master.wait(holder).unwrap();
}
