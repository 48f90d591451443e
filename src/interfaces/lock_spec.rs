//! The locks a call needs, written as templates: rendered with the call's values, each once, in
//! order.

use serde_json::{Map, Value};

use super::template::Template;
use crate::runtime::{LockGuard, LockOptions, Locks};
use crate::vocabulary::{Error, Hierarchy, LockMode, LockRequest};

/// The locks a call needs, as templates; see [`Template`] for their grammar.
///
/// ```
/// use lockmaster::interfaces::lock_spec::LockSpec;
/// use lockmaster::runtime::{LockOptions, Locks};
/// use lockmaster::vocabulary::{Error, Hierarchy};
///
/// let map = LockSpec::new()
///     .shared("volume", "{source.id}")?
///     .when("source")
///     .exclusive("array", "{driver}-{array}-map")?;
/// let locks = Locks::new(Hierarchy::builder().level("volume").level("array").build()?);
/// let call = serde_json::json!({"driver": "lenovo", "array": "a1", "source": {"id": "v7"}});
/// let names = map.with(&locks, call.as_object().unwrap(), LockOptions::default(), |held| {
///     held.held().levels().count()
/// })?;
/// assert_eq!(names, 2);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockSpec {
    locks: Vec<Spec>,
    separator: Option<char>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Spec {
    level: String,
    template: Template,
    mode: LockMode,
    /// The field that has to say yes.
    condition: Option<Template>,
}

impl LockSpec {
    /// No locks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a lock to be held alone.
    ///
    /// # Errors
    ///
    /// `Invalid` where the template does not follow the grammar, with the byte.
    pub fn exclusive(self, level: &str, template: &str) -> Result<Self, Error> {
        self.add(level, template, LockMode::Exclusive)
    }

    /// Adds a lock to be shared.
    ///
    /// # Errors
    ///
    /// As [`exclusive`](Self::exclusive).
    pub fn shared(self, level: &str, template: &str) -> Result<Self, Error> {
        self.add(level, template, LockMode::Shared)
    }

    fn add(mut self, level: &str, template: &str, mode: LockMode) -> Result<Self, Error> {
        let template = Template::parse(template)?;
        let level = level.to_owned();
        self.locks.push(Spec { level, template, mode, condition: None });
        Ok(self)
    }

    /// Takes the lock added last only where that field says yes: it is there, and not null, false,
    /// zero or empty. A call without such a field says no. A field of an object is written
    /// `object.field`.
    #[must_use]
    pub fn when(mut self, field: &str) -> Self {
        // A field with an empty default renders in any call; what is no field says no always.
        let condition = Template::parse(&format!("{{{field}|}}"));
        if let Some(spec) = self.locks.last_mut() {
            spec.condition = Some(condition.unwrap_or_else(|_| Template::literal("")));
        }
        self
    }

    /// Has that character escaped where it stands in a field, as `%` and two digits, so that
    /// different fields cannot make the same name: `a-b` and `c`, or `a` and `b-c`.
    #[must_use]
    pub const fn separated_by(mut self, separator: char) -> Self {
        self.separator = Some(separator);
        self
    }

    /// The locks for a call with those values: each once, exclusive where any template says so,
    /// in the order of the levels.
    ///
    /// # Errors
    ///
    /// `Invalid` where a level or a field is not there, a field is empty without a default or not
    /// one text, or what comes of it is no name of a lock. Template, field and what there is
    /// are named.
    pub fn render(
        &self,
        hierarchy: &Hierarchy,
        fields: &Map<String, Value>,
    ) -> Result<LockRequest, Error> {
        let escaped = self.separator.map(|separator| escaped(fields, separator));
        let values = escaped.as_ref().unwrap_or(fields);
        let mut request = LockRequest::new();
        for spec in &self.locks {
            if !spec.condition.as_ref().is_none_or(|field| says_yes(field, fields)) {
                continue;
            }
            let level = hierarchy.level(&spec.level)?;
            for name in spec.template.render_all(values)? {
                let mut one = LockRequest::new();
                one.add(level, &name, spec.mode).map_err(|error| {
                    let template = spec.template.as_str();
                    Error::invalid(format!("template {template:?}: {error}"))
                })?;
                request.merge(&one);
            }
        }
        Ok(request)
    }

    /// Runs `body` under the locks for a call with those values, held by this thread; they are
    /// released when it returns or panics.
    ///
    /// # Errors
    ///
    /// As [`render`](Self::render); `InUse` where they are not to be had in time, `Refused` where they are refused. `body` does not run
    /// then.
    ///
    /// # Panics
    ///
    /// As [`Locks::with`].
    #[track_caller]
    pub fn with<R>(
        &self,
        locks: &Locks,
        fields: &Map<String, Value>,
        options: LockOptions,
        body: impl FnOnce(&LockGuard<'_>) -> R,
    ) -> Result<R, Error> {
        let request = self.render(locks.hierarchy(), fields)?;
        locks.with(&request, options, body).map_err(Error::from)
    }
}

/// Whether the value of a field, or of what is below it, says yes.
fn says_yes(field: &Template, fields: &Map<String, Value>) -> bool {
    match field.render_all(fields) {
        Ok(texts) => texts.iter().any(|text| !matches!(&**text, "" | "false" | "0")),
        // An object or a list that is there; whatever else is wrong is no yes.
        Err(super::template::TemplateError::NotText { .. }) => true,
        Err(_) => false,
    }
}

/// The same values, that character escaped in each text.
fn escaped(fields: &Map<String, Value>, separator: char) -> Map<String, Value> {
    let plain = |(name, value): (&String, &Value)| (name.clone(), escape(value, separator));
    fields.iter().map(plain).collect()
}

fn escape(value: &Value, separator: char) -> Value {
    match value {
        Value::String(text) => {
            let code = |c: char| format!("%{:02X}", u32::from(c));
            Value::String(text.replace('%', "%25").replace(separator, &code(separator)))
        }
        Value::Array(values) => values.iter().map(|value| escape(value, separator)).collect(),
        Value::Object(object) => Value::Object(escaped(object, separator)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hierarchy() -> Hierarchy {
        Hierarchy::builder().level("volume").level("array").build().unwrap()
    }

    fn render(spec: &LockSpec, fields: &Value) -> Result<Vec<String>, Error> {
        let hierarchy = hierarchy();
        let request = spec.render(&hierarchy, fields.as_object().unwrap())?;
        let level = |(level, locks): (_, &crate::vocabulary::LevelLocks)| -> Vec<String> {
            let name = |(name, mode)| format!("{}/{name} {mode}", hierarchy.name(level));
            locks.names().map(name).collect()
        };
        Ok(request.levels().flat_map(level).collect())
    }

    #[test]
    fn several_templates_are_rendered_sorted_and_each_lock_taken_once() {
        let spec = LockSpec::new()
            .exclusive("array", "{b}")
            .and_then(|spec| spec.shared("array", "{a}"))
            .and_then(|spec| spec.exclusive("array", "b"))
            .and_then(|spec| spec.exclusive("volume", "{f_name}-{foo.val}-{bar[val]}"))
            .and_then(|spec| spec.shared("array", "b"))
            .unwrap();
        let fields = json!({
            "a": "a", "b": "b", "f_name": "func", "foo": {"val": 7}, "bar": {"val": 8},
        });
        let expected = ["volume/func-7-8 exclusive", "array/a shared", "array/b exclusive"];
        assert_eq!(render(&spec, &fields).unwrap(), expected);
    }

    #[test]
    fn a_lock_is_taken_only_where_its_condition_says_yes() {
        let spec = LockSpec::new().exclusive("array", "U1").unwrap().when("host.remove");
        for (remove, locks) in [(json!(true), 1), (json!("x"), 1), (json!(3), 1), (json!([1]), 1)] {
            assert_eq!(render(&spec, &json!({"host": {"remove": remove}})).unwrap().len(), locks);
        }
        for remove in [json!(false), json!(null), json!(""), json!(0)] {
            assert!(render(&spec, &json!({"host": {"remove": remove}})).unwrap().is_empty());
        }
        assert!(render(&spec, &json!({})).unwrap().is_empty());
        let object = LockSpec::new().exclusive("array", "U1").unwrap().when("host");
        assert_eq!(render(&object, &json!({"host": {"a": 1}})).unwrap().len(), 1);
    }

    #[test]
    fn fields_that_differ_do_not_make_one_name() {
        let spec = LockSpec::new().exclusive("array", "{a}-{b}").unwrap();
        let (one, other) = (json!({"a": "x-y", "b": "z"}), json!({"a": "x", "b": "y-z"}));
        assert_eq!(render(&spec, &one).unwrap(), render(&spec, &other).unwrap());
        let spec = spec.separated_by('-');
        assert_eq!(render(&spec, &one).unwrap(), ["array/x%2Dy-z exclusive"]);
        assert_ne!(render(&spec, &one).unwrap(), render(&spec, &other).unwrap());
    }

    #[test]
    fn what_is_wrong_is_said_and_the_body_does_not_run() {
        let spec = LockSpec::new().exclusive("array", "{connector[host]}").unwrap();
        let locks = Locks::new(hierarchy());
        let run = |fields: Value| {
            let fields = fields.as_object().unwrap().clone();
            let body = |_: &LockGuard<'_>| panic!("it runs");
            spec.with(&locks, &fields, LockOptions::default(), body).unwrap_err()
        };
        let missing = run(json!({"connector": {"ip": 1}}));
        assert!(missing.to_string().contains("connector[host]"), "{missing}");
        assert_eq!(missing.hint_text(), Some("the fields are ip"));
        assert!(run(json!({"connector": {"host": null}})).to_string().contains("is empty"));
        assert!(run(json!({"connector": {"host": "{x}"}})).to_string().contains("brace"));
        assert!(locks.locks().is_empty(), "nothing is taken");
        let syntax = LockSpec::new().exclusive("array", "a{b").unwrap_err().to_string();
        assert!(syntax.contains("at byte 1"), "{syntax}");
    }
}
