//! IPAddresses and ServiceCIDRs: the addresses that Services may have, and which Service has one.

use serde_json::Value;

use super::field::{FieldErrors, Path};
use super::internal;
use super::ip;
use super::meta::{faults, immutable_struct};
use crate::names;
use crate::object::Fields;

const CIDRS_MAX: usize = 2;

/// An IPAddress is called by the address, as it is written canonically.
pub(super) fn ip_address_name(name: &str) -> Vec<String> {
    match ip::parse(name) {
        None => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
        Some(address) if address.to_string() == name => Vec::new(),
        Some(address) => vec![format!("must be in canonical form (\"{address}\")")],
    }
}

pub(super) fn ip_address(object: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec.parentRef");
    let Some(parent) = object["spec"].field("parentRef") else {
        errors.required(&at, "");
        return;
    };
    group_and_required(parent, &at, errors);
    for name in ["resource", "name", "namespace"] {
        let text = parent.text(name);
        faults(&at.child(name), text, names::path_segment(text), errors);
    }
}

fn group_and_required(parent: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let group = parent.text("group");
    if !group.is_empty() {
        faults(&at.child("group"), group, names::dns1123_subdomain(group), errors);
    }
    for name in ["resource", "name"] {
        if parent.text(name).is_empty() {
            errors.required(&at.child(name), "");
        }
    }
}

pub(super) fn ip_address_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec.parentRef");
    let parent = new["spec"].field("parentRef");
    match parent {
        Some(parent) => group_and_required(parent, &at, errors),
        None => errors.required(&at, ""),
    }
    let before = old["spec"].field("parentRef");
    immutable_struct(parent, before, internal::PARENT, &at, errors);
}

pub(super) fn service_cidr(object: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec.cidrs");
    let cidrs = object["spec"].items("cidrs");
    if cidrs.is_empty() {
        errors.required(&at, "at least one CIDR required");
        return;
    }
    if cidrs.len() > CIDRS_MAX {
        return errors.invalid(&at, &object["spec"], "may only hold up to 2 values");
    }
    let mut families = Vec::new();
    for (index, cidr) in cidrs.iter().enumerate() {
        let text = cidr.as_str().unwrap_or_default();
        if ip::cidr(text, &at.index(index), errors) {
            families.extend(ip::parse_cidr(text).map(|(address, _)| address.is_ipv4()));
        }
    }
    if let [first, second] = families[..]
        && first == second
    {
        let rule = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(&at, &object["spec"]["cidrs"], rule);
    }
}

/// A second family may be added; what stands there stays.
pub(super) fn service_cidr_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec.cidrs");
    let (cidrs, before) = (new["spec"].items("cidrs"), old["spec"].items("cidrs"));
    let widened = before.len() == 1 && cidrs.len() == CIDRS_MAX;
    if cidrs.len() != before.len() && !widened {
        return errors.invalid(&at, &new["spec"]["cidrs"], "field is immutable");
    }
    for (index, (cidr, before)) in cidrs.iter().zip(before).enumerate() {
        if cidr != before {
            errors.invalid(&at.index(index), cidr, "field is immutable");
        }
    }
    if widened {
        service_cidr(new, errors);
    }
}
