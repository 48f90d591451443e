//! Places within the configuration: JSON pointers (RFC 6901), such as `/nodes/a/address`.

use serde_json::Value;

use crate::vocabulary::Error;

/// # Errors
///
/// `Invalid` where it is not a JSON pointer.
pub(super) fn check(place: &str) -> Result<(), Error> {
    if place.is_empty() || place.starts_with('/') {
        return Ok(());
    }
    Err(Error::invalid(format!("{place:?} is not a place in the configuration"))
        .hint(format!("a place begins with a slash: \"/{place}\"")))
}

/// The place of a member.
pub(super) fn child(place: &str, key: &str) -> String {
    format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Puts a value at that place; what it is put in has to be there.
///
/// # Errors
///
/// `Invalid`.
pub(super) fn set(root: &mut Value, place: &str, new: Value) -> Result<(), Error> {
    check(place)?;
    let Some((parent, key)) = place.rsplit_once('/') else {
        *root = new;
        return Ok(());
    };
    match root.pointer_mut(parent) {
        Some(Value::Object(members)) => _ = members.insert(unescape(key), new),
        Some(Value::Array(_)) => match root.pointer_mut(place) {
            Some(element) => *element = new,
            None => return Err(no_room(place, parent)),
        },
        _ => return Err(no_room(place, parent)),
    }
    Ok(())
}

/// Removes the member at that place, if there is one.
///
/// # Errors
///
/// `Invalid` where it is not a member of an object.
pub(super) fn remove(root: &mut Value, place: &str) -> Result<(), Error> {
    check(place)?;
    let parent = place.rsplit_once('/').and_then(|(parent, key)| {
        let members = root.pointer_mut(parent)?.as_object_mut()?;
        Some((members, key))
    });
    let Some((members, key)) = parent else {
        return Err(Error::invalid(format!("{place:?} is no member of an object")));
    };
    members.remove(&unescape(key));
    Ok(())
}

fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

fn no_room(place: &str, parent: &str) -> Error {
    let message = format!("nothing can be put at {place}: there is no object at {parent:?}");
    Error::invalid(message).hint("put the object there first")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_set_is_found_at_its_place() {
        let mut root = json!({"nodes": {}, "list": [1, 2]});
        let odd = child("/nodes", "a/b~c");
        for place in ["/new", "/list/1", &odd] {
            set(&mut root, place, json!("here")).unwrap();
            assert_eq!(root.pointer(place), Some(&json!("here")), "{place}");
        }
        remove(&mut root, &odd).unwrap();
        remove(&mut root, "/was/never/there").unwrap_err();
        remove(&mut root, "/nodes/x").unwrap();
        assert_eq!(root, json!({"nodes": {}, "list": [1, "here"], "new": "here"}));
        set(&mut root, "", json!(7)).unwrap();
        assert_eq!(root, 7);
    }

    #[test]
    fn a_place_that_cannot_be_is_an_error_that_names_it() {
        let mut root = json!({"list": [1], "text": "x"});
        for place in ["nodes", "/nodes/a", "/list/1", "/list/-", "/text/a"] {
            let error = set(&mut root, place, json!(1)).unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
        for place in ["", "x", "/list/0", "/text/a", "/nodes/a"] {
            assert!(remove(&mut root, place).is_err(), "{place}");
        }
        assert_eq!(root, json!({"list": [1], "text": "x"}));
    }
}
