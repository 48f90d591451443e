//! What clients do: submit, cancel, hurry, drain, look, set rules.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::super::{jobs, laws, rules};
use super::History;
use crate::runtime::CancelAnswer;
use crate::vocabulary::{ErrorKind, JobId, SubmissionKey};

impl History {
    pub(super) fn submit(&mut self) {
        let next = self.next_id();
        let batch = jobs::batch(&mut self.random, next);
        let count = batch.len() as u64;
        match self.life().core.master().begin_submit(batch, None) {
            Ok(answer) => {
                let expected: Vec<u64> = (next..next + count).collect();
                let ids: Vec<u64> = answer.value.iter().map(|id| id.get()).collect();
                assert_eq!(ids, expected, "the ids of a batch follow one another");
                self.told.jobs += count;
                self.learn();
                self.say(|| format!("submitted {ids:?}"));
            }
            Err(error) => {
                // Drained, or it depends on a job that is not there.
                let fits = [ErrorKind::Refused, ErrorKind::Invalid, ErrorKind::NotFound];
                assert!(fits.contains(&error.kind()), "{error}");
                assert_eq!(self.next_id(), next, "nothing is half submitted");
            }
        }
    }

    /// The same jobs under the same key again are the same jobs, and nothing is submitted. Other
    /// jobs are refused, as long as it can be told that they are others.
    pub(super) fn submit_under_a_key(&mut self) {
        let text = format!("key {}", self.random.below(2));
        let key = SubmissionKey::new(&text).unwrap();
        let next = self.next_id();
        let mut batch = jobs::batch(&mut self.random, next);
        batch.truncate(2);
        let known = self.keys.get(&text).cloned();
        if let Some((_, before)) = known.as_ref().filter(|_| self.random.one_in(2)) {
            batch.clone_from(before);
        }
        let (count, jobs) = (batch.len(), batch.clone());
        let answer = self.life().core.master().begin_submit_once(&key, batch, None);
        self.say(|| format!("under {text}: {answer:?}, known: {known:?}"));
        match (answer, known) {
            (Ok(answer), Some((known, _))) => {
                assert_eq!(answer.value, known, "{text} was known");
                self.told.repeated += 1;
            }
            (Err(error), Some((_, before))) => {
                assert_ne!(before, jobs, "{text} was known: {error}");
                assert_eq!(error.kind(), ErrorKind::Refused);
            }
            (Ok(answer), None) => {
                assert_eq!((answer.value[0].get(), answer.value.len()), (next, count));
                self.told.jobs += count as u64;
                self.keys.insert(text, (answer.value, jobs));
            }
            (Err(_), None) => {}
        }
        self.learn();
        let new = if self.keys.values().flat_map(|(ids, _)| ids).any(|id| id.get() >= next) {
            count
        } else {
            0
        };
        assert_eq!(self.next_id(), next + new as u64, "what is new was submitted now");
    }

    /// A rule is set, replaced or deleted.
    pub(super) fn change_rules(&mut self) {
        let id = rules::any_id(&mut self.random);
        let inner = Arc::clone(self.life().inner());
        let before = inner.shell().queue.filter(id).cloned();
        // Nobody may be called back who is on the way now.
        self.gate.rules_changed(&inner.shell().queue);
        if before.is_some() && self.random.one_in(2) {
            self.life().core.master().delete_filter(id).unwrap();
            self.say(|| format!("deleted the rule {before:?}"));
        } else {
            let rule = rules::any_rule(&mut self.random);
            self.life().core.master().replace_filter(id, rule.clone()).unwrap();
            self.say(|| format!("set the rule {rule:?} in place of {before:?}"));
        }
    }

    /// What the jobs are that are new.
    pub(super) fn learn(&mut self) {
        let inner = Arc::clone(self.life().inner());
        let shell = inner.shell();
        for job in shell.queue.jobs().rev() {
            match self.deeds.entry(job.id) {
                Entry::Occupied(_) => break,
                Entry::Vacant(new) => _ = new.insert(laws::deeds_of(&job)),
            }
        }
    }

    /// The number that the next job gets.
    pub(super) fn next_id(&self) -> u64 {
        self.deeds.last_key_value().map_or(1, |(last, _)| last.get() + 1)
    }

    pub(super) fn any_job(&mut self) -> Option<JobId> {
        let ids = self.life().job_ids();
        (!ids.is_empty()).then(|| ids[self.random.below(ids.len())])
    }

    pub(super) fn cancel(&mut self) {
        let Some(id) = self.any_job() else { return };
        let answer = self.life().core.master().cancel(id).unwrap().value;
        self.say(|| format!("cancelled {id}: {answer:?}"));
        if [CancelAnswer::Dequeued, CancelAnswer::StoppedWaiting].contains(&answer) {
            self.told.cancelled += 1;
            self.stopped.insert(id);
            let shell = self.life().inner().shell();
            let job = shell.queue.get(id).unwrap();
            let at_once = job.status().is_final() || job.to_undo().is_some();
            assert!(at_once, "a job that does not run is cancelled at once: {job:#?}");
        }
    }

    pub(super) fn hurry(&mut self) {
        let Some(id) = self.any_job() else { return };
        let priority = jobs::priority(&mut self.random);
        let hurried = self.life().core.master().change_priority(id, priority);
        let fits = hurried.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Refused);
        assert!(fits, "{hurried:?}");
        self.say(|| format!("hurried {id}: {}", hurried.is_ok()));
    }

    pub(super) fn drain(&mut self) {
        let drained = self.random.one_in(3);
        self.life().core.master().set_drained(drained).unwrap();
        self.say(|| format!("drained: {drained}"));
    }

    /// Whoever asks gets an answer in whatever state things are.
    pub(super) fn look(&mut self) {
        let Some(id) = self.any_job() else { return };
        let master = self.life().core.master();
        let known = (master.why(id).is_some(), master.progress(id, 0).is_some());
        assert_eq!(known, (true, true));
        _ = master.locks(true);
        self.assert_archived();
    }
}
