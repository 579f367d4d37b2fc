//! Which nodes a volume can be used on.

use serde_json::Value;

use super::Volume;
use crate::object::Fields;

/// Whether a node with these labels satisfies the volume's node affinity. A field of the node other than its labels is taken
/// for empty, as upstream has it here.
pub fn affine<'l>(volume: Volume<'_>, label: &dyn Fn(&str) -> Option<&'l str>) -> bool {
    let affinity = volume.0["spec"].field("nodeAffinity");
    let required = affinity.and_then(|affinity| affinity.field("required"));
    let Some(required) = required else { return true };
    required.items("nodeSelectorTerms").iter().any(|term| {
        let (expressions, fields) = (term.items("matchExpressions"), term.items("matchFields"));
        let unnamed = |key: &str| (key == "metadata.name").then_some("");
        !(expressions.is_empty() && fields.is_empty())
            && expressions.iter().all(|one| holds(one, label(one.text("key"))))
            && fields.iter().all(|one| holds(one, unnamed(one.text("key"))))
    })
}

fn holds(requirement: &Value, value: Option<&str>) -> bool {
    let values = requirement.items("values");
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compares = |holds: fn(&i64, &i64) -> bool| {
        let bound = values.first().and_then(Value::as_str);
        let numbers = value
            .and_then(|value| value.parse().ok())
            .zip(bound.and_then(|bound| bound.parse().ok()));
        numbers.is_some_and(|(value, bound)| holds(&value, &bound))
    };
    match requirement.text("operator") {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compares(i64::gt),
        "Lt" => compares(i64::lt),
        _ => false,
    }
}

/// Whether a node with these labels lies within a class's `allowedTopologies`. Without any, every node does; a term without
/// requirements allows none.
pub fn within<'l>(topologies: &[Value], label: &dyn Fn(&str) -> Option<&'l str>) -> bool {
    topologies.is_empty()
        || topologies.iter().any(|term| {
            let expressions = term.items("matchLabelExpressions");
            let lies = |one: &Value| {
                let value = label(one.text("key"));
                value.is_some_and(|value| one.items("values").iter().any(|listed| listed == value))
            };
            !expressions.is_empty() && expressions.iter().all(lies)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn label(key: &str) -> Option<&'static str> {
        match key {
            "zone" => Some("a"),
            "disks" => Some("4"),
            _ => None,
        }
    }

    #[test]
    fn a_volume_is_where_its_affinity_says() {
        let volume =
            |term: Value| json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}});
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (term, expected) in [
            (expression("zone", "In", &["a", "b"]), true),
            (expression("zone", "NotIn", &["a"]), false),
            (expression("other", "NotIn", &["a"]), true),
            (expression("zone", "Exists", &[]), true),
            (expression("zone", "DoesNotExist", &[]), false),
            (expression("disks", "Gt", &["3"]), true),
            (expression("disks", "Lt", &["3"]), false),
            (expression("zone", "Gt", &["3"]), false),
            (json!({}), false),
            (
                json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}),
                false,
            ),
        ] {
            assert_eq!(affine(Volume(&volume(term.clone())), &label), expected, "{term}");
        }
        assert!(affine(Volume(&json!({"spec": {}})), &label));
    }

    #[test]
    fn a_class_may_be_bound_to_places() {
        let term = |values: &[&str]| json!({"matchLabelExpressions": [{"key": "zone", "values": values}]});
        assert!(within(&[], &label));
        assert!(within(&[term(&["b"]), term(&["a"])], &label));
        assert!(!within(&[term(&["b"])], &label));
        assert!(!within(&[json!({})], &label));
    }
}
