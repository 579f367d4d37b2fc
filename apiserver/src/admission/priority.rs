//! Pods get the number that their priority class stands for; there is at most one default class.

use coracle_api::status::ApiError;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::reader::{GroupResource, ObjectReader};

const PREEMPT: &str = "PreemptLowerPriority";

pub(super) fn admit(
    attributes: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    if attributes.operation == Operation::Update {
        keep(object, old);
        return Ok(());
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let named = spec
        .get("priorityClassName")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let class = if named.is_empty() {
        default_class(reader)
    } else {
        Some(class_named(attributes, &named, reader)?)
    };
    let (name, value, policy) = match &class {
        Some(class) => (
            text(class, "/metadata/name"),
            class.get("value").and_then(Value::as_i64).unwrap_or(0),
            text(class, "/preemptionPolicy"),
        ),
        None => (String::new(), 0, String::new()),
    };
    let policy = if policy.is_empty() {
        PREEMPT.to_owned()
    } else {
        policy
    };
    if spec
        .get("priority")
        .and_then(Value::as_i64)
        .is_some_and(|sent| sent != value)
    {
        return Err(attributes.forbidden(&format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name",
            spec["priority"]
        )));
    }
    if let Some(sent) = spec.get("preemptionPolicy").and_then(Value::as_str)
        && sent != policy
    {
        return Err(attributes.forbidden(&format!(
            "the string value of PreemptionPolicy ({sent}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )));
    }
    if !name.is_empty() {
        spec.insert("priorityClassName".to_owned(), Value::from(name));
    }
    spec.insert("priority".to_owned(), Value::from(value));
    spec.insert("preemptionPolicy".to_owned(), Value::from(policy));
    Ok(())
}

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let Some(class) = object.filter(|_| attributes.is("scheduling.k8s.io", "priorityclasses")) else {
        return Ok(());
    };
    if class.get("globalDefault").and_then(Value::as_bool) != Some(true) {
        return Ok(());
    }
    match default_class(reader) {
        Some(other) if text(&other, "/metadata/name") != attributes.name => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                text(&other, "/metadata/name")
            );
            Err(attributes.forbidden(&why))
        }
        _ => Ok(()),
    }
}

/// An update that leaves the numbers out means no change.
fn keep(object: &mut Value, old: Option<&Value>) {
    let (Some(spec), Some(old)) = (
        object.get_mut("spec").and_then(Value::as_object_mut),
        old.and_then(|old| old.get("spec")),
    ) else {
        return;
    };
    for field in ["priority", "preemptionPolicy"] {
        if let (None, Some(value)) = (spec.get(field), old.get(field)) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
}

fn class_named(
    attributes: &Attributes<'_>,
    name: &str,
    reader: &dyn ObjectReader,
) -> Result<std::sync::Arc<Value>, ApiError> {
    let classes = GroupResource::new("scheduling.k8s.io", "priorityclasses");
    reader
        .get(&classes, "", name)
        .ok_or_else(|| attributes.forbidden(&format!("no PriorityClass with name {name} was found")))
}

/// Of several defaults, the one with the lowest value.
fn default_class(reader: &dyn ObjectReader) -> Option<std::sync::Arc<Value>> {
    let classes = reader.list(&GroupResource::new("scheduling.k8s.io", "priorityclasses"), "");
    let defaults = classes
        .into_iter()
        .filter(|class| class.get("globalDefault").and_then(Value::as_bool) == Some(true));
    defaults.min_by_key(|class| class.get("value").and_then(Value::as_i64).unwrap_or(0))
}

fn text(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
