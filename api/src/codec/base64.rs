//! Base64 as Go's `base64.StdEncoding` reads it: padded, line breaks skipped, loose bits in the last character let pass.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The bytes, or the place of the first byte that is wrong.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, usize> {
    let result = if text.contains(['\r', '\n']) {
        ENGINE.decode(text.replace(['\r', '\n'], ""))
    } else {
        ENGINE.decode(text)
    };
    result.map_err(|_| first_wrong_byte(text.as_bytes()))
}

/// The standard text of bytes.
pub(super) fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// Go's error.
pub(super) fn error(at: usize) -> String {
    format!("illegal base64 data at input byte {at}")
}

/// Where Go's decoder stops: it reads groups of four, and blames a short group on its start or its padding.
fn first_wrong_byte(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let mut read = 0;
        while read < 4 {
            let Some(byte) = text.get(at).copied() else {
                return at.saturating_sub(read);
            };
            at += 1;
            match byte {
                b'\r' | b'\n' => continue,
                b'=' => return wrong_after_padding(text, at, read),
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => read += 1,
                _ => return at - 1,
            }
        }
    }
}

/// What is wrong once padding has begun at `at - 1`, after `read` characters of the group.
fn wrong_after_padding(text: &[u8], mut at: usize, read: usize) -> usize {
    let skip_breaks = |mut at: usize| {
        while matches!(text.get(at), Some(b'\r' | b'\n')) {
            at += 1;
        }
        at
    };
    if read < 2 {
        return at - 1;
    }
    if read == 2 {
        at = skip_breaks(at);
        match text.get(at) {
            None => return text.len(),
            Some(b'=') => at += 1,
            Some(_) => return at - 1,
        }
    }
    skip_breaks(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_byte_that_go_names() {
        let table = [
            ("Bad_Value!", 3),
            ("aGVsbG8=-2", 8),
            ("eyJhdXRocyI6e319-2", 16),
            ("abc", 0),
            ("a===", 1),
            ("str", 0),
        ];
        for (text, at) in table {
            assert_eq!(decode(text), Err(at), "{text}");
        }
    }

    #[test]
    fn line_breaks_and_loose_bits_pass() {
        assert_eq!(decode("aGVs\nbG8=\r\n").unwrap(), b"hello");
        assert_eq!(decode("aGVsbG9=").unwrap(), b"hello");
        assert_eq!(decode("").unwrap(), b"");
        assert_eq!(encode(b"hello"), "aGVsbG8=");
    }
}
