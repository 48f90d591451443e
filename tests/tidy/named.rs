//! The tests that pages of the design name: each is there.

use std::path::Path;

use super::{assert_none, files, read, root, shown};

/// The pages whose tables say which test holds what.
const PAGES: [&str; 2] = ["design/promises.md", "design/seed-systems.md"];

/// A test: the parts of its file's path, and its name.
struct Test {
    path: Vec<String>,
    name: String,
}

impl Test {
    /// Whether it is the one called `place::of::the_name`, or `place::the_beginning_...`.
    fn is_called(&self, called: &str) -> bool {
        let (place, name) = called.rsplit_once("::").unwrap_or(("", called));
        // A module of tests within its file has no path of its own.
        let mut parts = place.split("::").filter(|part| !["", "tests"].contains(part));
        let named = match name.strip_suffix("...") {
            Some(beginning) => self.name.starts_with(beginning),
            None => self.name == name || self.path.last().is_some_and(|file| file == name),
        };
        named && parts.all(|part| self.path.iter().any(|found| found == part))
    }
}

fn tests() -> Vec<Test> {
    let paths =
        ["src", "tests", "loom-tests"].map(|directory| files(&root().join(directory), "rs"));
    let all = paths.iter().flatten().flat_map(|path| {
        let (text, shown) = (read(path), shown(path));
        let path: Vec<String> =
            shown.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let names: Vec<String> = text.split("#[test]").skip(1).filter_map(name_of).collect();
        names.into_iter().map(move |name| Test { path: path.clone(), name })
    });
    all.collect()
}

/// The name of the function that begins next.
fn name_of(text: &str) -> Option<String> {
    let (_, after) = text.split_once("fn ")?;
    after.split_once('(').map(|(name, _)| name.to_owned())
}

/// What stands in the table cells of a page between backticks and looks like the path of a test.
fn named(page: &str) -> Vec<String> {
    let cells = page.lines().filter(|line| line.starts_with('|'));
    let quoted = cells.flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_path = |text: &&str| {
        let of_a_path =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:-.".contains(c);
        text.contains("::") && text.chars().all(of_a_path)
    };
    quoted.filter(is_path).map(str::to_owned).collect()
}

#[test]
fn every_test_that_a_page_names_exists() {
    let (tests, mut faults) = (tests(), Vec::new());
    assert!(tests.len() > 800, "the tests are found");
    for page in PAGES {
        let named = named(&read(&root().join(Path::new(page))));
        assert!(named.len() > 50, "{page} names tests");
        let missing = named.iter().filter(|name| !tests.iter().any(|test| test.is_called(name)));
        faults.extend(missing.map(|name| format!("{page} names {name}")));
    }
    assert_none(&faults, "Correct the name, or write the test.");
}

#[test]
fn a_test_is_called_by_its_name_after_some_of_its_path() {
    let path = ["src", "store", "fence"].map(str::to_owned).to_vec();
    let test = Test { path, name: "it_holds_what_it_has".to_owned() };
    for called in
        ["fence::it_holds_what_it_has", "store::fence::tests::it_holds_...", "store::fence"]
    {
        assert!(test.is_called(called), "{called}");
    }
    for called in
        ["fence::it_holds", "log::it_holds_what_it_has", "store::it_has_...", "fence::log"]
    {
        assert!(!test.is_called(called), "{called}");
    }
}
