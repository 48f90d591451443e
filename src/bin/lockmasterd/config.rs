//! The daemon's configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockmaster::interfaces::catalogue::{Catalogue, durations};
use lockmaster::interfaces::luxi::Access;
use lockmaster::runtime::{ConfigOptions, ForeignLocks, Limits};
use lockmaster::vocabulary::{Error, Hierarchy, Scope};
use serde::Deserialize;

use crate::access::ConfiguredAccess;
use crate::distribute::Distribute;

/// What a configuration file can say. Everything has a default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The levels in the order they are locked, as in catalogues: the first is that of the big
    /// lock, which every opcode holds.
    levels: Option<Vec<String>>,
    /// How far the locks of levels reach: `process` (this daemon, where not said), `node` or
    /// `global`.
    #[serde(default)]
    scopes: BTreeMap<String, Scope>,
    /// Levels of scope `node` whose locks also keep out programs that lock with `fcntl`, and what
    /// the paths of their files begin with, before the name of a lock.
    #[serde(default)]
    fcntl: BTreeMap<String, PathBuf>,
    /// Files that describe opcodes; relative to the configuration file.
    #[serde(default)]
    catalogue: Vec<PathBuf>,
    /// Where the programs are that run before and after opcodes; relative to the configuration
    /// file.
    hooks: Option<PathBuf>,
    /// How many opcodes execute at once.
    workers: Option<usize>,
    /// How long a job waits for a lock before a warning says who holds it: `"1m"` where not said,
    /// `"off"` for none.
    slow_lock: Option<String>,
    #[serde(default)]
    limits: ConfiguredLimits,
    #[serde(default)]
    access: ConfiguredAccess,
    /// Which nodes get the configuration that the daemon keeps.
    distribute: Option<Distribute>,
    /// Where the file is, and what stands in it.
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    directory: PathBuf,
    #[serde(skip)]
    text: String,
}

/// The limits that a file can set; see [`Limits`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfiguredLimits {
    queued_jobs: Option<usize>,
    batch_jobs: Option<usize>,
    batch_bytes: Option<usize>,
    job_ops: Option<usize>,
    job_bytes: Option<usize>,
    feedback_bytes: Option<usize>,
    line_bytes: Option<usize>,
    result_bytes: Option<usize>,
}

impl Config {
    /// Reads the file, or takes the defaults where there is none.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            let shown = path.display();
            Error::invalid(format!("cannot read the configuration file {shown}: {error}"))
        })?;
        let mut config: Self =
            toml::from_str(&text).map_err(|error| located(path, &text, &error))?;
        config.directory = path.parent().map(Path::to_owned).unwrap_or_default();
        (config.path, config.text) = (path.to_owned(), text);
        config.check().map_err(|error| error.at(path.display()))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Error> {
        if self.workers.is_some_and(|workers| !(1..=1000).contains(&workers)) {
            return Err(Error::invalid("workers has to be 1 to 1000"));
        }
        self.access()?.check()?;
        self.slow_lock()?;
        self.hierarchy().map(|_| ())
    }

    /// Who may connect, and who may do what.
    pub(crate) fn access(&self) -> Result<Access, Error> {
        self.access.resolved()
    }

    /// The levels of locks; Ganeti's where the file says nothing.
    fn hierarchy(&self) -> Result<Hierarchy, Error> {
        let Some(levels) = &self.levels else { return Ok(Hierarchy::default()) };
        let Some((first, others)) = levels.split_first() else {
            return Err(Error::invalid("levels is empty")
                .hint("the first level is that of the big lock: levels = [\"cluster\", ...]"));
        };
        let builder = Hierarchy::builder().big_lock(first);
        others.iter().fold(builder, |builder, level| builder.level(level)).build()
    }

    /// Reads the catalogue files. All have to agree on the levels: those that the configuration
    /// declares, or else those of the first catalogue.
    pub(crate) fn load(&self) -> Result<(Hierarchy, Vec<Catalogue>), Error> {
        let (mut hierarchy, mut catalogues) = (self.hierarchy()?, Vec::new());
        for path in self.catalogue.iter().map(|path| self.directory.join(path)) {
            let catalogue = Catalogue::load(&path, &hierarchy)?;
            if catalogues.is_empty() && self.levels.is_none() {
                hierarchy = catalogue.hierarchy().clone();
            }
            if catalogue.hierarchy() != &hierarchy {
                let theirs = catalogue.hierarchy();
                let message = format!("the levels {theirs} are not those in use, {hierarchy}");
                return Err(Error::invalid(message).at(path.display()));
            }
            catalogues.push(catalogue);
        }
        Ok((hierarchy, catalogues))
    }

    /// The levels, with the reach that the file gives them.
    pub(crate) fn scoped(&self, hierarchy: Hierarchy) -> Result<Hierarchy, Error> {
        let mut scopes = self.scopes.iter();
        scopes.try_fold(hierarchy, |hierarchy, (level, scope)| hierarchy.with_scope(level, *scope))
    }

    /// The locks of other programs that are to be kept out, of those levels.
    pub(crate) fn foreign(&self, hierarchy: &Hierarchy) -> Result<Vec<ForeignLocks>, Error> {
        let foreign = |(level, path): (&String, &PathBuf)| {
            if hierarchy.get(hierarchy.level(level)?).scope() != Scope::Node {
                let message = format!("the level {level} has no files to keep out others' with");
                return Err(Error::invalid(message)
                    .hint(format!("give it its scope: [scopes] {level} = \"node\"")));
            }
            Ok(ForeignLocks::at(level, &self.directory.join(path)))
        };
        self.fcntl.iter().map(foreign).collect()
    }

    /// How the configuration is to be kept; `spool` is a directory for uploads.
    pub(crate) fn kept(&self, spool: &Path) -> Result<ConfigOptions, Error> {
        let Some(distribute) = &self.distribute else { return Ok(ConfigOptions::new()) };
        let place = |offset| place(&self.path, &self.text, offset);
        distribute.options(&self.directory, place, spool)
    }

    /// Where hooks are, if the file says so.
    pub(crate) fn hooks(&self) -> Option<PathBuf> {
        self.hooks.as_ref().map(|path| self.directory.join(path))
    }

    /// How many opcodes execute at once, if the file says so.
    pub(crate) const fn workers(&self) -> Option<usize> {
        self.workers
    }

    /// After how long a wait for a lock is warned of, if the file says so: `Some(None)` for never.
    pub(crate) fn slow_lock(&self) -> Result<Option<Option<Duration>>, Error> {
        let Some(text) = &self.slow_lock else { return Ok(None) };
        match durations::parse(text).filter(|threshold| !threshold.is_zero()) {
            Some(threshold) => Ok(Some(Some(threshold))),
            None if text == "off" => Ok(Some(None)),
            None => Err(Error::invalid(format!("slow_lock is {text:?}"))
                .hint("a number and one of ms, s, m, h, d, such as \"30s\", or \"off\"")),
        }
    }

    /// What is allowed at most.
    pub(crate) fn limits(&self) -> Limits {
        let (mut limits, set) = (Limits::default(), &self.limits);
        let pairs = [
            (&mut limits.queued_jobs, set.queued_jobs),
            (&mut limits.batch_jobs, set.batch_jobs),
            (&mut limits.batch_bytes, set.batch_bytes),
            (&mut limits.job_ops, set.job_ops),
            (&mut limits.job_bytes, set.job_bytes),
            (&mut limits.feedback_bytes, set.feedback_bytes),
            (&mut limits.line_bytes, set.line_bytes),
            (&mut limits.result_bytes, set.result_bytes),
        ];
        for (limit, value) in pairs {
            *limit = value.unwrap_or(*limit);
        }
        limits
    }
}

/// The parser's error, led by file, line and column.
fn located(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().trim_end();
    let offset = error.span().map_or(0, |span| span.start);
    let error = Error::invalid(message).at(place(path, text, offset));
    let of_catalogue = ["opcode", "settings", "job", "sets"];
    match of_catalogue.iter().any(|field| message.contains(&format!("unknown field `{field}`"))) {
        true => error.hint(format!(
            "opcodes and their settings stand in a file of their own, which this file names: \
             catalogue = [\"{}\"]",
            path.file_name().unwrap_or_default().to_string_lossy()
        )),
        false => error,
    }
}

/// The file, line and column of a byte.
fn place(path: &Path, text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or_default();
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
    format!("{}:{line}:{column}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lockmasterd.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(Some(&path))
    }

    #[test]
    fn a_file_sets_what_it_names_and_leaves_the_rest() {
        let text = "levels = ['site', 'pool']\nworkers = 3\n[limits]\njob_ops = 7\n";
        let config = read(text).unwrap();
        assert_eq!(config.hierarchy().unwrap().to_string(), "site, pool");
        assert_eq!((config.workers(), config.limits().job_ops), (Some(3), 7));
        assert_eq!(config.limits().batch_jobs, Limits::default().batch_jobs);
        assert_eq!(Config::default().hierarchy().unwrap(), Hierarchy::default());
    }

    #[test]
    fn slow_locks_are_told_of_after_a_time_or_never() {
        let slow_lock = |text: &str| read(text).map(|config| config.slow_lock().unwrap());
        assert_eq!(slow_lock("").unwrap(), None);
        assert_eq!(slow_lock("slow_lock = '5m'").unwrap(), Some(Some(Duration::from_secs(300))));
        assert_eq!(slow_lock("slow_lock = 'off'").unwrap(), Some(None));
        for bad in ["never", "0s", "5"] {
            let error = slow_lock(&format!("slow_lock = '{bad}'")).unwrap_err().to_string();
            assert!(error.ends_with(&format!("slow_lock is {bad:?}")), "{error}");
        }
    }

    #[test]
    fn errors_name_the_file_the_line_and_the_column() {
        let error = read("workers = 3\n\nlimit = 4\n").unwrap_err().to_string();
        assert!(error.contains("lockmasterd.toml:3:1: unknown field `limit`"), "{error}");
        let error = read("workers = 0").unwrap_err().to_string();
        assert!(error.ends_with("lockmasterd.toml: workers has to be 1 to 1000"), "{error}");
        assert!(read("levels = []").unwrap_err().to_string().contains("levels is empty"));
        let table = "directories = 'd'\nnodes = ['a']\n";
        for (text, expected) in [
            ("[distribute]\nnodes = ['a']\n".to_owned(), ":1:1: this needs directories"),
            ("[distribute]\ndirectories = 'd'\n".to_owned(), ":1:1: this needs nodes = "),
            (format!("[distribute]\n{table}command = ['x']\n"), ":1:1: either directories or"),
            (format!("[distribute]\n{table}timeout = '3'\n"), ":4:11: \"3\" is not a duration"),
            (format!("[distribute]\n{table}timeout = '3s'\n"), ":1:1: a timeout is for a command"),
            (format!("[distribute]\n{table}node_in = '/x'\n"), ":4:1: unknown field `node_in`"),
            (format!("[distribute]\n{table}nodes_in = 'x'\n"), ":4:12: \"x\" is no place"),
            (format!("[distribute]\n{table}file = '../x'\n"), ":4:8: \"../x\" cannot be"),
            (format!("[distribute]\n{table}at_once = 0\n"), ":4:11: invalid value"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(&format!("lockmasterd.toml{expected}")), "{error}");
        }
        let command = "[distribute]\nnodes = ['a']\ncommand = ['ssh', '{nod}']\n";
        let spool = tempfile::tempdir().unwrap();
        let error = read(command).unwrap().kept(spool.path()).unwrap_err().to_string();
        assert!(error.contains("lockmasterd.toml:3:11: "), "{error}");
        let catalogue = read("[[opcode]]\nid = 'OP_X'\n").unwrap_err();
        assert!(catalogue.hint_text().unwrap().contains("catalogue = ["), "{catalogue}");
    }
}
