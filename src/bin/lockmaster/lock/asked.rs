//! What the command line asks for, as a request.

use lockmaster::vocabulary::{Error, Hierarchy, LockMode, LockRequest};

use super::LockArgs;

impl LockArgs {
    /// The locks asked for, of the levels of that hierarchy.
    pub(super) fn request(&self, hierarchy: &Hierarchy) -> Result<LockRequest, Error> {
        let mut request = LockRequest::new();
        let mode = if self.shared { LockMode::Shared } else { LockMode::Exclusive };
        for name in &self.names {
            add(&mut request, hierarchy, &self.level, name, mode)?;
        }
        for (others, mode) in
            [(&self.also, LockMode::Exclusive), (&self.also_shared, LockMode::Shared)]
        {
            for other in others {
                let (level, name) = other.split_once(':').ok_or_else(|| {
                    Error::invalid(format!("{other:?} names no level"))
                        .hint("another lock is named LEVEL:NAME")
                })?;
                add(&mut request, hierarchy, level, name, mode)?;
            }
        }
        Ok(request)
    }

    /// The command, for people.
    pub(super) fn title(&self) -> String {
        let words: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ").chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

fn add(
    request: &mut LockRequest,
    hierarchy: &Hierarchy,
    level: &str,
    name: &str,
    mode: LockMode,
) -> Result<(), Error> {
    let level = hierarchy.level(level)?;
    request.add(level, name, mode)?;
    Ok(())
}
