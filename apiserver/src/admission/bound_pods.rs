//! Changes of pods that have a node, for the plugins that hold one against the other.

use coracle_api::object::Fields;
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::reader::{GroupResource, ObjectReader};

/// A pod that changes, and where it runs.
pub(super) struct Change<'a> {
    pub(super) pod: &'a Value,
    pub(super) old: &'a Value,
    pub(super) node: &'a str,
}

impl<'a> Change<'a> {
    /// The change that an update of a pod, or of one of these subresources of it, makes to what is asked of its node; none where
    /// it asks for nothing else than before, or no node has the pod.
    pub(super) fn of(
        attributes: &Attributes<'_>,
        (object, old): (Option<&'a Value>, Option<&'a Value>),
        subresources: &[&str],
    ) -> Option<Self> {
        let updated = attributes.operation == Operation::Update
            && attributes.is_of("", "pods")
            && subresources.contains(&attributes.subresource);
        let (pod, old) = (object.filter(|_| updated)?, old?);
        let generation = |pod: &Value| pod["metadata"].number("generation");
        let node = pod["spec"].text("nodeName");
        (!node.is_empty() && generation(pod) != generation(old)).then_some(Self { pod, old, node })
    }

    /// The node.
    pub(super) fn node(
        &self,
        attributes: &Attributes<'_>,
        reader: &dyn ObjectReader,
    ) -> Result<std::sync::Arc<Value>, ApiError> {
        let found = reader.get(&GroupResource::new("", "nodes"), "", self.node);
        found.ok_or_else(|| attributes.forbidden(&format!("node {} not found", quote(self.node))))
    }
}
