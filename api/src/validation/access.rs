//! Access reviews and certificate requests.

use base64::Engine as _;
use serde_json::Value;

use super::field::{BadValue, FieldErrors, Path};
use super::meta::{faults, immutable};
use crate::names;
use crate::object::Fields;

const EXPIRATION_MIN: i64 = 600;
/// What a certificate may be asked for to be used as (`certificates.k8s.io/v1` KeyUsage).
pub const CERTIFICATE_USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// `spec` of a SelfSubjectAccessReview: what is asked for is either a resource or a path.
pub(super) fn self_review(review: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&review["spec"], Path::new("spec"));
    match (spec.has("resourceAttributes"), spec.has("nonResourceAttributes")) {
        (true, true) => {
            let rule = "cannot be specified in combination with resourceAttributes";
            errors.invalid(
                &at.child("nonResourceAttributes"),
                &spec["nonResourceAttributes"],
                rule,
            );
        }
        (false, false) => {
            let rule = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(&at.child("resourceAttributes"), &Value::Null, rule);
        }
        _ => {}
    }
    for (name, by_label) in [("fieldSelector", false), ("labelSelector", true)] {
        if let Some(selector) = spec["resourceAttributes"].field(name) {
            let at = at.child("resourceAttributes");
            selector_attributes(selector, by_label, &at.child(name), errors);
        }
    }
}

/// What a request selects by, said whole or in requirements. Operators of newer clients are let through.
fn selector_attributes(selector: &Value, by_label: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let (raw, requirements) = (selector.text("rawSelector"), selector.items("requirements"));
    let list = at.child("requirements");
    if !raw.is_empty() && !requirements.is_empty() {
        let rule = "may not specified at the same time as requirements";
        errors.invalid(&at.child("rawSelector"), raw, rule);
    }
    if raw.is_empty() && requirements.is_empty() {
        let rule = format!("when {at} is specified, requirements or rawSelector is required");
        errors.required(&list, rule);
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let at = list.index(index);
        let key = requirement.text("key");
        if !by_label && key.is_empty() {
            errors.required(&at.child("key"), "must be specified");
        }
        let values = at.child("values");
        match (requirement.text("operator"), requirement.count("values")) {
            ("In" | "NotIn", 0) => {
                errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            ("Exists" | "DoesNotExist", 1..) => {
                let rule = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&values, rule);
            }
            _ => {}
        }
        if by_label {
            faults(&at.child("key"), key, names::qualified_name(key), errors);
            for (index, value) in requirement.items("values").iter().enumerate() {
                let value = value.as_str().unwrap_or_default();
                faults(&values.index(index), value, names::label_value(value), errors);
            }
        }
    }
}

/// A LocalSubjectAccessReview is about its own namespace, and about resources alone.
pub(super) fn local_review(review: &Value, errors: &mut FieldErrors) {
    self::review(review, errors);
    let (spec, own) = (&review["spec"], review["metadata"].text("namespace"));
    if let Some(attributes) = spec.field("resourceAttributes")
        && attributes.text("namespace") != own
    {
        let at = Path::new("spec.resourceAttributes.namespace");
        errors.invalid(&at, attributes.text("namespace"), "must match metadata.namespace");
    }
    if let Some(attributes) = spec.field("nonResourceAttributes") {
        let at = Path::new("spec.nonResourceAttributes");
        errors.invalid(&at, attributes, "disallowed on this kind of request");
    }
}

/// `spec` of a SubjectAccessReview, which also says about whom it is.
pub(super) fn review(review: &Value, errors: &mut FieldErrors) {
    self_review(review, errors);
    let spec = &review["spec"];
    if spec.text("user").is_empty() && spec.count("groups") == 0 {
        errors.invalid(
            &Path::new("spec.user"),
            "",
            "at least one of user or group must be specified",
        );
    }
}

pub(super) fn certificate_request(request: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&request["spec"], Path::new("spec"));
    let encoded = spec.text("request");
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .unwrap_or_default();
    if !is_request(&bytes) {
        let shown = if encoded.is_empty() {
            BadValue::from(&Value::Null)
        } else {
            BadValue::from(encoded)
        };
        errors.invalid(
            &at.child("request"),
            shown,
            "PEM block type must be CERTIFICATE REQUEST",
        );
    }
    usages(spec, &at.child("usages"), errors);
    signer_name(spec.text("signerName"), &at.child("signerName"), errors);
    if let Some(seconds) = spec
        .number("expirationSeconds")
        .filter(|&seconds| seconds < EXPIRATION_MIN)
    {
        let rule = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&at.child("expirationSeconds"), seconds, rule);
    }
}

/// Whether bytes are the PEM form of a PKCS #10 request; its signature is checked by whoever signs.
fn is_request(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Some((_, rest)) = text.split_once("-----BEGIN CERTIFICATE REQUEST-----") else {
        return false;
    };
    let Some((body, _)) = rest.split_once("-----END CERTIFICATE REQUEST-----") else {
        return false;
    };
    let body: String = body.split_whitespace().collect();
    !body.is_empty() && base64::engine::general_purpose::STANDARD.decode(body).is_ok()
}

fn usages(spec: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    let usages = spec.items("usages");
    if usages.is_empty() {
        errors.required(list, "");
    }
    for (index, usage) in usages.iter().enumerate() {
        if !usage
            .as_str()
            .is_some_and(|usage| CERTIFICATE_USAGES.contains(&usage))
        {
            errors.not_supported(&list.index(index), usage, &CERTIFICATE_USAGES);
        }
        if usages[..index].contains(usage) {
            errors.duplicate(&list.index(index), usage);
        }
    }
}

/// A signer: a domain and a path of letters, digits and dashes, such as `example.com/signer`.
fn signer_name(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let (domain, path) = match name.split_once('/') {
        _ if name.is_empty() => return errors.required(at, ""),
        Some((domain, path)) if !path.contains('/') && !domain.is_empty() => (domain, path),
        _ => {
            let rule = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            return errors.invalid(at, name, rule);
        }
    };
    for label in domain.split('.') {
        faults(at, domain, names::dns1123_label(label), errors);
    }
    if !domain.contains('.') {
        errors.invalid(
            at,
            domain,
            "should be a domain with at least two segments separated by dots",
        );
    }
    for label in path.split('.') {
        faults(at, path, names::dns1123_label(label), errors);
    }
}

/// What was asked for never changes: somebody may have approved it.
/// The conditions of a request, and what certificate it was given.
pub(super) fn certificate_request_status(request: &Value, errors: &mut FieldErrors) {
    const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];
    let (conditions, list) = (
        request["status"].items("conditions"),
        Path::new("status.conditions"),
    );
    for (index, condition) in conditions.iter().enumerate() {
        let (at, kind) = (list.index(index), condition.text("type"));
        if kind.is_empty() {
            errors.required(&at.child("type"), "");
        }
        let allowed: &[&str] = if DECISIONS.contains(&kind) {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        match condition.text("status") {
            "" => errors.required(&at.child("status"), ""),
            status if !allowed.contains(&status) => {
                errors.not_supported(&at.child("status"), status, allowed);
            }
            _ => {}
        }
        let before = &conditions[..index];
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if before
            .iter()
            .any(|one| !other.is_empty() && one.text("type") == other)
        {
            let rule = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(&list, kind, rule);
        }
        if before.iter().any(|one| one.text("type") == kind) {
            errors.duplicate(&at.child("type"), kind);
        }
    }
}

pub(super) fn certificate_request_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(new.field("spec"), old.field("spec"), &Path::new("spec"), errors);
}
