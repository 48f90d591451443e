//! A store that keeps records in memory, or not at all.

use std::sync::{Arc, Mutex, PoisonError};

use super::Store;
use crate::vocabulary::{Error, Record};

/// Keeps records as long as the process lives: for tests, and for embedding a queue that need
/// not outlive its process. Clones share what is kept.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    kept: Option<Arc<Mutex<Vec<Vec<Record>>>>>,
}

impl MemoryStore {
    /// A store that keeps nothing, however long it runs.
    #[must_use]
    pub fn volatile() -> Self {
        Self { kept: None }
    }

    /// A store that keeps everything for [`transactions`](Self::transactions).
    #[must_use]
    pub fn recording() -> Self {
        Self { kept: Some(Arc::default()) }
    }

    /// What has been kept so far, in order; nothing where it is volatile.
    #[must_use]
    pub fn transactions(&self) -> Vec<Vec<Record>> {
        let kept = self.kept.as_ref();
        kept.map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }
}

impl Store for MemoryStore {
    fn append(&mut self, transactions: &[Vec<Record>]) -> Result<(), Error> {
        if let Some(kept) = &self.kept {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(transactions);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{JobId, Timestamp};

    #[test]
    fn a_clone_sees_what_was_appended_and_a_volatile_one_keeps_nothing() {
        let record = Record::CancelRequested { job: JobId::FIRST, time: Timestamp::from_micros(1) };
        let transactions = vec![vec![record]];
        for (mut store, kept) in
            [(MemoryStore::recording(), transactions.clone()), (MemoryStore::volatile(), vec![])]
        {
            let watcher = store.clone();
            store.append(&transactions).unwrap();
            assert_eq!(watcher.transactions(), kept);
        }
    }
}
