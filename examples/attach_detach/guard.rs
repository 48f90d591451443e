//! Who may take an attachment away: taken away under an instance that uses it, it would have the
//! next volume mapped to that host appear in its place.

use serde_json::Value;

use super::backend::Failed;
use super::calls::Volume;

/// Who asks for it.
#[derive(Clone, Copy)]
pub(crate) enum Caller<'a> {
    /// The service that detaches, by its token.
    Service,
    /// Anybody else. Given what an instance is known to use of the volume: an attachment.
    User(&'a dyn Fn(&str) -> Option<String>),
}

impl Volume<'_> {
    /// The fifth call, for whoever asks.
    pub(crate) fn terminate_for(
        &self,
        caller: Caller<'_>,
        attachment: Option<&str>,
    ) -> Result<(), Failed> {
        match caller {
            Caller::Service => {}
            Caller::User(uses) => self.refuse_what_is_used(uses, attachment)?,
        }
        self.terminate()
    }

    fn refuse_what_is_used(
        &self,
        uses: &dyn Fn(&str) -> Option<String>,
        id: Option<&str>,
    ) -> Result<(), Failed> {
        let volume = self.read();
        let ours = volume["attachments"].as_object();
        let mut all = ours.into_iter().flatten().filter(|(one, _)| id.is_none_or(|id| id == *one));
        let (first, another) = (all.next(), all.next());
        if another.is_some() {
            return Err(conflict("which of its attachments?"));
        }
        let Some((id, attachment)) = first else {
            return id.map_or(Ok(()), |id| Err(self.misses(id)));
        };
        let instance = attachment["instance"].as_str().unwrap_or(id);
        // Without a host it was never connected.
        match attachment["host"].is_null() || uses(instance).as_ref() != Some(id) {
            true => Ok(()),
            false => Err(conflict(&format!("{instance} uses it"))),
        }
    }

    /// There is no such attachment of this volume.
    fn misses(&self, id: &str) -> Failed {
        let snapshot = self.config.read();
        let volumes = snapshot.value["volumes"].as_object();
        let has = |volume: &Value| volume["attachments"].get(id).is_some();
        match volumes.is_some_and(|all| all.values().any(has)) {
            true => Failed::new("InvalidInput", format!("{id} is another volume's")),
            false => conflict(&format!("there is no attachment {id}")),
        }
    }
}

fn conflict(why: &str) -> Failed {
    Failed::new("ConflictNovaUsingAttachment", format!("{why}: detach it from the instance"))
}
