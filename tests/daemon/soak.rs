//! Many clients at once that do this and that against a real daemon, for a while.
//!
//! `LOCKMASTER_SOAK_SECONDS=600 cargo test --release --test daemon soak -- --nocapture` soaks
//! for longer than the second that it takes in every run.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lockmaster::interfaces::luxi::Client;
use lockmaster::vocabulary::{Error, ErrorKind, JobId, NewJob, OpCode, OpId, Params, Priority};
use serde_json::{Value, json};

use crate::process::Place;

const CLIENTS: u64 = 24;

/// Numbers that look random; the same seed gives the same ones.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// One client: what it did, and the jobs that were acknowledged to it.
struct Soaker {
    client: Client,
    random: Random,
    jobs: Vec<JobId>,
    deeds: u64,
}

impl Soaker {
    fn new(socket: &Path, seed: u64) -> Self {
        let client = Client::connect(socket).unwrap();
        Self { client, random: Random(seed | 1), jobs: Vec::new(), deeds: 0 }
    }

    fn soak(mut self, socket: &Path, until: Instant) -> Self {
        while Instant::now() < until || self.jobs.is_empty() {
            match self.deed() {
                Ok(()) => self.deeds += 1,
                // An archived job is not found by those who change or follow it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => panic!("{error}"),
            }
            if self.random.below(50) == 0 {
                self.client = Client::connect(socket).unwrap();
            }
        }
        self
    }

    fn deed(&mut self) -> Result<(), Error> {
        match self.random.below(12) {
            0..3 => self.submit(),
            3..6 => self.follow(),
            6 => self.client.query(&[], &["id", "status", "archived"]).map(drop),
            7 => {
                let filter = json!(["=~", "status", "^(error|success)$"]);
                self.client.query_where(&filter, &["id", "opresult"]).map(drop)
            }
            8 => {
                let jobs = self.some_jobs();
                let rows = self.client.query(&jobs, &["id", "status"])?;
                assert!(rows.iter().all(|row| !row[1].is_null()), "a job is lost: {rows:?}");
                Ok(())
            }
            9 => self.any_job().map_or(Ok(()), |id| self.client.cancel(id).map(drop)),
            10 => self.any_job().map_or(Ok(()), |id| {
                self.client.change_priority(id, Priority::MOST_URGENT).map(drop)
            }),
            _ => self.client.auto_archive(Duration::ZERO, Duration::from_secs(1)).map(drop),
        }
    }

    fn submit(&mut self) -> Result<(), Error> {
        let nodes = ["a", "b", "c"].map(|node| (self.random.below(2) == 0).then_some(node));
        let nodes: Vec<&str> = nodes.into_iter().flatten().collect();
        let params = json!({ "duration": 1e-4, "on_master": false, "on_nodes": nodes });
        let Value::Object(params) = params else { return Ok(()) };
        let op = OpCode::new(OpId::new("OP_TEST_DELAY")?, Params::from_object(&params));
        let count = 1 + self.random.below(4);
        let jobs = vec![NewJob::of([op]); usize::try_from(count).unwrap()];
        let ids = self.client.submit(&jobs)?;
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        self.jobs.extend(ids);
        Ok(())
    }

    fn follow(&mut self) -> Result<(), Error> {
        let Some(id) = self.any_job() else { return Ok(()) };
        let (mut known, mut serial) = (None, 0);
        loop {
            let change = self.client.wait_for_change(id, known, serial)?;
            if change.status.is_final() {
                return Ok(());
            }
            known = Some(change.status);
            serial = change.log.last().map_or(serial, |line| line.0);
        }
    }

    fn any_job(&mut self) -> Option<JobId> {
        let count = u64::try_from(self.jobs.len()).unwrap();
        let place = if count == 0 { return None } else { self.random.below(count) };
        self.jobs.get(usize::try_from(place).unwrap()).copied()
    }

    fn some_jobs(&mut self) -> Vec<JobId> {
        (0..5).filter_map(|_| self.any_job()).collect()
    }
}

#[test]
fn soak_many_clients_lose_nothing_and_are_all_answered() {
    let seconds = std::env::var("LOCKMASTER_SOAK_SECONDS").ok();
    let seconds: f64 = seconds.map_or(1.0, |text| text.parse().unwrap());
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let place = Place::new();
    let _daemon = place.start();
    let (socket, until) = (place.path("socket"), Instant::now() + Duration::from_secs_f64(seconds));
    let clients: Vec<JoinHandle<Soaker>> = (0..CLIENTS)
        .map(|client| {
            let socket = socket.clone();
            let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(client * 7919);
            std::thread::spawn(move || Soaker::new(&socket, seed).soak(&socket, until))
        })
        .collect();
    let soakers: Vec<Soaker> = clients.into_iter().map(|it| it.join().unwrap()).collect();
    let mut client = Client::connect(&socket).unwrap();
    let mut all: Vec<JobId> = soakers.iter().flat_map(|soaker| soaker.jobs.clone()).collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "no id is given out twice");
    for id in &all {
        while !client.wait_for_change(*id, None, 0).unwrap().status.is_final() {}
    }
    let rows = client.query(&[], &["id", "status", "archived"]).unwrap();
    assert_eq!(rows.len(), count, "every job is there once, live or archived");
    let deeds: u64 = soakers.iter().map(|soaker| soaker.deeds).sum();
    println!("{CLIENTS} clients, {deeds} requests that were answered, {count} jobs");
}
