//! The architecture as a test: which module may name which other, and who may touch what.
//!
//! The two tables are the rules; `design/README.md` quotes them. A failure says what to do. Test
//! code inside `src/` is exempt: it may touch whatever it has to.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[path = "tidy/named.rs"]
mod named;
#[path = "tidy/source.rs"]
mod source;

use source::{code, paths, without_tests};

/// Which modules of the crate may name which others. Whoever is not listed may name nothing.
const LAYERS: &[(&str, &[&str])] = &[
    ("vocabulary", &[]),
    ("engine", &["vocabulary"]),
    ("store", &["vocabulary"]),
    ("runtime", &["vocabulary", "engine", "store"]),
    ("interfaces", &["vocabulary", "runtime"]),
];

/// What only some places may touch: files, or all below a directory. A file at the top of a
/// module counts as below its directory.
const TOUCHES: &[(&str, &[&str])] = &[
    ("std::fs", &["store/", "interfaces/", "bin/"]),
    ("std::net", &["interfaces/metrics/", "bin/lockmasterd/"]),
    ("std::os::unix::net", &["interfaces/"]),
    ("std::thread", &["runtime/", "store/state_dir.rs", "bin/"]),
    ("std::process", &["store/fence/", "store/state_dir.rs", "interfaces/", "bin/"]),
    ("std::time::Instant", &["runtime/", "interfaces/", "bin/"]),
    ("std::time::SystemTime", &["runtime/clock.rs", "store/state_dir.rs"]),
    ("crossbeam_channel", &["runtime/", "interfaces/", "bin/"]),
    ("parking_lot", &["runtime/sync.rs"]),
    ("loom", &["runtime/sync.rs"]),
    ("shuttle", &["runtime/sync.rs"]),
    ("fs4", &["store/fence/", "store/state_dir.rs", "interfaces/luxi/socket.rs"]),
    ("bincode", &["store/codec.rs"]),
    ("petgraph", &["engine/", "runtime/lock_order/"]),
    ("nix", &["store/fence/foreign.rs", "bin/lockmasterd/"]),
    ("rustix", &["store/file.rs", "store/fence/", "interfaces/", "bin/"]),
    ("mio", &["interfaces/luxi/"]),
    ("toml", &["interfaces/", "bin/"]),
    ("regex", &["vocabulary/filter/", "interfaces/", "bin/lockmaster/list/"]),
    ("signal_hook", &["bin/"]),
    ("clap", &["bin/"]),
    ("indicatif", &["bin/"]),
];

/// A source file: where it is below `src/`, its text, and the paths its code names.
struct Source {
    place: String,
    text: String,
    paths: BTreeSet<String>,
}

impl Source {
    /// The layer it belongs to; the crate root and binaries belong to none.
    fn layer(&self) -> Option<&str> {
        let top = self.place.split('/').next().unwrap_or_default();
        let top = top.strip_suffix(".rs").unwrap_or(top);
        (!["lib", "bin"].contains(&top)).then_some(top)
    }

    /// How many modules it is deep: 1 for `store.rs`, 2 for `store/log.rs`.
    fn depth(&self) -> usize {
        self.place.split('/').count()
    }

    /// Whether it is the file `place`, or below the directory `place/`.
    fn is_within(&self, place: &str) -> bool {
        let top = place.strip_suffix('/').map(|directory| format!("{directory}.rs"));
        self.place == place
            || place.ends_with('/') && self.place.starts_with(place)
            || top.is_some_and(|top| self.place == top)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory` with that extension, in order.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let found = paths.into_iter().flat_map(|path| match path.is_dir() {
        true => files(&path, extension),
        false => vec![path],
    });
    found.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A path below the package, with `/` between its parts.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The library's and the binaries' sources, but for those that are tests.
fn sources() -> Vec<Source> {
    let all: Vec<(PathBuf, String)> = files(&root().join("src"), "rs")
        .into_iter()
        .map(|path| (path.clone(), read(&path)))
        .collect();
    let tests: BTreeSet<PathBuf> =
        all.iter().flat_map(|(path, text)| source::test_files(path, text)).collect();
    // What a module of tests consists of is tests as well.
    let is_test = |path: &Path| {
        tests.iter().any(|test| path == test || path.starts_with(test.with_extension("")))
    };
    let sources = all.into_iter().filter(|(path, _)| !is_test(path)).map(|(path, text)| {
        let place = shown(&path).trim_start_matches("src/").to_owned();
        let paths = paths(&without_tests(&code(&text)));
        Source { place, text, paths }
    });
    let sources: Vec<Source> = sources.collect();
    assert!(sources.len() > 20, "the sources are found");
    sources
}

fn assert_none(faults: &[String], what_to_do: &str) {
    assert!(faults.is_empty(), "\n{}\n\n{what_to_do}\n", faults.join("\n"));
}

/// Whether `path` is `prefix` or something in it.
fn is_in(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn a_layer_names_only_layers_below_it() {
    let mut faults = Vec::new();
    let sources = sources();
    for source in &sources {
        let Some(layer) = source.layer() else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            faults.push(format!("src/{}: the module {layer} is in no layer", source.place));
            continue;
        };
        for path in &source.paths {
            let named = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next());
            if named.is_some_and(|named| named != layer && !allowed.contains(&named)) {
                faults.push(format!("src/{}: {layer} names {path}", source.place));
            }
            if path.split("::").take_while(|part| *part == "super").count() >= source.depth() {
                faults.push(format!(
                    "src/{}: {path} leaves its layer by the back door",
                    source.place
                ));
            }
        }
    }
    assert_none(
        &faults,
        "Move what is needed into a layer that both may name (usually vocabulary), or pass it in \
         as an argument. Only if the architecture is to change, change LAYERS here and \
         design/README.md.",
    );
}

#[test]
fn threads_clocks_files_and_crates_are_touched_only_where_they_may_be() {
    let mut faults = Vec::new();
    for source in sources() {
        for (what, places) in TOUCHES {
            let allowed = places.iter().any(|place| source.is_within(place));
            for path in source.paths.iter().filter(|path| !allowed && is_in(path, what)) {
                faults.push(format!("src/{} touches {path}", source.place));
            }
        }
    }
    assert_none(
        &faults,
        "Have it done where it may be done (TOUCHES in tests/tidy.rs), and pass the result in: \
         times, bytes and answers are values. Only if the architecture is to change, change \
         TOUCHES and design/README.md.",
    );
}

#[test]
fn every_place_in_the_tables_exists_and_is_needed() {
    let sources = sources();
    let mut faults = Vec::new();
    for (layer, _) in
        LAYERS.iter().filter(|(layer, _)| !sources.iter().any(|s| s.layer() == Some(layer)))
    {
        faults.push(format!("LAYERS names {layer}, which does not exist"));
    }
    for (what, places) in TOUCHES {
        let used = |place: &str| {
            let mut within = sources.iter().filter(|source| source.is_within(place));
            within.any(|source| source.paths.iter().any(|path| is_in(path, what)))
        };
        let unused = places.iter().filter(|place| !used(place));
        faults.extend(unused.map(|place| format!("TOUCHES lets {place} touch {what} for nothing")));
    }
    assert_none(&faults, "Take the permission out of the table: nobody needs it.");
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let faults: Vec<String> = ["src", "tests", "benches", "examples", "loom-tests"]
        .iter()
        .flat_map(|directory| files(&root().join(directory), "rs"))
        .filter(|path| !read(path).starts_with("//! ") && !read(path).starts_with("#![doc"))
        .map(|path| shown(&path))
        .collect();
    assert_none(&faults, "Begin the file with `//! ` and a sentence a stranger understands.");
}

#[test]
fn nothing_is_unsafe_or_left_to_do() {
    let mut faults = Vec::new();
    for directory in ["src", "tests", "benches", "examples", "loom-tests"] {
        for path in files(&root().join(directory), "rs") {
            let code = code(&read(&path));
            for word in ["unsafe", "todo!", "unimplemented!", "dbg!"] {
                faults.extend(
                    source::has_word(&code, word).then(|| format!("{}: {word}", shown(&path))),
                );
            }
        }
    }
    assert_none(&faults, "Do it now, or leave it out and open an issue. Unsafe code stays out.");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = files(&root().join("design"), "md");
    let documents = documents.into_iter().chain(
        ["README.md", "CHANGELOG.md"]
            .map(|name| root().join(name))
            .into_iter()
            .filter(|path| path.exists()),
    );
    let mut faults = Vec::new();
    for document in documents {
        let text = read(&document);
        for link in source::links(&text) {
            let target = link.split('#').next().unwrap_or_default();
            let missing = !target.is_empty() && !document.parent().unwrap().join(target).exists();
            faults.extend(missing.then(|| format!("{} links to {link}", shown(&document))));
        }
    }
    assert_none(&faults, "Correct the link, or write the page.");
}

#[test]
fn every_design_page_is_in_the_table_of_contents() {
    let contents = read(&root().join("design/README.md"));
    let pages = files(&root().join("design"), "md").into_iter().filter(|path| {
        path.parent() == Some(&root().join("design")) && !path.ends_with("README.md")
    });
    let faults: Vec<String> = pages
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .filter(|name| !contents.contains(&format!("({name})")))
        .collect();
    assert_none(&faults, "Add the page to the table at the top of design/README.md.");
}

#[test]
fn no_file_is_too_long_to_be_one_subject() {
    const MOST: usize = 600;
    let faults: Vec<String> = sources()
        .into_iter()
        .filter(|source| source.text.lines().count() > MOST)
        .map(|source| format!("src/{}: {} lines", source.place, source.text.lines().count()))
        .collect();
    assert_none(&faults, "Find the two subjects in it and give each a file (tests count too).");
}
