//! What tells that a definition is served, or its objects kept, as before. Pure.
//!
//! Digests of what counts, written straight into the hash: a definition may be of a million bytes.

use std::io;

use coracle_api::custom::Definition;
use coracle_api::object::Fields as _;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Everything that serving a definition depends on.
pub(super) fn served_by(object: &Value, definition: &Definition) -> [u8; 32] {
    digest(&(
        &object["spec"],
        &object["status"]["acceptedNames"],
        &definition.uid,
        [
            definition.is_named,
            definition.is_established,
            definition.is_terminating,
        ],
    ))
}

/// Everything that keeping its objects depends on.
pub(super) fn kept_by(object: &Value) -> [u8; 32] {
    let spec = &object["spec"];
    let versions = spec.items("versions").iter();
    let versions: Vec<_> = versions
        .map(|version| ["name", "storage", "schema", "selectableFields"].map(|name| &version[name]))
        .collect();
    digest(&(
        versions,
        &object["metadata"]["uid"],
        &spec["names"]["plural"],
        &object["status"]["acceptedNames"]["kind"],
        // What a webhook made of objects is kept with them.
        Some(&spec["conversion"]).filter(|conversion| conversion.text("strategy") == "Webhook"),
    ))
}

fn digest(parts: &impl Serialize) -> [u8; 32] {
    let mut hash = Hash::default();
    serde_json::to_writer(&mut hash, parts).expect("a hash takes every write");
    hash.0.finalize().into()
}

#[derive(Default)]
struct Hash(Sha256);

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_served_and_do_not_change_how_objects_are_kept() {
        let with = |columns: Value, schema: &str| {
            json!({"spec": {"group": "example.com", "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{
                "name": "v1", "storage": true, "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": {"type": schema}}}]}})
        };
        let (one, columns) = (
            with(json!([]), "object"),
            with(json!([{"name": "Size"}]), "object"),
        );
        let other = with(json!([]), "string");
        let served = |object: &Value| served_by(object, &Definition::read(object));
        assert_eq!(kept_by(&one), kept_by(&columns));
        assert_ne!(kept_by(&one), kept_by(&other));
        assert_eq!(served(&one), served(&one));
        assert_ne!(served(&one), served(&columns));
    }
}
