//! A master, served over LUXI, with a history in which jobs have the ids that were recorded.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lockmaster::interfaces::luxi::{Server, ServerHandle, ServerLimits, Service};
use lockmaster::interfaces::test_delay::TestDelay;
use lockmaster::interfaces::test_jqueue::TestJqueue;
use lockmaster::runtime::{MasterBuilder, Registry};
use lockmaster::vocabulary::{Error, NewJob, OpErrorKind, OpId, Params, Status};
use lockmaster::{Context, DeclaredLocks, JobId, LogicalUnit, Master, OpError};
use serde_json::{Value, json};

/// A unit under any name that ends as its parameter `ends` says: `success`, `error`, or not
/// before it is cancelled.
struct Told(String);

impl LogicalUnit for Told {
    fn declare_locks(&mut self, _: &str, _: &mut DeclaredLocks<'_>) -> Result<(), OpError> {
        Ok(())
    }

    fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
        match self.0.as_str() {
            "success" => Ok(Value::Null),
            "never" => {
                context.cancel_token().wait_timeout(Duration::MAX);
                Err(OpError::new(OpErrorKind::Canceled, "told to stop"))
            }
            _ => Err(OpError::exec("told to fail")),
        }
    }
}

fn told(params: &Params) -> Box<dyn LogicalUnit> {
    let ends = params.to_object().get("ends").and_then(Value::as_str).map(str::to_owned);
    Box::new(Told(ends.unwrap_or_else(|| "success".to_owned())))
}

/// The opcodes of Ganeti that the recorded history has.
const OPCODES: [&str; 6] = [
    "OP_TEST_DELAY",
    "OP_TEST_JQUEUE",
    "OP_CLUSTER_POST_INIT",
    "OP_CLUSTER_VERIFY",
    "OP_CLUSTER_VERIFY_CONFIG",
    "OP_CLUSTER_VERIFY_GROUP",
];

fn add_told(registry: &mut Registry) -> Result<(), Error> {
    OPCODES.iter().try_for_each(|id| registry.add(OpId::new(id)?, |params| Ok(told(params))))
}

/// A master that is served.
pub(super) struct Stage {
    pub(super) master: Arc<Master>,
    directory: tempfile::TempDir,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    /// One whose opcodes do what they are for.
    pub(super) fn real() -> Self {
        Self::of(|builder| builder.unit::<TestDelay>().unit::<TestJqueue>())
    }

    /// One whose opcodes end as they are told.
    pub(super) fn told() -> Self {
        Self::of(|builder| builder.units(add_told))
    }

    /// One that starts no job.
    pub(super) fn paused() -> Self {
        Self::of(|builder| builder.units(add_told).paused())
    }

    fn of(set: impl FnOnce(MasterBuilder) -> MasterBuilder) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let builder = Master::builder(directory.path()).volatile().workers(4);
        let master = Arc::new(set(builder).start().expect("the master starts"));
        let service: Arc<dyn Service> = Arc::<Master>::clone(&master);
        let socket = directory.path().join("socket");
        let server = Server::bind(&socket, service, ServerLimits::default()).expect("it can bind");
        let handle = server.handle();
        let thread = std::thread::spawn(move || server.run().expect("the event loop runs"));
        Self { master, directory, handle, thread: Some(thread) }
    }

    /// Uses ids up, so that the next job has that one. What used them up is not seen any more.
    pub(super) fn skip_to(&self, id: u64) {
        let next = self.master.last_id().map_or(1, |last| last.get() + 1);
        let fillers = (next..id).map(|_| NewJob::of([])).collect::<Vec<_>>();
        for job in self.master.submit(fillers).expect("empty jobs are taken") {
            self.master.archive(job).expect("an empty job has ended");
        }
    }

    /// Archives a job that has ended.
    pub(super) fn archive(&self, id: u64) {
        let id = JobId::new(id).expect("job ids start at 1");
        self.master.archive(id).expect("the job has ended");
    }

    /// Submits a job of such opcodes under that id.
    pub(super) fn submit(&self, id: u64, ops: &Value) {
        self.skip_to(id);
        let answer = self.call(&json!({ "method": "SubmitJob", "args": [ops] }));
        assert_eq!(answer["result"], id, "{answer}");
    }

    /// Waits until a job has that status.
    pub(super) fn wait_for(&self, id: u64, status: Status) {
        let id = JobId::new(id).expect("job ids start at 1");
        loop {
            let (sender, changed) = std::sync::mpsc::channel();
            self.master.on_change(id, move || _ = sender.send(()));
            if self.master.job(id).is_some_and(|answer| answer.value.status == status) {
                return;
            }
            changed.recv_timeout(crate::support::PATIENCE).expect("the job changes");
        }
    }

    /// One exchange on a connection of its own: what was answered, and whether the connection
    /// stayed open for another request.
    pub(super) fn exchange(&self, request: &str) -> (Vec<String>, bool) {
        let another = r#"{"method":"QueryConfigValues","args":[["another"]]}"#;
        let mut answers = self.talk(&[request, another, ""].join("\u{3}"));
        let open = answers.last().is_some_and(|last| last.ends_with("\"result\":[null]}"));
        if open {
            answers.pop();
        }
        (answers, open)
    }

    /// The answers to those messages.
    pub(super) fn talk(&self, messages: &str) -> Vec<String> {
        let mut stream = self.connect();
        stream.write_all(messages.as_bytes()).expect("the server reads");
        stream.shutdown(Shutdown::Write).expect("a socket can be shut down");
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("the server answers and closes");
        answers.split_terminator('\u{3}').map(str::to_owned).collect()
    }

    /// The answer to one request.
    pub(super) fn call(&self, request: &Value) -> Value {
        let answers = self.talk(&format!("{request}\u{3}"));
        serde_json::from_str(&answers[0]).expect("an answer is JSON")
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.directory.path().join("socket")).expect("the server listens")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
        let now = lockmaster::runtime::Shutdown::Now;
        let _ = self.master.shutdown(now, Some(crate::support::PATIENCE));
    }
}

/// The opcodes of a job that ended so, from the summaries that were recorded.
pub(super) fn ops_of(summaries: &Value, status: &str) -> Value {
    let ends = match status {
        "success" | "error" => status,
        "running" => "never",
        _ => "success",
    };
    let summaries = summaries.as_array().expect("a list of summaries");
    summaries.iter().map(|summary| op_of(summary.as_str().expect("a text"), ends)).collect()
}

fn op_of(summary: &str, ends: &str) -> Value {
    let (name, argument) = summary.split_once('(').unwrap_or((summary, ""));
    let mut op = json!({ "OP_ID": format!("OP_{name}"), "reason": [], "ends": ends });
    if name == "TEST_DELAY" {
        let seconds: f64 = argument.trim_end_matches(')').parse().expect("seconds");
        op["duration"] = json!(seconds);
    }
    op
}
