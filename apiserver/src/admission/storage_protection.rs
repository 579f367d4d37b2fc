//! `StorageObjectInUseProtection`: volumes and claims stay until nothing uses them any more.

use coracle_api::status::ApiError;
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::reader::ObjectReader;

pub(super) fn admit(
    attributes: &Attributes<'_>,
    object: &mut Value,
    _old: Option<&Value>,
    _reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    if attributes.operation != Operation::Create {
        return Ok(());
    }
    let finalizer = match () {
        () if attributes.is("", "persistentvolumes") => "kubernetes.io/pv-protection",
        () if attributes.is("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
        () if attributes.is("storage.k8s.io", "volumeattributesclasses") => "kubernetes.io/vac-protection",
        () => return Ok(()),
    };
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.contains(&json!(finalizer))
    {
        finalizers.push(json!(finalizer));
    }
    Ok(())
}
