//! Which locks an opcode takes, as templates, and what they become with its parameters.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::located::{Key, Located, did_you_mean};
use super::super::template::Template;
use super::argument::{self, Parameters};
use crate::vocabulary::{Error, Hierarchy, LockMode, LockName};

/// The locks of an opcode, not rendered.
#[derive(Clone, Debug)]
pub(super) struct LockTable {
    pub(super) big_lock: LockMode,
    levels: BTreeMap<String, LevelTemplates>,
}

#[derive(Clone, Debug, Default)]
struct LevelTemplates {
    all: Option<LockMode>,
    names: Vec<(Template, LockMode)>,
}

/// The locks at one level, rendered: each name once, in the stronger mode asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeclaredNames {
    pub(crate) all: Option<LockMode>,
    pub(crate) names: BTreeMap<String, LockMode>,
}

impl LockTable {
    /// No locks but the big lock, shared.
    pub(super) fn none() -> Self {
        Self { big_lock: LockMode::Shared, levels: BTreeMap::new() }
    }

    pub(super) fn read(
        at: Located<'_>,
        hierarchy: &Hierarchy,
        parameters: &Parameters,
    ) -> Result<Self, Error> {
        let mut table = Self::none();
        for (key, value) in at.entries("a table of levels and the locks at them")? {
            let level = find_level(&key, hierarchy)?;
            if hierarchy.big_lock_level() == Some(level) {
                table.big_lock = read_big_lock(&key, value)?;
            } else {
                let templates = LevelTemplates::read(value, parameters)?;
                table.levels.insert(key.as_str().to_owned(), templates);
            }
        }
        Ok(table)
    }

    /// The locks by level, with those values.
    pub(super) fn render(
        &self,
        values: &Map<String, Value>,
    ) -> Result<BTreeMap<String, DeclaredNames>, Error> {
        let levels = self.levels.iter();
        levels.map(|(level, templates)| Ok((level.clone(), templates.render(values)?))).collect()
    }
}

fn find_level(key: &Key<'_>, hierarchy: &Hierarchy) -> Result<crate::vocabulary::LevelId, Error> {
    hierarchy.level(key.as_str()).map_err(|_| {
        let levels = hierarchy.levels().map(|level| hierarchy.name(level));
        let error = Error::invalid(format!("there is no lock level {:?}", key.as_str()));
        key.wrap(error.hint(did_you_mean(key.as_str(), levels, "the levels are")))
    })
}

fn read_big_lock(key: &Key<'_>, value: Located<'_>) -> Result<LockMode, Error> {
    let level = key.as_str();
    match value.as_text() {
        Some("exclusive") => Ok(LockMode::Exclusive),
        Some("shared") => Ok(LockMode::Shared),
        _ => Err(value.wrap(
            Error::invalid(format!("at {level} there is only the big lock, which has no name"))
                .hint(format!("{level} = \"exclusive\" runs alone; not said, it is shared")),
        )),
    }
}

impl LevelTemplates {
    fn read(at: Located<'_>, parameters: &Parameters) -> Result<Self, Error> {
        if !at.is_table() {
            return Err(at.wrap(
                Error::invalid(format!("expected a table of locks, found {}", at.kind())).hint(
                    "as in { shared = \"{a}\", exclusive = [\"{b}\", \"c\"] } or { all = \"shared\" }",
                ),
            ));
        }
        let fields = at.fields("the locks of a level", &["shared", "exclusive", "all"])?;
        let mut templates = Self::default();
        if let Some(all) = fields.get("all") {
            templates.all = Some(read_mode(all)?);
        }
        for mode in [LockMode::Shared, LockMode::Exclusive] {
            let Some(names) = fields.get(mode.as_str()) else { continue };
            for name in names.one_or_more("a name or a list of names")? {
                templates.names.push((read_name(name, parameters)?, mode));
            }
        }
        Ok(templates)
    }

    fn render(&self, values: &Map<String, Value>) -> Result<DeclaredNames, Error> {
        let mut names = BTreeMap::new();
        for (template, mode) in &self.names {
            for name in template.render_all(values)? {
                LockName::new(&name).map_err(|error| Error::invalid(error.to_string()))?;
                let held = names.entry(name).or_insert(*mode);
                *held = (*held).max(*mode);
            }
        }
        Ok(DeclaredNames { all: self.all, names })
    }
}

fn read_mode(at: Located<'_>) -> Result<LockMode, Error> {
    match at.text("\"shared\" or \"exclusive\"")? {
        "shared" => Ok(LockMode::Shared),
        "exclusive" => Ok(LockMode::Exclusive),
        other => Err(at.error(format!("expected \"shared\" or \"exclusive\", found {other:?}"))),
    }
}

fn read_name(at: Located<'_>, parameters: &Parameters) -> Result<Template, Error> {
    let template = argument::read(at, parameters)?;
    if argument::tells_a_secret(&template, parameters) {
        return Err(at.error("the name of a lock, which all can see, holds a secret parameter"));
    }
    if let Some(literal) = template.as_literal() {
        LockName::new(&literal).map_err(|error| at.error(error.to_string()))?;
    }
    Ok(template)
}
