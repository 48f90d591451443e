//! Warnings about locks that are waited for long, and who has them.
//!
//! One look goes through the oldest requests only, and says when the next one is worth it; the
//! alarm thread makes it then. Nothing here changes anything. `design/observability.md` says
//! what is promised.

mod words;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::inner::Inner;
use super::lock_order::LockClass;
use super::sync::Mutex;
use crate::engine::locks::{OldWait, OwnerId};
use crate::vocabulary::Timestamp;

/// Where nobody says.
pub(super) const SLOW_LOCK: Duration = Duration::from_secs(60);

/// How many requests a look goes through, oldest first.
const OLDEST: usize = 1024;
/// How many locks a look warns of.
const WARNINGS: usize = 8;
/// How many looks there are at most while the threshold passes once.
const LOOKS: u32 = 16;

static WARNED: LockClass = LockClass::new("warned of slow locks");

/// Which waits have been warned of.
pub(super) struct SlowLocks {
    /// How long a request waits before it is warned of; nothing where none ever is.
    threshold: Option<Duration>,
    /// The alarm thread will look, or was told to.
    awaited: AtomicBool,
    warned: Mutex<Warned>,
}

/// Whose wait, and since when: an owner that waits again is another one.
type WaitKey = (OwnerId, Timestamp);

/// The waits that were warned of and were among the oldest at the last look, and how many
/// times the threshold had doubled then.
type Warned = BTreeMap<WaitKey, u32>;

/// What comes of a look.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    /// Who is to be warned of, and how many others wait for the same lock.
    due: Vec<(OwnerId, usize)>,
    /// When the next look is worth it.
    next: Option<Timestamp>,
}

impl SlowLocks {
    pub(super) fn new(threshold: Option<Duration>) -> Self {
        Self {
            threshold: threshold.filter(|threshold| !threshold.is_zero()),
            awaited: AtomicBool::new(false),
            warned: Mutex::new(&WARNED, Warned::new()),
        }
    }
}

impl Inner {
    /// Somebody has begun to wait. Has the alarm thread look in time, where it would not.
    pub(super) fn watch_waits(&self) {
        let slow = &self.slow_locks;
        let unwatched = slow.threshold.is_some() && !slow.awaited.load(Ordering::Relaxed);
        if unwatched && !slow.awaited.swap(true, Ordering::SeqCst) {
            self.alarm.look_again();
        }
    }

    /// Warns of those who have waited long; gives when the next look is worth it.
    pub(super) fn warn_of_slow_locks(&self) -> Option<Timestamp> {
        let slow = &self.slow_locks;
        let threshold = slow.threshold?;
        // Before the look: who begins to wait after it has the alarm thread look again.
        slow.awaited.store(false, Ordering::SeqCst);
        let (table, files) =
            (self.locks.oldest_waits(OLDEST), self.fenced.fences.oldest_waits(OLDEST));
        let now = self.now();
        let mut warned = slow.warned.lock();
        let look = look(&[&table, &files], threshold, now, &mut warned);
        drop(warned);
        look.due.into_iter().for_each(|(owner, others)| self.warn_of(owner, others, now));
        if look.next.is_some() {
            slow.awaited.store(true, Ordering::SeqCst);
        }
        look.next
    }
}

/// Decides whom to warn of: of those that wait for one lock the oldest, each time that the
/// threshold has doubled.
fn look(all: &[&[OldWait]], threshold: Duration, now: Timestamp, warned: &mut Warned) -> Look {
    let mut look = Look::default();
    let before = std::mem::take(warned);
    for waits in all {
        for (place, wait) in waits.iter().enumerate() {
            let doubled = doublings(now.since(wait.since), threshold);
            let next = wait.since.plus(after(doubled, threshold));
            look.next = Some(look.next.map_or(next, |earlier| earlier.min(next)));
            if wait.first != place {
                continue;
            }
            let key = (wait.owner, wait.since);
            let told = before.get(&key).copied().unwrap_or_default();
            let is_due = doubled > told && look.due.len() < WARNINGS;
            if is_due {
                let same = waits.iter().filter(|other| other.first == place).count();
                look.due.push((wait.owner, same - 1));
            }
            let told = if is_due { doubled } else { told };
            warned.extend((told > 0).then_some((key, told)));
        }
    }
    let soonest = now.plus(threshold / LOOKS);
    look.next = look.next.map(|next| next.max(soonest));
    look
}

/// 0 below the threshold, 1 from it on, 2 from twice it on, 3 from four times it on, ...
fn doublings(waited: Duration, threshold: Duration) -> u32 {
    let times = waited.as_nanos() / threshold.as_nanos().max(1);
    u128::BITS - times.leading_zeros()
}

/// How long a wait takes that goes on after so many doublings, until the next.
fn after(doublings: u32, threshold: Duration) -> Duration {
    threshold.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn wait(owner: u64, since: i64, first: usize) -> OldWait {
        OldWait { owner: OwnerId(owner), since: at(since), first }
    }

    /// What looks at those moments tell of those waits: owners and how many others.
    fn told(waits: &[OldWait], moments: &[i64]) -> Vec<Vec<(u64, usize)>> {
        let mut warned = Warned::new();
        let look = |now: &i64| look(&[waits], MINUTE, at(*now), &mut warned).due;
        let looks = moments.iter().map(look);
        looks
            .map(|due| due.into_iter().map(|(owner, others)| (owner.0, others)).collect())
            .collect()
    }

    #[test]
    fn a_wait_is_told_of_when_it_passes_the_threshold_and_each_time_it_has_doubled() {
        let moments = [59, 60, 61, 119, 120, 239, 240, 479, 480, 2000, 2001];
        let told = told(&[wait(7, 0, 0)], &moments);
        let when: Vec<i64> = moments
            .iter()
            .zip(&told)
            .filter(|(_, told)| !told.is_empty())
            .map(|(at, _)| *at)
            .collect();
        assert_eq!(when, [60, 120, 240, 480, 2000]);
    }

    #[test]
    fn the_oldest_stands_for_all_who_wait_for_its_lock() {
        let waits = [wait(1, 0, 0), wait(2, 1, 1), wait(3, 2, 0), wait(4, 90, 0)];
        assert_eq!(told(&waits, &[100]), [[(1, 2), (2, 0)]]);
    }

    #[test]
    fn who_becomes_the_oldest_is_told_of_though_it_was_slow_before() {
        let mut warned = Warned::new();
        let both = [wait(1, 0, 0), wait(2, 1, 0)];
        assert_eq!(look(&[&both], MINUTE, at(100), &mut warned).due, [(OwnerId(1), 1)]);
        assert_eq!(look(&[&[wait(2, 1, 0)]], MINUTE, at(101), &mut warned).due, [(OwnerId(2), 0)]);
        assert_eq!(warned.len(), 1, "who waits no more is forgotten");
    }

    #[test]
    fn many_slow_locks_are_told_of_little_by_little() {
        let waits: Vec<OldWait> = (0..20).map(|n| wait(n as u64, 0, n)).collect();
        let told = told(&waits, &[60, 64, 68, 72]);
        assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 4, 0]);
        let mut owners: Vec<u64> = told.iter().flatten().map(|(owner, _)| *owner).collect();
        owners.sort_unstable();
        assert_eq!(owners, (0..20).collect::<Vec<_>>(), "each once");
    }

    #[test]
    fn the_next_look_is_when_something_is_due_but_not_at_once() {
        let next =
            |waits: &[OldWait], now| look(&[waits], MINUTE, at(now), &mut Warned::new()).next;
        assert_eq!(next(&[], 5), None);
        assert_eq!(next(&[wait(1, 0, 0)], 5), Some(at(60)));
        assert_eq!(
            next(&[wait(1, 0, 0), wait(2, 10, 0)], 65),
            Some(at(70)),
            "the second passes it"
        );
        assert_eq!(next(&[wait(1, 0, 0)], 1000), Some(at(1920)));
        let soon = at(59).plus(MINUTE / LOOKS);
        assert_eq!(next(&[wait(1, 0, 0)], 59), Some(soon), "sixteen looks a threshold at most");
    }

    #[test]
    fn the_longest_waits_do_not_overflow() {
        let forever = Timestamp::from_micros(i64::MAX);
        let waits = [OldWait { owner: OwnerId(1), since: Timestamp::from_micros(0), first: 0 }];
        let look = look(&[&waits], Duration::from_nanos(1), forever, &mut Warned::new());
        assert_eq!((look.due.len(), look.next), (1, Some(forever)));
    }
}
