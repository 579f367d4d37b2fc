//! `PodTopologyLabels` (KEP-4742): pods carry the zone and region of their node as labels.

use coracle_api::object::{Fields, object_in};
use coracle_api::status::ApiError;
use serde_json::{Map, Value};

use super::{Attributes, Operation};
use crate::reader::{GroupResource, ObjectReader};

const COPIED: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Labels a pod that is made on a node, or the binding that puts it there, which passes its labels on.
pub(super) fn admit(
    attributes: &Attributes<'_>,
    object: &mut Value,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    if attributes.operation != Operation::Create || !attributes.is_of("", "pods") {
        return Ok(());
    }
    let node = match attributes.subresource {
        "" => object["spec"].text("nodeName"),
        "binding" if object["target"].text("kind") == "Node" => object["target"].text("name"),
        _ => return Ok(()),
    };
    let found = (!node.is_empty()).then(|| reader.get(&GroupResource::new("", "nodes"), "", node));
    let Some(node) = found.flatten() else {
        return Ok(());
    };
    let labels = node["metadata"].entries("labels");
    let copied: Map<String, Value> = labels
        .filter(|(key, _)| COPIED.contains(key))
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    if !copied.is_empty()
        && let Some(object) = object.as_object_mut()
        && let Some(metadata) = object_in(object, "metadata")
        && let Some(labels) = object_in(metadata, "labels")
    {
        labels.extend(copied);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use coracle_api::resources;
    use serde_json::json;

    use super::*;
    use crate::admission::tests::attributes;
    use crate::reader::memory::MemoryReader;

    #[test]
    fn zone_and_region_are_passed_on_and_nothing_else() {
        let reader = MemoryReader::default();
        let labels = json!({COPIED[0]: "z", "disk": "fast"});
        reader.put(
            &GroupResource::new("", "nodes"),
            json!({"metadata": {"name": "n", "labels": labels}}),
        );
        let pods = resources::find("", "v1", "pods").unwrap();
        let create = attributes(Operation::Create, pods);
        let mut pod =
            json!({"metadata": {"name": "p", "labels": {COPIED[0]: "wrong"}}, "spec": {"nodeName": "n"}});
        admit(&create, &mut pod, None, &reader).unwrap();
        assert_eq!(pod["metadata"]["labels"], json!({COPIED[0]: "z"}));
        let binding = Attributes {
            subresource: "binding",
            ..create
        };
        let mut object = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
        admit(&binding, &mut object, None, &reader).unwrap();
        assert_eq!(object["metadata"]["labels"], json!({COPIED[0]: "z"}));
        let mut elsewhere = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "m"}});
        admit(&binding, &mut elsewhere, None, &reader).unwrap();
        assert_eq!(elsewhere["metadata"], json!({"name": "p"}));
    }
}
