//! `ExtendedResourceToleration`: pods that ask for an extended resource may run on the nodes that are kept for those who do.

use std::collections::BTreeSet;

use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use coracle_api::validation::is_extended_resource;
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::reader::ObjectReader;

pub(super) fn admit(
    attributes: &Attributes<'_>,
    pod: &mut Value,
    _old: Option<&Value>,
    _reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let written = matches!(attributes.operation, Operation::Create | Operation::Update);
    if !written || !attributes.is("", "pods") {
        return Ok(());
    }
    let resources: BTreeSet<String> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| pod["spec"].items(list))
        .flat_map(|container| container["resources"].entries("requests"))
        .map(|(name, _)| name.to_owned())
        .filter(|name| is_extended_resource(name))
        .collect();
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    for resource in resources {
        let wanted = json!({"key": resource, "operator": "Exists", "effect": "NoSchedule"});
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        if tolerations.is_null() {
            *tolerations = json!([]);
        }
        if let Some(tolerations) = tolerations.as_array_mut() {
            tolerate(tolerations, wanted);
        }
    }
    Ok(())
}

/// Adds a toleration, in place of one that differs in its time only.
fn tolerate(tolerations: &mut Vec<Value>, wanted: Value) {
    let fields = ["key", "operator", "effect", "value"];
    let is_same = |other: &Value| fields.iter().all(|field| other.text(field) == wanted.text(field));
    match tolerations.iter_mut().find(|other| is_same(other)) {
        Some(other) => *other = wanted,
        None => tolerations.push(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toleration_is_there_once() {
        let wanted = json!({"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"});
        let mut tolerations = vec![json!({"key": "other"})];
        tolerate(&mut tolerations, wanted.clone());
        tolerate(&mut tolerations, wanted.clone());
        assert_eq!(tolerations, [json!({"key": "other"}), wanted]);
    }
}
