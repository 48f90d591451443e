//! Connections that hold locks, or wait for some.

use std::sync::Arc;
use std::time::Instant;

use super::super::connection::{Connection, State};
use super::super::lock_methods::{LockWish, outcome};
use super::super::mailbox::News;
use super::super::message::{Failure, success};
use super::Server;
use crate::runtime::LockError;
use crate::vocabulary::Error;

impl Server {
    /// Asks for locks; the answer comes with the news. `bytes` is about what the request holds.
    pub(super) fn lock(
        &self,
        token: usize,
        connection: &mut Connection,
        wish: &LockWish,
        bytes: usize,
    ) {
        let client = connection.client.or_else(|| self.service.begin_client(&wish.title));
        let Some(client) = client else {
            let none = Failure::exception("GenericError", "there are no locks for clients here");
            return Self::refuse(connection, &none);
        };
        connection.client = Some(client);
        connection.state = State::Locking { until: wish.until, bytes };
        let (mailbox, request) = (Arc::clone(&self.mailbox), connection.request);
        let told = move |result| mailbox.send(News::Locked { token, request, result });
        self.service.lock_for(client, &wish.request, wish.options, Box::new(told));
    }

    /// Gives back all that a connection holds.
    pub(super) fn unlock(&self, connection: &mut Connection) {
        connection.client.into_iter().for_each(|client| self.service.unlock_for(client));
        connection.queue(success(&serde_json::Value::Null), Instant::now());
    }

    /// The locks that a connection waited for are held, or refused.
    pub(super) fn locked(&mut self, token: usize, request: u64, result: &Result<(), LockError>) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if connection.request != request || !matches!(connection.state, State::Locking { .. }) {
            return;
        }
        connection.state = State::Idle;
        let answer = match result {
            Ok(()) => success(&outcome(None)),
            Err(error) if error.is_busy() => success(&outcome(Some(&error.to_string()))),
            Err(error) => Failure::from(Error::from(error.clone())).encode(),
        };
        connection.queue(answer, Instant::now());
        self.ready.push_back(token);
    }

    /// Time is up for a connection that waits for locks, if it does. Where they were granted at the
    /// last moment, the news of that is on its way.
    pub(super) fn give_up_locking(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let (State::Locking { until, .. }, Some(client)) =
            (&mut connection.state, connection.client)
        else {
            return;
        };
        *until = None;
        if let Some(in_the_way) = self.service.give_up(client) {
            connection.state = State::Idle;
            connection.queue(success(&outcome(Some(&in_the_way))), Instant::now());
            self.ready.push_back(token);
        }
    }
}
