//! Metrics as the messages of `metrics.k8s.io`'s `generated.proto`, which the table does not have. Pure.

use coracle_api::codec::protobuf::{ENVELOPE_TAIL, encode_message, envelope_head, field_head};
use coracle_api::object::Fields;
use coracle_api::table;
use serde_json::Value;

use crate::http::go_duration;

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";

/// A metrics object, or a list of them, in its envelope; none where one of its values is of no type that is known.
pub(super) fn enveloped(object: &Value) -> Option<Vec<u8>> {
    let (api_version, kind) = (object.text("apiVersion"), object.text("kind"));
    let message = match object.get("items").and_then(Value::as_array) {
        Some(items) => {
            let mut list = Vec::new();
            put(&mut list, 1, &known(&object["metadata"], LIST_METADATA)?);
            for item in items {
                put(&mut list, 2, &metrics(item)?);
            }
            list
        }
        None => metrics(object)?,
    };
    let mut out = envelope_head(api_version, kind, message.len());
    out.extend(message);
    out.extend(ENVELOPE_TAIL);
    Some(out)
}

/// `NodeMetrics` or `PodMetrics`, which differ in their last field.
fn metrics(object: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    put(&mut out, 1, &known(&object["metadata"], METADATA)?);
    put(&mut out, 2, &known(&object["timestamp"], TIME)?);
    put(&mut out, 3, &duration(object.text("window")));
    match object.get("containers").and_then(Value::as_array) {
        Some(containers) => {
            for container in containers {
                let mut message = Vec::new();
                put(&mut message, 1, container.text("name").as_bytes());
                put_usage(&mut message, 2, container)?;
                put(&mut out, 4, &message);
            }
        }
        None => put_usage(&mut out, 4, object)?,
    }
    Some(out)
}

fn put_usage(out: &mut Vec<u8>, number: u32, object: &Value) -> Option<()> {
    for (name, amount) in object.entries("usage") {
        let mut entry = Vec::new();
        put(&mut entry, 1, name.as_bytes());
        put(&mut entry, 2, &known(amount, QUANTITY)?);
        put(out, number, &entry);
    }
    Some(())
}

/// `metav1.Duration`: a number of nanoseconds.
fn duration(text: &str) -> Vec<u8> {
    const DURATION: u8 = 1 << 3;
    let length = go_duration::parse(text).unwrap_or_default();
    let mut nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let mut out = vec![DURATION];
    loop {
        let low = (nanos & 0x7f) as u8;
        nanos >>= 7;
        if nanos == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

fn known(value: &Value, ty: &str) -> Option<Vec<u8>> {
    encode_message(value, table::by_name(ty)?).ok()
}

fn put(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    out.extend_from_slice(&field_head(number, bytes.len()));
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Written by Go's `NodeMetricsList.Marshal` of k8s.io/metrics for the same list.
    #[test]
    fn a_list_is_written_as_go_writes_it() {
        let list = json!({"kind": "NodeMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": [{
            "metadata": {"name": "n"}, "timestamp": "1970-01-01T00:00:05Z", "window": "15s",
            "usage": {"cpu": "5n", "memory": "2Ki"},
        }]});
        let written = enveloped(&list).unwrap();
        let message = [
            &b"\x0a\x06\x0a\x00\x12\x00\x1a\x00"[..],
            b"\x12\x3f\x0a\x11\x0a\x01n\x12\x00\x1a\x00\x22\x00\x2a\x00\x32\x00\x38\x00\x42\x00",
            b"\x12\x04\x08\x05\x10\x00\x1a\x06\x08\x80\xac\xc7\xf0\x37",
            b"\x22\x0b\x0a\x03cpu\x12\x04\x0a\x025n\x22\x0f\x0a\x06memory\x12\x05\x0a\x032Ki",
        ]
        .concat();
        let start = written.len() - ENVELOPE_TAIL.len() - message.len();
        assert!(written.starts_with(b"k8s\0"));
        assert_eq!(
            written[start..start + message.len()],
            message[..],
            "{written:02x?}"
        );
    }
}
