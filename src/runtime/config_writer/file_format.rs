//! What stands in the file of the configuration. `design/config.md` shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ConfigSnapshot;
use super::serials::ObjectSerial;
use crate::vocabulary::{Error, ErrorKind};

/// The version of the format that is written. 1 had no serials, and is read too.
const FORMAT: u32 = 2;
/// More is neither read nor written.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// What stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<V, S> {
    format: u32,
    version: u64,
    #[serde(default)]
    serials: S,
    value: V,
}

/// Enough of the file to tell whether the rest can be read.
#[derive(Deserialize)]
struct StoredFormat {
    format: u32,
}

/// The content of the file; for people too, so one thing a line.
///
/// # Errors
///
/// `Invalid` where it would be too large.
pub(super) fn encode(snapshot: &ConfigSnapshot) -> Result<Vec<u8>, Error> {
    let ConfigSnapshot { version, value, serials } = snapshot;
    let stored = Stored { format: FORMAT, version: *version, serials, value };
    let mut content = serde_json::to_vec_pretty(&stored)
        .map_err(|error| Error::invalid(format!("the configuration is not JSON: {error}")))?;
    content.push(b'\n');
    match content.len() {
        ..=MAX_BYTES => Ok(content),
        len => Err(Error::invalid(format!(
            "the configuration would take {len} bytes; {MAX_BYTES} at most"
        ))),
    }
}

/// What the content of a file says.
///
/// # Errors
///
/// `Corrupt` where it is no configuration or one of a newer format, with line and column.
pub(super) fn parse(content: &[u8]) -> Result<ConfigSnapshot, Error> {
    let damaged = |error: serde_json::Error| {
        Error::new(ErrorKind::Corrupt, format!("this is not a configuration: {error}"))
            .hint("put a good copy in its place, or move it away to begin with an empty one")
            .caused_by(error)
    };
    let StoredFormat { format } = serde_json::from_slice(content).map_err(damaged)?;
    if format > FORMAT {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "written by a newer lockmaster (format {format}; this one reads up to {FORMAT})"
            ),
        )
        .hint("use the newer lockmaster; the file was left as it is"));
    }
    let stored: Stored<Value, BTreeMap<String, ObjectSerial>> =
        serde_json::from_slice(content).map_err(damaged)?;
    Ok(ConfigSnapshot { version: stored.version, value: stored.value, serials: stored.serials })
}
