//! The state of one lock in one word.

use super::entry::Entry;
use super::mode::Mode;

/// What every request looks at of one lock: how it is held, and what to heed when it is given
/// back. One word, so that many of them fit into a cache and that taking one is a test and a sum.
///
/// From below: how many share it; a bit for each other mode in which it is held; marks; how
/// many may share it, 0 where there is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot(u64);

const SHARERS: u64 = u32::MAX as u64;
/// As many share it as may.
const FULL: u64 = 1 << 40;
/// Somebody waits on it or has it reserved.
const WATCHED: u64 = 1 << 41;
/// It has to stay in existence though nobody holds it.
const KEPT: u64 = 1 << 42;
/// It is on the list of those that may be unused.
const IDLE: u64 = 1 << 43;
const CAPACITY: u32 = 56;

/// The bit that says it is held in a mode; none for the one that is counted.
const fn bit(mode: usize) -> u64 {
    if mode == Mode::Shared as usize { 0 } else { 1 << (32 + mode) }
}

/// The [`bit`]s by mode. Eight, so that three bits need no check.
const BITS: [u64; 8] = {
    let mut table = [0; 8];
    let mut mode = 0;
    while mode < Mode::ALL.len() {
        table[mode] = bit(mode);
        mode += 1;
    }
    table
};

/// By mode: what rules it out.
const CONFLICTS: [u64; 8] = {
    let mut table = [0; 8];
    let mut wanted = 0;
    while wanted < Mode::ALL.len() {
        let mut held = 0;
        while held < Mode::ALL.len() {
            if Mode::ALL[wanted].conflicts_with(Mode::ALL[held]) {
                table[wanted] |= bit(held);
            }
            held += 1;
        }
        if Mode::ALL[wanted].conflicts_with(Mode::Shared) {
            table[wanted] |= SHARERS;
        }
        wanted += 1;
    }
    table[Mode::Shared as usize] |= FULL;
    table
};

/// All that says somebody holds it.
const HELD: u64 = CONFLICTS[Mode::Exclusive as usize];

impl Slot {
    /// A lock nobody holds, which so many may share.
    pub(super) const fn with_capacity(capacity: u8) -> Self {
        Self((capacity as u64) << CAPACITY)
    }

    /// Whether those who hold it rule that mode out.
    #[inline]
    pub(super) const fn blocks(self, wanted: Entry) -> bool {
        self.0 & CONFLICTS[wanted.index()] != 0
    }

    /// One owner more holds it.
    #[inline]
    pub(super) const fn hold(&mut self, entry: Entry) {
        self.0 = (self.0 + is_shared(entry)) | BITS[entry.index()];
        if self.0 >> CAPACITY != 0 && self.sharers() == self.capacity() {
            self.0 |= FULL;
        }
    }

    /// One owner less holds it. An intention that others have as well stays.
    #[inline]
    pub(super) const fn unhold(&mut self, entry: Entry, others: bool) {
        let gone = if others { 0 } else { BITS[entry.index()] };
        self.0 = (self.0 - is_shared(entry)) & !(gone | FULL);
    }

    /// How many owners share it.
    pub(super) const fn sharers(self) -> u32 {
        (self.0 & SHARERS) as u32
    }

    /// Whether it is held in a mode that is not counted here.
    pub(super) const fn is_held(self, entry: Entry) -> bool {
        self.0 & BITS[entry.index()] != 0
    }

    /// How many may share it; 0 where there is no limit.
    pub(super) const fn capacity(self) -> u32 {
        (self.0 >> CAPACITY) as u32
    }

    /// Whether nobody holds or refers to it.
    #[inline]
    pub(super) const fn is_unused(self) -> bool {
        self.0 & (HELD | KEPT) == 0
    }

    /// Whether there is more to giving it back than that: somebody waits, or it may be unused.
    #[inline]
    pub(super) const fn needs_care(self) -> bool {
        self.0 & (WATCHED | KEPT) != KEPT
    }

    pub(super) const fn is_watched(self) -> bool {
        self.0 & WATCHED != 0
    }

    pub(super) const fn is_idle(self) -> bool {
        self.0 & IDLE != 0
    }

    pub(super) const fn set_watched(&mut self, watched: bool) {
        self.mark(WATCHED, watched);
    }

    pub(super) const fn set_kept(&mut self, kept: bool) {
        self.mark(KEPT, kept);
    }

    pub(super) const fn set_idle(&mut self, idle: bool) {
        self.mark(IDLE, idle);
    }

    const fn mark(&mut self, mark: u64, set: bool) {
        self.0 = if set { self.0 | mark } else { self.0 & !mark };
    }
}

const fn is_shared(entry: Entry) -> u64 {
    (entry.index() == Mode::Shared as usize) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mode: Mode) -> Entry {
        Entry::new(7, mode)
    }

    #[test]
    fn held_in_one_mode_it_blocks_those_that_conflict_until_it_is_given_back() {
        for held in Mode::ALL {
            let mut slot = Slot::default();
            slot.set_watched(true);
            slot.hold(entry(held));
            assert!(!slot.is_unused());
            for wanted in Mode::ALL {
                assert_eq!(slot.blocks(entry(wanted)), held.conflicts_with(wanted));
            }
            slot.unhold(entry(held), false);
            assert!(slot.is_unused() && slot.is_watched());
            assert!(!Mode::ALL.iter().any(|wanted| slot.blocks(entry(*wanted))));
        }
    }

    #[test]
    fn an_intention_that_others_have_too_stays() {
        let mut slot = Slot::default();
        slot.hold(entry(Mode::IntentShared));
        slot.hold(entry(Mode::IntentShared));
        slot.unhold(entry(Mode::IntentShared), true);
        assert!(slot.is_held(entry(Mode::IntentShared)) && !slot.is_unused());
        slot.unhold(entry(Mode::IntentShared), false);
        assert!(slot.is_unused());
    }

    #[test]
    fn it_is_full_while_as_many_share_it_as_may() {
        for capacity in [1, 2, u8::MAX] {
            let mut slot = Slot::with_capacity(capacity);
            assert_eq!(slot.capacity(), u32::from(capacity));
            for sharers in 0..capacity {
                assert_eq!(slot.sharers(), u32::from(sharers));
                assert!(!slot.blocks(entry(Mode::Shared)));
                slot.hold(entry(Mode::Shared));
            }
            assert!(slot.blocks(entry(Mode::Shared)));
            slot.unhold(entry(Mode::Shared), false);
            assert!(!slot.blocks(entry(Mode::Shared)));
            assert_eq!(slot.blocks(entry(Mode::Exclusive)), capacity > 1);
        }
    }

    #[test]
    fn marks_do_not_block_and_say_what_to_heed() {
        let mut slot = Slot::default();
        assert!(slot.needs_care() && slot.is_unused());
        slot.set_kept(true);
        assert!(!slot.needs_care() && !slot.is_unused());
        slot.set_watched(true);
        slot.set_idle(true);
        assert!(slot.needs_care() && slot.is_idle() && !slot.blocks(entry(Mode::Exclusive)));
        slot.set_idle(false);
        slot.set_watched(false);
        assert!(!slot.is_idle() && !slot.needs_care());
    }
}
