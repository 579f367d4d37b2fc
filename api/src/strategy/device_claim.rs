//! ResourceClaims: what is told of devices goes with their allocation.

use serde_json::{Map, Value};

use crate::object::{Fields, object_in};

/// Drops what is told of devices that were allocated to a claim and are no more.
pub(super) fn drop_deallocated(claim: &mut Map<String, Value>, old: &Value) {
    let id =
        |device: &Value| ["driver", "pool", "device", "shareID"].map(|name| device.text(name).to_owned());
    let allocated = |status: &Value| -> Vec<_> {
        let results = status["allocation"]["devices"].items("results");
        results.iter().map(id).collect()
    };
    let now = claim.get("status").map(allocated).unwrap_or_default();
    let mut gone = allocated(&old["status"]);
    gone.retain(|device| !now.contains(device));
    let Some(status) = object_in(claim, "status").filter(|_| !gone.is_empty()) else {
        return;
    };
    if let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) {
        devices.retain(|device| !gone.contains(&id(device)));
        if devices.is_empty() {
            status.remove("devices");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_device_that_is_let_go_is_told_of_no_more() {
        let device = |name: &str| json!({"driver": "d", "pool": "p", "device": name});
        let status = |allocated: &[&str]| {
            let results: Vec<Value> = allocated.iter().map(|name| device(name)).collect();
            json!({"status": {"allocation": {"devices": {"results": results}}, "devices": [device("a"), device("b")]}})
        };
        let dropped = |now: &[&str]| {
            let mut claim = status(now);
            drop_deallocated(claim.as_object_mut().unwrap(), &status(&["a", "b"]));
            claim["status"]["devices"].take()
        };
        assert_eq!(dropped(&["a", "b"]), json!([device("a"), device("b")]));
        assert_eq!(dropped(&["b"]), json!([device("b")]));
        assert_eq!(dropped(&[]), Value::Null);
    }
}
