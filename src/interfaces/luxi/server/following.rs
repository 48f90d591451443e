//! Connections that follow all jobs.
//!
//! The server is one follower of the queue for all of them, so a change costs the queue the same
//! however many clients wait for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::super::changes::{Follow, told};
use super::super::connection::{Connection, State};
use super::super::mailbox::News;
use super::super::message::Failure;
use super::Server;
use crate::runtime::Follower;

/// What the server knows of the connections that follow.
///
/// Invariant: there is a follower as long as a connection has asked for changes, and it is
/// registered while somebody waits.
#[derive(Default)]
pub(super) struct Following {
    follower: Option<Follower>,
    connections: usize,
    waiting: BTreeSet<usize>,
    registered: bool,
}

impl Server {
    /// Tells a client what has changed, as soon as something has.
    pub(super) fn follow(&mut self, token: usize, connection: &mut Connection, follow: Follow) {
        if self.following.follower.is_none() {
            self.following.follower = self.service.follow();
        }
        let Some(follower) = &self.following.follower else {
            let none = Failure::exception("GenericError", "there is nothing to follow here");
            return Self::refuse(connection, &none);
        };
        if !std::mem::replace(&mut connection.follows, true) {
            self.following.connections += 1;
        }
        let changes = follower.since(follow.mark);
        let tells = follow.mark.is_none() || (!changes.is_empty() && follow.gather.is_zero());
        if tells || self.stopping {
            return connection.queue(told(&*self.service, &changes), Instant::now());
        }
        let heard = !changes.is_empty();
        connection.state = State::Following { follow, heard: false };
        if heard {
            hear(connection);
        } else {
            self.following.waiting.insert(token);
            self.register(changes.mark);
        }
    }

    /// Something has changed: tells those who wait for that, or lets them wait for more.
    pub(super) fn something_changed(&mut self) {
        self.following.registered = false;
        for token in std::mem::take(&mut self.following.waiting) {
            let Some(mut connection) = self.connections.remove(&token) else { continue };
            self.look_for_changes(token, &mut connection);
            self.count(token, &mut connection);
            self.connections.insert(token, connection);
        }
    }

    /// What has changed may have been told to this one before it began to wait.
    fn look_for_changes(&mut self, token: usize, connection: &mut Connection) {
        let (State::Following { follow, .. }, Some(follower)) =
            (&connection.state, &self.following.follower)
        else {
            return;
        };
        let changes = follower.since(follow.mark);
        if changes.is_empty() {
            self.following.waiting.insert(token);
            self.register(changes.mark);
        } else if hear(connection) {
            self.tell_changes(connection);
            self.ready.push_back(token);
        }
    }

    /// Time is up for a connection that follows, if it does.
    pub(super) fn end_following(&mut self, token: usize) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        if matches!(connection.state, State::Following { .. }) {
            self.following.waiting.remove(&token);
            self.tell_changes(&mut connection);
            self.count(token, &mut connection);
            self.ready.push_back(token);
        }
        self.connections.insert(token, connection);
    }

    /// A connection has ended that may have followed.
    pub(super) fn unfollow(&mut self, token: usize, connection: &Connection) {
        if connection.follows {
            self.following.waiting.remove(&token);
            self.following.connections -= 1;
        }
        if self.following.connections == 0 {
            (self.following.follower, self.following.registered) = (None, false);
        }
    }

    fn tell_changes(&self, connection: &mut Connection) {
        let Some(follower) = &self.following.follower else { return };
        let State::Following { follow, .. } = &connection.state else { return };
        let answer = told(&*self.service, &follower.since(follow.mark));
        connection.state = State::Idle;
        connection.queue(answer, Instant::now());
    }

    /// Has the queue tell what changes after that mark, unless it will tell anyway.
    fn register(&mut self, mark: u64) {
        let Some(follower) = &self.following.follower else { return };
        if !std::mem::replace(&mut self.following.registered, true) {
            let mailbox = Arc::clone(&self.mailbox);
            follower.on_change_since(mark, move || mailbox.send(News::SomethingChanged));
        }
    }
}

/// A connection that waits has come to know that something has changed. Whether it is to be told
/// at once.
fn hear(connection: &mut Connection) -> bool {
    let State::Following { follow, heard } = &mut connection.state else { return false };
    if !std::mem::replace(heard, true) {
        let enough = Instant::now() + follow.gather;
        follow.until = Some(follow.until.map_or(enough, |until| until.min(enough)));
    }
    follow.gather.is_zero()
}
