//! `DenyServiceExternalIPs`: Services take no addresses of outside that they do not have already, for whoever does takes
//! the traffic for them (CVE-2020-8554).

use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::reader::ObjectReader;

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    _reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let written = matches!(attributes.operation, Operation::Create | Operation::Update);
    let Some(service) = object.filter(|_| written && attributes.is("", "services")) else {
        return Ok(());
    };
    let had = old.map_or(&[][..], |old| old["spec"].items("externalIPs"));
    let new = service["spec"].items("externalIPs").iter();
    if new.into_iter().all(|address| had.contains(address)) {
        return Ok(());
    }
    Err(attributes.forbidden("Use of external IPs is denied by admission control"))
}
