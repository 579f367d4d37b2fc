//! Kubernetes' protobuf, in the envelope that says what it is.

use coracle_api::codec::protobuf;

/// What was decoded and can be written is read back unchanged.
pub fn check(input: &[u8]) -> bool {
    let Ok(value) = protobuf::decode_any(input) else {
        return false;
    };
    if let Ok(written) = protobuf::encode_any(&value) {
        let again = protobuf::decode_any(&written).expect("what was written can be read");
        assert_eq!(again, value);
    }
    true
}
