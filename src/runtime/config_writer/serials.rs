//! Serials of objects: how often each part of the configuration has changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ConfigSnapshot;
use super::pointer;
use crate::vocabulary::Error;

/// How often an object of the configuration has changed, and when.
///
/// Two of the same object are equal only if nothing about it changed between them, also where
/// it was removed and made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectSerial {
    /// 1 for a new object, then one more with each write that changes it.
    pub serial: u64,
    /// The version of the configuration that the object came with.
    pub created: u64,
    /// The version of the configuration that changed it last.
    pub changed: u64,
}

impl ObjectSerial {
    const fn new(version: u64) -> Self {
        Self { serial: 1, created: version, changed: version }
    }

    const fn after_change(self, version: u64) -> Self {
        Self { serial: self.serial.saturating_add(1), created: self.created, changed: version }
    }
}

/// Which parts of the configuration are objects.
#[derive(Clone, Debug)]
pub(super) enum Tracked {
    /// What is at this place.
    One(String),
    /// Each member of the object at this place.
    Members(String),
}

impl Tracked {
    pub(super) fn check(&self) -> Result<(), Error> {
        let (Self::One(place) | Self::Members(place)) = self;
        pointer::check(place)
    }

    fn places(&self, value: &Value) -> Vec<String> {
        match self {
            Self::One(place) => value.pointer(place).map(|_| place.clone()).into_iter().collect(),
            Self::Members(place) => value
                .pointer(place)
                .and_then(Value::as_object)
                .into_iter()
                .flat_map(|members| members.keys().map(|key| pointer::child(place, key)))
                .collect(),
        }
    }
}

/// The serials in the version after `before`, whose value is `value`. Takes time in proportion to
/// the size of what is tracked.
pub(super) fn next(
    tracked: &[Tracked],
    before: &ConfigSnapshot,
    value: &Value,
    version: u64,
) -> BTreeMap<String, ObjectSerial> {
    let places = tracked.iter().flat_map(|tracked| tracked.places(value));
    let serial = |place: &String| match before.serials.get(place) {
        None => ObjectSerial::new(version),
        Some(known) if before.value.pointer(place) == value.pointer(place) => *known,
        Some(known) => known.after_change(version),
    };
    places.map(|place| (serial(&place), place)).map(|(serial, place)| (place, serial)).collect()
}
