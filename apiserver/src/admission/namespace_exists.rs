//! `NamespaceExists`: nothing is written in a namespace that is not there.

use coracle_api::status::ApiError;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::reader::{GroupResource, ObjectReader};

pub(super) fn validate(
    attributes: &Attributes<'_>,
    _object: Option<&Value>,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let name = attributes.namespace;
    if name.is_empty() || attributes.operation == Operation::Connect || attributes.is_of("", "namespaces") {
        return Ok(());
    }
    match reader.get(&GroupResource::new("", "namespaces"), "", name) {
        Some(_) => Ok(()),
        None => Err(ApiError::not_found("", "namespaces", name)),
    }
}
