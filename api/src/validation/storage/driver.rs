//! What describes CSI drivers: CSIDrivers, CSINodes, CSIStorageCapacities and VolumeAttributesClasses.

use serde_json::Value;

use super::{parameters, provisioner};
use crate::names;
use crate::object::{Fields, same};
use crate::quantity::Quantity;
use crate::validation::core::storage::driver_name;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::{
    faults, immutable, immutable_selector, immutable_struct, immutable_text, non_negative,
};
use crate::validation::pod::amount;
use crate::validation::selector::label_selector;

const FS_GROUP_POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
const LIFECYCLE_MODES: [&str; 2] = ["Persistent", "Ephemeral"];
const NODE_ID_MAX: usize = 256;
const UPDATE_PERIOD_MIN: i64 = 10;
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

pub(in crate::validation) fn driver(driver: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&driver["spec"], Path::new("spec"));
    // Upstream spells the first of these paths so.
    for (name, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if !spec.has(name) {
            errors.required(&at.child(shown), "");
        }
    }
    if spec.has("fsGroupPolicy") && !FS_GROUP_POLICIES.contains(&spec.text("fsGroupPolicy")) {
        let policy = spec.text("fsGroupPolicy");
        errors.not_supported(&at.child("fsGroupPolicy"), policy, &FS_GROUP_POLICIES);
    }
    token_requests(spec, &at.child("tokenRequests"), errors);
    for mode in spec.items("volumeLifecycleModes") {
        let mode = mode.as_str().unwrap_or_default();
        if !LIFECYCLE_MODES.contains(&mode) {
            errors.not_supported(&at.child("volumeLifecycleModes"), mode, &LIFECYCLE_MODES);
        }
    }
    if !spec.has("seLinuxMount") {
        errors.required(&at.child("seLinuxMount"), "");
    }
    let period = spec.number("nodeAllocatableUpdatePeriodSeconds");
    if let Some(period) = period.filter(|&period| period < UPDATE_PERIOD_MIN) {
        let rule = "must be greater than or equal to 10 seconds";
        errors.invalid(&at.child("nodeAllocatableUpdatePeriodSeconds"), period, rule);
    }
    if spec.has("serviceAccountTokenInSecrets") && spec.count("tokenRequests") == 0 {
        let rule = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        let given = spec.flag("serviceAccountTokenInSecrets");
        errors.invalid(&at.child("serviceAccountTokenInSecrets"), given, rule);
    }
}

fn token_requests(spec: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    let requests = spec.items("tokenRequests");
    for (index, request) in requests.iter().enumerate() {
        let at = list.index(index);
        let audience = request.text("audience");
        if requests[..index]
            .iter()
            .any(|other| other.text("audience") == audience)
        {
            errors.duplicate(&at.child("audience"), audience);
            continue;
        }
        let Some(seconds) = request.number("expirationSeconds") else {
            continue;
        };
        let at = at.child("expirationSeconds");
        if seconds < TOKEN_SECONDS_MIN {
            errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > TOKEN_SECONDS_MAX {
            errors.invalid(
                &at,
                seconds,
                "may not specify a duration larger than 2^32 seconds",
            );
        }
    }
}

pub(in crate::validation) fn driver_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    driver(new, errors);
    let (spec, before, at) = (&new["spec"], &old["spec"], Path::new("spec"));
    for (name, shown) in [
        ("attachRequired", "attachedRequired"),
        ("volumeLifecycleModes", "volumeLifecycleModes"),
    ] {
        immutable(spec.field(name), before.field(name), &at.child(shown), errors);
    }
}

pub(in crate::validation) fn node(node: &Value, errors: &mut FieldErrors) {
    let list = Path::new("spec.drivers");
    let drivers = node["spec"].items("drivers");
    for (index, driver) in drivers.iter().enumerate() {
        let at = list.index(index);
        let name = driver.text("name");
        driver_name(name, &at.child("name"), errors);
        let id = driver.text("nodeID");
        if id.is_empty() {
            errors.required(&at.child("nodeID"), "");
        } else if id.len() > NODE_ID_MAX {
            let rule = format!("must be {NODE_ID_MAX} characters or less");
            errors.invalid(&at.child("nodeID"), id, rule);
        }
        let count = driver["allocatable"].number("count");
        non_negative(count, &at.child("allocatable.count"), errors);
        if drivers[..index].iter().any(|other| other.text("name") == name) {
            errors.duplicate(&at.child("name"), name);
        }
        topology_keys(driver.items("topologyKeys"), &at, errors);
    }
}

/// Upstream lays the faults of keys at the driver's door.
fn topology_keys(keys: &[Value], at: &Path<'_>, errors: &mut FieldErrors) {
    for (index, key) in keys.iter().enumerate() {
        let text = key.as_str().unwrap_or_default();
        if text.is_empty() {
            errors.required(at, "");
        }
        if keys[..index].contains(key) {
            errors.duplicate(at, text);
        }
        faults(at, text, names::qualified_name(text), errors);
    }
}

/// What a node says about a driver stays, but for how many volumes it can take.
pub(in crate::validation) fn node_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    node(new, errors);
    let fixed = |driver: &Value| {
        let mut fixed = driver.clone();
        fixed["allocatable"] = Value::Null;
        fixed
    };
    for before in old["spec"].items("drivers") {
        for driver in new["spec"].items("drivers") {
            if driver.text("name") == before.text("name") {
                let at = Path::new("spec.drivers");
                immutable_struct(
                    Some(&fixed(driver)),
                    Some(&fixed(before)),
                    internal::CSI_NODE_DRIVER,
                    &at,
                    errors,
                );
            }
        }
    }
}

pub(in crate::validation) fn capacity(object: &Value, errors: &mut FieldErrors) {
    label_selector(object.field("nodeTopology"), &Path::new("nodeTopology"), errors);
    let class = object.text("storageClassName");
    let at = Path::new("storageClassName");
    faults(&at, class, names::dns1123_subdomain(class), errors);
    if let Some(size) = object
        .field("capacity")
        .filter(|size| amount(size) < Quantity::ZERO)
    {
        errors.invalid(&Path::new("capacity"), size, "must be greater than or equal to 0");
    }
}

pub(in crate::validation) fn capacity_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    capacity(new, errors);
    let (name, now) = ("nodeTopology", new.field("nodeTopology"));
    immutable_selector(now, old.field(name), &Path::new(name), errors);
    let (name, now) = ("storageClassName", new.field("storageClassName"));
    immutable_text(now, old.field(name), &Path::new(name), errors);
}

pub(in crate::validation) fn attributes_class(class: &Value, errors: &mut FieldErrors) {
    provisioner(class.text("driverName"), &Path::new("driverName"), errors);
    let at = Path::new("parameters");
    parameters(class, &at, errors);
    if class.count("parameters") == 0 {
        errors.required(&at, "must contain at least one key/value pair");
    }
}

pub(in crate::validation) fn attributes_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    for name in ["driverName", "parameters"] {
        if !same(new.get(name), old.get(name)) {
            errors.forbidden(&Path::new(name), format!("updates to {name} are forbidden."));
        }
    }
    attributes_class(new, errors);
}
