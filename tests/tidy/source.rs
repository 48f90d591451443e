//! Rust source as far as the rules need it: code without comments, strings and tests, and the
//! paths it names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The code of a file: comments, strings and characters are blanked out, lines stay.
pub(crate) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let len = blank_len(rest, &code);
        let taken = len.unwrap_or(next.len_utf8());
        let (head, tail) = rest.split_at(taken);
        match len {
            Some(_) => code.extend(head.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
            None => code.push_str(head),
        }
        rest = tail;
    }
    code
}

/// How long the comment, string or character is that begins here, if one does.
fn blank_len(rest: &str, before: &str) -> Option<usize> {
    let in_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    match rest.as_bytes() {
        [b'/', b'/', ..] => Some(rest.find('\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(rest.find("*/").map_or(rest.len(), |end| end + 2)),
        [b'"', ..] => Some(quoted_len(rest, 1, '"')),
        [b'r', b'"' | b'#', ..] if !in_word => raw_len(rest),
        [b'\'', b'\\', ..] => Some(quoted_len(rest, 1, '\'')),
        [b'\'', ..] => {
            let mut chars = rest.char_indices().skip(2);
            chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
        }
        _ => None,
    }
}

fn quoted_len(rest: &str, start: usize, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest[start..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == end => return start + at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a raw string; none for a raw identifier.
fn raw_len(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(rest.len(), |at| 2 + hashes + at + end.len()))
}

/// Code without what is compiled for tests only: items behind `#[cfg(test)]`.
pub(crate) fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = &rest[item_len(rest)..];
    }
    kept + rest
}

/// How long the item is: up to its semicolon, or to the end of its braces.
fn item_len(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// The files that the module in `path` declares for tests only.
pub(crate) fn test_files(path: &Path, text: &str) -> Vec<PathBuf> {
    let code = code(text);
    let items =
        code.match_indices("#[cfg(test)]").map(|(at, _)| &code[at..at + item_len(&code[at..])]);
    let names = items.filter_map(|item| {
        let words: Vec<&str> =
            item.split([' ', '\n', ';']).filter(|word| !word.is_empty()).collect();
        let place = words.iter().position(|word| *word == "mod")?;
        item.ends_with(';').then(|| words.get(place + 1).map(|name| (*name).to_owned()))?
    });
    names.map(|name| path.with_extension("").join(name).with_extension("rs")).collect()
}

/// All paths of more than one part that the code names, with what `use` brings in written out.
/// What is imported is known under its name from there on, so it is there once already.
pub(crate) fn paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for statement in code.split(';') {
        if let Some(tree) = use_tree(statement) {
            expand("", tree, &mut found);
        }
    }
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mentioned = code.split(|c| !part(c)).map(|path| path.trim_matches(':'));
    found.extend(mentioned.filter(|path| path.contains("::")).map(str::to_owned));
    found
}

/// What a statement that is a `use` brings in.
fn use_tree(statement: &str) -> Option<&str> {
    let at = statement.rmatch_indices("use ").map(|(at, _)| at).find(|at| {
        let before = &statement[..*at];
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
            && !before[line_start(before)..].contains('<')
    })?;
    Some(statement[at + 4..].trim())
}

fn line_start(text: &str) -> usize {
    text.rfind('\n').map_or(0, |at| at + 1)
}

/// Writes `a::{b, c::{d}}` out as `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, found: &mut BTreeSet<String>) {
    let Some((head, group)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree).trim();
        found.extend((!name.is_empty()).then(|| format!("{prefix}{name}")));
        return;
    };
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let prefix = format!("{prefix}{}", head.trim());
    branches(group).into_iter().for_each(|branch| expand(&prefix, branch.trim(), found));
}

/// The branches of a group, split at its own commas only.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    parts
}

/// Whether the code has that word, standing alone.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

/// The targets of a document's links, but for those that lead out of the repository.
pub(crate) fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target.trim());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

#[test]
fn what_is_named_is_found_and_what_is_only_mentioned_is_not() {
    let text = r##"
        //! std::net is mentioned.
        use std::{fs, thread::{self, JoinHandle}}; /* std::os */
        pub(crate) use crate::engine::Queue as Q;
        fn f<'a>(quote: char) -> impl Sized + use<'a> { (quote == '"', "std::time", r#"std::env"#) }
        fn g() { std::process::exit(1) }
        #[cfg(test)]
        mod tests { use std::io; fn h() { if true { parking_lot::x() } } }
        fn i() { super::super::j() }
    "##;
    let found = paths(&without_tests(&code(text)));
    let expected = [
        "crate::engine::Queue",
        "std::fs",
        "std::process::exit",
        "std::thread::JoinHandle",
        "std::thread::self",
        "super::super::j",
    ];
    let named: Vec<&str> =
        found.iter().map(String::as_str).filter(|path| expected.contains(path)).collect();
    assert_eq!(named, expected);
    for path in &found {
        for hidden in ["net", "os", "time", "env", "io", "parking_lot"] {
            assert!(!path.split("::").any(|part| part == hidden), "{path} is only mentioned");
        }
    }
}

#[test]
fn a_module_for_tests_is_a_test_file() {
    let text = "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\npub(crate) mod c;\nmod d;";
    let expected = ["src/store/b.rs", "src/store/c.rs"].map(PathBuf::from);
    assert_eq!(test_files(Path::new("src/store.rs"), text), expected);
}
