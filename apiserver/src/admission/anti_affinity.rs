//! `LimitPodHardAntiAffinityTopology`: no pod keeps others away from more than its own node.

use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::reader::ObjectReader;

const HOSTNAME: &str = "kubernetes.io/hostname";

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    _old: Option<&Value>,
    _reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let written = matches!(attributes.operation, Operation::Create | Operation::Update);
    let Some(pod) = object.filter(|_| written && attributes.is("", "pods")) else {
        return Ok(());
    };
    let required =
        pod["spec"]["affinity"]["podAntiAffinity"].items("requiredDuringSchedulingIgnoredDuringExecution");
    let mut keys = required.iter().map(|term| term.text("topologyKey"));
    match keys.find(|key| *key != HOSTNAME) {
        None => Ok(()),
        Some(key) => {
            let why = format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is allowed"
            );
            Err(ApiError::forbidden(
                "",
                "pods",
                pod["metadata"].text("name"),
                &why,
            ))
        }
    }
}
