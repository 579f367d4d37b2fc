//! PersistentVolumes and PersistentVolumeClaims.

mod claim;
mod volume;

use serde_json::Value;

pub(in crate::validation) use self::claim::{claim, claim_spec, claim_status, claim_update};
pub(in crate::validation) use self::volume::{inline_volume, volume, volume_update};
use crate::names;
use crate::object::Fields;
use crate::quantity::Quantity;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::faults;
use crate::validation::pod::amount;

const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const DRIVER_MAX: usize = 63;

fn access_modes(spec: &Value, at: &Path<'_>, none: &str, errors: &mut FieldErrors) {
    let modes: Vec<&str> = spec
        .items("accessModes")
        .iter()
        .map(|mode| mode.as_str().unwrap_or_default())
        .collect();
    if modes.is_empty() {
        errors.required(at, none);
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(at, *mode, &ACCESS_MODES);
    }
    let known: Vec<&&str> = modes.iter().filter(|mode| ACCESS_MODES.contains(mode)).collect();
    if known.contains(&&"ReadWriteOncePod") && known.iter().any(|mode| **mode != "ReadWriteOncePod") {
        errors.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

fn positive_amount(value: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if amount(value) <= Quantity::ZERO {
        errors.invalid(at, value, "must be greater than zero");
    }
}

fn volume_mode(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if spec.has("volumeMode") && !VOLUME_MODES.contains(&spec.text("volumeMode")) {
        errors.not_supported(at, spec.text("volumeMode"), &VOLUME_MODES);
    }
}

/// The name of a CSI driver.
pub(in crate::validation) fn driver_name(name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if name.is_empty() {
        return errors.required(at, "");
    }
    if name.len() > DRIVER_MAX {
        errors.too_long(at, DRIVER_MAX);
    }
    let lower = name.to_lowercase();
    faults(at, name, names::dns1123_subdomain(&lower), errors);
}
