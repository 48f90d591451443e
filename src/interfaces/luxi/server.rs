//! The server: one thread, one event loop, all connections.
//!
//! What a connection does when it has its turn is in `turn`.

mod following;
mod locking;
mod turn;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::ErrorKind as IoErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::net::sockopt::socket_peercred;

use super::connection::{Connection, State};
use super::errand::{Errands, Held};
use super::mailbox::{Mailbox, News};
use super::message::Failure;
use super::peer::{Access, Peer};
use super::service::Service;
use super::socket::SocketFile;
use crate::vocabulary::Error;
use following::Following;

/// The token of the listener; connections count up from 2 and never share one.
const LISTENER: usize = 0;
/// The token of the waker, and of the deadline of stopping.
const WAKER: usize = 1;
/// How much is read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// How long no connection is accepted after the system refused one for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What the server allows at most.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Connections at once; more wait in the kernel until one leaves.
    pub connections: usize,
    /// Bytes of one request.
    pub request_bytes: usize,
    /// Bytes of the answer to one request.
    pub answer_bytes: usize,
    /// Bytes of requests and answers in memory, of all connections together. Whoever exceeds
    /// it is disconnected.
    pub buffered_bytes: usize,
    /// How long a client may take none of its answer before it is disconnected.
    pub stall: Duration,
    /// How long stopping waits for answers to be taken.
    pub stop_patience: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            request_bytes: 32 << 20,
            answer_bytes: 256 << 20,
            buffered_bytes: 512 << 20,
            stall: Duration::from_secs(60),
            stop_patience: Duration::from_secs(5),
        }
    }
}

/// Tells a [`Server`] to stop.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    mailbox: Arc<Mailbox>,
}

impl ServerHandle {
    /// Makes [`Server::run`] answer what is in flight and return.
    pub fn stop(&self) {
        self.mailbox.send(News::Stop);
    }
}

/// Serves LUXI on one socket.
///
/// Invariant: `buffered` is the sum of what is counted for the connections, and `deadlines` has
/// one entry for each connection with a deadline.
pub struct Server {
    service: Arc<dyn Service>,
    limits: ServerLimits,
    access: Access,
    errands: Errands,
    poll: Poll,
    listener: Option<(UnixListener, SocketFile)>,
    mailbox: Arc<Mailbox>,
    news: Receiver<News>,
    connections: HashMap<usize, Connection>,
    deadlines: BTreeSet<(Instant, usize)>,
    ready: VecDeque<usize>,
    following: Following,
    next_token: usize,
    buffered: usize,
    accept_paused: bool,
    stopping: bool,
    scratch: Vec<u8>,
}

impl Server {
    /// Listens at `path` for everybody whom [`Access::default`] lets in.
    ///
    /// # Errors
    ///
    /// As [`bind_for`](Self::bind_for).
    pub fn bind(
        path: &Path,
        service: Arc<dyn Service>,
        limits: ServerLimits,
    ) -> Result<Self, Error> {
        Self::bind_for(path, service, limits, Access::default())
    }

    /// Listens at `path`, in a directory made where it is missing, for those whom `access` lets
    /// in. Clients may connect from now on; they are answered while [`run`](Self::run) runs.
    ///
    /// # Errors
    ///
    /// `Invalid` where the path is too long or the access is not possible, `InUse` where another process listens there or
    /// where there is something else than a socket, `Io`.
    pub fn bind_for(
        path: &Path,
        service: Arc<dyn Service>,
        limits: ServerLimits,
        access: Access,
    ) -> Result<Self, Error> {
        access.check()?;
        let (file, listener) = SocketFile::bind(path, access.socket_mode, access.socket_group)?;
        let failed = |error| Error::io("cannot set up the event loop", error);
        let poll = Poll::new().map_err(failed)?;
        let waker = Waker::new(poll.registry(), Token(WAKER)).map_err(failed)?;
        let mut listener = UnixListener::from_std(listener);
        poll.registry()
            .register(&mut listener, Token(LISTENER), Interest::READABLE)
            .map_err(failed)?;
        let (sender, news) = unbounded();
        Ok(Self {
            service,
            limits,
            access,
            errands: Errands::start()?,
            poll,
            listener: Some((listener, file)),
            mailbox: Arc::new(Mailbox::new(sender, waker)),
            news,
            connections: HashMap::new(),
            deadlines: BTreeSet::new(),
            ready: VecDeque::new(),
            following: Following::default(),
            next_token: WAKER + 1,
            buffered: 0,
            accept_paused: false,
            stopping: false,
            scratch: vec![0; CHUNK_BYTES],
        })
    }

    /// What stops it from another thread.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { mailbox: Arc::clone(&self.mailbox) }
    }

    /// Serves until stopped; the socket is removed then.
    ///
    /// # Errors
    ///
    /// `Io` where the operating system does not report events any more.
    pub fn run(mut self) -> Result<(), Error> {
        let mut events = Events::with_capacity(1024);
        while !(self.stopping && self.connections.is_empty()) {
            self.wait(&mut events)?;
            self.note_events(&events);
            if self.expire(Instant::now()) {
                break;
            }
            self.read_news();
            self.give_turns();
            // Most answers depend on nothing that is not on disk: those go out at once.
            self.read_news();
            self.give_turns();
        }
        Ok(())
    }

    /// One turn for each connection that has something to do.
    fn give_turns(&mut self) {
        for _ in 0..self.ready.len() {
            self.ready.pop_front().into_iter().for_each(|token| self.advance(token));
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self, events: &mut Events) -> Result<(), Error> {
        let until_deadline = self.deadlines.first().map(|(deadline, _)| {
            // The kernel counts milliseconds: a little late rather than early and again.
            deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1)
        });
        self.mailbox.about_to_sleep();
        let idle = self.ready.is_empty() && self.news.is_empty();
        let timeout = if idle { until_deadline } else { Some(Duration::ZERO) };
        let woken = self.poll.poll(events, timeout);
        self.mailbox.at_work();
        match woken {
            Err(error) if error.kind() != IoErrorKind::Interrupted => {
                Err(Error::io("cannot wait for clients", error))
            }
            _ => Ok(()),
        }
    }

    fn note_events(&mut self, events: &Events) {
        for event in events {
            match event.token().0 {
                LISTENER => self.accept(),
                WAKER => {}
                token => {
                    let Some(connection) = self.connections.get_mut(&token) else { continue };
                    connection.gone |= event.is_write_closed() || event.is_error();
                    connection.set_readable();
                    self.ready.push_back(token);
                }
            }
        }
    }

    fn read_news(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Durable { token, request, failed } => self.durable(token, request, failed),
                News::Done { token, request, outcome } => self.done(token, request, outcome),
                News::Changed { token, request } => self.changed(token, request),
                News::SomethingChanged => self.something_changed(),
                News::Locked { token, request, result } => self.locked(token, request, &result),
                News::Stop => self.begin_stop(),
            }
        }
    }

    fn durable(&mut self, token: usize, request: u64, failed: Option<String>) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if connection.request != request || !matches!(connection.state, State::Held(_)) {
            return;
        }
        let State::Held(answer) = std::mem::replace(&mut connection.state, State::Idle) else {
            return;
        };
        let answer = match failed {
            Some(why) => Failure::exception("GenericError", why).encode(),
            None => answer,
        };
        connection.queue(answer, Instant::now());
        self.ready.push_back(token);
    }

    /// Answers with what another thread has found.
    fn done(&mut self, token: usize, request: u64, outcome: Result<Held, Failure>) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        if connection.request == request && matches!(connection.state, State::Away { .. }) {
            connection.state = State::Idle;
            match outcome {
                Ok(held) => self.hold(token, &mut connection, held),
                Err(failure) => Self::refuse(&mut connection, &failure),
            }
            self.count(token, &mut connection);
            self.ready.push_back(token);
        }
        self.connections.insert(token, connection);
    }

    fn changed(&mut self, token: usize, request: u64) {
        let Some(connection) = self.connections.get(&token) else { return };
        if connection.request == request {
            self.look_again(token, false);
        }
    }

    /// Evaluates what a connection watches once more.
    fn look_again(&mut self, token: usize, time_is_up: bool) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        let state = std::mem::replace(&mut connection.state, State::Idle);
        if let State::Watching { watch, registration } = state {
            watch.job().into_iter().for_each(|job| self.service.forget(job, registration));
            self.watch(token, &mut connection, watch, time_is_up);
            self.ready.push_back(token);
        } else {
            connection.state = state;
        }
        self.connections.insert(token, connection);
    }

    /// Does what is due. Whether stopping has waited long enough.
    fn expire(&mut self, now: Instant) -> bool {
        while let Some(&(deadline, token)) = self.deadlines.first() {
            if deadline > now {
                return false;
            }
            self.deadlines.pop_first();
            match token {
                WAKER => return true,
                LISTENER => self.accept(),
                _ => self.overdue(token),
            }
        }
        false
    }

    fn overdue(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.deadline = None;
        if connection.has_output() {
            let peer = connection.peer;
            tracing::warn!(uid = peer.uid, pid = peer.pid, "a client does not take its answer");
            self.connections.remove(&token).into_iter().for_each(|it| self.release(token, it));
        } else {
            self.answer_who_waits(token);
        }
    }

    /// Gives an answer to a connection that waits for something to happen, if it does.
    fn answer_who_waits(&mut self, token: usize) {
        self.give_up_locking(token);
        self.end_following(token);
        self.look_again(token, true);
    }

    fn begin_stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        self.listener = None;
        self.deadlines.insert((Instant::now() + self.limits.stop_patience, WAKER));
        let tokens: Vec<usize> = self.connections.keys().copied().collect();
        for token in tokens {
            self.answer_who_waits(token);
            self.ready.push_back(token);
        }
    }

    fn accept(&mut self) {
        self.accept_paused = false;
        while let Some((listener, _)) = &self.listener {
            if self.connections.len() >= self.limits.connections {
                self.accept_paused = true;
                return;
            }
            match listener.accept() {
                Ok((stream, _)) => self.add(stream),
                Err(error) if error.kind() == IoErrorKind::WouldBlock => return,
                Err(error) if is_passing(error.kind()) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client now");
                    self.deadlines.insert((Instant::now() + ACCEPT_PAUSE, LISTENER));
                    return;
                }
            }
        }
    }

    fn add(&mut self, mut stream: UnixStream) {
        let token = self.next_token;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(token), interest) {
            tracing::warn!(%error, "a client cannot be served");
            return;
        }
        let peer = socket_peercred(&stream).map_or_else(
            |_| Peer::default(),
            |who| Peer {
                uid: Some(who.uid.as_raw()),
                gid: Some(who.gid.as_raw()),
                pid: Some(who.pid.as_raw_pid()),
            },
        );
        let own = rustix::process::geteuid().as_raw();
        let rights = self.access.rights(peer.uid, peer.gid, own);
        self.next_token += 1;
        let bound = self.limits.request_bytes;
        let connection = Connection::new(stream, (peer, rights), bound, Instant::now());
        self.connections.insert(token, connection);
    }
}

/// Whether the next client may be accepted at once.
const fn is_passing(kind: IoErrorKind) -> bool {
    matches!(kind, IoErrorKind::Interrupted | IoErrorKind::ConnectionAborted)
}
