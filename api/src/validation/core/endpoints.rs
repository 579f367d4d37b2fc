//! Endpoints, EndpointSlices and Events.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::names;
use crate::object::{Fields, same};
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::ip;
use crate::validation::meta::{
    faults, immutable, immutable_struct, immutable_text, kube_finalizers, labels, object_meta,
};
use crate::validation::pod::{PROTOCOLS, one_of, port_number};

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;
const TOPOLOGY_MAX: usize = 16;

pub(in crate::validation) fn endpoints(object: &Value, errors: &mut FieldErrors) {
    let list = Path::new("subsets");
    for (index, subset) in object.items("subsets").iter().enumerate() {
        self::subset(subset, &list.index(index), errors);
    }
}

fn subset(subset: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if subset.count("addresses") == 0 && subset.count("notReadyAddresses") == 0 {
        errors.required(at, "must specify `addresses` or `notReadyAddresses`");
    }
    for list in ["addresses", "notReadyAddresses"] {
        let at = at.child(list);
        for (index, address) in subset.items(list).iter().enumerate() {
            endpoint_address(address, &at.index(index), errors);
        }
    }
    let ports = subset.items("ports");
    let list = at.child("ports");
    for (index, port) in ports.iter().enumerate() {
        let at = list.index(index);
        match port.text("name") {
            "" if ports.len() > 1 => errors.required(&at.child("name"), ""),
            "" => {}
            name => faults(&at.child("name"), name, names::dns1123_label(name), errors),
        }
        port_number(port.number("port").unwrap_or_default(), &at.child("port"), errors);
        one_of(port.text("protocol"), &PROTOCOLS, &at.child("protocol"), errors);
        app_protocol(port, &at, errors);
    }
}

fn app_protocol(port: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(Value::String(protocol)) = port.field("appProtocol") {
        faults(
            &at.child("appProtocol"),
            protocol,
            names::qualified_name(protocol),
            errors,
        );
    }
}

fn endpoint_address(address: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    ip::address(address.text("ip"), &at.child("ip"), errors);
    let host = address.text("hostname");
    if !host.is_empty() {
        faults(&at.child("hostname"), host, names::dns1123_label(host), errors);
    }
    node_name(address, at, errors);
    ip::endpoint(address.text("ip"), &at.child("ip"), errors);
}

fn node_name(object: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(Value::String(node)) = object.field("nodeName") {
        faults(
            &at.child("nodeName"),
            node,
            names::dns1123_subdomain(node),
            errors,
        );
    }
}

pub(in crate::validation) fn endpoints_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if !same(new.get("subsets"), old.get("subsets")) {
        endpoints(new, errors);
    }
}

pub(in crate::validation) fn slice(object: &Value, errors: &mut FieldErrors) {
    one_of(
        object.text("addressType"),
        &["FQDN", "IPv4", "IPv6"],
        &Path::new("addressType"),
        errors,
    );
    slice_ports(object, &Path::new("ports"), errors);
    slice_endpoints(object, &Path::new("endpoints"), errors);
}

fn slice_ports(object: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    let ports = object.items("ports");
    if ports.len() > PORTS_MAX {
        errors.too_many(list, ports.len(), PORTS_MAX);
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = list.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            faults(&at.child("name"), name, names::dns1123_label(name), errors);
        }
        if !seen.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
        match port.field("protocol") {
            None => errors.required(&at.child("protocol"), ""),
            Some(_) if !PROTOCOLS.contains(&port.text("protocol")) => {
                errors.not_supported(&at.child("protocol"), port.text("protocol"), &PROTOCOLS);
            }
            Some(_) => {}
        }
        app_protocol(port, &at, errors);
    }
}

fn slice_endpoints(object: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    let endpoints = object.items("endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        errors.too_many(list, endpoints.len(), ENDPOINTS_MAX);
        return;
    }
    let family = object.text("addressType");
    for (index, endpoint) in endpoints.iter().enumerate() {
        let at = list.index(index);
        let addresses = endpoint.items("addresses");
        let at_addresses = at.child("addresses");
        if addresses.is_empty() {
            errors.required(&at_addresses, "must contain at least 1 address");
        } else if addresses.len() > ADDRESSES_MAX {
            errors.too_many(&at_addresses, addresses.len(), ADDRESSES_MAX);
        }
        for (index, address) in addresses.iter().enumerate() {
            slice_address(
                address.as_str().unwrap_or_default(),
                family,
                index,
                &at_addresses,
                errors,
            );
        }
        node_name(endpoint, &at, errors);
        if endpoint.count("deprecatedTopology") > TOPOLOGY_MAX {
            let count = endpoint.count("deprecatedTopology");
            errors.too_many(&at.child("deprecatedTopology"), count, TOPOLOGY_MAX);
        }
        labels(endpoint, "deprecatedTopology", &at, errors);
        if let Some(Value::String(host)) = endpoint.field("hostname") {
            faults(&at.child("hostname"), host, names::dns1123_label(host), errors);
        }
        hints(
            endpoint,
            "forZones",
            names::label_value,
            &at.child("hints"),
            errors,
        );
        hints(
            endpoint,
            "forNodes",
            names::dns1123_subdomain,
            &at.child("hints"),
            errors,
        );
    }
}

fn slice_address(address: &str, family: &str, index: usize, list: &Path<'_>, errors: &mut FieldErrors) {
    let at = list.index(index);
    match family {
        "IPv4" | "IPv6" => {
            if !ip::address(address, &at, errors) {
                return;
            }
            if address.contains(':') != (family == "IPv6") {
                errors.invalid(list, address, format!("must be an {family} address"));
            }
            ip::endpoint(address, &at, errors);
        }
        "FQDN" => fqdn(address, &at, errors),
        _ => {}
    }
}

fn fqdn(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    let found = names::dns1123_subdomain(name);
    if !found.is_empty() {
        errors.invalid(at, name, found.join(","));
    } else if !name.contains('.') {
        errors.invalid(
            at,
            name,
            "should be a domain with at least two segments separated by dots",
        );
    }
}

fn hints(
    endpoint: &Value,
    list: &str,
    rule: fn(&str) -> Vec<String>,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let at = at.child(list);
    let hints = endpoint["hints"].items(list);
    if hints.len() > HINTS_MAX {
        errors.too_many(&at, hints.len(), HINTS_MAX);
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, hint) in hints.iter().enumerate() {
        let at = at.index(index);
        let name = hint.text("name");
        if !seen.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
        faults(&at.child("name"), name, rule(name), errors);
    }
}

pub(in crate::validation) fn slice_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let mut all = FieldErrors::new();
    slice(new, &mut all);
    // Endpoints that stay as they are were sound once.
    let kept = new.field("endpoints") == old.field("endpoints");
    all.retain(|error| !(kept && error.field.starts_with("endpoints")));
    errors.extend(all);
    immutable(
        new.field("addressType"),
        old.field("addressType"),
        &Path::new("addressType"),
        errors,
    );
}

/// A new Event written as `v1`: older than most rules, so that only what all metadata have to pass is asked of it besides, and
/// only where nothing else is wrong.
pub(in crate::validation) fn old_event(event: &Value, errors: &mut FieldErrors) {
    self::event(event, errors);
    if errors.is_empty() {
        let at = Path::new("metadata");
        object_meta(&event["metadata"], true, names::path_segment, &at, errors);
    }
}

/// What all Events obey. Those of `events.k8s.io` obey [`new_event`] as well.
pub(in crate::validation) fn event(event: &Value, errors: &mut FieldErrors) {
    let namespace = event["metadata"].text("namespace");
    let about = event["involvedObject"].text("namespace");
    let about = if about.is_empty() {
        event["regarding"].text("namespace")
    } else {
        about
    };
    let timed = event.has("eventTime");
    let fits = match (timed, about) {
        (false, "") => matches!(namespace, "" | "default"),
        (false, about) => about == namespace,
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (true, _) => true,
    };
    if !fits {
        errors.invalid(
            &Path::new("involvedObject.namespace"),
            about,
            "does not match event.namespace",
        );
    }
    if timed {
        timed_event(event, errors);
    }
    faults(
        &Path::new("namespace"),
        namespace,
        names::dns1123_subdomain(namespace),
        errors,
    );
}

fn timed_event(event: &Value, errors: &mut FieldErrors) {
    let old = event.has("involvedObject") || event.has("reportingComponent");
    let reporter = if old {
        "reportingComponent"
    } else {
        "reportingController"
    };
    let at = Path::new(reporter);
    if event.text(reporter).is_empty() {
        errors.required(&at, "");
    }
    faults(
        &at,
        event.text(reporter),
        names::qualified_name(event.text(reporter)),
        errors,
    );
    for name in ["reportingInstance", "action", "reason"] {
        let at = Path::new(name);
        match event.text(name) {
            "" => errors.required(&at, ""),
            text if text.len() > 128 => errors.invalid(&at, "", "can have at most 128 characters"),
            _ => {}
        }
    }
    let message = if event.has("note") {
        event.text("note")
    } else {
        event.text("message")
    };
    if message.len() > 1024 {
        errors.invalid(&Path::new("message"), "", "can have at most 1024 characters");
    }
}

/// An Event written as `events.k8s.io/v1`.
pub(in crate::validation) fn new_event(event: &Value, errors: &mut FieldErrors) {
    self::event(event, errors);
    let at = Path::new("metadata");
    object_meta(&event["metadata"], true, names::dns1123_subdomain, &at, errors);
    kube_finalizers(&event["metadata"], &at, errors);
    series(event, errors);
    if !event.has("eventTime") {
        errors.required(&Path::new("eventTime"), "");
    }
    if !matches!(event.text("type"), "Normal" | "Warning") {
        errors.invalid(
            &Path::new("type"),
            "",
            format!("has invalid value: {}", event.text("type")),
        );
    }
    let unset = [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ];
    for (name, shown) in unset {
        if event
            .field(name)
            .is_some_and(|value| !crate::object::is_zero(value))
        {
            errors.invalid(&Path::new(shown), "", "needs to be unset");
        }
    }
}

fn series(event: &Value, errors: &mut FieldErrors) {
    let Some(series) = event.field("series") else {
        return;
    };
    if series.number("count").unwrap_or_default() < 2 {
        errors.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    if !series.has("lastObservedTime") {
        errors.required(&Path::new("series.lastObservedTime"), "");
    }
}

/// Only the series of an Event in `events.k8s.io/v1` changes.
pub(in crate::validation) fn new_event_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    event(new, errors);
    if new.get("series") != old.get("series") {
        series(new, errors);
    }
    let fields = [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    for (name, shown) in fields {
        let (now, then, at) = (new.field(name), old.field(name), Path::new(shown));
        match name {
            "regarding" => {
                let reference = Some(&new["regarding"]);
                immutable_struct(
                    reference,
                    Some(&old["regarding"]),
                    internal::OBJECT_REFERENCE,
                    &at,
                    errors,
                );
            }
            "deprecatedSource" => {
                let source = (Some(&new[name]), Some(&old[name]));
                immutable_struct(source.0, source.1, internal::EVENT_SOURCE, &at, errors);
            }
            "related" => immutable_struct(now, then, internal::OBJECT_REFERENCE, &at, errors),
            "reason" | "note" | "type" | "action" | "reportingController" | "reportingInstance" => {
                immutable_text(now, then, &at, errors);
            }
            _ => immutable(now, then, &at, errors),
        }
    }
}
