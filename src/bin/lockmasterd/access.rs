//! The table `access` of the configuration: who may connect, and who may do what.

use std::collections::BTreeSet;

use lockmaster::interfaces::luxi::Access;
use lockmaster::vocabulary::Error;
use nix::unistd::{Group, User};
use serde::Deserialize;

/// Users and groups by name or number. Root and the daemon's own user may do everything.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConfiguredAccess {
    /// Those who may do everything.
    users: Vec<Who>,
    groups: Vec<Who>,
    /// Those who may ask and wait, and change nothing.
    query_users: Vec<Who>,
    query_groups: Vec<Who>,
    /// Who may connect at all: the mode and the group of the socket.
    socket_mode: Option<u32>,
    socket_group: Option<Who>,
}

/// A user or a group.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Who {
    Number(u32),
    Name(String),
}

impl ConfiguredAccess {
    /// The same in numbers. Members of a group are those that the system lists now; whose process
    /// has the group belongs to it, too.
    pub(crate) fn resolved(&self) -> Result<Access, Error> {
        let mut access = Access::default();
        access.socket_mode = self.socket_mode.unwrap_or(access.socket_mode);
        access.socket_group =
            self.socket_group.as_ref().map(group).transpose()?.map(|(number, _)| number);
        add_users(&self.users, &mut access.users)?;
        add_users(&self.query_users, &mut access.query_users)?;
        add_groups(&self.groups, &mut access.groups, &mut access.users)?;
        add_groups(&self.query_groups, &mut access.query_groups, &mut access.query_users)?;
        Ok(access)
    }
}

fn add_users(configured: &[Who], users: &mut BTreeSet<u32>) -> Result<(), Error> {
    for who in configured {
        users.insert(user(who)?);
    }
    Ok(())
}

fn add_groups(
    configured: &[Who],
    groups: &mut BTreeSet<u32>,
    members: &mut BTreeSet<u32>,
) -> Result<(), Error> {
    for who in configured {
        let (number, names) = group(who)?;
        groups.insert(number);
        // A member that the system does not know cannot connect either.
        members.extend(names.into_iter().filter_map(|name| user(&Who::Name(name)).ok()));
    }
    Ok(())
}

fn user(who: &Who) -> Result<u32, Error> {
    match who {
        Who::Number(number) => Ok(*number),
        Who::Name(name) => match User::from_name(name) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            Ok(None) => Err(unknown("user", name)),
            Err(error) => Err(Error::io(format!("cannot look for the user {name}"), error.into())),
        },
    }
}

/// The number of a group, and who the system says is in it.
fn group(who: &Who) -> Result<(u32, Vec<String>), Error> {
    let (found, name) = match who {
        Who::Number(number) => (Group::from_gid((*number).into()), number.to_string()),
        Who::Name(name) => (Group::from_name(name), name.clone()),
    };
    match (found, who) {
        (Ok(Some(group)), _) => Ok((group.gid.as_raw(), group.mem)),
        (Ok(None), Who::Number(number)) => Ok((*number, Vec::new())),
        (Ok(None), Who::Name(_)) => Err(unknown("group", &name)),
        (Err(error), _) => {
            Err(Error::io(format!("cannot look for the group {name}"), error.into()))
        }
    }
}

fn unknown(kind: &str, name: &str) -> Error {
    Error::invalid(format!("there is no {kind} {name:?}"))
        .hint(format!("the table access names a {kind}, or its number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Access, Error> {
        let configured: ConfiguredAccess =
            toml::from_str(text).map_err(|error| Error::invalid(error.message()))?;
        configured.resolved()
    }

    #[test]
    fn users_and_groups_are_named_or_numbered() {
        let access = read("users = ['root', 1234567]\nquery_groups = [7654321]").unwrap();
        assert_eq!(access.users, [0, 1_234_567].into());
        assert_eq!(access.query_groups, [7_654_321].into());
        let access = read("socket_mode = 0o666\nsocket_group = 'root'").unwrap();
        assert_eq!((access.socket_mode, access.socket_group), (0o666, Some(0)));
        assert_eq!(read("").unwrap(), Access::default());
    }

    #[test]
    fn who_does_not_exist_is_an_error_that_names_them() {
        let error = read("users = ['no such user']").unwrap_err();
        assert_eq!(error.to_string(), "there is no user \"no such user\"");
        let error = read("query_groups = ['no such group']").unwrap_err();
        assert_eq!(error.to_string(), "there is no group \"no such group\"");
        assert!(read("user = []").unwrap_err().to_string().contains("unknown field"));
    }
}
