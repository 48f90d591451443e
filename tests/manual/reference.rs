//! The reference of all commands is what `--help` says.

use std::process::Command;

use super::{overwrite, root};

const HEAD: &str = "\
# Commands

What `--help` says, for every verb. Written by `MANUAL=overwrite cargo test --test manual`.
";

#[test]
fn the_reference_of_commands_is_what_help_says() {
    let path = root().join("docs/commands.md");
    let mut text = HEAD.to_owned();
    text.push_str(&sections(&[]));
    text.push_str(&section(env!("CARGO_BIN_EXE_lockmasterd"), "lockmasterd", &[]));
    if overwrite() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let same = written == text;
    assert!(same, "docs/commands.md is old: MANUAL=overwrite cargo test --test manual");
}

/// What is said about a verb, and about each verb within it.
fn sections(verb: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_lockmaster");
    let mut text = section(program, "lockmaster", verb);
    for within in verbs(&help(program, verb)) {
        text.push_str(&sections(&[verb, &[&within]].concat()));
    }
    text
}

fn section(program: &str, name: &str, verb: &[&str]) -> String {
    let title = [&[name], verb].concat().join(" ");
    format!("\n## `{title}`\n\n```text\n{}\n```\n", help(program, verb))
}

/// The help text, the same on every machine.
fn help(program: &str, verb: &[&str]) -> String {
    let output = Command::new(program)
        .args(verb)
        .arg("--help")
        .env("COLUMNS", "100")
        // For others than root, what is below these is where it is for root.
        .env("XDG_RUNTIME_DIR", "/run")
        .env("XDG_STATE_HOME", "/var/lib")
        .env("LOCKMASTER_SOCKET", "SOCKET")
        .env("LOCKMASTER_STATE_DIR", "DIR")
        .env("LOCKMASTER_LOCK_DIR", "DIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{verb:?} --help fails");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The verbs that a help text lists.
fn verbs(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs = list.take_while(|line| !line.is_empty());
    let names = verbs.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}
