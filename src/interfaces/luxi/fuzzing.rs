//! What the fuzzers of the protocol call (`fuzz/`).

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde_json::{Value, json};

use super::errand::Desk;
use super::frame::Decoder;
use super::message::{Failure, Request};
use super::methods::{Reply, carry_out};
use super::peer::{Peer, Rights};
use crate::interfaces::test_delay::TestDelay;
use crate::runtime::{Limits, Master};
use crate::vocabulary::NewJob;

/// A queue in memory in which nothing ever starts; it is full soon.
fn master() -> &'static Master {
    static MASTER: OnceLock<Master> = OnceLock::new();
    MASTER.get_or_init(|| {
        let limits = Limits { queued_jobs: 20, job_ops: 9, ..Limits::default() };
        let builder = Master::builder("unused").unit::<TestDelay>().volatile().paused();
        let started = builder.limits(limits).start();
        let master = started.unwrap_or_else(|error| unreachable!("nothing is wrong: {error}"));
        let _ = master.submit(vec![NewJob::default(); 3]);
        master
    })
}

/// What a client sends: requests, each with its end.
///
/// # Panics
///
/// Never, whatever it is.
pub fn luxi(data: &[u8]) {
    let mut decoder = Decoder::new(1 << 16);
    for chunk in data.chunks(61) {
        decoder.push(chunk);
        while let Ok(Some(message)) = decoder.next_message() {
            // A refusal is as good as an answer.
            let _ = Request::parse(&message).and_then(|request| answer(&request));
        }
    }
}

fn answer(request: &Request) -> Result<(), Failure> {
    let peer = (Peer::default(), Rights::Everything);
    let client = Arc::new(());
    let desk = Desk::new(master(), 1 << 20, Arc::downgrade(&client));
    match carry_out(master(), peer, request, Instant::now())? {
        Reply::Errand(errand) | Reply::AtOnce(errand) => errand.run(&desk).map(|_| ()),
        Reply::Held { .. }
        | Reply::Watch(_)
        | Reply::Follow(_)
        | Reply::Lock(_)
        | Reply::Unlock => Ok(()),
    }
}

/// A filter of a `Query`, as JSON.
///
/// # Panics
///
/// Never, whatever it is.
pub fn filter(data: &[u8]) {
    let Ok(filter) = serde_json::from_slice::<Value>(data) else { return };
    let message = Request::encode("Query", &json!(["job", ["id", "status", "summary"], filter]));
    luxi(&message);
}
