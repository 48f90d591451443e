//! A table whose fields are known: whatever else stands in it is an error with a suggestion.

use super::{Key, Located};
use crate::vocabulary::Error;

/// How many names an error lists.
const LISTED: usize = 20;

/// The fields of one table, by name.
#[derive(Debug)]
pub(crate) struct Fields<'d> {
    what: &'static str,
    at: Located<'d>,
    entries: Vec<(Key<'d>, Located<'d>)>,
}

impl<'d> Located<'d> {
    /// The table here, in which only `known` may stand. `what` is what it describes, as in
    /// "an opcode".
    pub(crate) fn fields(&self, what: &'static str, known: &[&str]) -> Result<Fields<'d>, Error> {
        let entries: Vec<_> = self.entries(&format!("a table that describes {what}"))?.collect();
        for (key, _) in &entries {
            if !known.contains(&key.as_str()) {
                let name = key.as_str();
                return Err(key.wrap(
                    Error::invalid(format!("{what} has no field {name:?}")).hint(did_you_mean(
                        name,
                        known.iter().copied(),
                        "the fields are",
                    )),
                ));
            }
        }
        Ok(Fields { what, at: *self, entries })
    }
}

impl<'d> Fields<'d> {
    /// The value of that field; none where it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<Located<'d>> {
        let found = self.entries.iter().find(|(key, _)| key.as_str() == name);
        found.map(|(_, value)| *value).filter(|value| !value.is_null())
    }

    /// The value of that field.
    pub(crate) fn required(&self, name: &str) -> Result<Located<'d>, Error> {
        let missing = || self.at.error(format!("{} needs the field {name:?}", self.what));
        self.get(name).ok_or_else(missing)
    }

    /// The table itself.
    pub(crate) fn at(&self) -> Located<'d> {
        self.at
    }
}

/// `did you mean "x"?` where something known is near, else a list of what is known.
pub(crate) fn did_you_mean<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str>,
    list: &str,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = |other: &&str| other.len().abs_diff(name.len()) <= 1 + name.len() / 4;
    let nearest = known
        .iter()
        .copied()
        .filter(|_| name.len() < 256)
        .filter(near)
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4);
    match (nearest, &*known) {
        (Some((_, nearest)), _) => format!("did you mean {nearest:?}?"),
        (None, []) => format!("{list}: none"),
        (None, all) if all.len() > LISTED => {
            format!("{list} {}, ...", known[..LISTED].join(", "))
        }
        (None, all) => format!("{list} {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Document, Format};

    #[test]
    fn an_unknown_field_is_refused_with_the_nearest_or_the_list() {
        let hint = |text: &str| {
            let document = Document::parse("f", text, Format::Toml).unwrap();
            let error = document.root().fields("an opcode", &["summary", "argv"]).unwrap_err();
            (error.to_string(), error.hint_text().unwrap().to_owned())
        };
        let (message, suggestion) = hint("sumary = 1");
        assert_eq!(message, "f:1:1: an opcode has no field \"sumary\"");
        assert_eq!(suggestion, "did you mean \"summary\"?");
        assert_eq!(hint("colour = 1").1, "the fields are summary, argv");
    }

    #[test]
    fn a_missing_field_is_named_with_what_needs_it() {
        let document = Document::parse("f", "", Format::Toml).unwrap();
        let fields = document.root().fields("an opcode", &["id"]).unwrap();
        let error = fields.required("id").unwrap_err().to_string();
        assert_eq!(error, "f:1:1: an opcode needs the field \"id\"");
    }
}
