//! How other threads reach the thread that drives the connections.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;
use mio::Waker;

use super::errand::Held;
use super::message::Failure;
use crate::runtime::LockError;

/// News for the event loop.
#[derive(Debug)]
pub(super) enum News {
    /// What a request waited for is on disk, or never will be.
    Durable { token: usize, request: u64, failed: Option<String> },
    /// What another thread did for a request.
    Done { token: usize, request: u64, outcome: Result<Held, Failure> },
    /// The job that a request watches has changed.
    Changed { token: usize, request: u64 },
    /// Any job has changed, and somebody waits for that.
    SomethingChanged,
    /// The locks that a request waited for are held, or refused.
    Locked { token: usize, request: u64, result: Result<(), LockError> },
    /// The server is to stop.
    Stop,
}

/// The sending side. Holds at most a few pieces of news per connection: each has one request
/// in flight.
#[derive(Debug)]
pub(super) struct Mailbox {
    sender: Sender<News>,
    waker: Waker,
    /// Whether the loop will look without being woken: it is at work, or was woken already.
    awake: AtomicBool,
}

impl Mailbox {
    pub(super) const fn new(sender: Sender<News>, waker: Waker) -> Self {
        Self { sender, waker, awake: AtomicBool::new(true) }
    }

    /// Hands news over and wakes the loop. Never blocks.
    pub(super) fn send(&self, news: News) {
        // Once the loop has ended nobody is interested.
        if self.sender.send(news).is_err() || self.awake.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "the event loop cannot be woken");
        }
    }

    /// Called by the loop before it looks whether there is news and then sleeps: what is sent
    /// from now on is either seen by that look or wakes it.
    pub(super) fn about_to_sleep(&self) {
        self.awake.store(false, Ordering::SeqCst);
    }

    /// Called by the loop when it is at work again: until it sleeps, news cost no system call.
    pub(super) fn at_work(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }
}
