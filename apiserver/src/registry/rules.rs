//! What a kind's own rules say about a write: defaults, strategy, validation. Everything kind-specific is asked for here.

use std::borrow::Cow;

use coracle_api::codec::conform;
use coracle_api::resources::Resource;
use coracle_api::status::ApiError;
use coracle_api::table::Gvk;
use coracle_api::validation::{self, FieldErrors};
use coracle_api::{convert, custom, defaults, strategy, warnings};
use jiff::Timestamp;
use serde_json::Value;

use super::meta;
use super::served::Served;

/// Fills in what the client left out, in the version of the request.
pub(super) fn default(kind: Gvk, object: &mut Value) {
    defaults::apply(kind, object);
}

/// Fills in the defaults of what was set since the object was decoded. Those of custom resources are filled in when they
/// are decoded and no more, as upstream has it.
pub(super) fn default_again(served: &Served, object: &mut Value) {
    if served.custom.is_none() {
        default(served.stored.gvk(), object);
    }
}

/// As [`settle`], for a change. What a write to a part has put back may have defaults of its own, which upstream fills in whenever
/// it reads the object.
pub(super) fn settle_change(served: &Served, subresource: &str, object: &mut Value) {
    settle(served, object);
    if !subresource.is_empty() {
        default_again(served, object);
    }
}

/// The same object in another version of its resource.
///
/// # Errors
/// Where there is no such version.
pub(crate) fn convert(object: Value, from: &Resource, to: &Resource) -> Result<Value, ApiError> {
    convert::convert(object, from.gvk(), to.gvk()).map_err(ApiError::internal)
}

/// Fills in what a configuration that is applied may leave to the path: the name and the namespace.
pub(crate) fn name_config(config: &mut Value, name: &str, namespace: &str) {
    if meta::text(config, "name").is_empty() {
        meta::set(config, "name", Value::from(name));
    }
    if meta::text(config, "namespace").is_empty() && !namespace.is_empty() {
        meta::set(config, "namespace", Value::from(namespace));
    }
}

/// What a kind decides about its new objects.
pub(super) fn prepare_create(served: &Served, object: &mut Value, now: Timestamp) {
    if let Some(custom) = &served.custom {
        return custom::strategy::prepare_create(&custom.version, object);
    }
    strategy::date_taints(served.stored.gvk(), object, now);
    strategy::prepare_create(served.stored.gvk(), object, now);
}

/// What a kind decides about a change; each subresource changes its own part only.
pub(super) fn prepare_update(
    served: &Served,
    subresource: &str,
    object: &mut Value,
    old: &Value,
    now: Timestamp,
) {
    if let Some(custom) = &served.custom {
        return match subresource {
            "status" => custom::strategy::prepare_status_update(object, old),
            _ => custom::strategy::prepare_update(&custom.version, object, old),
        };
    }
    let kind = served.stored.gvk();
    strategy::date_taints(kind, object, now);
    match subresource {
        "" | "scale" => strategy::prepare_update(kind, object, old),
        "status" => strategy::prepare_status_update(kind, object, old, now),
        "approval" => strategy::prepare_approval(object, old),
        part => strategy::prepare_part(kind, part, object, old),
    }
}

/// Whether some of a kind's annotations stand for fields that it has inside: upstream cuts metadata out of what it has inside.
pub(crate) fn has_foreign_annotations(served: &Served) -> bool {
    served.is("apps", "daemonsets")
}

/// Takes away the annotations that stand for fields.
pub(crate) fn without_foreign_annotations(served: &Served, metadata: &mut Value) {
    let Some(fields) = metadata
        .as_object_mut()
        .filter(|_| has_foreign_annotations(served))
    else {
        return;
    };
    if let Some(annotations) = fields.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(defaults::TEMPLATE_GENERATION);
        if annotations.is_empty() {
            fields.remove("annotations");
        }
    }
}

/// Takes away what was given empty, once the object was judged: the store knows no such thing.
///
/// A custom resource is stored as it is written.
pub(crate) fn settle(served: &Served, object: &mut Value) {
    if served.custom.is_none() {
        conform::settle(object, served.stored.ty());
    }
}

/// Brings an object into the shape that storing gives it, whether or not it is then stored.
///
/// # Errors
/// Where it does not fit its type, which decoding has made sure of.
pub(crate) fn canonical(served: &Served, object: &mut Value) -> Result<(), ApiError> {
    if let Some(custom) = &served.custom {
        custom.keep(object, &served.stored);
        return Ok(());
    }
    conform::conform(object, served.stored.ty())
        .map(drop)
        .map_err(ApiError::internal)
}

/// Whether a new object is as its kind wants it; `denied` is what of it its writer may not ask for.
///
/// # Errors
/// 422 with every fault.
pub(crate) fn validate_create(
    served: &Served,
    object: &Value,
    mut denied: FieldErrors,
) -> Result<(), ApiError> {
    if let Some(custom) = &served.custom {
        let errors = custom::validate::create(&custom.version, &custom.schema(), object);
        return judged(served, object, &errors);
    }
    let (kind, shown) = as_judged(served, object)?;
    denied.extend(validation::create(kind, &shown));
    judged(served, object, &denied)
}

/// Whether a change is one that the kind allows; `denied` is what of it its writer may not do.
///
/// # Errors
/// 422 with every fault.
pub(crate) fn validate_update(
    served: &Served,
    subresource: &str,
    object: &Value,
    old: &Value,
    mut denied: FieldErrors,
) -> Result<(), ApiError> {
    if let Some(custom) = &served.custom {
        let (version, schema) = (&custom.version, custom.schema());
        let errors = match subresource {
            "status" => custom::validate::update_status(version, &schema, object, old),
            _ => custom::validate::update(version, &schema, object, old),
        };
        return judged(served, object, &errors);
    }
    let (kind, new) = as_judged(served, object)?;
    let (_, old) = as_judged(served, old)?;
    let errors = match subresource {
        "" | "scale" => validation::update(kind, &new, &old),
        "status" | "approval" => validation::update_status(kind, &new, &old),
        part => validation::update_part(kind, part, &new, &old),
    };
    denied.extend(errors);
    judged(served, object, &denied)
}

/// The form of an object that is judged: the stored one, except of events, of which the newer version asks for more.
fn as_judged<'a>(served: &Served, object: &'a Value) -> Result<(Gvk, Cow<'a, Value>), ApiError> {
    if served.version == 0 || served.resource.group != "events.k8s.io" {
        return Ok((served.stored.gvk(), Cow::Borrowed(object)));
    }
    let shown = convert(object.clone(), &served.stored, &served.resource)?;
    Ok((served.resource.gvk(), Cow::Owned(shown)))
}

fn judged(served: &Served, object: &Value, errors: &FieldErrors) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    // A custom resource is called what it says it is, which may be what is wrong with it.
    let kind = match &served.custom {
        None => served.stored.kind,
        Some(_) => object.get("kind").and_then(Value::as_str).unwrap_or_default(),
    };
    let group = served.stored.group;
    Err(ApiError::invalid(group, kind, meta::text(object, "name"), errors))
}

/// What the client is to be told of an object that it made, or changed from an old one.
pub(super) fn warnings(
    served: &Served,
    subresource: &str,
    object: &Value,
    old: Option<&Value>,
) -> Vec<String> {
    if served.custom.is_some() {
        return warnings::custom(object, old);
    }
    let kind = served.stored.gvk();
    match old {
        None => warnings::create(kind, object),
        Some(old) => warnings::update(kind, subresource, object, old),
    }
}

/// Whether an update may make the object.
pub(super) fn creates_on_update(served: &Served) -> bool {
    matches!(
        (served.resource.group, served.resource.resource),
        ("", "endpoints" | "events" | "limitranges" | "services")
            | ("events.k8s.io", "events")
            | ("coordination.k8s.io", "leases")
            | ("rbac.authorization.k8s.io", _)
            | ("node.k8s.io", "runtimeclasses")
    )
}

/// Whether an update may leave out which revision it is made from.
pub(crate) fn updates_unconditionally(served: &Served) -> bool {
    served.custom.is_none() && strategy::allows_unconditional_update(served.stored.gvk())
}

/// The fields that a write to a resource, or to a part of it, does not own.
pub(super) fn resets(served: &Served, subresource: &str) -> &'static [&'static str] {
    match &served.custom {
        None => strategy::resets(served.resource.gvk(), subresource),
        Some(custom) => custom::strategy::resets(&custom.version, subresource),
    }
}
