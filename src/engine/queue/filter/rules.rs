//! The rules, in the order in which they are asked.

use crate::vocabulary::{Candidate, FilterAction, FilterId, FilterRule};

/// The rules by order. At most [`FilterRule::MOST`], so that going through them all is quick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules(Vec<FilterRule>);

impl Rules {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &FilterRule> {
        self.0.iter()
    }

    pub(super) fn get(&self, id: FilterId) -> Option<&FilterRule> {
        self.0.iter().find(|rule| rule.id == id)
    }

    /// Puts a rule in its place; one of the same id goes.
    pub(super) fn set(&mut self, rule: FilterRule) {
        self.delete(rule.id);
        let place = self.0.partition_point(|other| other.order() < rule.order());
        self.0.insert(place, rule);
    }

    /// Takes a rule out. Whether it was there.
    pub(super) fn delete(&mut self, id: FilterId) -> bool {
        let before = self.0.len();
        self.0.retain(|rule| rule.id != id);
        self.0.len() < before
    }

    /// The rule that decides about a job: the first that is meant for it and does something.
    pub(super) fn deciding(&self, candidate: &Candidate<'_>) -> Option<&FilterRule> {
        let acts = |rule: &&FilterRule| rule.action != FilterAction::Continue;
        self.0.iter().filter(acts).find(|rule| rule.is_meant_for(candidate))
    }
}
