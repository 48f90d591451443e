//! Answers of many rows, written one row after the other: rows of a hundred thousand jobs are
//! much larger as values than as bytes.

use serde_json::Value;

use super::frame::END;
use super::message::Failure;

/// An answer that is being written; its length is bounded.
#[derive(Debug)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    empty: bool,
    most: usize,
    tail: &'static [u8],
}

impl Rows {
    /// An answer whose result is a list of rows.
    pub(super) fn list(most: usize) -> Self {
        let bytes = br#"{"success":true,"result":["#.to_vec();
        Self { bytes, empty: true, most, tail: b"]}" }
    }

    /// An answer whose result is a table: what the fields are, and a list of rows.
    pub(super) fn table(fields: &Value, most: usize) -> Self {
        let mut bytes = br#"{"success":true,"result":{"fields":"#.to_vec();
        bytes.extend(row(fields));
        bytes.extend_from_slice(br#","data":["#);
        Self { bytes, empty: true, most, tail: b"]}}" }
    }

    /// Refuses what would make the answer too long.
    pub(super) fn check_room(&self, bytes: usize) -> Result<(), Failure> {
        match self.bytes.len() + bytes > self.most {
            true => Err(too_long(self.most)),
            false => Ok(()),
        }
    }

    /// Adds a row that was written before.
    pub(super) fn push(&mut self, row: &[u8]) -> Result<(), Failure> {
        self.check_room(row.len() + 1)?;
        if !std::mem::replace(&mut self.empty, false) {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(row);
        Ok(())
    }

    /// The answer as bytes, its end included.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(self.tail);
        self.bytes.push(END);
        self.bytes
    }
}

fn too_long(most: usize) -> Failure {
    let failure =
        Failure::exception("GenericError", format!("The answer would be longer than {most} bytes"));
    failure.with_hint("ask for fewer fields, or for some of the jobs")
}

/// A row as bytes.
pub(super) fn row(value: &Value) -> Vec<u8> {
    // Writing JSON values to memory cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_stand_one_after_the_other_and_too_many_are_refused() {
        let mut rows = Rows::table(&json!([{"name": "id"}]), 75);
        rows.push(&row(&json!([[0, 1]]))).unwrap();
        rows.push(&row(&json!([[0, 2]]))).unwrap();
        assert!(rows.push(&row(&json!([[0, 3]]))).is_err());
        let expected =
            r#"{"success":true,"result":{"fields":[{"name":"id"}],"data":[[[0,1]],[[0,2]]]}}"#;
        assert_eq!(String::from_utf8(rows.finish()).unwrap(), format!("{expected}\u{3}"));
        assert_eq!(Rows::list(100).finish(), b"{\"success\":true,\"result\":[]}\x03");
    }
}
