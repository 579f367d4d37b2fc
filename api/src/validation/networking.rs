//! Ingresses, IngressClasses and NetworkPolicies.

use serde_json::Value;

use super::batch::domain_prefixed_path;
use super::core::service::balanced_address;
use super::field::{FieldErrors, Path};
use super::ip;
use super::meta::{faults, immutable};
use super::pod::{PROTOCOLS, port_number};
use super::selector::label_selector;
use crate::names;
use crate::object::Fields;

const CONTROLLER_MAX: usize = 250;
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const BAD_IN_PATHS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_AT_END: [&str; 2] = ["/..", "/."];

pub(super) fn network_policy(policy: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&policy["spec"], Path::new("spec"));
    label_selector(spec.field("podSelector"), &at.child("podSelector"), errors);
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        let at = at.child(list);
        for (index, rule) in spec.items(list).iter().enumerate() {
            let at = at.index(index);
            let ports = at.child("ports");
            for (index, port) in rule.items("ports").iter().enumerate() {
                policy_port(port, &ports.index(index), errors);
            }
            let at = at.child(peers);
            for (index, one) in rule.items(peers).iter().enumerate() {
                peer(one, &at.index(index), errors);
            }
        }
    }
    let list = at.child("policyTypes");
    if spec.count("policyTypes") > 2 {
        errors.invalid(
            &list,
            &spec["policyTypes"],
            "may not specify more than two policyTypes",
        );
        return;
    }
    for (index, kind) in spec.items("policyTypes").iter().enumerate() {
        if !matches!(kind.as_str(), Some("Ingress" | "Egress")) {
            errors.not_supported(&list.index(index), kind, &["Ingress", "Egress"]);
        }
    }
}

fn policy_port(port: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if port.has("protocol") && !PROTOCOLS.contains(&port.text("protocol")) {
        // Upstream names them in another order here than elsewhere.
        let named = ["TCP", "UDP", "SCTP"];
        errors.not_supported(&at.child("protocol"), port.text("protocol"), &named);
    }
    let end = port.number("endPort");
    let at_end = at.child("endPort");
    match port.field("port") {
        Some(Value::String(name)) => {
            if let Some(end) = end {
                errors.invalid(&at_end, end, "may not be specified when `port` is non-numeric");
            }
            faults(&at.child("port"), name, names::port_name(name), errors);
        }
        Some(number) => {
            let number = number.as_i64().unwrap_or_default();
            port_number(number, &at.child("port"), errors);
            if let Some(end) = end {
                if end < number {
                    errors.invalid(&at_end, number, "must be greater than or equal to `port`");
                }
                port_number(end, &at_end, errors);
            }
        }
        None => {
            if let Some(end) = end {
                errors.invalid(&at_end, end, "may not be specified when `port` is not specified");
            }
        }
    }
}

fn peer(peer: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let mut peers = 0;
    for name in ["podSelector", "namespaceSelector"] {
        peers += usize::from(peer.has(name));
        label_selector(peer.field(name), &at.child(name), errors);
    }
    if let Some(block) = peer.field("ipBlock") {
        ip_block(block, &at.child("ipBlock"), errors);
        if peers > 0 {
            errors.forbidden(at, "may not specify both ipBlock and another peer");
        }
        peers += 1;
    }
    if peers == 0 {
        errors.required(at, "must specify a peer");
    }
}

fn ip_block(block: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let text = block.text("cidr");
    if text.is_empty() {
        errors.required(&at.child("cidr"), "");
        return;
    }
    ip::cidr(text, &at.child("cidr"), errors);
    let Some(whole) = ip::parse_cidr(text) else { return };
    let list = at.child("except");
    for (index, part) in block.items("except").iter().enumerate() {
        let part = part.as_str().unwrap_or_default();
        ip::cidr(part, &list.index(index), errors);
        if ip::parse_cidr(part).is_some_and(|part| !ip::contains(whole, part)) {
            errors.invalid(&list.index(index), part, "must be a strict subset of `cidr`");
        }
    }
}

pub(super) fn ingress(ingress: &Value, errors: &mut FieldErrors) {
    ingress_spec(&ingress["spec"], errors);
    let annotation = ingress["metadata"]["annotations"]
        .field(CLASS_ANNOTATION)
        .and_then(Value::as_str);
    let class = ingress["spec"].field("ingressClassName").and_then(Value::as_str);
    if let (Some(annotation), Some(class)) = (annotation, class)
        && annotation != class
    {
        let annotations = Path::new("annotations");
        let rule = "must match `ingressClassName` when both are specified";
        errors.invalid(&annotations.child(CLASS_ANNOTATION), annotation, rule);
    }
}

fn ingress_spec(spec: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec");
    if spec.count("rules") == 0 && !spec.has("defaultBackend") {
        let shown = spec.field("rules").unwrap_or(&Value::Null);
        errors.invalid(&at, shown, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = spec.field("defaultBackend") {
        self::backend(backend, &at.child("defaultBackend"), errors);
    }
    let list = at.child("rules");
    for (index, rule) in spec.items("rules").iter().enumerate() {
        let at = list.index(index);
        let host = rule.text("host");
        if !host.is_empty() {
            self::host(host, &at.child("host"), errors);
        }
        if let Some(http) = rule.field("http") {
            let at = at.child("http.paths");
            if http.count("paths") == 0 {
                errors.required(&at, "");
            }
            for (index, path) in http.items("paths").iter().enumerate() {
                http_path(path, &at.index(index), errors);
            }
        }
    }
    tls(spec, &at.child("tls"), errors);
    if let Some(Value::String(class)) = spec.field("ingressClassName") {
        faults(
            &at.child("ingressClassName"),
            class,
            names::dns1123_subdomain(class),
            errors,
        );
    }
}

fn host(host: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if ip::parse(host).is_some() {
        errors.invalid(at, host, "must be a DNS name, not an IP address");
    }
    host_name(host, at, errors);
}

fn host_name(host: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let rule = if host.contains('*') {
        names::wildcard_dns1123_subdomain
    } else {
        names::dns1123_subdomain
    };
    faults(at, host, rule(host), errors);
}

fn tls(spec: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    for (index, tls) in spec.items("tls").iter().enumerate() {
        let at = list.index(index);
        let hosts = at.child("hosts");
        for (index, host) in tls.items("hosts").iter().enumerate() {
            host_name(host.as_str().unwrap_or_default(), &hosts.index(index), errors);
        }
        let secret = tls.text("secretName");
        if !secret.is_empty() {
            faults(
                &at.child("secretName"),
                secret,
                names::dns1123_subdomain(secret),
                errors,
            );
        }
    }
}

fn http_path(object: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(kind) = object.field("pathType") else {
        errors.required(&at.child("pathType"), "pathType must be specified");
        return;
    };
    let (path, at_path) = (object.text("path"), at.child("path"));
    let kind = kind.as_str().unwrap_or_default();
    match kind {
        "Exact" | "Prefix" => {
            if !path.starts_with('/') {
                errors.invalid(&at_path, path, "must be an absolute path");
            }
            for bad in BAD_IN_PATHS.iter().filter(|bad| path.contains(**bad)) {
                errors.invalid(&at_path, path, format!("must not contain '{bad}'"));
            }
            for bad in BAD_AT_END.iter().filter(|bad| path.ends_with(**bad)) {
                errors.invalid(&at_path, path, format!("cannot end with '{bad}'"));
            }
        }
        "ImplementationSpecific" => {
            if !path.is_empty() && !path.starts_with('/') {
                errors.invalid(&at_path, path, "must be an absolute path");
            }
        }
        other => {
            errors.not_supported(
                &at.child("pathType"),
                other,
                &["Exact", "ImplementationSpecific", "Prefix"],
            );
        }
    }
    backend(&object["backend"], &at.child("backend"), errors);
}

fn backend(backend: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match (backend.field("resource"), backend.field("service")) {
        (Some(_), Some(_)) => errors.invalid(at, "", "cannot set both resource and service backends"),
        (Some(resource), None) => typed_reference(resource, &at.child("resource"), errors),
        (None, Some(service)) => service_backend(service, at, errors),
        (None, None) => errors.invalid(at, "", "resource or service backend is required"),
    }
}

fn service_backend(service: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match service.text("name") {
        "" => errors.required(&at.child("service.name"), ""),
        name => faults(
            &at.child("service.name"),
            name,
            names::dns1123_label(name),
            errors,
        ),
    }
    let port = &service["port"];
    match (port.text("name"), port.number("number").unwrap_or_default()) {
        ("", 0) => errors.required(at, "port name or number is required"),
        ("", number) => port_number(number, &at.child("service.port.number"), errors),
        (name, 0) => faults(
            &at.child("service.port.name"),
            name,
            names::port_name(name),
            errors,
        ),
        _ => errors.invalid(at, "", "cannot set both port name & port number"),
    }
}

/// A reference to an object of any kind, by its group, kind and name.
fn typed_reference(reference: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(Value::String(group)) = reference.field("apiGroup") {
        faults(
            &at.child("apiGroup"),
            group,
            names::dns1123_subdomain(group),
            errors,
        );
    }
    for name in ["kind", "name"] {
        match reference.text(name) {
            "" => errors.required(&at.child(name), ""),
            text => faults(&at.child(name), text, names::path_segment(text), errors),
        }
    }
}

pub(super) fn ingress_update(new: &Value, _: &Value, errors: &mut FieldErrors) {
    ingress_spec(&new["spec"], errors);
}

pub(super) fn ingress_status(new: &Value, _: &Value, errors: &mut FieldErrors) {
    let list = Path::new("status.loadBalancer.ingress");
    for (index, ingress) in new["status"]["loadBalancer"].items("ingress").iter().enumerate() {
        balanced_address(ingress, &list.index(index), errors);
    }
}

pub(super) fn ingress_class(class: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&class["spec"], Path::new("spec"));
    let controller = spec.text("controller");
    if controller.len() > CONTROLLER_MAX {
        errors.too_long(&at.child("controller"), CONTROLLER_MAX);
    }
    domain_prefixed_path(controller, &at.child("controller"), errors);
    let Some(parameters) = spec.field("parameters") else {
        return;
    };
    let at = at.child("parameters");
    typed_reference(parameters, &at, errors);
    let (scope, namespace) = (
        parameters.text("scope"),
        parameters.field("namespace").and_then(Value::as_str),
    );
    let at_namespace = at.child("namespace");
    match (scope, namespace) {
        _ if !parameters.has("scope") => errors.required(&at.child("scope"), ""),
        ("Namespace", None) => errors.required(&at_namespace, "`parameters.scope` is set to 'Namespace'"),
        ("Namespace", Some(name)) => faults(&at_namespace, name, names::dns1123_label(name), errors),
        ("Cluster", Some(_)) => errors.forbidden(&at_namespace, "`parameters.scope` is set to 'Cluster'"),
        ("Cluster", None) => {}
        (other, _) => errors.not_supported(&at.child("scope"), other, &["Cluster", "Namespace"]),
    }
}

pub(super) fn ingress_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (now, before) = (new["spec"].text("controller"), old["spec"].text("controller"));
    if now != before {
        immutable(
            Some(&now.into()),
            Some(&before.into()),
            &Path::new("spec.controller"),
            errors,
        );
    }
    ingress_class(new, errors);
}
