//! A client that submits, repeats what got no answer, cancels, and waits for ends.

use lockmaster::interfaces::luxi::{Client, Request};
use lockmaster::vocabulary::{
    Dependency, Error, ErrorKind, JobId, JobRef, NewJob, OpCode, OpId, Params, Status,
    SubmissionKey,
};
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::daemon::Place;
use crate::random::Random;

/// How many locks there are for the opcodes of all clients.
const LOCKS: usize = 3;

/// What a client knows at its end.
#[derive(Default)]
pub(crate) struct Story {
    /// The keys of its submissions, and the ids it was told, in order.
    pub(crate) submitted: Vec<(String, Vec<u64>)>,
    /// How often it had to repeat itself, or did so for the sake of it.
    pub(crate) repeated: u64,
    /// Jobs that it was told are cancelled.
    pub(crate) canceled: Vec<u64>,
    /// Jobs that it was told have ended, and how.
    pub(crate) ended: Vec<(u64, Status)>,
}

struct Player<'a> {
    place: &'a Place,
    client: Client,
    generation: u64,
    random: Random,
    story: Story,
}

/// Plays a client until the place tells it to stop.
pub(crate) fn run(place: &Place, number: usize, random: Random) -> Story {
    let (client, generation) = place.connect(0);
    let mut player = Player { place, client, generation, random, story: Story::default() };
    for turn in 0.. {
        if place.is_stopping() {
            break;
        }
        player.turn(&format!("c{number}-{turn}"));
    }
    player.story
}

impl Player<'_> {
    fn turn(&mut self, key: &str) {
        let jobs = self.jobs(key);
        if self.random.one_in(4) && jobs.len() == 1 {
            self.submit_without_listening(key, &jobs[0]);
        }
        let ids = self.submit(key, &jobs);
        self.place.acknowledged();
        let first = ids[0];
        self.story.submitted.push((key.to_owned(), ids.iter().map(|id| id.get()).collect()));
        match self.random.below(4) {
            0 => self.cancel(first),
            1 => self.wait(first),
            _ => {}
        }
    }

    fn jobs(&mut self, key: &str) -> Vec<NewJob> {
        let lock = format!("lock{}", self.random.below(LOCKS));
        let op = |id: &str, place: usize, op: usize| {
            let what = format!("{key}-{place}.{op}");
            let params = json!({ "what": what, "lock": lock });
            OpCode::new(OpId::new(id).unwrap(), Params::from_object(params.as_object().unwrap()))
        };
        let bare = |id: &str, params: &str| {
            OpCode::new(OpId::new(id).unwrap(), Params::from_json(params).unwrap())
        };
        let jobs = match self.random.below(6) {
            0 => vec![vec![op("OP_ONCE", 0, 0)]],
            1 => vec![vec![op("OP_AGAIN", 0, 0)]],
            2 => {
                let second = op("OP_ONCE", 1, 0).after(Dependency::success(JobRef::Batch(0)));
                vec![vec![op("OP_AGAIN", 0, 0)], vec![second]]
            }
            3 => vec![vec![op("OP_UNDONE", 0, 0), bare("OP_FAIL", "{}")]],
            _ => {
                let delay = || vec![bare("OP_TEST_DELAY", r#"{"duration":0}"#)];
                (0..=self.random.below(20)).map(|_| delay()).collect()
            }
        };
        let named = jobs.into_iter().enumerate();
        named.map(|(place, ops)| NewJob::of(ops).labelled(format!("{key}-{place}"))).collect()
    }

    /// Sends a submission and leaves before the answer comes.
    fn submit_without_listening(&mut self, key: &str, job: &NewJob) {
        let ops: Vec<Value> = job.ops.iter().map(wire).collect();
        let args = json!([[{ "label": job.label, "ops": ops }], key]);
        // The daemon may be dead: then it has not been submitted yet.
        if let Ok(mut stream) = UnixStream::connect(self.place.path("socket")) {
            let _ = stream.write_all(&Request::encode("LockmasterSubmit", &args));
        }
        self.story.repeated += 1;
    }

    fn submit(&mut self, key: &str, jobs: &[NewJob]) -> Vec<JobId> {
        let key = SubmissionKey::new(key).unwrap();
        self.until_answered(|client| client.submit_once(&key, jobs))
    }

    fn cancel(&mut self, id: JobId) {
        let (done, _) = self.until_answered(|client| client.cancel(id));
        if done {
            self.story.canceled.push(id.get());
        }
    }

    fn wait(&mut self, id: JobId) {
        let status = self.until_answered(|client| end_of(client, id));
        self.story.ended.push((id.get(), status));
    }

    /// Asks again, whichever daemon it is, until there is an answer.
    fn until_answered<T>(&mut self, ask: impl Fn(&mut Client) -> Result<T, Error>) -> T {
        loop {
            match ask(&mut self.client) {
                Ok(answer) => return answer,
                Err(error) => assert!(is_of_a_dying_daemon(&error), "{error}"),
            }
            self.story.repeated += 1;
            (self.client, self.generation) = self.place.connect(self.generation);
        }
    }
}

fn is_of_a_dying_daemon(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Protocol | ErrorKind::Io)
}

fn wire(op: &OpCode) -> Value {
    let mut wire: Value = serde_json::from_str(op.params.as_json()).unwrap();
    wire["OP_ID"] = json!(op.id.as_str());
    wire
}

/// Waits until a job has ended.
fn end_of(client: &mut Client, id: JobId) -> Result<Status, Error> {
    let mut known = None;
    loop {
        let status = client.wait_for_change(id, known, u64::MAX >> 1)?.status;
        if status.is_final() {
            return Ok(status);
        }
        known = Some(status);
    }
}

/// A job as the daemon tells it at the end.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) id: u64,
    pub(crate) label: String,
    pub(crate) status: Status,
    pub(crate) ops: Vec<String>,
    pub(crate) op_status: Vec<String>,
}

/// Waits until all jobs have ended. All there are, by id.
pub(crate) fn wait_for_all(place: &Place) -> Vec<Ended> {
    let (mut client, _) = place.connect(0);
    for row in client.query(&[], &["id"]).unwrap() {
        let id = row[0].as_u64().and_then(JobId::new).unwrap();
        end_of(&mut client, id).unwrap();
    }
    let texts = |value: &Value| {
        let texts = value.as_array().unwrap().iter();
        texts.map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let rows = client.query(&[], &["id", "label", "status", "ops", "opstatus"]).unwrap();
    let ended = rows.iter().map(|row| Ended {
        id: row[0].as_u64().unwrap(),
        label: row[1].as_str().unwrap().to_owned(),
        status: row[2].as_str().unwrap().parse().unwrap(),
        ops: row[3]
            .as_array()
            .unwrap()
            .iter()
            .map(|op| op["OP_ID"].as_str().unwrap().to_owned())
            .collect(),
        op_status: texts(&row[4]),
    });
    ended.collect()
}
