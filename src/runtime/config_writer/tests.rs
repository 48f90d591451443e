//! What the configuration promises, without nodes; with nodes in `tests/config_nodes.rs`.

use serde_json::json;

use super::*;

fn snapshot(version: u64, value: Value) -> ConfigSnapshot {
    ConfigSnapshot { version, value, serials: BTreeMap::new() }
}

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
    assert_eq!(*writer.read(), snapshot(0, json!({})));
    assert!(!path.exists(), "nothing is made before something is written");
    for number in 1..=3 {
        assert_eq!(set(&writer, number).unwrap().version, number);
    }
    let expected = snapshot(3, json!({"number": 3}));
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
    let expected = snapshot(1, json!({"number": 1}));
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
    let expected = snapshot(100, json!({"count": 100}));
    assert_eq!(*ConfigWriter::open(&path).unwrap().read(), expected);
}

#[test]
fn a_file_that_somebody_else_wrote_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let (first, second) = (ConfigWriter::open(&path).unwrap(), ConfigWriter::open(&path).unwrap());
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
        (r#"{"format": 9, "news": 1}"#, "newer lockmaster (format 9; this one reads up to 2)"),
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

/// Versions of two nodes and what is not an object.
fn tracked() -> ConfigOptions {
    ConfigOptions::new().object("/cluster").objects_in("/nodes")
}

fn serial(serial: u64, created: u64, changed: u64) -> Option<ObjectSerial> {
    Some(ObjectSerial { serial, created, changed })
}

#[test]
fn an_object_has_a_serial_that_grows_with_each_change_of_it_and_of_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let writer = tracked().open(&path).unwrap();
    let put = |place: &str, value: Value| {
        let written = writer.update_where(ConditionalUpdate::new().set(place, value));
        written.unwrap();
    };
    put("", json!({"cluster": 1, "nodes": {"a": 1, "b/c": 1}, "rest": 1}));
    put("/nodes/a", json!(2));
    put("/rest", json!(2));
    put("/nodes/a", json!(3));
    put("/cluster", json!(3));
    let now = writer.read();
    assert_eq!(now.serial("/nodes/a"), serial(3, 1, 4));
    assert_eq!(now.serial("/nodes/b~1c"), serial(1, 1, 1));
    assert_eq!(now.serial("/cluster"), serial(2, 1, 5));
    assert_eq!((now.serial("/rest"), now.serial("/nodes")), (None, None));
    drop(writer);
    assert_eq!(*tracked().open(&path).unwrap().read(), *now, "they are in the file");
    let untracked = ConfigWriter::open(&path).unwrap();
    assert_eq!(untracked.read().serial("/nodes/a"), None);
}

#[test]
fn an_object_that_was_made_anew_has_another_serial() {
    let writer = tracked().in_memory().unwrap();
    let put = |value: Value| {
        writer.update_where(ConditionalUpdate::new().set("", value)).unwrap().serial("/nodes/a")
    };
    let first = put(json!({"nodes": {"a": 1}}));
    assert_eq!(put(json!({"nodes": {}})), None);
    assert_eq!((first, put(json!({"nodes": {"a": 1}}))), (serial(1, 1, 1), serial(1, 3, 3)));
}

#[test]
fn a_file_without_serials_is_read_and_its_objects_get_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, r#"{"format": 1, "version": 7, "value": {"nodes": {"a": 1}}}"#).unwrap();
    let writer = tracked().open(&path).unwrap();
    assert_eq!(writer.read().serial("/nodes/a"), serial(1, 7, 7));
}

#[test]
fn a_conditional_update_is_refused_with_every_value_that_is_not_as_expected() {
    let writer = tracked().in_memory().unwrap();
    let volume = json!({"nodes": {"v": {"status": "in-use", "migrating": null, "size": 1}}});
    let now = writer.update_where(ConditionalUpdate::new().set("", volume)).unwrap();
    let known = now.serial("/nodes/v").unwrap();
    let resize = ConditionalUpdate::new().set("/nodes/v/size", json!(2));
    let before = writer.update_where(resize).unwrap();
    let update = ConditionalUpdate::new()
        .expect_one_of("/nodes/v/status", [json!("available"), json!("error")])
        .expect_none_of("/nodes/v/migrating", [json!("yes"), json!(null)])
        .expect_none_of("/nodes/v/no", [json!(1)])
        .expect("/nodes/v/size", json!(2))
        .expect_absent("/nodes/v/size")
        .expect("/nodes/w", json!(1))
        .expect_unchanged("/nodes/v", known)
        .expect_unchanged("/nodes/x", known)
        .set("/nodes/v/status", json!("attaching"));
    let refusal = writer.update_where(update).unwrap_err();
    let mismatch = refusal.mismatch().unwrap();
    assert_eq!(mismatch.version, 2);
    assert_eq!(mismatch.unmet.len(), 7);
    assert_eq!(mismatch.unmet[0].current, Some(json!("in-use")));
    assert_eq!(mismatch.unmet[5].serial, serial(2, 1, 2));
    assert_eq!(
        refusal.to_string(),
        "the configuration (version 2) is not as expected: \
         /nodes/v/status is \"in-use\", not \"available\" or \"error\"; \
         /nodes/v/migrating is null, which it must not be; \
         /nodes/v/no is not there; it should be, and not 1; \
         /nodes/v/size is 2, and should not be there; \
         /nodes/w is not there, not 1; \
         /nodes/v has changed: serial 2, not 1; \
         /nodes/x is not there any more"
    );
    assert_eq!(Error::from(refusal).kind(), ErrorKind::Refused);
    assert!(Arc::ptr_eq(&writer.read(), &before), "nothing was written");
}

#[test]
fn a_conditional_update_makes_all_its_changes_or_none() {
    let writer = ConfigWriter::in_memory();
    let update = ConditionalUpdate::new()
        .expect_absent("/a")
        .set("/a", json!({}))
        .set("/a/b", json!(1))
        .set("/c", json!(2))
        .remove("/c");
    assert_eq!(writer.update_where(update).unwrap().value, json!({"a": {"b": 1}}));
    let half = ConditionalUpdate::new().set("/a/b", json!(2)).set("/x/y", json!(2));
    let error = writer.update_where(half).unwrap_err();
    assert!(error.mismatch().is_none());
    assert_eq!(Error::from(error).kind(), ErrorKind::Invalid);
    let no_place = ConditionalUpdate::new().expect_absent("a");
    assert!(writer.update_where(no_place).unwrap_err().to_string().contains("\"a\""));
    assert_eq!(*writer.read(), snapshot(1, json!({"a": {"b": 1}})));
}

#[test]
fn of_many_who_reserve_one_thing_at_once_by_a_conditional_update_one_gets_it() {
    let writer = ConfigWriter::in_memory();
    writer.update_where(ConditionalUpdate::new().set("/status", json!("available"))).unwrap();
    let attach = |who: u64| {
        let update = ConditionalUpdate::new().expect("/status", json!("available"));
        writer.update_where(update.set("/status", json!(who))).is_ok()
    };
    let won: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|who| (who, scope.spawn(move || attach(who)))).collect();
        let ended = threads.into_iter().map(|(who, thread)| (who, thread.join().unwrap()));
        ended.filter(|(_, won)| *won).map(|(who, _)| who).collect()
    });
    assert_eq!(won.len(), 1);
    assert_eq!(writer.read().value["status"], won[0]);
}

#[test]
fn what_the_verification_refuses_is_neither_written_nor_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let options = || {
        ConfigOptions::new().verify(|now, next| {
            let (before, after) = (&now.value["number"], next["number"].as_u64());
            match after.is_some_and(|after| before.as_u64().is_none_or(|before| after >= before)) {
                true => Ok(()),
                false => Err(Error::invalid("the number must not go down")),
            }
        })
    };
    let writer = options().open(&path).unwrap();
    set(&writer, 5).unwrap();
    assert_eq!(set(&writer, 4).unwrap_err().to_string(), "the number must not go down");
    assert_eq!(writer.read().version, 1);
    assert_eq!(*ConfigWriter::open(&path).unwrap().read(), *writer.read());
    set(&writer, 6).unwrap();
    std::fs::write(&path, r#"{"format": 2, "version": 3, "value": {"number": "x"}}"#).unwrap();
    let error = options().open(&path).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("must not go down"), "{error}");
}

#[test]
fn an_option_that_cannot_be_is_refused() {
    for options in [
        ConfigOptions::new().objects_in("nodes"),
        ConfigOptions::new().object("cluster"),
        ConfigOptions::new().uploads_at_once(0),
    ] {
        assert_eq!(options.in_memory().unwrap_err().kind(), ErrorKind::Invalid);
    }
}
