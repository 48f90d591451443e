//! Sets of locks, written as they are told.

use lockmaster::vocabulary::{Hierarchy, LockMode, LockRequest};

/// `"instance/web node/n1:s node/*:s"`: exclusive unless marked shared, `*` for the whole level.
pub(crate) fn set(hierarchy: &Hierarchy, text: &str) -> LockRequest {
    let mut request = LockRequest::new();
    for word in text.split_whitespace() {
        let (lock, mode) = match word.strip_suffix(":s") {
            Some(lock) => (lock, LockMode::Shared),
            None => (word, LockMode::Exclusive),
        };
        let (level, name) = lock.split_once('/').unwrap();
        let level = hierarchy.level(level).unwrap();
        match name {
            "*" => request.add_all(level, mode).unwrap(),
            name => request.add(level, name, mode).unwrap(),
        };
    }
    request
}
