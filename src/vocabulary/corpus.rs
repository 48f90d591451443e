//! The corpus of the fuzzers on a stable compiler: every file of it, and damaged ones at random.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// How many inputs are made of the corpus, where `PROPTEST_CASES` does not say.
const CASES: u32 = 400;

/// What is done to an input.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index),
    /// Everything after the first place is taken from the second on of another input.
    Splice(Index, Index, Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let place = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match self {
            Self::Set(at, byte) => {
                let at = at.index(bytes.len().max(1));
                if let Some(found) = bytes.get_mut(at) {
                    *found = *byte;
                }
            }
            Self::Insert(at, new) => {
                let at = place(at, bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Cut(at) => bytes.truncate(place(at, bytes)),
            Self::Splice(at, which, from) => {
                bytes.truncate(place(at, bytes));
                let other = which.get(corpus);
                bytes.extend_from_slice(&other[place(from, other)..]);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (any::<Index>(), vec(any::<u8>(), 1..9)).prop_map(|(at, new)| Damage::Insert(at, new)),
        1 => any::<Index>().prop_map(Damage::Cut),
        2 => any::<[Index; 3]>().prop_map(|[at, which, from]| Damage::Splice(at, which, from)),
    ]
}

fn files(target: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&path).unwrap_or_else(|_| panic!("{}", path.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Gives `entry` every file of the corpus of that target, and some hundred damaged ones. A failure
/// prints the smallest input that fails: it belongs into the corpus, once it does not any more.
pub(crate) fn replay(target: &str, entry: fn(&[u8])) {
    let corpus = files(target);
    assert!(!corpus.is_empty(), "the corpus of {target}");
    corpus.iter().for_each(|bytes| entry(bytes));
    entry(&[]);
    let said = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if said { Config::default().cases } else { CASES };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let inputs = (any::<Index>(), vec(damage(), 1..5)).prop_map(|(which, damages)| {
        let mut bytes = which.get(&corpus).clone();
        damages.iter().for_each(|damage| damage.apply(&mut bytes, &corpus));
        bytes
    });
    if let Err(failure) = TestRunner::new(config).run(&inputs, |bytes| {
        entry(&bytes);
        Ok(())
    }) {
        panic!("{target}: {failure}");
    }
}
