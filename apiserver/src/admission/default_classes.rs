//! `DefaultStorageClass` and `DefaultIngressClass`: who names no class gets the one that is marked as the default; and
//! `PersistentVolumeClaimResize`: only claims whose class allows it grow.

use std::sync::Arc;

use coracle_api::object::Fields;
use coracle_api::quantity::Quantity;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::reader::{GroupResource, ObjectReader};

const STORAGE_DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const INGRESS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// The name of the default class: of several, the newest, and of those the first by name.
fn default_class(mut classes: Vec<Arc<Value>>, marks: &[&str]) -> Option<String> {
    let annotations = |class: &Value| class["metadata"]["annotations"].clone();
    classes.retain(|class| marks.iter().any(|mark| annotations(class).text(mark) == "true"));
    let name = |class: &Value| class["metadata"].text("name").to_owned();
    let time = |class: &Value| class["metadata"].text("creationTimestamp").to_owned();
    classes.sort_by(|a, b| time(b).cmp(&time(a)).then_with(|| name(a).cmp(&name(b))));
    classes.first().map(|class| name(class))
}

pub(super) fn storage(
    attributes: &Attributes<'_>,
    claim: &mut Value,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let new = attributes.is("", "persistentvolumeclaims") && attributes.operation == Operation::Create;
    let named = claim["spec"].has("storageClassName") || claim["metadata"]["annotations"].has(STORAGE_CLASS);
    if !new || named {
        return Ok(());
    }
    let classes = reader.list(&GroupResource::new("storage.k8s.io", "storageclasses"), "");
    if let Some(name) = default_class(classes, &STORAGE_DEFAULT) {
        claim["spec"]["storageClassName"] = name.into();
    }
    Ok(())
}

pub(super) fn ingress(
    attributes: &Attributes<'_>,
    ingress: &mut Value,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let new = attributes.is("networking.k8s.io", "ingresses") && attributes.operation == Operation::Create;
    let named =
        ingress["spec"].has("ingressClassName") || ingress["metadata"]["annotations"].has(INGRESS_CLASS);
    if !new || named {
        return Ok(());
    }
    let classes = reader.list(&GroupResource::new("networking.k8s.io", "ingressclasses"), "");
    if let Some(name) = default_class(classes, &[INGRESS_DEFAULT]) {
        ingress["spec"]["ingressClassName"] = name.into();
    }
    Ok(())
}

/// The class of a claim; an old annotation comes before the field.
fn class_of(claim: &Value) -> &str {
    match claim["metadata"]["annotations"]
        .field(STORAGE_CLASS)
        .and_then(Value::as_str)
    {
        Some(class) => class,
        None => claim["spec"].text("storageClassName"),
    }
}

pub(super) fn resize(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let (Some(claim), Some(old)) = (object, old) else {
        return Ok(());
    };
    let size = |claim: &Value| -> Quantity {
        let text = claim["spec"]["resources"]["requests"].text("storage");
        text.parse().unwrap_or(Quantity::ZERO)
    };
    if !attributes.is("", "persistentvolumeclaims") || size(claim) <= size(old) {
        return Ok(());
    }
    if old["status"].text("phase") != "Bound" {
        return Err(attributes.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let class = class_of(claim);
    let classes = GroupResource::new("storage.k8s.io", "storageclasses");
    let allows = !class.is_empty()
        && class == class_of(old)
        && reader
            .get(&classes, "", class)
            .is_some_and(|class| class.flag("allowVolumeExpansion"));
    if allows {
        return Ok(());
    }
    Err(attributes.forbidden(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_several_defaults_the_newest_counts() {
        let class = |name: &str, time: &str, mark: &str| {
            Arc::new(
                json!({"metadata": {"name": name, "creationTimestamp": time, "annotations": {INGRESS_DEFAULT: mark}}}),
            )
        };
        let classes = vec![
            class("old", "2026-01-01T00:00:00Z", "true"),
            class("b", "2026-01-02T00:00:00Z", "true"),
            class("a", "2026-01-02T00:00:00Z", "true"),
            class("newest", "2026-01-03T00:00:00Z", "false"),
        ];
        assert_eq!(default_class(classes, &[INGRESS_DEFAULT]).as_deref(), Some("a"));
        assert_eq!(default_class(Vec::new(), &[INGRESS_DEFAULT]), None);
    }
}
