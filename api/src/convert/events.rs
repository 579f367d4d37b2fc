//! Events: core/v1 and events.k8s.io/v1 say the same in other words.

use serde_json::Value;

/// Fields that differ in name: core's, and those of events.k8s.io.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("source", "deprecatedSource"),
    ("message", "note"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn core_to_events(object: &mut Value) {
    for (core, events) in NAMES {
        rename(object, core, events);
    }
}

pub(super) fn events_to_core(object: &mut Value) {
    for (core, events) in NAMES {
        rename(object, events, core);
    }
}

fn rename(object: &mut Value, from: &str, to: &str) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}
