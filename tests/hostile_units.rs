//! Logical units at their worst: what their embedder's master has to survive.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::panic_any;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockmaster::vocabulary::{OpErrorKind, Outcome, UndoState};
use lockmaster::{
    Context, CrashPolicy, DeclaredLocks, JobId, LockMode, LogicalUnit, Master, NewJob, OpCode,
    OpError, OpId, Params, Shutdown, Status,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// Panics in the method of that name; `drop` in every drop.
struct Panicking(String);

/// A panic whose payload panics in its turn.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("in the drop of a payload");
    }
}

impl Panicking {
    fn at(&self, method: &str) {
        if self.0.split(' ').any(|name| name == method) {
            panic_any(42);
        }
        if self.0 == format!("{method}!") {
            panic_any(Payload);
        }
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        self.at("drop");
    }
}

impl LogicalUnit for Panicking {
    fn check_arguments(&mut self) -> Result<(), OpError> {
        self.at("check_arguments");
        Ok(())
    }

    fn expand_names(&mut self, _: &Context) -> Result<(), OpError> {
        self.at("expand_names");
        Ok(())
    }

    fn big_lock(&self) -> LockMode {
        self.at("big_lock");
        LockMode::Shared
    }

    fn locks_known_at_once(&self) -> bool {
        self.at("locks_known_at_once");
        false
    }

    fn declare_locks(&mut self, level: &str, locks: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        self.at("declare_locks");
        if level == "instance" { locks.exclusive("one") } else { Ok(()) }
    }

    fn check_prereq(&mut self, _: &Context) -> Result<(), OpError> {
        self.at("check_prereq");
        Ok(())
    }

    fn execute(&mut self, _: &Context) -> Result<Value, OpError> {
        self.at("execute");
        if self.0.contains("undo") { Err(OpError::exec("to be undone")) } else { Ok(Value::Null) }
    }

    fn can_undo(&self) -> bool {
        self.at("can_undo");
        true
    }

    fn undo(&mut self, _: &Context) -> Result<(), OpError> {
        self.at("undo");
        Ok(())
    }

    fn on_crash(&self) -> CrashPolicy {
        self.at("on_crash");
        CrashPolicy::Fail
    }
}

fn panicking(at: &str) -> NewJob {
    let params = Params::from_serialize(&json!({ "at": at })).unwrap();
    NewJob::of([OpCode::new(OpId::new("OP_PANIC").unwrap(), params)])
}

fn master() -> Master {
    let builder = Master::builder("").volatile().workers(1);
    let add = |params: &Params| -> Result<Box<dyn LogicalUnit>, OpError> {
        let at = params.to_object()["at"].as_str().unwrap_or_default().to_owned();
        if at == "make" {
            panic_any(42);
        }
        Ok(Box::new(Panicking(at)))
    };
    builder.units(|units| units.add(OpId::new("OP_PANIC").unwrap(), add)).start().unwrap()
}

/// Waits on another thread, so that a job that never ends is a failure and not a hang.
fn wait(master: &Arc<Master>, id: JobId) -> lockmaster::runtime::JobView {
    let (sender, ended) = channel();
    let waiting = Arc::clone(master);
    std::thread::spawn(move || _ = sender.send(waiting.wait(id)));
    ended.recv_timeout(PATIENCE).expect("the job ends").unwrap()
}

#[test]
fn a_unit_may_panic_anywhere_also_while_it_is_dropped_and_the_master_goes_on() {
    let master = Arc::new(master());
    let methods = "check_arguments expand_names big_lock locks_known_at_once declare_locks \
                   check_prereq execute undo";
    for method in methods.split_whitespace() {
        for at in [method.to_owned(), format!("{method}!"), format!("{method} drop")] {
            let id = master.submit_one(panicking(&at)).unwrap();
            let view = wait(&master, id);
            assert_eq!(view.status, Status::Error, "{at}");
            let Some(Outcome::Error(error)) = view.job.ops[0].outcome() else { panic!("{at}") };
            let undone = method == "undo";
            assert_eq!(error.kind == OpErrorKind::Panicked, !undone, "{at}: {error:?}");
            let failed = matches!(view.job.ops[0].undo, UndoState::Failed(_));
            assert_eq!(failed, undone, "{at}");
        }
    }
    let id = master.submit_one(panicking("drop")).unwrap();
    assert_eq!(wait(&master, id).status, Status::Success);
    let id = master.submit_one(panicking("none")).unwrap();
    assert_eq!(wait(&master, id).status, Status::Success);
}

#[test]
fn a_unit_that_panics_while_it_is_made_is_refused_when_submitted() {
    let master = Arc::new(master());
    let error = master.submit_one(panicking("make")).unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

/// Calls the master it runs in.
struct Calling {
    master: Arc<Mutex<Option<Arc<Master>>>>,
    said: Sender<String>,
    go: Arc<Mutex<Receiver<()>>>,
    what: String,
}

impl LogicalUnit for Calling {
    fn declare_locks(&mut self, _: &str, _: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        Ok(())
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        let slot = self.master.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(master) = slot else { return Ok(Value::Null) };
        let said = match &*self.what {
            "shutdown" => format!("{:?}", master.shutdown(Shutdown::Finish, None)),
            "cancel" => format!("{:?}", master.cancel(context.job()).map(|answer| answer.value)),
            "wait" => {
                let id = master.submit_one(calling("nothing")).unwrap();
                format!("{}", master.wait(id).unwrap().status)
            }
            "drop" => {
                let go = self.go.lock().unwrap_or_else(PoisonError::into_inner);
                go.recv_timeout(PATIENCE)
                    .map_or_else(|error| error.to_string(), |()| "dropped".into())
            }
            _ => return Ok(Value::Null),
        };
        // Where this is the last handle, the master ends here.
        drop(master);
        _ = self.said.send(said);
        Ok(Value::Null)
    }
}

fn calling(what: &str) -> NewJob {
    let params = Params::from_serialize(&json!({ "what": what })).unwrap();
    NewJob::of([OpCode::new(OpId::new("OP_CALL").unwrap(), params)])
}

type Slot = Arc<Mutex<Option<Arc<Master>>>>;

/// A master, where its units find it, what they say, and what `drop` waits for.
fn called() -> (Arc<Master>, Slot, Receiver<String>, Sender<()>) {
    let (said, heard) = channel();
    let (let_go, go) = channel();
    let go = Arc::new(Mutex::new(go));
    let slot: Slot = Slot::default();
    let for_units = Arc::clone(&slot);
    let add = move |params: &Params| -> Result<Box<dyn LogicalUnit>, OpError> {
        let what = params.to_object()["what"].as_str().unwrap_or_default().to_owned();
        let master = Arc::clone(&for_units);
        Ok(Box::new(Calling { master, said: said.clone(), go: Arc::clone(&go), what }))
    };
    let builder = Master::builder("").volatile().workers(2);
    let builder = builder.units(|units| units.add(OpId::new("OP_CALL").unwrap(), add));
    (Arc::new(builder.start().unwrap()), slot, heard, let_go)
}

fn put(slot: &Slot, master: Arc<Master>) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(master);
}

#[test]
fn an_opcode_may_submit_wait_for_and_cancel_jobs_also_its_own() {
    for (what, answer) in [("wait", "success"), ("cancel", "Ok(Informed)")] {
        let (master, slot, heard, _let_go) = called();
        put(&slot, Arc::clone(&master));
        let id = master.submit_one(calling(what)).unwrap();
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), answer);
        assert_eq!(wait(&master, id).status, Status::Success);
    }
}

#[test]
fn an_opcode_that_shuts_its_own_master_down_is_refused_instead_of_waiting_for_itself() {
    let (master, slot, heard, _let_go) = called();
    put(&slot, Arc::clone(&master));
    let id = master.submit_one(calling("shutdown")).unwrap();
    let said = heard.recv_timeout(PATIENCE).expect("the shutdown returns");
    assert!(said.contains("Refused"), "{said}");
    assert_eq!(wait(&master, id).status, Status::Success);
}

#[test]
fn the_last_handle_may_be_dropped_inside_an_opcode() {
    let (master, slot, heard, let_go) = called();
    put(&slot, Arc::clone(&master));
    master.submit_one(calling("drop")).unwrap();
    drop(master);
    let_go.send(()).unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).expect("the drop returns"), "dropped");
    // The last of the master is gone when nobody is left who could say anything.
    assert_eq!(heard.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_callback_that_panics_does_not_stop_the_log() {
    let (master, _slot, _heard, _let_go) = called();
    let first = master.submit_one(calling("nothing")).unwrap();
    let follower = master.follow();
    follower.on_change_since(follower.since(None).mark, || panic!("as asked"));
    master.on_change(first.plus(1), || panic!("as asked"));
    let answer = master.begin_submit(vec![calling("nothing")], None).unwrap();
    master.on_durable(answer.position + 1, |_| panic!("as asked"));
    assert_eq!(wait(&master, answer.value[0]).status, Status::Success);
    let third = master.submit_one(calling("nothing")).unwrap();
    assert_eq!(wait(&master, third).status, Status::Success);
}
