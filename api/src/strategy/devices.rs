//! ResourceClaims: what was said of devices goes with them (KEP-4817).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::object::Fields;

/// Drops what a status says of devices that were allocated and no longer are: whoever takes devices away need not know of it.
pub(super) fn forget_deallocated(status: &mut Map<String, Value>, before: &Value) {
    let key =
        |device: &Value| ["driver", "pool", "device", "shareID"].map(|part| device.text(part).to_owned());
    let allocated = |status: &Value| -> BTreeSet<_> {
        let results = status["allocation"]["devices"].items("results");
        results.iter().map(key).collect()
    };
    let left: BTreeSet<_> = allocated(&Value::Object(status.clone()));
    let gone: BTreeSet<_> = allocated(before).difference(&left).cloned().collect();
    let Some(Value::Array(devices)) = status.get_mut("devices") else {
        return;
    };
    devices.retain(|device| !gone.contains(&key(device)));
    if devices.is_empty() {
        status.remove("devices");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_of_devices_goes_with_them() {
        let device = |name: &str| json!({"driver": "d", "pool": "p", "device": name});
        let status = |results: Value, devices: Value| json!({"allocation": {"devices": {"results": results}}, "devices": devices});
        let both = json!([device("a"), device("b")]);
        let before = status(both.clone(), both.clone());
        let check = |new: Value, want: Value| {
            let mut new = new.as_object().unwrap().clone();
            forget_deallocated(&mut new, &before);
            assert_eq!(Value::Object(new), want);
        };
        check(before.clone(), before.clone());
        check(
            status(json!([device("b")]), both.clone()),
            status(json!([device("b")]), json!([device("b")])),
        );
        check(json!({"devices": both}), json!({}));
        // What was never allocated is for validation to refuse.
        check(
            json!({"devices": [device("c")]}),
            json!({"devices": [device("c")]}),
        );
    }
}
