//! what conditional updates of a database did, as a table.

use std::thread;

use lockmaster::runtime::{ConditionalUpdate, ConfigOptions, ConfigWriter};
use serde_json::{Value, json};

fn config(status: &Value) -> ConfigWriter {
    let config = ConfigWriter::in_memory();
    let volume = json!({ "status": status, "size": 1, "previous": null });
    let other = json!({ "status": "available" });
    let first = json!({ "volumes": { "v1": volume, "v2": other } });
    config.update_where(ConditionalUpdate::new().set("", first)).unwrap();
    config
}

const STATUS: &str = "/volumes/v1/status";

#[test]
fn a18_an_update_is_made_where_its_conditions_are_met_and_else_nothing_changes() {
    let (a, b, null) = (|| json!("a"), || json!("b"), || Value::Null);
    let new = ConditionalUpdate::new;
    let table: [(&str, Value, ConditionalUpdate, bool); 17] = [
        ("equal", a(), new().expect(STATUS, a()), true),
        ("not equal", b(), new().expect(STATUS, a()), false),
        ("equal to nothing", null(), new().expect(STATUS, null()), true),
        ("something and not nothing", a(), new().expect(STATUS, null()), false),
        ("one of", b(), new().expect_one_of(STATUS, [a(), b()]), true),
        ("none of them", json!("c"), new().expect_one_of(STATUS, [a(), b()]), false),
        ("one of, nothing among them", null(), new().expect_one_of(STATUS, [a(), null()]), true),
        ("not", b(), new().expect_none_of(STATUS, [a()]), true),
        ("not, but it is", a(), new().expect_none_of(STATUS, [a()]), false),
        ("neither", json!("c"), new().expect_none_of(STATUS, [a(), b()]), true),
        ("neither, but it is", b(), new().expect_none_of(STATUS, [a(), b()]), false),
        ("nothing is not a value", null(), new().expect_none_of(STATUS, [a()]), true),
        ("nothing among those", null(), new().expect_none_of(STATUS, [a(), null()]), false),
        ("another exists", a(), new().expect("/volumes/v2/status", json!("available")), true),
        ("another is otherwise", a(), new().expect("/volumes/v2/status", a()), false),
        ("there is no third", a(), new().expect_absent("/volumes/v3"), true),
        ("there is a second", a(), new().expect_absent("/volumes/v2"), false),
    ];
    for (what, status, update, expected) in table {
        let config = config(&status);
        let before = config.read();
        let made = config.update_where(update.set(STATUS, json!("new")));
        assert_eq!(made.is_ok(), expected, "{what}");
        let after = config.read();
        match made {
            Ok(made) => assert_eq!(
                (made.version, &after.value["volumes"]["v1"]["status"]),
                (before.version + 1, &json!("new"))
            ),
            Err(refused) => {
                assert_eq!(
                    (after.version, &after.value),
                    (before.version, &before.value),
                    "{what}"
                );
                assert_eq!(refused.mismatch().unwrap().unmet.len(), 1, "{what}: it says which");
            }
        }
    }
}

#[test]
fn a18_values_may_be_computed_from_what_is_there_and_are_written_in_order() {
    let config = config(&json!("available"));
    config
        .update(None, |value| {
            let volume = &mut value["volumes"]["v1"];
            volume["previous"] = volume["status"].clone();
            // A choice by what is stored.
            volume["status"] = json!(if volume["size"] == 1 { "small" } else { "large" });
            volume["size"] = json!(volume["size"].as_u64().unwrap_or_default() + 1);
            Ok(())
        })
        .unwrap();
    let volume = json!({ "status": "small", "size": 2, "previous": "available" });
    assert_eq!(config.read().value["volumes"]["v1"], volume);
    let twice = ConditionalUpdate::new().set(STATUS, json!("first")).set(STATUS, json!("last"));
    config.update_where(twice).unwrap();
    assert_eq!(config.read().value["volumes"]["v1"]["status"], "last");
}

#[test]
fn a18_who_has_read_an_object_can_write_it_if_nobody_else_has() {
    let directory = tempfile::tempdir().unwrap();
    let options = ConfigOptions::new().objects_in("/volumes");
    let config = options.open(directory.path().join("config.json")).unwrap();
    let first = json!({ "volumes": { "v1": { "status": "available" } } });
    config.update_where(ConditionalUpdate::new().set("", first)).unwrap();
    let read = config.read().serial("/volumes/v1").unwrap();
    let unchanged = ConditionalUpdate::new().expect_unchanged("/volumes/v1", read);
    config.update_where(unchanged.clone().set(STATUS, json!("mine"))).unwrap();
    assert!(config.update_where(unchanged.set(STATUS, json!("too late"))).is_err());
    assert_eq!(config.read().value["volumes"]["v1"]["status"], "mine");
}

#[test]
fn a18_increments_side_by_side_lose_nothing() {
    let config = config(&json!("available"));
    let increment = || {
        for _ in 0..100 {
            let written = config.update(None, |value| {
                let size = &mut value["volumes"]["v1"]["size"];
                *size = json!(size.as_u64().unwrap_or_default() + 1);
                Ok(())
            });
            written.unwrap();
        }
    };
    thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(increment))));
    assert_eq!(config.read().value["volumes"]["v1"]["size"], 801);
}
