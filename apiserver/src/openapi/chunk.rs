//! Documents put together of parts that are compressed already.
//!
//! A compressed part ends on a byte and refers to nothing before it, so parts that follow one another, with a head and an end,
//! are one gzip member: a document of which one part in a thousand has changed costs the making of that part, and copying.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::read::GzDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use sha2::{Digest, Sha256, Sha512};

/// The head of a gzip member that says nothing of a name, a time or a system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// A last block with nothing in it.
const END: [u8; 2] = [3, 0];

/// A part of a document, compressed.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    deflated: Bytes,
    crc: Crc,
    length: usize,
    digest: [u8; 32],
}

impl Chunk {
    /// Compresses a part.
    pub(super) fn of(plain: &[u8]) -> Self {
        if plain.is_empty() {
            return Self::default();
        }
        let mut crc = Crc::new();
        crc.update(plain);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).expect("memory takes every write");
        // Ends the block on a byte, where another may follow.
        encoder.flush().expect("memory takes every write");
        let deflated = std::mem::take(encoder.get_mut()).into_boxed_slice();
        Self {
            deflated: deflated.into(),
            crc,
            length: plain.len(),
            digest: Sha256::digest(plain).into(),
        }
    }

    /// How many bytes it is when it is not compressed.
    pub(super) fn length(&self) -> usize {
        self.length
    }
}

/// Parts as one gzip member.
pub(super) fn zipped<'c>(chunks: impl Iterator<Item = &'c Chunk>) -> Bytes {
    let (mut zipped, mut crc) = (HEAD.to_vec(), Crc::new());
    for chunk in chunks.filter(|chunk| chunk.length > 0) {
        zipped.extend_from_slice(&chunk.deflated);
        crc.combine(&chunk.crc);
    }
    zipped.extend(END);
    zipped.extend(crc.sum().to_le_bytes());
    zipped.extend(crc.amount().to_le_bytes());
    zipped.into()
}

/// What tells a document of these parts from others.
pub(super) fn etag<'c>(chunks: impl Iterator<Item = &'c Chunk>) -> String {
    let mut digest = Sha512::new();
    chunks.for_each(|chunk| digest.update(chunk.digest));
    hexadecimal(&digest.finalize())
}

/// Bytes as entity tags are written.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// What was zipped here.
pub(super) fn unzipped(zipped: &[u8]) -> Bytes {
    let mut body = Vec::new();
    GzDecoder::new(zipped)
        .read_to_end(&mut body)
        .expect("what was zipped here can be unzipped");
    body.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_one_document(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6)) {
            let chunks: Vec<Chunk> = parts.iter().map(|part| Chunk::of(part)).collect();
            let zipped = zipped(chunks.iter());
            prop_assert_eq!(unzipped(&zipped), parts.concat());
            prop_assert_eq!(etag(chunks.iter()).len(), 128);
        }
    }

    #[test]
    fn a_tag_tells_parts_apart() {
        let tag = |parts: &[&[u8]]| {
            let chunks: Vec<Chunk> = parts.iter().map(|part| Chunk::of(part)).collect();
            etag(chunks.iter())
        };
        assert_eq!(tag(&[b"a", b"b"]), tag(&[b"a", b"b"]));
        assert_ne!(tag(&[b"a", b"b"]), tag(&[b"b", b"a"]));
    }
}
