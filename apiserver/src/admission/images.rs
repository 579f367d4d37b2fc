//! `AlwaysPullImages`: images are pulled for every pod, so that nobody runs what somebody else may pull.

use std::collections::BTreeSet;

use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use coracle_api::validation::{FieldErrors, Path};
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::reader::ObjectReader;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

fn images(pod: &Value) -> BTreeSet<&str> {
    let lists = LISTS.iter().flat_map(|list| pod["spec"].items(list));
    lists.map(|container| container.text("image")).collect()
}

/// Whether the plugin has nothing to do with a write: it is no pod's, or brings no image that was not there.
fn is_ignored(attributes: &Attributes<'_>, pod: &Value, old: Option<&Value>) -> bool {
    let known = |old| images(pod).is_subset(&images(old));
    !attributes.is("", "pods") || attributes.operation == Operation::Update && old.is_some_and(known)
}

pub(super) fn admit(
    attributes: &Attributes<'_>,
    pod: &mut Value,
    old: Option<&Value>,
    _reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    if is_ignored(attributes, pod, old) {
        return Ok(());
    }
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    for list in LISTS {
        let items = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in items.into_iter().flatten().filter_map(Value::as_object_mut) {
            container.insert("imagePullPolicy".to_owned(), json!("Always"));
        }
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
            image.insert("pullPolicy".to_owned(), json!("Always"));
        }
    }
    Ok(())
}

/// Nobody has changed that since.
pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    _reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let Some(pod) = object.filter(|pod| !is_ignored(attributes, pod, old)) else {
        return Ok(());
    };
    let mut errors = FieldErrors::new();
    let root = Path::new("spec");
    for list in LISTS {
        let place = root.child(list);
        for (index, container) in pod["spec"].items(list).iter().enumerate() {
            expect_always(container, "imagePullPolicy", &place.index(index), &mut errors);
        }
    }
    let place = root.child("volumes");
    for (index, volume) in pod["spec"].items("volumes").iter().enumerate() {
        if let Some(image) = volume.field("image") {
            let place = place.index(index);
            expect_always(image, "pullPolicy", &place.child("image"), &mut errors);
        }
    }
    let refusals: Vec<String> = errors
        .iter()
        .map(|error| attributes.forbidden(&error.to_string()).to_string())
        .collect();
    match refusals.as_slice() {
        [] => Ok(()),
        [one] => Err(ApiError::unknown(one.clone())),
        several => Err(ApiError::unknown(format!("[{}]", several.join(", ")))),
    }
}

fn expect_always(holder: &Value, field: &str, place: &Path<'_>, errors: &mut FieldErrors) {
    let policy = holder.text(field);
    if policy != "Always" {
        errors.not_supported(&place.child(field), policy, &["Always"]);
    }
}
