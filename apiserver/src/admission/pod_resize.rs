//! `PodResizeValidator`: a pod grows no further than its node is large.

use coracle_api::amounts::{self, Counting};
use coracle_api::object::Fields;
use coracle_api::quantity::Quantity;
use coracle_api::quote::quote;
use coracle_api::status::{ApiError, Cause, Details, Reason};
use serde_json::Value;

use super::Attributes;
use super::bound_pods::Change;
use crate::reader::ObjectReader;

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let Some(change) = Change::of(attributes, (object, old), &["resize"]) else {
        return Ok(());
    };
    let node = change.node(attributes, reader)?;
    match node["metadata"]["labels"].text("kubernetes.io/os") {
        "" | "linux" => {}
        other => {
            let (name, other) = (quote(change.node), quote(other));
            let why = format!("pod resize is only supported on linux nodes, node {name} is {other}");
            return Err(refused(attributes, &why, "UnsupportedPlatform"));
        }
    }
    let lacking = lacking(change.pod, &node["status"]["allocatable"]);
    if lacking.is_empty() {
        return Ok(());
    }
    let why = format!(
        "node didn't have enough allocatable resources: {}",
        lacking.join("; ")
    );
    Err(refused(attributes, &why, "NodeCapacity"))
}

/// What a pod asks for beyond what there is.
fn lacking(pod: &Value, allocatable: &Value) -> Vec<String> {
    let counting = Counting {
        overhead: true,
        ..Counting::default()
    };
    let (asked, there) = (
        amounts::of_pod(pod, "requests", counting),
        amounts::read(allocatable),
    );
    let of = |amounts: &amounts::Amounts, name: &str| amounts.get(name).cloned().unwrap_or(Quantity::ZERO);
    let mut lacking = Vec::new();
    for (name, shown) in [
        ("cpu", Quantity::milli_value as fn(&Quantity) -> i64),
        ("memory", Quantity::value),
    ] {
        let (asked, there) = (of(&asked, name), of(&there, name));
        if asked > there {
            let (asked, there) = (shown(&asked), shown(&there));
            lacking.push(format!("{name}, requested: {asked}, allocatable: {there}"));
        }
    }
    lacking
}

fn refused(attributes: &Attributes<'_>, why: &str, reason: &str) -> ApiError {
    let refusal = attributes.forbidden(why);
    let cause = Cause {
        reason: reason.to_owned(),
        ..Cause::default()
    };
    let details = Details {
        causes: vec![cause],
        ..refusal.details().cloned().unwrap_or_default()
    };
    ApiError::new(403, Reason::Forbidden, refusal.message(), Some(details))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_lacking_is_told_in_whole_numbers() {
        let pod =
            json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}]}});
        assert_eq!(
            lacking(&pod, &json!({"cpu": "1500m", "memory": "1Gi"})),
            ["cpu, requested: 2000, allocatable: 1500"]
        );
        assert_eq!(lacking(&pod, &json!({})).len(), 2);
    }
}
