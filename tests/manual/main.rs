//! The manual is true: every command in it is typed, and prints what it says.
//!
//! A block marked `console` is typed into a shell, line by line where a line begins with `$ `;
//! what follows is what it prints. A block marked with a language and `file=NAME` is a file that
//! the commands find. All blocks of one page go into one shell, in a directory of their own.
//! Times and durations may differ. `MANUAL=overwrite cargo test --test manual` writes down what
//! is printed now.
#![cfg(all(feature = "cli", not(loom)))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod page;
mod reference;
mod shell;

use std::path::{Path, PathBuf};

use page::{Block, Page};
use regex::Regex;
use shell::Shell;

const PAGES: [&str; 1] = ["docs/manual.md"];

#[test]
fn every_transcript_is_what_happens() {
    for name in PAGES {
        let path = root().join(name);
        let page = Page::parse(&std::fs::read_to_string(&path).unwrap());
        let mut shell = Shell::start();
        let played: Vec<Block> = page.blocks.iter().map(|block| play(&mut shell, block)).collect();
        let blocks = page.blocks.into_iter().zip(played).map(|(w, h)| judged(name, w, h)).collect();
        if overwrite() {
            std::fs::write(&path, Page { blocks }.text()).unwrap();
        }
    }
}

/// What stands on the page where it is true; what happened where that is to be written down.
fn judged(page: &str, written: Block, happened: Block) -> Block {
    let (says, is) = (written.text(), happened.text());
    match timeless(&says) == timeless(&is) {
        true => written,
        false if overwrite() => happened,
        false => panic!("{page} says\n{says}\nbut this happens\n{is}"),
    }
}

/// What becomes of a block when it is carried out.
fn play(shell: &mut Shell, block: &Block) -> Block {
    match block {
        Block::File { name, text, .. } => {
            std::fs::write(shell.directory().join(name), text).unwrap();
            block.clone()
        }
        Block::Console(steps) => {
            let run = |(command, _): &(String, String)| (command.clone(), shell.run(command));
            Block::Console(steps.iter().map(run).collect())
        }
        Block::Prose(_) => block.clone(),
    }
}

/// The same without times and durations: how long something takes is nobody's promise.
fn timeless(text: &str) -> String {
    let time = Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}").unwrap();
    let duration =
        Regex::new(r#"less than a second|\b\d+(\.\d+)? ?(s|min)\b|"seconds":[0-9.e-]+"#).unwrap();
    duration.replace_all(&time.replace_all(text, "TIME"), "DURATION").into_owned()
}

fn overwrite() -> bool {
    std::env::var_os("MANUAL").is_some_and(|value| value == "overwrite")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
