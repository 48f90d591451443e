//! What one connection does when it has its turn: write, read, ask the service, wait.

use std::sync::Arc;
use std::time::Instant;

use super::super::connection::{Connection, Filled, State};
use super::super::errand::{Desk, Errand, Held};
use super::super::mailbox::News;
use super::super::message::{Failure, Request};
use super::super::methods::{Reply, carry_out};
use super::super::watch::{Look, Watch};
use super::Server;
use crate::vocabulary::Error;

/// How much one connection may do before the others have their turn.
const TURN: usize = 16;
/// What becomes of a connection after its turn.
enum Next {
    Keep,
    Again,
    Close,
}

impl Server {
    /// Gives a connection its turn.
    pub(super) fn advance(&mut self, token: usize) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        let next = self.drive(token, &mut connection).unwrap_or(Next::Close);
        self.count(token, &mut connection);
        match next {
            _ if self.buffered > self.limits.buffered_bytes => {
                self.over_the_bound(token, connection);
            }
            Next::Close => self.release(token, connection),
            Next::Again => {
                self.connections.insert(token, connection);
                self.ready.push_back(token);
            }
            Next::Keep => drop(self.connections.insert(token, connection)),
        }
    }

    fn over_the_bound(&mut self, token: usize, connection: Connection) {
        let (peer, bytes) = (connection.peer, connection.held_bytes());
        tracing::warn!(uid = peer.uid, pid = peer.pid, bytes, "clients hold too much memory");
        self.release(token, connection);
    }

    /// Writes, reads and serves until the connection has to wait, or its turn is over.
    fn drive(&mut self, token: usize, connection: &mut Connection) -> std::io::Result<Next> {
        for _ in 0..TURN {
            connection.flush(Instant::now())?;
            let idle = matches!(connection.state, State::Idle);
            if connection.has_output() || !idle {
                return Ok(if connection.gone { Next::Close } else { Next::Keep });
            }
            if connection.closing || self.stopping {
                return Ok(Next::Close);
            }
            match connection.next_message() {
                Ok(Some(message)) => self.serve(token, connection, &message),
                Ok(None) => match connection.fill(&mut self.scratch)? {
                    Filled::Some => {}
                    Filled::NotNow => return Ok(Next::Keep),
                    Filled::End => return Ok(Next::Close),
                },
                Err(too_long) => Self::refuse(connection, &Failure::parse(too_long)),
            }
        }
        Ok(Next::Again)
    }

    fn serve(&mut self, token: usize, connection: &mut Connection, message: &[u8]) {
        connection.request += 1;
        let who = (connection.peer, connection.rights);
        let reply = Request::parse(message)
            .and_then(|request| carry_out(&*self.service, who, &request, Instant::now()));
        match reply {
            Ok(Reply::Held { answer, position }) => {
                self.hold(token, connection, Held { answer, position });
            }
            Ok(Reply::Lock(wish)) => self.lock(token, connection, &wish, message.len()),
            Ok(Reply::Unlock) => self.unlock(connection),
            Ok(Reply::Watch(watch)) => self.watch(token, connection, watch, self.stopping),
            Ok(Reply::Follow(follow)) => self.follow(token, connection, follow),
            Ok(Reply::Errand(errand)) => self.send(token, connection, errand, message.len()),
            Ok(Reply::AtOnce(errand)) => self.do_at_once(token, connection, errand),
            Err(failure) => Self::refuse(connection, &failure),
        }
    }

    fn do_at_once(&self, token: usize, connection: &mut Connection, errand: Errand) {
        let client = Arc::new(());
        let desk = Desk::new(&*self.service, self.limits.answer_bytes, Arc::downgrade(&client));
        match errand.run(&desk) {
            Ok(held) => self.hold(token, connection, held),
            Err(failure) => Self::refuse(connection, &failure),
        }
    }

    /// Has another thread do it. `bytes` is about what it holds meanwhile.
    fn send(&self, token: usize, connection: &mut Connection, errand: Errand, bytes: usize) {
        let client = Arc::new(());
        let (mailbox, request) = (Arc::clone(&self.mailbox), connection.request);
        let then = move |outcome| mailbox.send(News::Done { token, request, outcome });
        let (service, most) = (Arc::clone(&self.service), self.limits.answer_bytes);
        self.errands.send(errand, service, most, Arc::downgrade(&client), then);
        connection.state = State::Away { bytes, _client: client };
    }

    pub(super) fn refuse(connection: &mut Connection, failure: &Failure) {
        connection.closing |= failure.closes();
        connection.queue(failure.encode(), Instant::now());
    }

    /// Keeps an answer back until what it tells is on disk.
    pub(super) fn hold(&self, token: usize, connection: &mut Connection, held: Held) {
        connection.state = State::Held(held.answer);
        let (mailbox, request) = (Arc::clone(&self.mailbox), connection.request);
        let then = move |result: Result<(), Error>| {
            let failed = result.err().map(|error| error.to_string());
            mailbox.send(News::Durable { token, request, failed });
        };
        self.service.on_durable(held.position, Box::new(then));
    }

    /// Answers a watch, or registers for the next change of its job. Looks after registering,
    /// so that no change falls between.
    pub(super) fn watch(
        &self,
        token: usize,
        connection: &mut Connection,
        watch: Watch,
        time_is_up: bool,
    ) {
        let Some(watch) = self.answer_watch(token, connection, watch, time_is_up) else { return };
        let Some(job) = watch.job() else { return };
        let (mailbox, request) = (Arc::clone(&self.mailbox), connection.request);
        let notify = move || mailbox.send(News::Changed { token, request });
        let registration = self.service.on_change(job, Box::new(notify));
        match self.answer_watch(token, connection, watch.that_saw_the_job(), false) {
            None => self.service.forget(job, registration),
            Some(watch) => connection.state = State::Watching { watch, registration },
        }
    }

    /// Answers a watch; gives it back where it is still to wait.
    fn answer_watch(
        &self,
        token: usize,
        connection: &mut Connection,
        watch: Watch,
        time_is_up: bool,
    ) -> Option<Watch> {
        match watch.look(&*self.service, time_is_up) {
            Ok(Look::News(held)) => self.hold(token, connection, held),
            Ok(Look::Same) => return Some(watch),
            Ok(Look::Archived) => self.send(token, connection, watch.into_errand(), 0),
            Err(failure) => Self::refuse(connection, &failure),
        }
        None
    }

    /// Brings the server's books in line with the connection.
    pub(super) fn count(&mut self, token: usize, connection: &mut Connection) {
        let bytes = connection.held_bytes();
        self.buffered = self.buffered - connection.counted + bytes;
        connection.counted = bytes;
        let deadline = connection.next_deadline(self.limits.stall);
        if deadline != connection.deadline {
            connection.deadline.map(|old| self.deadlines.remove(&(old, token)));
            deadline.map(|new| self.deadlines.insert((new, token)));
            connection.deadline = deadline;
        }
    }

    /// Frees everything a connection had.
    pub(super) fn release(&mut self, token: usize, connection: Connection) {
        self.buffered -= connection.counted;
        connection.deadline.map(|deadline| self.deadlines.remove(&(deadline, token)));
        self.unfollow(token, &connection);
        if let State::Watching { watch, registration } = connection.state {
            watch.job().into_iter().for_each(|job| self.service.forget(job, registration));
        }
        connection.client.into_iter().for_each(|client| self.service.end_client(client));
        drop(connection.stream);
        if self.accept_paused {
            self.accept();
        }
    }
}
