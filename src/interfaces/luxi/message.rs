//! Requests and answers as JSON: `{"method":..,"args":..}` and `{"success":..,"result":..}`.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::frame::END;
use crate::vocabulary::{Error, ErrorKind};

/// How much of what a client sent is said back to it in an error.
const ECHO_CHARS: usize = 200;

/// What a client asks for. Keys beside these two (`version`) are ignored.
#[derive(Debug)]
pub struct Request {
    /// The name of the method.
    pub method: String,
    args: Box<RawValue>,
}

impl Request {
    /// Reads a message. Nesting is bounded by `serde_json` (128 levels) when the arguments are
    /// read; until then they are text.
    ///
    /// # Errors
    ///
    /// [`Failure::Parse`] with luxid's sentence.
    pub fn parse(message: &[u8]) -> Result<Self, Failure> {
        let object: Object<Box<RawValue>> = parse_object(message)?;
        let method = object.required("method")?;
        let args = object.required("args")?.clone();
        let method = serde_json::from_str(method.get()).map_err(|_| {
            let cause = "Can't parse value for 'LuxiReq': Unable to read String";
            Failure::parse(format!("Unable to parse LUXI request method: {cause}"))
        })?;
        Ok(Self { method, args })
    }

    /// The arguments as a tuple or whatever else the method takes.
    ///
    /// # Errors
    ///
    /// [`Failure::Parse`] where they are of another form.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(self.args.get()).map_err(|error| self.misfit(error))
    }

    /// luxid's sentence about arguments that it cannot use.
    pub(super) fn misfit(&self, why: impl fmt::Display) -> Failure {
        let echo = self.echo();
        Failure::parse(format!("Cannot convert value '{echo}', error: {why}"))
    }

    fn echo(&self) -> String {
        self.args.get().chars().take(ECHO_CHARS).collect()
    }

    /// The same where two forms of arguments were tried, the second of them a single one.
    pub(super) fn misfit_of_both(&self, why: impl fmt::Display) -> Failure {
        let echo = self.echo();
        self.misfit(format!("{why}; Cannot convert value '{echo}', error: Unable to read 1 tuple"))
    }

    /// A request as bytes, its end included.
    #[must_use]
    pub fn encode(method: &str, args: &Value) -> Vec<u8> {
        ended(&serde_json::json!({ "method": method, "args": args }))
    }
}

fn parse_object(message: &[u8]) -> Result<Object<Box<RawValue>>, Failure> {
    let invalid = |cause: &str| {
        Failure::parse(format!("parsing top-level JSON message: Invalid JSON: {cause}"))
    };
    match message.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(message).map_err(|error| invalid(&error.to_string())),
        Some(b'[') => {
            Err(Failure::parse("parsing top-level JSON message: Unable to read JSObject"))
        }
        _ => Err(invalid("a JSON text a serialized object or array at the top level.")),
    }
}

/// A JSON object whose keys keep their order, because luxid lists them so in its errors.
#[derive(Clone, Debug)]
pub(super) struct Object<T>(pub(super) Vec<(String, T)>);

impl<T> Object<T> {
    /// The value of that key, the first where there are several.
    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value of that key, or luxid's sentence where it is not there.
    pub(super) fn required(&self, key: &str) -> Result<&T, Failure> {
        self.get(key).ok_or_else(|| {
            let keys: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
            let keys = serde_json::to_string(&keys).unwrap_or_default();
            Failure::parse(format!("key '{key}' not found, object contains only {keys}"))
        })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

/// Why a request got no result.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// It could not be read. The answer is a plain string, and the connection is closed.
    Parse(String),
    /// It was read and refused. The answer is `[name, arguments]`; the connection stays open.
    Exception {
        /// The name of the Python exception that Ganeti's clients raise for it.
        name: String,
        /// Its arguments.
        args: Vec<Value>,
        /// What to do about it: our own addition beside `success` and `result`.
        hint: Option<String>,
    },
}

impl Failure {
    /// What luxid says about a request that cannot be read.
    pub(super) fn parse(cause: impl fmt::Display) -> Self {
        Self::Parse(format!("Failed to parse request: {cause}"))
    }

    /// The same, led by where it happened.
    pub(super) fn within(self, method: &str) -> Self {
        match self {
            Self::Parse(_) => Self::parse(format!("{method}: {}", self.cause())),
            exception @ Self::Exception { .. } => exception,
        }
    }

    /// What luxid's sentence about a request that cannot be read says after its beginning; the
    /// name of an exception.
    pub(super) fn cause(&self) -> &str {
        match self {
            Self::Parse(text) => text.strip_prefix("Failed to parse request: ").unwrap_or(text),
            Self::Exception { name, .. } => name,
        }
    }

    /// An exception with one argument.
    pub(super) fn exception(name: &str, message: impl Into<String>) -> Self {
        let args = vec![Value::String(message.into())];
        Self::Exception { name: name.to_owned(), args, hint: None }
    }

    /// The same with what to do about it.
    pub(super) fn with_hint(mut self, text: &str) -> Self {
        if let Self::Exception { hint, .. } = &mut self {
            *hint = Some(text.to_owned());
        }
        self
    }

    /// The prerequisites do not hold, with Ganeti's code for wrong input.
    pub(super) fn wrong_input(message: impl Into<String>) -> Self {
        let args = vec![Value::String(message.into()), "wrong_input".into()];
        Self::Exception { name: "OpPrereqError".to_owned(), args, hint: None }
    }

    /// Whether the connection is closed after the answer.
    pub(super) const fn closes(&self) -> bool {
        matches!(self, Self::Parse(_))
    }

    /// The answer as bytes, its end included.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (result, hint) = match self {
            Self::Parse(text) => (to_raw_value(text), &None),
            Self::Exception { name, args, hint } => (to_raw_value(&(name, args)), hint),
        };
        match result {
            Ok(result) => ended(&Reply { success: false, result: &result, hint: hint.as_deref() }),
            // Strings and JSON values always serialize; an empty answer would break the framing.
            Err(_) => ended(&Reply { success: false, result: RawValue::NULL, hint: None }),
        }
    }

    /// Reads the result of an answer without success.
    pub(super) fn decode(result: &Value, hint: Option<String>) -> Self {
        match <(String, Vec<Value>)>::deserialize(result) {
            Ok((name, args)) => Self::Exception { name, args, hint },
            Err(_) => {
                Self::Parse(result.as_str().map_or_else(|| result.to_string(), str::to_owned))
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut failure = match error.kind() {
            ErrorKind::Invalid => Self::wrong_input(error.to_string()),
            _ => Self::exception("GenericError", error.to_string()),
        };
        if let Self::Exception { hint, .. } = &mut failure {
            *hint = error.hint_text().map(str::to_owned);
        }
        failure
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let (name, args, hint) = match failure {
            Failure::Parse(text) => return Self::new(ErrorKind::Protocol, text),
            Failure::Exception { name, args, hint } => (name, args, hint),
        };
        let kind = match name.as_str() {
            "OpPrereqError" | "ParameterError" => ErrorKind::Invalid,
            "JobLost" => ErrorKind::NotFound,
            _ => ErrorKind::Refused,
        };
        let text = args
            .first()
            .map_or(name, |first| first.as_str().map_or_else(|| first.to_string(), str::to_owned));
        let error = Self::new(kind, text);
        hint.into_iter().fold(error, Self::hint)
    }
}

/// An answer, in the order luxid writes it: without spaces and without a version.
#[derive(Serialize)]
struct Reply<'a, T: ?Sized> {
    success: bool,
    result: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// The answer with that result as bytes, its end included.
pub(super) fn success(result: &impl Serialize) -> Vec<u8> {
    ended(&Reply { success: true, result, hint: None })
}

fn ended(message: &impl Serialize) -> Vec<u8> {
    // What is written here are JSON values with string keys: that cannot fail.
    let mut bytes = serde_json::to_vec(message).unwrap_or_default();
    bytes.push(END);
    bytes
}

/// Reads an answer: its result, or why there is none.
///
/// # Errors
///
/// `Protocol` where it is not an answer.
pub(super) fn parse_answer(message: &[u8]) -> Result<Result<Value, Failure>, Error> {
    #[derive(Deserialize)]
    struct Answer {
        success: bool,
        result: Value,
        hint: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(message).map_err(|error| {
        Error::new(ErrorKind::Protocol, format!("the answer cannot be read: {error}"))
            .hint("is this the socket of lockmasterd?")
    })?;
    Ok(match answer.success {
        true => Ok(answer.result),
        false => Err(Failure::decode(&answer.result, answer.hint)),
    })
}
