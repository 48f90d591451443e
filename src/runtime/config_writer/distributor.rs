//! How the configuration gets to other nodes: what an embedder provides.

use std::sync::Arc;

use super::ConfigSnapshot;
use crate::vocabulary::Error;

/// One version of the configuration, on its way to a node. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConfigCopy {
    /// The configuration.
    pub snapshot: Arc<ConfigSnapshot>,
    /// The content of its file.
    pub bytes: Arc<[u8]>,
}

impl ConfigCopy {
    /// A version with the content of its file: for tests of distributors.
    #[must_use]
    pub fn new(snapshot: Arc<ConfigSnapshot>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { snapshot, bytes: bytes.into() }
    }
}

/// Puts the configuration on other nodes.
///
/// Several nodes are served at once, each from a thread of its own, with no lock held: neither
/// of the configuration nor of the node. No node has two calls at once.
pub trait Distributor: Send + Sync + 'static {
    /// Puts this version on that node, in place of what is there; it is durable there when this
    /// returns `Ok`. May block, but has to come to an end: as long as it does not, the node gets
    /// nothing newer, and the configuration cannot be closed.
    ///
    /// # Errors
    ///
    /// Whatever kept it from doing so. It is called again later, by then perhaps with a newer
    /// version.
    fn upload(&self, node: &str, copy: &ConfigCopy) -> Result<(), Error>;

    /// Nothing is to be uploaded any more, and what is underway is waited for: it may be broken
    /// off.
    fn stop(&self) {}
}

impl<D: Distributor + ?Sized> Distributor for Arc<D> {
    fn upload(&self, node: &str, copy: &ConfigCopy) -> Result<(), Error> {
        (**self).upload(node, copy)
    }

    fn stop(&self) {
        (**self).stop();
    }
}
