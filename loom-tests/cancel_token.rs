//! Cancelling against everything a unit does with its token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lockmaster::runtime::{CancelCause, CancelToken};

use crate::{model, thread};

#[test]
fn a_cancel_between_the_look_and_the_wait_is_not_lost() {
    model("cancel: set against wait", || {
        let token = CancelToken::new();
        let waiter = {
            let token = token.clone();
            thread::spawn(move || token.wait())
        };
        token.set(CancelCause::Requested);
        assert_eq!(waiter.join().unwrap(), CancelCause::Requested);
    });
}

#[test]
fn a_shutdown_wins_over_a_request_in_any_order() {
    model("cancel: shutdown against request", || {
        let token = CancelToken::new();
        let other = {
            let token = token.clone();
            thread::spawn(move || token.set(CancelCause::Shutdown))
        };
        token.set(CancelCause::Requested);
        other.join().unwrap();
        assert_eq!(token.cause(), Some(CancelCause::Shutdown));
    });
}

#[test]
fn a_listener_that_comes_while_the_token_is_set_is_called_exactly_once() {
    model("cancel: set against on_cancel", || {
        let (token, calls) = (CancelToken::new(), Arc::new(AtomicUsize::new(0)));
        let setter = {
            let token = token.clone();
            thread::spawn(move || token.set(CancelCause::Requested))
        };
        let counter = Arc::clone(&calls);
        let listening = token.on_cancel(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        setter.join().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        drop(listening);
    });
}

#[test]
fn a_listener_that_leaves_while_the_token_is_set_is_called_at_most_once() {
    model("cancel: set against a leaving listener", || {
        let (token, calls) = (CancelToken::new(), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&calls);
        let listening = token.on_cancel(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let setters = [CancelCause::Requested, CancelCause::Shutdown].map(|cause| {
            let token = token.clone();
            thread::spawn(move || token.set(cause))
        });
        drop(listening);
        setters.into_iter().for_each(|setter| setter.join().unwrap());
        assert!(calls.load(Ordering::Relaxed) <= 1);
    });
}

#[test]
fn everybody_who_waits_is_woken() {
    model("cancel: one set, two waiters", || {
        let token = CancelToken::new();
        let waiters = [(); 2].map(|()| {
            let token = token.clone();
            thread::spawn(move || token.wait())
        });
        token.set(CancelCause::Shutdown);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), CancelCause::Shutdown);
        }
    });
}
