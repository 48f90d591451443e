//! Names of locks as names of files: any name, one file, and back.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::vocabulary::LockName;

/// Which lock a fence is: a level and a name, or the whole of a level.
///
/// Sorted as fences are taken within a level: the whole of it first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceName {
    level: String,
    name: Option<LockName>,
}

/// More of a name than so many bytes goes into directories: file systems take 255.
const CHUNK: usize = 200;
/// What the file of a level as a whole is called: no name is encoded so.
const WHOLE: &str = "%";
/// Marks a directory that holds the rest of long names.
const MORE: char = '+';

impl FenceName {
    /// A lock of a level, or with no name the whole level. `level` is the name of a level, and as
    /// such free of anything that a file name could not hold.
    #[must_use]
    pub fn new(level: &str, name: Option<LockName>) -> Self {
        Self { level: level.to_owned(), name }
    }

    /// The name of the level.
    #[must_use]
    pub fn level(&self) -> &str {
        &self.level
    }

    /// The name within the level; none for the whole of it.
    #[must_use]
    pub const fn name(&self) -> Option<&LockName> {
        self.name.as_ref()
    }

    /// Where its file is, without extension, below the lock directory.
    pub(super) fn stem(&self) -> PathBuf {
        let mut path = PathBuf::from(&self.level);
        let encoded = self.name.as_ref().map_or_else(|| WHOLE.to_owned(), encode);
        let mut rest = encoded.as_str();
        while rest.len() > CHUNK {
            // None begins with a dot: "." and ".." are no names of files.
            let end = if rest[CHUNK..].starts_with('.') { CHUNK - 1 } else { CHUNK };
            let (chunk, after) = rest.split_at(end);
            path.push(format!("{chunk}{MORE}"));
            rest = after;
        }
        path.push(rest);
        path
    }

    /// The lock whose file is at that place below the lock directory, without extension.
    pub(super) fn from_stem(stem: &Path) -> Option<Self> {
        let mut parts = stem.iter().map(|part| part.to_str());
        let level = parts.next()??;
        let mut encoded = String::new();
        let mut parts = parts.peekable();
        while let Some(part) = parts.next() {
            let part = part?;
            let chunk = if parts.peek().is_some() { part.strip_suffix(MORE)? } else { part };
            encoded.push_str(chunk);
        }
        let name = match &*encoded {
            WHOLE => None,
            encoded => Some(decode(encoded)?),
        };
        Some(Self::new(level, name))
    }
}

impl fmt::Display for FenceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}/{name}", self.level),
            None => write!(f, "{}/[lockset]", self.level),
        }
    }
}

/// Letters, digits, `-`, `_` and single inner dots stay; every other byte becomes `%` and two digits.
fn encode(name: &LockName) -> String {
    let mut text = String::new();
    for byte in name.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(char::from(byte)),
            b'.' if !text.is_empty() && !text.ends_with('.') => text.push('.'),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn decode(text: &str) -> Option<LockName> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    LockName::new(std::str::from_utf8(&bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> FenceName {
        FenceName::new("disk", Some(LockName::new(name).unwrap()))
    }

    #[test]
    fn names_of_any_shape_have_files_of_their_own_that_stay_in_the_directory() {
        let long = "ü".repeat(127);
        let names = ["a/b", "a_b", "a%2Fb", "..", ".", ".a", "ünï", "%", "a+", "a b", &long, "A"];
        let mut seen = BTreeSet::new();
        for name in names {
            let stem = named(name).stem();
            assert!(seen.insert(stem.clone()), "{name}");
            let plain = |part: &str| part != ".." && part != "." && part.len() <= CHUNK + 1;
            assert!(stem.iter().all(|part| plain(part.to_str().unwrap())), "{stem:?}");
            assert!(stem.starts_with("disk"), "{stem:?}");
        }
        assert!(seen.insert(FenceName::new("disk", None).stem()));
    }

    #[test]
    fn dots_where_a_long_name_is_cut_are_no_directories() {
        for before in CHUNK - 3..CHUNK + 3 {
            for after in [".", "..", ".b", "...."] {
                let name = named(&format!("{}{after}", "a".repeat(before)));
                let stem = name.stem();
                assert!(stem.iter().all(|part| !part.to_str().unwrap().starts_with('.')));
                assert_eq!(FenceName::from_stem(&stem), Some(name));
            }
        }
    }

    #[test]
    fn what_no_lock_is_called_is_no_lock() {
        for stem in ["disk", "disk/%2", "disk/%ZZ", "disk/x/y", "disk/%00"] {
            assert_eq!(FenceName::from_stem(Path::new(stem)), None, "{stem}");
        }
    }

    proptest! {
        #[test]
        fn a_file_tells_the_name_it_was_made_from(name in "[^\\p{C}{}]{1,80}") {
            prop_assume!(LockName::new(&name).is_ok());
            prop_assert_eq!(FenceName::from_stem(&named(&name).stem()), Some(named(&name)));
        }
    }
}
