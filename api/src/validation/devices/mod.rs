//! ResourceClaims, their templates and DeviceClasses; [`slice`] has what drivers publish.

mod allocated;
pub(super) mod slice;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::core::storage::driver_name;
use super::field::{FieldErrors, Path};
use super::internal;
use super::meta::{annotations, faults, labels};
use super::pod::is_extended_resource;
use super::selector::node_selector;
use crate::cel::{self, Environment, Listed, Type};
use crate::codec::{equality, raw};
use crate::names;
use crate::object::{Fields, same};

const REQUESTS_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
const CONFIG_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const TOLERATIONS_MAX: usize = 16;
const EXPRESSION_MAX: usize = 10 * 1024;
const PARAMETERS_MAX: usize = 10 * 1024;
const RESERVED_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const ID_MAX: usize = 32;
const POOL_MAX: usize = 253;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];
const REFERENCE: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// A list of bounded length, item by item; none of its items is looked at when there are too many.
fn bounded(
    items: &[Value],
    most: usize,
    at: &Path<'_>,
    errors: &mut FieldErrors,
    mut item: impl FnMut(&Value, &Path<'_>, &mut FieldErrors),
) {
    if items.len() > most {
        return errors.too_many(at, items.len(), most);
    }
    for (index, value) in items.iter().enumerate() {
        item(value, &at.index(index), errors);
    }
}

/// Items whose key stands before.
fn unique(items: &[Value], at: &Path<'_>, errors: &mut FieldErrors, key: impl Fn(&Value) -> &str) {
    for (index, item) in items.iter().enumerate() {
        if items[..index].iter().any(|other| key(other) == key(item)) {
            errors.duplicate(&at.index(index), key(item));
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn label(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    faults(at, name, names::dns1123_label(name), errors);
}

/// The names of a claim's requests, each with those of its alternatives.
type Requests<'a> = BTreeMap<&'a str, Vec<&'a str>>;

fn request_names(devices: &Value) -> Requests<'_> {
    devices
        .items("requests")
        .iter()
        .map(|request| {
            let list = request.items("firstAvailable").iter();
            (request.text("name"), list.map(|one| one.text("name")).collect())
        })
        .collect()
}

pub(super) fn claim(claim: &Value, errors: &mut FieldErrors) {
    device_claim(&claim["spec"]["devices"], &Path::new("spec.devices"), errors);
}

pub(super) fn claim_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (now, then) = (new.field("spec"), old.field("spec"));
    if !equality::equal_named(now, then, "io.k8s.api.resource.v1.ResourceClaimSpec") {
        let shown = internal::shown_pointer(now, internal::CLAIM_SPEC);
        errors.invalid(&Path::new("spec"), shown, "field is immutable");
    }
}

pub(super) fn claim_template(template: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&template["spec"], Path::new("spec"));
    let at_meta = at.child("metadata");
    annotations(&spec["metadata"], &at_meta, errors);
    labels(&spec["metadata"], "labels", &at_meta, errors);
    template_metadata(&spec["metadata"], &at_meta, errors);
    device_claim(&spec["spec"]["devices"], &at.child("spec.devices"), errors);
}

pub(super) fn claim_template_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    claim_template(new, errors);
    let (now, then) = (new.field("spec"), old.field("spec"));
    if !equality::equal_named(now, then, "io.k8s.api.resource.v1.ResourceClaimTemplateSpec") {
        let shown = internal::shown_pointer(now, internal::CLAIM_TEMPLATE);
        errors.invalid(&Path::new("spec"), shown, "field is immutable");
    }
}

/// Nothing but labels and annotations is taken over from a template.
fn template_metadata(metadata: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let others = internal::METADATA
        .iter()
        .filter(|name| !matches!(**name, "labels" | "annotations"));
    for name in others.filter(|name| metadata.has(name)) {
        // Upstream makes the name from its own by one letter.
        let shown = if *name == "uid" { "uID" } else { name };
        errors.forbidden(&at.child(shown), "cannot be set");
    }
}

fn device_claim(devices: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let known = request_names(devices);
    let list = at.child("requests");
    bounded(devices.items("requests"), REQUESTS_MAX, &list, errors, request);
    if devices.count("requests") <= REQUESTS_MAX {
        unique(devices.items("requests"), &list, errors, |one| one.text("name"));
    }
    let list = at.child("constraints");
    let constraints = devices.items("constraints");
    bounded(constraints, CONSTRAINTS_MAX, &list, errors, |one, at, errors| {
        constraint(one, &known, at, errors);
    });
    let list = at.child("config");
    bounded(
        devices.items("config"),
        CONFIG_MAX,
        &list,
        errors,
        |one, at, errors| {
            references(one, &known, at, errors);
            configuration(one, at, errors);
        },
    );
}

fn request(request: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    label(request.text("name"), &at.child("name"), errors);
    let alternatives = request.items("firstAvailable");
    match (request.field("exactly"), alternatives.is_empty()) {
        (None, true) => errors.required(at, "exactly one of `exactly` or `firstAvailable` is required"),
        (Some(_), false) => {
            let rule =
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(at, &Value::Null, rule);
        }
        (Some(exactly), true) => device_request(exactly, &at.child("exactly"), errors),
        (None, false) => {
            let list = at.child("firstAvailable");
            bounded(
                alternatives,
                ALTERNATIVES_MAX,
                &list,
                errors,
                |one, at, errors| {
                    label(one.text("name"), &at.child("name"), errors);
                    device_request(one, at, errors);
                },
            );
            if alternatives.len() <= ALTERNATIVES_MAX {
                unique(alternatives, &list, errors, |one| one.text("name"));
            }
        }
    }
}

/// What is asked of devices, whether it is the only way or one of several.
fn device_request(request: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let class = request.text("deviceClassName");
    let at_class = at.child("deviceClassName");
    match class {
        "" => errors.required(&at_class, ""),
        class => faults(&at_class, class, names::dns1123_subdomain(class), errors),
    }
    selectors(request, &at.child("selectors"), errors);
    allocation_mode(request, at, errors);
    let list = at.child("tolerations");
    bounded(
        request.items("tolerations"),
        TOLERATIONS_MAX,
        &list,
        errors,
        toleration,
    );
}

fn allocation_mode(request: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let count = request.number("count").unwrap_or_default();
    match request.text("allocationMode") {
        "All" if count != 0 => {
            let rule = "must not be specified when allocationMode is 'All'";
            errors.invalid(&at.child("count"), count, rule);
        }
        "ExactCount" if count <= 0 => {
            errors.invalid(&at.child("count"), count, "must be greater than zero");
        }
        "All" | "ExactCount" => {}
        other => errors.not_supported(&at.child("allocationMode"), other, &["All", "ExactCount"]),
    }
}

fn selectors(object: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    bounded(
        object.items("selectors"),
        SELECTORS_MAX,
        at,
        errors,
        |one, at, errors| {
            let at = at.child("cel");
            match one.field("cel") {
                None => errors.required(&at, ""),
                Some(cel) if cel.text("expression").len() > EXPRESSION_MAX => {
                    errors.too_long(&at.child("expression"), EXPRESSION_MAX);
                }
                Some(cel) => {
                    if let Err(why) = expression(cel.text("expression")) {
                        errors.invalid(&at.child("expression"), cel.text("expression"), why);
                    }
                }
            }
        },
    );
}

/// Whether an expression selects devices: what is wrong with it, or that it comes to something else than yes or no.
fn expression(source: &str) -> Result<(), String> {
    static DEVICE: LazyLock<Environment> = LazyLock::new(device_environment);
    let program = cel::compile(source, &DEVICE).map_err(|issues| format!("compilation failed: {issues}"))?;
    match program.output() {
        Type::Bool | Type::Dyn => Ok(()),
        other => Err(format!("must evaluate to bool or the unknown type, not {other}")),
    }
}

/// What expressions about a device know of it.
fn device_environment() -> Environment {
    let by_domain = |value: Type| Type::map(Type::String, Type::map(Type::String, value));
    let device = Listed::object(
        "kubernetes.DRADevice",
        &[
            ("driver", Type::String),
            ("attributes", by_domain(Type::Dyn)),
            ("capacity", by_domain(Type::Opaque("kubernetes.Quantity"))),
            ("allowMultipleAllocations", Type::Bool),
        ],
    );
    Environment::with(&[("device", device)])
}

fn toleration(toleration: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (key, value) = (toleration.text("key"), toleration.text("value"));
    if !key.is_empty() {
        faults(&at.child("key"), key, names::qualified_name(key), errors);
    }
    match toleration.text("operator") {
        "Exists" if !value.is_empty() => {
            errors.invalid(&at.child("value"), value, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => faults(&at.child("value"), value, names::label_value(value), errors),
        "" => errors.required(&at.child("operator"), ""),
        other => errors.not_supported(&at.child("operator"), other, &["Equal", "Exists"]),
    }
    let effect = toleration.text("effect");
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.not_supported(&at.child("effect"), effect, &EFFECTS);
    }
}

fn constraint(constraint: &Value, known: &Requests<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    references(constraint, known, at, errors);
    let attribute = ["matchAttribute", "distinctAttribute"]
        .into_iter()
        .find(|name| constraint.has(name));
    match attribute {
        Some(name) => fully_qualified(constraint.text(name), &at.child(name), errors),
        None => errors.required(
            at,
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        ),
    }
}

/// The requests that a constraint or a configuration is about.
fn references(object: &Value, known: &Requests<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let list = at.child("requests");
    let requests = object.items("requests");
    bounded(requests, REQUESTS_MAX, &list, errors, |one, at, errors| {
        reference(text(one), known, at, errors);
    });
    if requests.len() <= REQUESTS_MAX {
        unique(requests, &list, errors, text);
    }
}

fn reference(name: &str, known: &Requests<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let parts: Vec<&str> = name.split('/').collect();
    let found = match parts[..] {
        [request] => known.contains_key(request),
        [request, alternative] => known
            .get(request)
            .is_some_and(|alternatives| alternatives.contains(&alternative)),
        _ => return errors.invalid(at, name, REFERENCE),
    };
    for part in parts {
        label(part, at, errors);
    }
    if !found {
        errors.invalid(at, name, REFERENCE);
    }
}

fn configuration(config: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at = at.child("opaque");
    let Some(opaque) = config.field("opaque") else {
        return errors.required(&at, "");
    };
    driver_name(opaque.text("driver"), &at.child("driver"), errors);
    raw_object(
        opaque.field("parameters"),
        PARAMETERS_MAX,
        &at.child("parameters"),
        errors,
    );
}

/// An object that only a driver understands.
fn raw_object(value: Option<&Value>, most: usize, at: &Path<'_>, errors: &mut FieldErrors) {
    match value {
        None => errors.required(at, ""),
        Some(value) if raw::len(value) > most => errors.too_long(at, most),
        Some(value) if raw::peel(value).is_object() => {}
        Some(_) => errors.invalid(at, "<value omitted>", "must be a valid JSON object"),
    }
}

/// A name that a driver gives, perhaps with its domain before a slash.
fn qualified(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(id, at, errors),
        [domain, id] => {
            match domain {
                "" => errors.invalid(at, "", "the domain must not be empty"),
                domain => driver_name(domain, at, errors),
            }
            match id {
                "" => errors.invalid(at, "", "the name must not be empty"),
                id => identifier(id, at, errors),
            }
        }
        _ => {}
    }
}

fn fully_qualified(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    qualified(name, at, errors);
    if !name.contains('/') {
        let rule = "a fully qualified name must be a domain and a name separated by a slash";
        errors.invalid(at, name, rule);
    }
}

fn identifier(id: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if id.len() > ID_MAX {
        errors.too_long(at, ID_MAX);
    }
    faults(at, id, names::c_identifier(id), errors);
}

fn pool_name(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if name.is_empty() {
        return errors.required(at, "");
    }
    if name.len() > POOL_MAX {
        errors.too_long(at, POOL_MAX);
    }
    for part in name.split('/') {
        faults(at, part, names::dns1123_subdomain(part), errors);
    }
}

pub(super) fn class(class: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&class["spec"], Path::new("spec"));
    selectors(spec, &at.child("selectors"), errors);
    bounded(
        spec.items("config"),
        CONFIG_MAX,
        &at.child("config"),
        errors,
        configuration,
    );
    let name = spec.text("extendedResourceName");
    if spec.has("extendedResourceName") && !is_extended_resource(name) {
        let at = at.child("extendedResourceName");
        errors.invalid(&at, name, "must be a valid extended resource name");
    }
}

pub(super) fn class_update(new: &Value, _: &Value, errors: &mut FieldErrors) {
    class(new, errors);
}

/// What the scheduler and drivers write: for whom a claim is reserved, and what was allocated to it.
pub(super) fn claim_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, before, at) = (&new["status"], &old["status"], Path::new("status"));
    let (consumers, list) = (status.items("reservedFor"), at.child("reservedFor"));
    bounded(consumers, RESERVED_MAX, &list, errors, |one, at, errors| {
        for name in ["resource", "name", "uid"] {
            if one.text(name).is_empty() {
                errors.required(&at.child(name), "");
            }
        }
    });
    unique(consumers, &list, errors, |one| one.text("uid"));
    allocated::statuses(status, &at.child("devices"), errors);
    if !consumers.is_empty() && !status.has("allocation") {
        errors.forbidden(&list, "may not be specified when `allocated` is not set");
    } else if new["metadata"].has("deletionTimestamp") {
        let known = before.items("reservedFor");
        if consumers.iter().any(|one| !known.contains(one)) {
            let rule =
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.forbidden(&list, rule);
        }
    }
    let at = at.child("allocation");
    match (before.field("allocation"), status.field("allocation")) {
        (Some(before), Some(allocation)) if !same(Some(before), Some(allocation)) => {
            errors.invalid(&at, allocation, "field is immutable");
        }
        (None, Some(allocation)) => {
            let known = request_names(&new["spec"]["devices"]);
            allocated(allocation, &known, &at, errors);
        }
        _ => {}
    }
}

fn allocated(allocation: &Value, known: &Requests<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let devices = &allocation["devices"];
    let list = at.child("devices.results");
    bounded(
        devices.items("results"),
        RESULTS_MAX,
        &list,
        errors,
        |one, at, errors| {
            reference(one.text("request"), known, &at.child("request"), errors);
            driver_name(one.text("driver"), &at.child("driver"), errors);
            pool_name(one.text("pool"), &at.child("pool"), errors);
            label(one.text("device"), &at.child("device"), errors);
        },
    );
    let list = at.child("devices.config");
    bounded(
        devices.items("config"),
        2 * CONFIG_MAX,
        &list,
        errors,
        |one, at, errors| {
            match one.text("source") {
                "FromClaim" | "FromClass" => {}
                "" => errors.required(&at.child("source"), ""),
                other => errors.not_supported(&at.child("source"), other, &["FromClaim", "FromClass"]),
            }
            references(one, known, at, errors);
            configuration(one, at, errors);
        },
    );
    if let Some(selector) = allocation.field("nodeSelector") {
        node_selector(selector, &at.child("nodeSelector"), errors);
    }
}
