//! Everything this project is built from may be used as its own licence promises.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let allowed = allowed();
    let packages = packages();
    assert!(packages.len() > 20, "cargo metadata lists the dependencies");
    let refused: Vec<String> = packages
        .iter()
        .map(|package| (package["name"].to_string(), package["license"].as_str().unwrap_or("none")))
        .filter(|(_, licence)| !is_allowed(licence, &allowed))
        .map(|(name, licence)| format!("{name}: {licence}"))
        .collect();
    assert!(refused.is_empty(), "not in the list of deny.toml: {refused:?}");
}

#[cfg(feature = "commands")]
#[test]
fn every_advisory_that_is_let_be_says_why() {
    let deny: toml::Table = include_str!("../deny.toml").parse().unwrap();
    let ignored = deny["advisories"]["ignore"].as_array().unwrap();
    let ids: Vec<&str> = ignored.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["RUSTSEC-2025-0141"], "each is looked at before it is added here");
    let said = |one: &toml::Value| one["reason"].as_str().is_some_and(|reason| reason.len() > 40);
    assert!(ignored.iter().all(said), "an exception needs its reason");
}

/// What `deny.toml` allows.
fn allowed() -> Vec<String> {
    let text = include_str!("../deny.toml");
    let list = text.split_once("allow = [").unwrap().1.split_once(']').unwrap().0;
    list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).collect()
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--all-features", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether of each group that has to be kept one licence is allowed. Other shapes than
/// alternatives, and groups of them, are not understood and thus not allowed.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let plain = expression.replace(" OR ", "/").replace(['(', ')'], "");
    let one_of = |group: &str| group.split('/').any(|name| allowed.contains(&name.trim().into()));
    plain.split(" AND ").all(one_of)
}

#[test]
fn only_what_is_on_the_list_is_allowed() {
    let allowed = ["MIT".to_owned(), "Unicode-3.0".to_owned()];
    for good in ["MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "(MIT OR GPL-3.0) AND Unicode-3.0"] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "none", "MIT+"] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
