//! The fences that one owner holds.

use super::errors;
use super::plan::Plan;
use crate::engine::locks::LockError;
use crate::store::{Fence, OwnerRecord};
use crate::vocabulary::{LevelId, LockMode};

/// One who held a lock and died with it: what it was about to do may be half done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadOwner {
    /// The lock, as `level/name`.
    pub lock: String,
    /// Who it was.
    pub record: OwnerRecord,
}

/// The fences that one owner holds.
#[derive(Debug, Default)]
pub(super) struct HeldFences {
    levels: Vec<HeldLevel>,
}

#[derive(Debug)]
struct HeldLevel {
    level: LevelId,
    /// How often it was taken again.
    again: u32,
    fences: Vec<Fence>,
}

impl HeldFences {
    /// Takes those levels out of a plan that are held already, and counts them.
    pub(super) fn count_again(&mut self, plan: &mut Plan) {
        plan.levels.retain(|(level, _)| {
            let held = self.levels.iter_mut().find(|held| held.level == *level);
            held.map(|held| held.again += 1).is_none()
        });
    }

    /// Adds what was got by a plan, in its order.
    pub(super) fn add(&mut self, plan: &Plan, got: Vec<Fence>) {
        let mut got = got.into_iter();
        for (level, files) in &plan.levels {
            let fences = got.by_ref().take(files.len()).collect();
            self.levels.push(HeldLevel { level: *level, again: 0, fences });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    pub(super) fn release_levels(&mut self, levels: &[LevelId]) -> Vec<Fence> {
        let mut gone = Vec::new();
        for held in self.levels.iter_mut().filter(|held| levels.contains(&held.level)) {
            match held.again {
                0 => gone.append(&mut held.fences),
                _ => held.again -= 1,
            }
        }
        self.forget_empty();
        gone
    }

    /// Shares single locks from now on. The whole of a level stays alone: sharing it has to keep
    /// single locks out.
    pub(super) fn downgrade(&mut self, plan: &Plan) -> Result<(), LockError> {
        for fence in self.levels.iter_mut().flat_map(|held| &mut held.fences) {
            if fence.name().name().is_some() && plan.contains(fence.name()) {
                downgrade(fence)?;
            }
        }
        Ok(())
    }

    /// The levels of the plan that are held as a whole, with what is written in their files.
    pub(super) fn wholes(&self, plan: &Plan) -> Vec<(LevelId, OwnerRecord)> {
        let planned = |level| plan.levels.iter().any(|(other, _)| *other == level);
        let held = self.levels.iter().filter(|held| planned(held.level));
        let whole = |held: &HeldLevel| Some((held.level, held.fences.first()?.record()?.clone()));
        // Only the whole can stand first and be exclusive.
        held.filter(|held| held.fences.len() == 1).filter_map(whole).collect()
    }

    /// Adds single locks of a level whose whole is shared from now on.
    pub(super) fn split(&mut self, level: LevelId, singles: Vec<Fence>) -> Result<(), LockError> {
        let Some(held) = self.levels.iter_mut().find(|held| held.level == level) else {
            return Ok(());
        };
        held.fences.extend(singles);
        held.fences.first_mut().map_or(Ok(()), downgrade)
    }

    /// Gives single locks back; the whole of a level with the last of them.
    pub(super) fn release(&mut self, plan: &Plan) -> Vec<Fence> {
        self.retain(|fence| fence.name().name().is_none() || !plan.contains(fence.name()))
    }

    /// Keeps single locks only, at the levels of the plan.
    pub(super) fn narrow(&mut self, plan: &Plan) -> Vec<Fence> {
        let at =
            |fence: &Fence| plan.fences().any(|(name, _)| name.level() == fence.name().level());
        self.retain(|fence| {
            fence.name().name().is_none() || !at(fence) || plan.contains(fence.name())
        })
    }

    fn retain(&mut self, keep: impl Fn(&Fence) -> bool) -> Vec<Fence> {
        let mut gone = Vec::new();
        for held in &mut self.levels {
            let (kept, out): (Vec<Fence>, Vec<Fence>) = held.fences.drain(..).partition(&keep);
            held.fences = kept;
            // Nothing of the level is left but that some of it was taken.
            let alone =
                |fence: &Fence| fence.name().name().is_none() && fence.mode() == LockMode::Shared;
            gone.extend(out);
            if held.fences.iter().all(alone) {
                gone.append(&mut held.fences);
            }
        }
        self.forget_empty();
        gone
    }

    fn forget_empty(&mut self) {
        self.levels.retain(|held| !held.fences.is_empty());
    }

    fn fences(&self) -> impl Iterator<Item = &Fence> {
        self.levels.iter().flat_map(|held| &held.fences)
    }

    pub(super) fn died(&self) -> Vec<DeadOwner> {
        let died = |fence: &Fence| -> Vec<DeadOwner> {
            let lock = fence.name().to_string();
            let dead =
                |record: &OwnerRecord| DeadOwner { lock: lock.clone(), record: record.clone() };
            fence.died().iter().map(dead).collect()
        };
        self.fences().flat_map(died).collect()
    }

    pub(super) fn verify(&self) -> Result<(), LockError> {
        let verify =
            |fence: &Fence| fence.verify().map_err(|error| errors::failed(fence.name(), &error));
        self.fences().try_for_each(verify)
    }

    pub(super) fn keep_in_children(&self) -> Result<(), LockError> {
        let keep = |fence: &Fence| {
            fence.keep_in_children().map_err(|error| errors::failed(fence.name(), &error))
        };
        self.fences().try_for_each(keep)
    }

    pub(super) fn note(&mut self, note: &str) -> Result<(), LockError> {
        for fence in self.levels.iter_mut().flat_map(|held| &mut held.fences) {
            fence.note(note).map_err(|error| errors::failed(fence.name(), &error))?;
        }
        Ok(())
    }
}

fn downgrade(fence: &mut Fence) -> Result<(), LockError> {
    fence.downgrade().map_err(|error| errors::failed(fence.name(), &error))
}
