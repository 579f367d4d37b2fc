use serde_json::json;

use super::super::conform::conform;
use super::*;

fn conformed(mut value: Value) -> Value {
    let ty = table::by_api_version(
        value["apiVersion"].as_str().unwrap(),
        value["kind"].as_str().unwrap(),
    )
    .unwrap();
    conform(&mut value, ty).unwrap();
    value
}

#[test]
fn an_envelope_byte_for_byte() {
    let config = conformed(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a"}, "data": {"y": "2", "x": "1"}, "binaryData": {"b": "AAE="}
    }));
    let mut wanted = b"k8s\0".to_vec();
    wanted.extend(b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap");
    let metadata = b"\x0a\x14\x0a\x01a\x12\0\x1a\0\x22\0\x2a\0\x32\0\x38\0\x42\0";
    let data = b"\x12\x06\x0a\x01x\x12\x011\x12\x06\x0a\x01y\x12\x012";
    let binary = b"\x1a\x07\x0a\x01b\x12\x02\0\x01";
    let mut message = Vec::new();
    message.extend(&metadata[..2]);
    message[1] = (metadata.len() - 2) as u8;
    message.extend(&metadata[2..]);
    message.extend(data);
    message.extend(binary);
    wanted.push(0x12);
    wanted.push(message.len() as u8);
    wanted.extend(&message);
    wanted.extend(ENVELOPE_TAIL);
    let bytes = encode_any(&config).unwrap();
    assert_eq!(bytes, wanted);
    assert_eq!(decode_any(&bytes).unwrap(), config);

    let mut pieces = envelope_head("v1", "ConfigMap", message.len());
    pieces.extend(&message);
    pieces.extend(ENVELOPE_TAIL);
    assert_eq!(pieces, bytes);
}

#[test]
fn what_is_embedded_upstream_is_inline_here() {
    let pod = conformed(json!({
        "apiVersion": "v1", "kind": "Pod", "spec": {"containers": [], "volumes": [
            {"name": "v", "secret": {"secretName": "s", "defaultMode": 420}},
        ]}
    }));
    let bytes = encode_any(&pod).unwrap();
    let volume = b"\x0a\x01v\x12\x08\x32\x06\x0a\x01s\x18\xa4\x03";
    assert!(bytes.windows(volume.len()).any(|window| window == volume));
    assert_eq!(decode_any(&bytes).unwrap(), pod);
}

#[test]
fn watch_event_holds_an_envelope() {
    let pod = encode_any(&conformed(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}),
    ))
    .unwrap();
    let event = decode_message(
        &watch_event("ADDED", &pod),
        table::by_gvk("", "v1", "WatchEvent").unwrap(),
    )
    .unwrap();
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["metadata"]["name"], "p");
}

#[test]
fn unknown_fields_are_skipped() {
    let ty = table::by_name("io.k8s.api.core.v1.LocalObjectReference").unwrap();
    let bytes = b"\x98\x06\x05\xa3\x06\xa8\x06\x01\xa4\x06\x0a\x01a\xb2\x06\x01x\xbd\x06\0\0\0\0";
    assert_eq!(decode_message(bytes, ty).unwrap(), json!({"name": "a"}));
}

#[test]
fn faults_are_errors() {
    let ty = table::by_gvk("", "v1", "Pod").unwrap();
    let table: [(&[u8], &str); 6] = [
        (b"\x0a", "unexpected EOF"),
        (b"\x0a\x05abc", "unexpected EOF"),
        (b"\x08\x01", "wrong wireType = 0 for field metadata"),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "integer overflow",
        ),
        (b"\x0a\x03\x0a\x01\xff", "invalid UTF-8"),
        (b"\x9f\x06", "illegal wireType 7"),
    ];
    for (bytes, message) in table {
        let error = decode_message(bytes, ty).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(decode(b"{}", ty), Err(DecodeError::NoProtobufPrefix));
}

#[test]
fn nesting_is_bounded() {
    let schema = super::super::conform::schema_type();
    let not = schema.field("not").unwrap().number;
    let mut bytes = Vec::new();
    for _ in 0..5000 {
        let mut outer = field_head(not, bytes.len()).to_vec();
        outer.extend(&bytes);
        bytes = outer;
    }
    assert_eq!(decode_message(&bytes, schema), Err(DecodeError::TooDeep));
}

#[test]
fn an_object_that_was_not_conformed_is_an_error() {
    let ty = table::by_gvk("", "v1", "Pod").unwrap();
    let error = encode(&json!({"spec": {"containers": "x"}}), ty).unwrap_err();
    assert_eq!(
        error,
        EncodeError::Shape {
            ty: "io.k8s.api.core.v1.PodSpec",
            field: "containers"
        }
    );
}
