//! A thread for what would block somebody else's: one thing after the other, in order.

use std::fmt;

use crossbeam_channel::{Sender, unbounded};

use super::contained::call_back;
use super::worker_pool::named;
use crate::vocabulary::Error;

type Work = Box<dyn FnOnce() + Send>;

/// A thread that does what it is given, in the order it is given.
///
/// What is given is kept until its turn: whoever gives bounds how much that is. Dropped, it
/// does what it was given before, and ends; nobody waits for that.
pub struct Aside {
    work: Sender<Work>,
}

impl Aside {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// `Io` where the system has no thread left.
    pub fn start(name: &str) -> Result<Self, Error> {
        let (work, given) = unbounded::<Work>();
        named(name, move || given.iter().for_each(call_back))?;
        Ok(Self { work })
    }

    /// Has it done, after what was given before. Never blocks. A panic in it is logged.
    pub fn give(&self, work: impl FnOnce() + Send + 'static) {
        // The thread ends only when this end of the channel is dropped.
        let _ = self.work.send(Box::new(work));
    }
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").field("waiting", &self.work.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_given_is_done_in_order_also_after_a_panic_and_after_the_drop() {
        let aside = Aside::start("aside").unwrap();
        let (sender, done) = channel();
        for number in 0..3 {
            let sender = sender.clone();
            aside.give(move || {
                sender.send(number).unwrap();
                assert_ne!(number, 1, "a panic is contained");
            });
        }
        drop((aside, sender));
        assert_eq!(done.iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
