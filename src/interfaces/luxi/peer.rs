//! Who asks, what that user may do, and what is kept of what was done.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::vocabulary::Error;

/// Who asks, as far as the kernel knows: it has no number for a process outside of our
/// namespace. The group is the one the process had when it connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer {
    /// The user id.
    pub(super) uid: Option<u32>,
    /// The group id.
    pub(super) gid: Option<u32>,
    /// The process id.
    pub(super) pid: Option<i32>,
}

impl Peer {
    /// Logs what was done for this client.
    pub(super) fn did(self, method: &str, what: &Value) {
        let Self { uid, gid, pid } = self;
        tracing::info!(uid, gid, pid, method, %what, "done");
    }

    /// Logs that something was not done for this client. Not why: the reason may hold what the
    /// client sent, and that may be a secret.
    pub(super) fn was_refused(self, method: &str) {
        let Self { uid, gid, pid } = self;
        tracing::info!(uid, gid, pid, method, "refused");
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "user {uid}"),
            None => f.write_str("an unknown user"),
        }
    }
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Nothing.
    Nothing,
    /// Ask, and wait for changes.
    Query,
    /// Everything.
    Everything,
}

/// Who may connect, and who may do what, by the user and the group that the kernel says a client
/// has.
///
/// Root and the daemon's own user may do everything. Nobody else is looked at where no list has
/// an entry: then whoever the permissions of the socket let in may do everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The mode of the socket; who may write to it may connect.
    pub socket_mode: u32,
    /// The group of the socket; none for the one it gets by itself.
    pub socket_group: Option<u32>,
    /// Users that may do everything.
    pub users: BTreeSet<u32>,
    /// Groups whose members may do everything.
    pub groups: BTreeSet<u32>,
    /// Users that may ask.
    pub query_users: BTreeSet<u32>,
    /// Groups whose members may ask.
    pub query_groups: BTreeSet<u32>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            socket_mode: 0o660,
            socket_group: None,
            users: BTreeSet::new(),
            groups: BTreeSet::new(),
            query_users: BTreeSet::new(),
            query_groups: BTreeSet::new(),
        }
    }
}

impl Access {
    /// Whether the permissions of the socket are all that decides: no list has an entry.
    #[must_use]
    pub fn is_open(&self) -> bool {
        [&self.users, &self.groups, &self.query_users, &self.query_groups]
            .iter()
            .all(|list| list.is_empty())
    }

    /// Refuses what would let everybody on this machine do everything, and what is no mode of a
    /// socket.
    ///
    /// # Errors
    ///
    /// `Invalid`.
    pub fn check(&self) -> Result<(), Error> {
        let mode = self.socket_mode;
        if mode & !0o666 != 0 {
            return Err(Error::invalid(format!("{mode:#o} is no mode of a socket"))
                .hint("0o660 lets owner and group connect, 0o666 everybody"));
        }
        if mode & 0o002 != 0 && self.is_open() {
            return Err(Error::invalid("with this mode of the socket everybody may do everything")
                .hint("say who may: users, groups, query_users or query_groups"));
        }
        Ok(())
    }

    /// What a client may do. `own` is the user this process runs as.
    #[must_use]
    pub fn rights(&self, uid: Option<u32>, gid: Option<u32>, own: u32) -> Rights {
        let has = |set: &BTreeSet<u32>, id: Option<u32>| id.is_some_and(|id| set.contains(&id));
        if self.is_open() || uid == Some(0) || uid == Some(own) {
            return Rights::Everything;
        }
        if has(&self.users, uid) || has(&self.groups, gid) {
            return Rights::Everything;
        }
        match has(&self.query_users, uid) || has(&self.query_groups, gid) {
            true => Rights::Query,
            false => Rights::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_say_who_may_do_what_and_without_them_the_socket_does() {
        let open = Access::default();
        assert_eq!(open.rights(None, None, 7), Rights::Everything);
        let access = Access {
            users: [1000].into(),
            groups: [50].into(),
            query_users: [1001].into(),
            query_groups: [51].into(),
            ..Access::default()
        };
        let cases = [
            (Some(0), Some(0), Rights::Everything),
            (Some(7), Some(9), Rights::Everything),
            (Some(1000), Some(51), Rights::Everything),
            (Some(2000), Some(50), Rights::Everything),
            (Some(1001), Some(9), Rights::Query),
            (Some(2000), Some(51), Rights::Query),
            (Some(2000), Some(9), Rights::Nothing),
            (None, None, Rights::Nothing),
        ];
        for (uid, gid, rights) in cases {
            assert_eq!(access.rights(uid, gid, 7), rights, "{uid:?} {gid:?}");
        }
    }

    #[test]
    fn a_socket_for_everybody_needs_a_list() {
        let open = Access { socket_mode: 0o666, ..Access::default() };
        assert!(open.check().unwrap_err().to_string().contains("everybody may do everything"));
        let listed = Access { query_users: [1].into(), ..open };
        assert!(listed.check().is_ok());
        assert!(Access { socket_mode: 0o4660, ..Access::default() }.check().is_err());
    }
}
