//! Whether an object is one that the pods on a node use: what upstream's graph of vertices and edges says.

use coracle_api::object::Fields;
use coracle_api::references;
use serde_json::Value;

use crate::reader::{GroupResource, ObjectReader};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// Who asks for which object.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) node: &'a str,
    pub(super) resource: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl Wanted<'_> {
    /// Whether the node has to do with it.
    pub(super) fn is_related(&self, reader: &dyn ObjectReader) -> bool {
        let found = |group: &str| {
            reader.get(
                &GroupResource::new(group, self.resource),
                self.namespace,
                self.name,
            )
        };
        match self.resource {
            "pods" => found("").is_some_and(|pod| pod["spec"].text("nodeName") == self.node),
            "volumeattachments" | "resourceslices" => {
                let group = if self.resource == "resourceslices" {
                    "resource.k8s.io"
                } else {
                    "storage.k8s.io"
                };
                found(group).is_some_and(|object| object["spec"].text("nodeName") == self.node)
            }
            "persistentvolumes" => found("").is_some_and(|volume| self.mounts(reader, &volume)),
            "secrets" => self.is_used(reader) || self.is_of_volume(reader),
            _ => self.is_used(reader),
        }
    }

    /// Whether a pod on the node names it.
    fn is_used(&self, reader: &dyn ObjectReader) -> bool {
        let pods = reader.list(&GroupResource::new("", "pods"), self.namespace);
        pods.iter()
            .filter(|pod| pod["spec"].text("nodeName") == self.node)
            // A node makes mirror pods itself: they must not open anything to it.
            .filter(|pod| pod["metadata"]["annotations"].get(MIRROR).is_none())
            .any(|pod| refers_to(pod, self.resource, self.name))
    }

    /// Whether a pod on the node uses the claim of a volume.
    fn mounts(&self, reader: &dyn ObjectReader, volume: &Value) -> bool {
        let claim = &volume["spec"]["claimRef"];
        let claim = Wanted {
            resource: "persistentvolumeclaims",
            namespace: claim.text("namespace"),
            name: claim.text("name"),
            ..*self
        };
        !claim.name.is_empty() && claim.is_used(reader)
    }

    /// Whether a volume that is mounted on the node needs a secret.
    fn is_of_volume(&self, reader: &dyn ObjectReader) -> bool {
        let volumes = reader.list(&GroupResource::new("", "persistentvolumes"), "");
        volumes.iter().any(|volume| {
            let needed = references::secrets_of_volume(volume);
            needed.contains(&(self.namespace, self.name)) && self.mounts(reader, volume)
        })
    }
}

fn refers_to(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    match resource {
        "serviceaccounts" => spec.text("serviceAccountName") == name,
        "secrets" => references::secrets(spec).contains(&name),
        "configmaps" => references::config_maps(spec).contains(&name),
        "persistentvolumeclaims" => references::claims(pod).iter().any(|claim| claim == name),
        "resourceclaims" => references::resource_claims(pod).contains(&name),
        _ => false,
    }
}
