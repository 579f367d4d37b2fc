//! Kubernetes' protobuf, in the envelope that says what it is.

use coracle_api::codec::protobuf;

/// What was decoded and can be written is read back unchanged, with the texts in it that are kept as they were sent.
pub fn check(input: &[u8]) -> bool {
    let Ok(value) = protobuf::decode_keeping(input) else {
        return false;
    };
    protobuf::decode_any(input).expect("what can be kept can be shown");
    if let Ok(written) = protobuf::encode_any(&value) {
        let again = protobuf::decode_keeping(&written).expect("what was written can be read");
        assert_eq!(again, value);
    }
    true
}
