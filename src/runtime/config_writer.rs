//! The configuration: a JSON value that many read and one at a time writes.
//!
//! Readers get the newest value that is on disk and never wait for a disk themselves. What the
//! value means is not known here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lock_order::LockClass;
use super::sync::Mutex;
use crate::store::DurableFile;
use crate::vocabulary::{Error, ErrorKind};

static WRITER: LockClass = LockClass::new("config writer");
static CURRENT: LockClass = LockClass::new("config");

/// The version of the file's format.
const FORMAT: u32 = 1;
/// More is neither read nor written.
const MAX_BYTES: usize = 64 << 20;

/// The configuration at one moment. Never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigSnapshot {
    /// 0 for one that was never written, then one more with each write.
    pub version: u64,
    /// The value; an empty object where it was never written.
    pub value: Value,
}

/// The configuration behind a shared lock, and the file it is kept in.
///
/// Invariant: what `current` holds is on disk, where there is a file. Only who holds `writer`
/// changes it, so its version grows by exactly one with each write. The lock order is `writer`,
/// then `current`; `current` is held for no longer than it takes to copy a pointer.
pub struct ConfigWriter {
    writer: Mutex<Option<DurableFile>>,
    current: Mutex<Arc<ConfigSnapshot>>,
}

/// What stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<V> {
    format: u32,
    version: u64,
    value: V,
}

/// Enough of the file to tell whether the rest can be read.
#[derive(Deserialize)]
struct StoredFormat {
    format: u32,
}

impl ConfigWriter {
    /// The configuration in the file at that path; version 0 where there is no such file. It is
    /// made with the first write.
    ///
    /// # Errors
    ///
    /// `Corrupt` where the file is no configuration or one of a newer version, with line and
    /// column; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let (file, content) = DurableFile::open(path.as_ref(), MAX_BYTES)?;
        let snapshot = match content {
            Some(content) => parse(&content).map_err(|error| error.at(file.path().display()))?,
            None => ConfigSnapshot::unwritten(),
        };
        Ok(Self::holding(Some(file), snapshot))
    }

    /// A configuration that is kept in memory only.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::holding(None, ConfigSnapshot::unwritten())
    }

    fn holding(file: Option<DurableFile>, snapshot: ConfigSnapshot) -> Self {
        let current = Mutex::new(&CURRENT, Arc::new(snapshot));
        Self { writer: Mutex::new(&WRITER, file), current }
    }

    /// The newest configuration that is on disk. Waits for nobody's disk.
    #[must_use]
    pub fn read(&self) -> Arc<ConfigSnapshot> {
        self.current.lock().clone()
    }

    /// Changes the configuration: hands a copy to `change`, makes what that leaves durable as
    /// the next version, and publishes it. Where `change` fails, nothing changes.
    ///
    /// With `expected`, only if that is the version still. Writers wait for one another, also
    /// while `change` runs; it may [`read`](Self::read), but not write. Takes time in proportion
    /// to the size of the configuration.
    ///
    /// # Errors
    ///
    /// `Refused` where the version is another one, or somebody else wrote the file; `Invalid`
    /// where it would become too large; `Io`; what `change` says. The configuration is then
    /// what it was.
    pub fn update(
        &self,
        expected: Option<u64>,
        change: impl FnOnce(&mut Value) -> Result<(), Error>,
    ) -> Result<Arc<ConfigSnapshot>, Error> {
        let mut file = self.writer.lock();
        let mut next = ConfigSnapshot::clone(&self.read());
        refuse_other_version(expected, next.version)?;
        change(&mut next.value)?;
        next.version = version_after(next.version)?;
        if let Some(file) = &mut *file {
            file.replace(&encode(&next)?)?;
        }
        let next = Arc::new(next);
        *self.current.lock() = next.clone();
        Ok(next)
    }
}

impl fmt::Debug for ConfigWriter {
    /// The version only: a configuration may be large, and hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigWriter").field("version", &self.read().version).finish()
    }
}

impl ConfigSnapshot {
    fn unwritten() -> Self {
        Self { version: 0, value: Value::Object(Map::new()) }
    }
}

fn refuse_other_version(expected: Option<u64>, current: u64) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != current => Err(Error::new(
            ErrorKind::Refused,
            format!("the configuration is at version {current}, not {expected}"),
        )
        .hint("read it again, and decide anew")),
        _ => Ok(()),
    }
}

fn version_after(version: u64) -> Result<u64, Error> {
    version.checked_add(1).ok_or_else(|| {
        Error::invalid(format!("version {version} of the configuration is the last there can be"))
    })
}

/// The content of the file; for people too, so one thing a line.
fn encode(snapshot: &ConfigSnapshot) -> Result<Vec<u8>, Error> {
    let ConfigSnapshot { version, value } = snapshot;
    let stored = Stored { format: FORMAT, version: *version, value };
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

fn parse(content: &[u8]) -> Result<ConfigSnapshot, Error> {
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
    let Stored { version, value, .. } = serde_json::from_slice(content).map_err(damaged)?;
    Ok(ConfigSnapshot { version, value })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(writer: &ConfigWriter, number: u64) -> Result<Arc<ConfigSnapshot>, Error> {
        writer.update(None, |value| {
            value["number"] = json!(number);
            Ok(())
        })
    }

    #[test]
    fn each_write_is_one_version_further_and_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let writer = ConfigWriter::open(&path).unwrap();
        assert_eq!(*writer.read(), ConfigSnapshot { version: 0, value: json!({}) });
        assert!(!path.exists(), "nothing is made before something is written");
        for number in 1..=3 {
            assert_eq!(set(&writer, number).unwrap().version, number);
        }
        let expected = ConfigSnapshot { version: 3, value: json!({"number": 3}) };
        assert_eq!(*writer.read(), expected);
        assert_eq!(*ConfigWriter::open(&path).unwrap().read(), expected);
    }

    #[test]
    fn a_snapshot_stays_what_it_was() {
        let writer = ConfigWriter::in_memory();
        let before = set(&writer, 1).unwrap();
        set(&writer, 2).unwrap();
        assert_eq!((before.version, &before.value["number"]), (1, &json!(1)));
    }

    #[test]
    fn a_write_for_another_version_is_refused_with_the_current_one() {
        let writer = ConfigWriter::in_memory();
        set(&writer, 1).unwrap();
        let error = writer.update(Some(0), |_| panic!("must not be asked")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(error.to_string(), "the configuration is at version 1, not 0");
        assert_eq!(writer.update(Some(1), |_| Ok(())).unwrap().version, 2);
    }

    #[test]
    fn a_change_that_fails_or_panics_changes_nothing() {
        let writer = ConfigWriter::in_memory();
        set(&writer, 1).unwrap();
        let spoil = |value: &mut Value| {
            *value = json!("spoilt");
            Err(Error::new(ErrorKind::Refused, "the volume is attached already"))
        };
        assert!(writer.update(None, spoil).unwrap_err().to_string().contains("attached"));
        let panics = std::panic::AssertUnwindSafe(|| {
            let _ = writer.update(None, |value| {
                *value = json!("spoilt");
                panic!("a bug of the caller's")
            });
        });
        std::panic::catch_unwind(panics).unwrap_err();
        let expected = ConfigSnapshot { version: 1, value: json!({"number": 1}) };
        assert_eq!(*writer.read(), expected);
        assert_eq!(set(&writer, 2).unwrap().version, 2, "writing goes on");
    }

    #[test]
    fn writers_at_once_lose_no_update_and_skip_no_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let writer = ConfigWriter::open(&path).unwrap();
        let count = |value: &mut Value| {
            value["count"] = json!(value["count"].as_u64().unwrap_or(0) + 1);
            Ok(())
        };
        let write = || (0..25).map(|_| writer.update(None, count).unwrap().version).collect();
        let mut versions: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(write)).collect();
            threads.into_iter().flat_map(|thread| -> Vec<u64> { thread.join().unwrap() }).collect()
        });
        versions.sort_unstable();
        assert_eq!(versions, (1..=100).collect::<Vec<_>>());
        let expected = ConfigSnapshot { version: 100, value: json!({"count": 100}) };
        assert_eq!(*ConfigWriter::open(&path).unwrap().read(), expected);
    }

    #[test]
    fn a_file_that_somebody_else_wrote_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let (first, second) =
            (ConfigWriter::open(&path).unwrap(), ConfigWriter::open(&path).unwrap());
        set(&first, 1).unwrap();
        let error = set(&second, 9).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("somebody else"), "{error}");
        assert_eq!(second.read().version, 0, "what is not on disk is not published");
        set(&first, 2).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(set(&first, 3).unwrap_err().kind(), ErrorKind::Refused, "removing is writing");
    }

    #[test]
    fn a_write_that_fails_is_not_published_and_can_be_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let writer = ConfigWriter::open(&path).unwrap();
        set(&writer, 1).unwrap();
        let in_the_way = dir.path().join("config.json.new");
        std::fs::create_dir(&in_the_way).unwrap();
        assert_eq!(set(&writer, 2).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(writer.read().version, 1);
        assert_eq!(ConfigWriter::open(&path).unwrap().read().version, 1);
        std::fs::remove_dir(&in_the_way).unwrap();
        assert_eq!(set(&writer, 2).unwrap().version, 2);
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let good = r#"{"format": 1, "version": 2, "value": [true]}"#;
        let (open, close) = ("[".repeat(1000), "]".repeat(1000));
        let deep = good.replace("[true]", &format!("{open}{close}"));
        for (content, words) in [
            ("", "line 1 column 0"),
            (&good[..20], "line 1 column"),
            (r#"{"format": 1, "version": 2}"#, "missing field `value`"),
            (r#"{"format": 1, "version": -2, "value": 1}"#, "integer `-2`"),
            (r#"{"format": 1, "version": 2, "value": 1, "more": 1}"#, "unknown field `more`"),
            (r#"{"format": 9, "news": 1}"#, "newer lockmaster (format 9; this one reads up to 1)"),
            (&deep, "recursion limit"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = ConfigWriter::open(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let sentence = error.to_string();
            assert!(sentence.starts_with(&path.display().to_string()), "{sentence}");
            assert!(sentence.contains(words), "{sentence}");
            assert!(error.hint_text().is_some());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        std::fs::write(&path, good).unwrap();
        assert_eq!(ConfigWriter::open(&path).unwrap().read().value, json!([true]));
    }

    /// A pipe takes the place of the new file and is full before the content is written, so the
    /// writer stands in the middle of its write until somebody reads.
    #[test]
    fn a_reader_does_not_wait_while_a_writer_waits_for_its_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let writer = ConfigWriter::open(&path).unwrap();
        set(&writer, 1).unwrap();
        let pipe = dir.path().join("config.json.new");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        std::thread::scope(|scope| {
            let large = json!("x".repeat(1 << 20));
            let write = scope.spawn(|| {
                writer.update(None, |value| {
                    *value = large;
                    Ok(())
                })
            });
            // Returns when the writer has the other end open: it is writing from here on.
            let other_end = std::fs::File::open(&pipe).unwrap();
            assert_eq!(writer.read().version, 1);
            assert!(!write.is_finished());
            drop(other_end);
            assert_eq!(write.join().unwrap().unwrap_err().kind(), ErrorKind::Io);
        });
        assert_eq!(writer.read().version, 1);
    }
}
