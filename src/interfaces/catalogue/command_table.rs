//! How a command is called: program, arguments, environment, directory, times, exit codes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::super::command::Invocation;
use super::super::located::{Fields, Located};
use super::super::template::Template;
use super::argument::{self, Parameters};
use super::parameter::ParameterKind;
use super::program::{Program, search_path};
use super::settings::check_variable;
use super::{Settings, durations};
use crate::vocabulary::Error;

const GRACE: Duration = Duration::from_secs(5);
/// An undo cannot be cancelled, so it ends by itself after this, unless the file says otherwise.
const UNDO_TIMEOUT: Duration = Duration::from_secs(300);
/// Programs that run what stands after an option of one of those letters.
const INTERPRETERS: [(&str, &str); 18] = [
    ("sh", "c"),
    ("bash", "c"),
    ("dash", "c"),
    ("ash", "c"),
    ("ksh", "c"),
    ("mksh", "c"),
    ("zsh", "c"),
    ("fish", "c"),
    ("pwsh", "c"),
    ("su", "c"),
    ("flock", "c"),
    ("script", "c"),
    ("python", "c"),
    ("perl", "eE"),
    ("ruby", "e"),
    ("lua", "e"),
    ("node", "ep"),
    ("php", "r"),
];

/// A command, not rendered.
#[derive(Clone, Debug)]
pub(crate) struct CommandTemplate {
    program: Program,
    arguments: Vec<Template>,
    environment: BTreeMap<String, Template>,
    directory: Option<Template>,
    timeout: Option<Duration>,
    grace: Duration,
    success_codes: Vec<i32>,
    retry_codes: Vec<i32>,
}

impl CommandTemplate {
    /// The command of the opcode described by `fields`.
    pub(super) fn read(
        fields: &Fields<'_>,
        parameters: &Parameters,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let environment = read_environment(fields, parameters)?;
        let (program, arguments) =
            read_argv(fields.required("argv")?, parameters, &environment, settings)?;
        Ok(Self {
            program,
            arguments,
            environment,
            directory: fields
                .get("directory")
                .map(|at| read_directory(at, parameters))
                .transpose()?,
            timeout: fields.get("timeout").map(durations::read_positive).transpose()?,
            grace: fields.get("grace").map(durations::read).transpose()?.unwrap_or(GRACE),
            success_codes: fields.get("success_codes").map_or_else(|| Ok(vec![0]), read_codes)?,
            retry_codes: read_retry_codes(fields)?,
        })
    }

    /// The undo of the opcode described by `fields`: another program, otherwise the same.
    pub(super) fn read_undo(
        &self,
        fields: &Fields<'_>,
        parameters: &Parameters,
        settings: &Settings,
    ) -> Result<Option<Self>, Error> {
        let Some(argv) = fields.get("undo") else {
            return match fields.get("undo_timeout") {
                Some(at) => Err(at.error("there is no undo that this could be the timeout of")),
                None => Ok(None),
            };
        };
        let (program, arguments) = read_argv(argv, parameters, &self.environment, settings)?;
        let timeout = fields.get("undo_timeout").map(durations::read_positive).transpose()?;
        Ok(Some(Self {
            program,
            arguments,
            timeout: Some(timeout.unwrap_or(UNDO_TIMEOUT)),
            success_codes: vec![0],
            retry_codes: Vec::new(),
            ..self.clone()
        }))
    }

    /// The command with those values in it.
    pub(super) fn render(
        &self,
        parameters: &Parameters,
        values: &Map<String, Value>,
    ) -> Result<Invocation, Error> {
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for template in &self.arguments {
            arguments.extend(argument::render(template, parameters, values)?);
        }
        let environment = self.environment.iter().map(|(name, template)| {
            Ok((name.clone(), argument::render_one(template, parameters, values)?))
        });
        let directory = self.directory.as_ref();
        Ok(Invocation {
            program: self.program.path.clone(),
            name: self.program.written.clone(),
            arguments,
            environment: environment.collect::<Result<_, Error>>()?,
            directory: directory
                .map(|template| argument::render_one(template, parameters, values))
                .transpose()?
                .map(PathBuf::from),
            timeout: self.timeout,
            grace: self.grace,
            success_codes: self.success_codes.clone(),
            retry_codes: self.retry_codes.clone(),
        })
    }
}

fn read_environment(
    fields: &Fields<'_>,
    parameters: &Parameters,
) -> Result<BTreeMap<String, Template>, Error> {
    let Some(at) = fields.get("environment") else { return Ok(BTreeMap::new()) };
    let mut environment = BTreeMap::new();
    for (key, value) in at.entries("a table of variables and their values")? {
        check_variable(key.as_str()).map_err(|error| key.wrap(error))?;
        let template = argument::read_one(value, parameters)?;
        if key.as_str() == "PATH" && template.as_literal().is_none() {
            return Err(value.error("PATH decides which program runs: no parameter can be in it"));
        }
        environment.insert(key.as_str().to_owned(), template);
    }
    Ok(environment)
}

fn read_argv(
    at: Located<'_>,
    parameters: &Parameters,
    environment: &BTreeMap<String, Template>,
    settings: &Settings,
) -> Result<(Program, Vec<Template>), Error> {
    let words = at.list("a list: the program and its arguments")?;
    let templates = words
        .map(|word| Ok((word, argument::read(word, parameters)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let Some(((first, program), arguments)) = templates.split_first() else {
        return Err(at.error("expected at least the program, found an empty list"));
    };
    let Some(written) = program.as_literal() else {
        return Err(first.error("the program itself cannot come from a parameter"));
    };
    let own_path = environment.get("PATH").and_then(Template::as_literal);
    let program = Program::find(&written, &search_path(own_path.as_deref(), settings))
        .map_err(|error| first.wrap(error))?;
    refuse_code_from_parameters(&templates)?;
    Ok((program, arguments.iter().map(|(_, template)| template.clone()).collect()))
}

/// What stands after `sh -c` is code, and a parameter in it would be code too. The shell may
/// stand behind other programs (`timeout 5 sh -c ...`), the code behind further options.
fn refuse_code_from_parameters(words: &[(Located<'_>, Template)]) -> Result<(), Error> {
    for (place, (_, word)) in words.iter().enumerate() {
        let Some((name, letters)) = word.as_literal().and_then(|word| interpreter(&word)) else {
            continue;
        };
        let code = code_of(name, letters, &words[place + 1..]);
        if let Some((at, _)) = code.filter(|(_, word)| word.as_literal().is_none()) {
            let message = format!("{name} would run what is in a parameter");
            return Err(at.wrap(Error::invalid(message).hint(
                "give it as an argument: [\"sh\", \"-c\", 'echo \"$1\"', \"sh\", \"{name}\"]; \
                 a brace itself is written {{",
            )));
        }
    }
    Ok(())
}

/// The interpreter of that name, also with a version behind it, and its options that take code.
fn interpreter(word: &str) -> Option<(&'static str, &'static str)> {
    let name = word.rsplit('/').next().unwrap_or_default();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.into_iter().find(|(known, _)| *known == name)
}

/// The word with the code: behind the option that says so, or in one word with it.
fn code_of<'w, 'f>(
    name: &str,
    letters: &str,
    words: &'w [(Located<'f>, Template)],
) -> Option<&'w (Located<'f>, Template)> {
    let is_option = |word: &Template| word.as_str().starts_with(['-', '+']);
    let takes_code = |word: &Template| is_option(word) && says_code(name, letters, word.as_str());
    let place = words.iter().position(|(_, word)| takes_code(word))?;
    let attached = Some(&words[place]).filter(|(_, word)| word.as_literal().is_none());
    attached.or_else(|| words[place + 1..].iter().find(|(_, word)| !is_option(word)))
}

/// Whether an option says that code follows. Shells take it from the next word wherever the
/// letter stands among others (`-ce`); the others from the rest of the word, if there is one.
fn says_code(name: &str, letters: &str, option: &str) -> bool {
    let (written, field) = option.split_once('{').map_or((option, false), |(text, _)| (text, true));
    if written.starts_with("--") {
        return ["--command", "--eval", "--print", "--run"].iter().any(|o| written.starts_with(o));
    }
    match name.ends_with("sh") || field {
        true => written.contains(|c| letters.contains(c)),
        false => written.ends_with(|c| letters.contains(c)),
    }
}

fn read_directory(at: Located<'_>, parameters: &Parameters) -> Result<Template, Error> {
    let template = argument::read_one(at, parameters)?;
    let is_text = |name: &str| parameters.get(name).is_some_and(|p| p.kind == ParameterKind::Text);
    let text = template.fields().filter_map(|field| field.path.first()).find(|name| is_text(name));
    if let Some(name) = text {
        return Err(at.error(format!("a directory cannot come from {name:?}, which is any text")));
    }
    match template.as_str().is_empty() {
        true => Err(at.error("expected a directory, found the empty text")),
        false => Ok(template),
    }
}

/// The exit codes that say that something lacks for a while, and nothing was changed.
fn read_retry_codes(fields: &Fields<'_>) -> Result<Vec<i32>, Error> {
    let Some(at) = fields.get("retry_codes") else {
        return match fields.get("retries") {
            Some(at) => Err(at.error("without retry_codes, nothing says when to try again")),
            None => Ok(Vec::new()),
        };
    };
    let codes = read_codes(at)?;
    let success = fields.get("success_codes").map_or_else(|| Ok(vec![0]), read_codes)?;
    match codes.iter().find(|code| success.contains(code)) {
        Some(code) => Err(at.error(format!("the exit code {code} says that it has succeeded"))),
        None => Ok(codes),
    }
}

fn read_codes(at: Located<'_>) -> Result<Vec<i32>, Error> {
    let what = "an exit code, 0 to 255";
    let codes = at.list("a list of exit codes")?.map(|code| match code.integer(what)? {
        value @ 0..=255 => i32::try_from(value).map_err(|_| code.error(what)),
        other => Err(code.error(format!("expected {what}, found {other}"))),
    });
    let codes = codes.collect::<Result<Vec<_>, Error>>()?;
    match codes.is_empty() {
        true => Err(at.error("expected at least one exit code, found an empty list")),
        false => Ok(codes),
    }
}
