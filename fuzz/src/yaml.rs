//! YAML of any shape.

use coracle_api::codec::yaml;

/// What was read is written and read back unchanged.
pub fn check(input: &[u8]) -> bool {
    let Ok(parsed) = yaml::parse(input) else {
        return false;
    };
    let again = yaml::parse(&yaml::encode(&parsed.value)).expect("what was written can be read");
    assert_eq!(again.value, parsed.value);
    true
}
