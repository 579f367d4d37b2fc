//! JSON of whatever type it says it is of, and what is done first with every object that comes in: defaults, rules, and
//! other versions.

use coracle_api::codec::json;
use coracle_api::table::{Gvk, Type};
use coracle_api::{convert, defaults, validation};
use serde_json::Value;

use crate::type_of;

/// Kinds of two versions that are converted into each other.
const CONVERTED: [[Gvk; 2]; 2] = [
    [
        gvk("autoscaling", "v1", "HorizontalPodAutoscaler"),
        gvk("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ],
    [gvk("", "v1", "Event"), gvk("events.k8s.io", "v1", "Event")],
];

const fn gvk(group: &'static str, version: &'static str, kind: &'static str) -> Gvk {
    Gvk { group, version, kind }
}

/// What was decoded is written, and read back unchanged and without findings; defaults are filled in once and for all.
pub fn check(input: &[u8]) -> bool {
    let Ok(parsed) = json::parse(input) else {
        return false;
    };
    let Some(ty) = type_of(&parsed.value) else {
        return false;
    };
    let Ok(decoded) = parsed.into_type(ty) else {
        return false;
    };
    is_read_back(&decoded.value, ty);
    let Some(gvk) = ty.gvk else { return true };
    let mut filled = decoded.value;
    defaults::apply(gvk, &mut filled);
    let mut again = filled.clone();
    defaults::apply(gvk, &mut again);
    assert_eq!(again, filled, "defaults have nothing to add to defaults");
    let _ = validation::create(gvk, &filled);
    let _ = validation::update(gvk, &filled, &again);
    let _ = validation::update_status(gvk, &filled, &again);
    for [one, other] in CONVERTED {
        for (from, to) in [(one, other), (other, one)] {
            if from == gvk {
                convert::convert(filled.clone(), from, to).expect("what has a type can be converted");
            }
        }
    }
    true
}

fn is_read_back(value: &Value, ty: &'static Type) {
    let again = json::decode(&json::encode(value), ty).expect("what was written can be read");
    assert_eq!(&again.value, value);
    assert!(again.findings.is_empty(), "{:?}", again.findings);
}
