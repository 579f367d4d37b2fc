//! `NodeDeclaredFeatureValidator`: a pod that runs changes only in ways that its node has declared to know (KEP-5328).
//!
//! Of the features that nodes declare these are those that an update can ask for; the others are about where a pod may go.

use coracle_api::amounts;
use coracle_api::object::{Fields, same};
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::Attributes;
use super::bound_pods::Change;
use crate::reader::ObjectReader;

/// Resources of the pod as a whole change.
const POD_LEVEL: &str = "InPlacePodLevelResourcesVerticalScaling";
/// Those of a container change that ends before the others begin.
const INIT_CONTAINERS: &str = "InPlacePodVerticalScalingInitContainers";

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let Some(change) = Change::of(attributes, (object, old), &["", "resize"]) else {
        return Ok(());
    };
    let mut needed = needed(&change.pod["spec"], &change.old["spec"]);
    if needed.is_empty() {
        return Ok(());
    }
    let node = change.node(attributes, reader)?;
    let declared = node["status"].items("declaredFeatures");
    needed.retain(|feature| declared.iter().all(|known| known != feature));
    if needed.is_empty() {
        return Ok(());
    }
    Err(attributes.forbidden(&format!(
        "pod update requires features {} which are not available on node {}",
        needed.join(", "),
        quote(change.node)
    )))
}

/// What a node has to know for this change, by name.
fn needed(new: &Value, old: &Value) -> Vec<&'static str> {
    let mut needed = Vec::new();
    let of_pod = |spec: &Value| ["requests", "limits"].map(|field| amounts::read(&spec["resources"][field]));
    if of_pod(new) != of_pod(old) {
        needed.push(POD_LEVEL);
    }
    let pairs = old
        .items("initContainers")
        .iter()
        .zip(new.items("initContainers"));
    let mut ending = pairs.filter(|(old, _)| old.text("restartPolicy") != "Always");
    if ending.any(|(old, new)| !same(old.get("resources"), new.get("resources"))) {
        needed.push(INIT_CONTAINERS);
    }
    needed
}
