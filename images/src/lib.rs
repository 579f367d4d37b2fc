//! Container images made on the spot, without a registry or a builder: file trees become layers ([`layer`]), layers and a
//! configuration become images, images become one OCI archive ([`archive`]), and an archive can be pulled from ([`registry`]). And the programs of Coracle's own images.
//!
//! Pure: it writes to what it is given. Archives are byte-stable: same files, same digests.

pub mod archive;
pub mod layer;
pub mod programs;
pub mod registry;

pub use archive::{Image, Settings, write};
pub use layer::{Content, Entry, Layer, Packed};

use sha2::{Digest, Sha256};

/// The digest by which a blob is named.
fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
