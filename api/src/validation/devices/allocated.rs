//! What drivers tell of the devices that were allocated to a claim (`validateDeviceStatus`).

use serde_json::Value;

use super::super::conditions::conditions;
use super::super::core::storage::driver_name;
use super::super::field::{BadValue, FieldErrors, Path};
use super::super::ip;
use super::{bounded, label, pool_name, raw_object};
use crate::object::Fields;
use crate::quote::quote;

const CONDITIONS_MAX: usize = 8;
const DATA_MAX: usize = 10 * 1024;
const ADDRESSES_MAX: usize = 16;
const INTERFACE_MAX: usize = 256;
const HARDWARE_MAX: usize = 128;

/// The devices of a status, each of which has to be one of those that the claim has.
pub(super) fn statuses(status: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let results = status["allocation"]["devices"].items("results");
    let known: Vec<String> = results.iter().map(shown_id).collect();
    let devices = status.items("devices");
    for (index, device) in devices.iter().enumerate() {
        of_device(device, &known, &at.index(index), errors);
    }
    let ids: Vec<String> = devices.iter().map(shown_id).collect();
    for (index, id) in ids.iter().enumerate() {
        if ids[..index].contains(id) {
            errors.duplicate(&at.index(index), BadValue::rendered(id.as_str()));
        }
    }
}

/// A device as upstream names it, a share of it with it.
fn shown_id(device: &Value) -> String {
    let of = |name: &str| Value::from(device.text(name)).to_string();
    format!(
        "{{\"Driver\":{},\"Pool\":{},\"Device\":{},\"ShareID\":{}}}",
        of("driver"),
        of("pool"),
        of("device"),
        of("shareID")
    )
}

fn of_device(device: &Value, known: &[String], at: &Path<'_>, errors: &mut FieldErrors) {
    driver_name(device.text("driver"), &at.child("driver"), errors);
    pool_name(device.text("pool"), &at.child("pool"), errors);
    label(device.text("device"), &at.child("device"), errors);
    if device.has("shareID") {
        uid(device.text("shareID"), &at.child("shareID"), errors);
    }
    let id = shown_id(device);
    if !known.contains(&id) {
        errors.invalid(
            at,
            BadValue::rendered(id),
            "must be an allocated device in the claim",
        );
    }
    let (told, list) = (device.items("conditions"), at.child("conditions"));
    if told.len() > CONDITIONS_MAX {
        errors.too_many(&list, told.len(), CONDITIONS_MAX);
    }
    conditions(told, &list, errors);
    if device.has("data") {
        raw_object(device.field("data"), DATA_MAX, &at.child("data"), errors);
    }
    network(&device["networkData"], &at.child("networkData"), errors);
}

/// A uid in its usual form: 36 letters, in lower case.
fn uid(uid: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let dashes = [8, 13, 18, 23].map(|at| uid.as_bytes().get(at) == Some(&b'-'));
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let wrong = match uid.len() {
        36 if digits == 32 && dashes == [true; 4] => None,
        32 if digits == 32 => None,
        32 | 36 => Some("invalid UUID format".to_owned()),
        length => Some(format!("invalid UUID length: {length}")),
    };
    if let Some(wrong) = wrong {
        errors.invalid(at, uid, format!("error validating uid: {wrong}"));
    } else if uid.len() != 36 || uid != uid.to_lowercase() {
        let rule = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
                    hexadecimal characters";
        errors.invalid(at, uid, rule);
    }
}

fn network(data: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for (name, most) in [
        ("interfaceName", INTERFACE_MAX),
        ("hardwareAddress", HARDWARE_MAX),
    ] {
        if data.text(name).len() > most {
            errors.too_long(&at.child(name), most);
        }
    }
    let (addresses, list) = (data.items("ips"), at.child("ips"));
    bounded(addresses, ADDRESSES_MAX, &list, errors, |address, at, errors| {
        interface_address(address.as_str().unwrap_or_default(), at, errors);
    });
    if addresses.len() <= ADDRESSES_MAX {
        for (index, address) in addresses.iter().enumerate() {
            if addresses[..index].contains(address) {
                errors.duplicate(&list.index(index), address);
            }
        }
    }
}

/// An address with the length of its network's prefix, each in the form in which it is usually written.
fn interface_address(text: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some((address, length)) = ip::parse_cidr(text) else {
        let rule = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return errors.invalid(at, text, rule);
    };
    let canonical = format!("{}/{length}", address.to_canonical());
    if text != canonical {
        let rule = format!("must be in canonical form ({})", quote(&canonical));
        errors.invalid(at, text, rule);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(status: &Value) -> String {
        let mut errors = FieldErrors::new();
        statuses(status, &Path::new("devices"), &mut errors);
        let told = errors.aggregate();
        if errors.is_empty() { String::new() } else { told }
    }

    fn with(device: Value) -> Value {
        let result = json!({"request": "r", "driver": "d", "pool": "p", "device": "a"});
        let mut full = json!({"driver": "d", "pool": "p", "device": "a"});
        crate::patch::merge::apply(&mut full, &device).unwrap();
        json!({"allocation": {"devices": {"results": [result]}}, "devices": [full]})
    }

    #[test]
    fn only_allocated_devices_have_a_status() {
        assert_eq!(told(&with(json!({}))), "");
        assert_eq!(
            told(&json!({"devices": [{"driver": "a", "pool": "a", "device": "a"}]})),
            "devices[0]: Invalid value: {\"Driver\":\"a\",\"Pool\":\"a\",\"Device\":\"a\",\"ShareID\":\"\"}: must be \
             an allocated device in the claim"
        );
        let mut twice = with(json!({}));
        let device = twice["devices"][0].clone();
        twice["devices"].as_array_mut().unwrap().push(device);
        assert!(told(&twice).starts_with("devices[1]: Duplicate value: {\"Driver\":\"d\""));
    }

    #[test]
    fn what_a_driver_tells_has_its_form() {
        for (device, want) in [
            (
                json!({"networkData": {"ips": ["10.0.0.1/24", "2001:db8::1/64"]}}),
                "",
            ),
            (
                json!({"networkData": {"ips": ["10.0.0.1"]}}),
                "devices[0].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, \
                 (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            ),
            (
                json!({"data": "x"}),
                "devices[0].data: Invalid value: \"<value omitted>\": must be a valid JSON object",
            ),
            (
                json!({"conditions": [{"type": "Ready", "status": "True", "reason": "A",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
                "",
            ),
            (
                json!({"conditions": [{"type": "Ready", "status": "Maybe", "reason": "A",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
                "devices[0].conditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \
                 \"Unknown\"",
            ),
        ] {
            assert_eq!(told(&with(device.clone())), want, "{device}");
        }
    }
}
