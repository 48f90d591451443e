//! What predicates look at: the fields of jobs, opcodes and reasons, and their values.

use std::borrow::Cow;

use serde_json::{Number, Value};

/// What sort of thing a predicate looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Job,
    Op,
    Reason,
}

impl Scope {
    pub(super) const ALL: [Self; 3] = [Self::Job, Self::Op, Self::Reason];

    /// The name of the predicate.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Job => "jobid",
            Self::Op => "opcode",
            Self::Reason => "reason",
        }
    }
}

/// A field that an expression names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    JobId,
    Source,
    Text,
    Time,
    OpId,
    Priority,
    DryRun,
    DebugLevel,
    Comment,
    /// A parameter of an opcode: the path to it.
    Param(Vec<String>),
}

/// What is known of a field's values before any opcode is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
    /// The opcodes decide.
    Any,
}

impl Kind {
    pub(super) const fn said(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Any => "anything",
        }
    }
}

impl Field {
    /// The field of that name; else why there is none.
    pub(super) fn named(scope: Scope, name: &str) -> Result<Self, String> {
        match (scope, name) {
            (Scope::Job, "id") => Ok(Self::JobId),
            (Scope::Job, _) => Err(format!("a job has no field {name:?} here, only \"id\"")),
            (Scope::Reason, "source") => Ok(Self::Source),
            (Scope::Reason, "reason") => Ok(Self::Text),
            (Scope::Reason, "timestamp") => Ok(Self::Time),
            (Scope::Reason, _) => Err(format!(
                "a reason has no field {name:?}, only \"source\", \"reason\" and \"timestamp\""
            )),
            (Scope::Op, "OP_ID") => Ok(Self::OpId),
            (Scope::Op, "priority") => Ok(Self::Priority),
            (Scope::Op, "dry_run") => Ok(Self::DryRun),
            (Scope::Op, "debug_level") => Ok(Self::DebugLevel),
            (Scope::Op, "comment") => Ok(Self::Comment),
            (Scope::Op, "reason") => {
                Err("the reasons of an opcode are looked at by a \"reason\" predicate".to_owned())
            }
            (Scope::Op, "depends") => Err("dependencies cannot be compared".to_owned()),
            (Scope::Op, _) => Self::param(name),
        }
    }

    fn param(name: &str) -> Result<Self, String> {
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        match path.iter().any(String::is_empty) {
            true => Err(format!("{name:?} is not the name of a field")),
            false => Ok(Self::Param(path)),
        }
    }

    pub(super) fn name(&self) -> Cow<'static, str> {
        match self {
            Self::JobId => "id".into(),
            Self::Source => "source".into(),
            Self::Text => "reason".into(),
            Self::Time => "timestamp".into(),
            Self::OpId => "OP_ID".into(),
            Self::Priority => "priority".into(),
            Self::DryRun => "dry_run".into(),
            Self::DebugLevel => "debug_level".into(),
            Self::Comment => "comment".into(),
            Self::Param(path) => path.join(".").into(),
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Source | Self::Text | Self::OpId | Self::Comment => Kind::Text,
            Self::JobId | Self::Time | Self::Priority | Self::DebugLevel => Kind::Number,
            Self::DryRun => Kind::Bool,
            Self::Param(_) => Kind::Any,
        }
    }
}

/// The value of a field.
#[derive(Clone, Debug)]
pub(super) enum Found<'a> {
    Text(&'a str),
    Number(Cow<'a, Number>),
    Bool(bool),
    List(&'a [Value]),
}

impl<'a> Found<'a> {
    pub(super) fn number(number: impl Into<Number>) -> Self {
        Self::Number(Cow::Owned(number.into()))
    }

    /// A JSON value as one that can be compared; null and objects are as if they were not there.
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text)),
            Value::Number(number) => Some(Self::Number(Cow::Borrowed(number))),
            Value::Bool(bool) => Some(Self::Bool(*bool)),
            Value::Array(list) => Some(Self::List(list)),
            Value::Null | Value::Object(_) => None,
        }
    }
}
