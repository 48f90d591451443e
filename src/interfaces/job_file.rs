//! Files that describe jobs: TOML of our own, with the opcodes the jobs are made of, and JSON
//! in Ganeti's shape. Read and checked whole; nothing is submitted here.

use std::path::Path;

use super::catalogue::{CATALOGUE_FIELDS, Catalogue};
use super::located::{Document, Format, Located, read_file};
use crate::vocabulary::{Error, JobTerms, NewJob, OpCode, Status};

mod common;
mod depends;
mod for_each;
mod ganeti;
mod terms;
mod toml_jobs;

/// The most jobs one file makes.
const MAX_JOBS: usize = 100_000;
/// The most opcodes all jobs of a file have together.
const MAX_OPS: usize = 1_000_000;

/// The jobs of a file and the opcodes they are made of.
#[derive(Clone, Debug)]
pub struct JobFile {
    /// The opcodes, levels and settings: the file's own and those it was read with.
    pub catalogue: Catalogue,
    /// The jobs in the order of the file, to be submitted in one batch: their dependencies on
    /// each other are by place.
    pub jobs: Vec<NewJob>,
    expected: Vec<Status>,
}

impl JobFile {
    /// Reads a job file. `known` has the opcodes known without it, and the levels that hold
    /// where the file declares none.
    ///
    /// # Errors
    ///
    /// `Io` where it cannot be read; `Invalid`, naming file, line and column.
    pub fn load(path: impl AsRef<Path>, known: Catalogue) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::parse(&path.display().to_string(), &read_file(path)?, known)
    }

    /// Reads the text of a job file; errors call it `name`. It is JSON where the name ends in
    /// `.json`, TOML where it ends in `.toml`, and else what it looks like.
    ///
    /// ```
    /// use lockmaster::interfaces::catalogue::Catalogue;
    /// use lockmaster::interfaces::job_file::JobFile;
    /// let text = r#"
    ///     [[opcode]]
    ///     id = "OP_SAY"
    ///     params.what = "text"
    ///     argv = ["echo", "{what}"]
    ///
    ///     [[job]]
    ///     label = "hello"
    ///     op = [{ OP_ID = "OP_SAY", what = "hello" }]
    /// "#;
    /// let file = JobFile::parse("hello.toml", text, Catalogue::new(Default::default()))?;
    /// assert_eq!(file.jobs[0].label.as_deref(), Some("hello"));
    /// # Ok::<(), lockmaster::vocabulary::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Invalid`, naming file, line and column.
    pub fn parse(name: &str, text: &str, known: Catalogue) -> Result<Self, Error> {
        let format = Format::of(name, text);
        let document = Document::parse(name, text, format)?;
        let root = document.root();
        let (catalogue, drafts) = match format {
            Format::Json => {
                let drafts = ganeti::read(root, &known)?;
                (known, drafts)
            }
            Format::Toml => {
                let [settings, levels, opcode] = CATALOGUE_FIELDS;
                let fields =
                    root.fields("a job file", &[settings, levels, opcode, "sets", "job"])?;
                let catalogue = known.extended(&fields)?;
                let drafts = toml_jobs::read(&fields, &catalogue)?;
                (catalogue, drafts)
            }
        };
        if drafts.is_empty() {
            return Err(root.wrap(
                Error::invalid("there is no job in this file")
                    .hint("a job is a table [[job]], or in JSON a list of opcodes"),
            ));
        }
        let expected = drafts.iter().map(|draft| draft.expect).collect();
        Ok(Self { catalogue, jobs: depends::resolve(drafts)?, expected })
    }

    /// The final status the job at that place is meant to come to: `success` where the file
    /// does not say otherwise.
    #[must_use]
    pub fn expected(&self, index: usize) -> Status {
        self.expected.get(index).copied().unwrap_or(Status::Success)
    }
}

/// A job as read, its dependencies still by label.
struct Draft<'d> {
    at: Located<'d>,
    label: Option<String>,
    expect: Status,
    terms: JobTerms,
    ops: Vec<DraftOp<'d>>,
}

struct DraftOp<'d> {
    opcode: OpCode,
    waits: Vec<depends::Wait<'d>>,
}

/// Keeps a file from making more than fits in memory.
#[derive(Default)]
struct Budget {
    jobs: usize,
    ops: usize,
}

impl Budget {
    fn take(&mut self, at: Located<'_>, ops: usize) -> Result<(), Error> {
        self.jobs += 1;
        self.ops += ops;
        match self.jobs > MAX_JOBS || self.ops > MAX_OPS {
            true => Err(
                at.error(format!("this file makes more than {MAX_JOBS} jobs or {MAX_OPS} opcodes"))
            ),
            false => Ok(()),
        }
    }
}
