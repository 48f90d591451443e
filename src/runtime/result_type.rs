//! What the result of an opcode is declared to be.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The type that an opcode's result has to have.
#[derive(Clone, Copy)]
pub struct ResultType {
    name: &'static str,
    check: fn(&Value) -> Result<(), serde_json::Error>,
}

impl ResultType {
    /// Any JSON value.
    #[must_use]
    pub fn any() -> Self {
        Self { name: "any", check: |_| Ok(()) }
    }

    /// What can be read as a `T`.
    #[must_use]
    pub fn of<T: DeserializeOwned>() -> Self {
        let check = |value: &Value| T::deserialize(value).map(|_| ());
        Self { name: std::any::type_name::<T>(), check }
    }

    /// Why the value is not of this type, if it is not.
    pub(super) fn refuses(self, value: &Value) -> Option<String> {
        let error = (self.check)(value).err()?;
        Some(format!(
            "the work was done, but its result is not the declared {}: {error}",
            self.name
        ))
    }
}

impl fmt::Debug for ResultType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResultType").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_of_another_type_is_refused_with_both_named() {
        assert_eq!(ResultType::any().refuses(&json!([1])), None);
        assert_eq!(ResultType::of::<Vec<u8>>().refuses(&json!([1])), None);
        let refused = ResultType::of::<u8>().refuses(&json!("x")).unwrap();
        assert!(refused.contains("declared u8") && refused.contains("string \"x\""), "{refused}");
    }
}
