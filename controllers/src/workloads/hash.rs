//! The `pod-template-hash`: a short name for a pod template. Pure.
//!
//! Upstream hashes Go's own print of the template with FNV-1a and writes the number in letters that make no words. The
//! same is done here over the template's JSON; hashes therefore differ from upstream's, which no client may rely on: a new
//! ReplicaSet is found by its template, not by its hash. When the name is taken by another template, the Deployment's
//! `collisionCount` is hashed as well.

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The label that tells the pods of one template from those of another.
pub(crate) const LABEL: &str = "pod-template-hash";

/// Consonants and digits that make no words, as upstream's `SafeEncodeString`.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template, salted with the number of collisions so far.
pub(crate) fn of(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let json = serde_json::to_vec(template).expect("a pod template is made of maps with string keys");
    of_bytes(&json, collisions)
}

/// The hash of anything that is written down, salted with the number of collisions so far.
pub(crate) fn of_bytes(bytes: &[u8], collisions: Option<i32>) -> String {
    let mut hash = fnv1a(0x811c_9dc5, bytes);
    if let Some(collisions) = collisions {
        hash = fnv1a(hash, &collisions.to_le_bytes());
    }
    hash.to_string()
        .bytes()
        .map(|digit| ALPHABET[usize::from(digit) % ALPHABET.len()] as char)
        .collect()
}

fn fnv1a(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::replicaset::fixtures::template;

    #[test]
    fn the_hash_tells_templates_and_collisions_apart() {
        let web = template([("app".to_owned(), "web".to_owned())].into());
        let other = template([("app".to_owned(), "other".to_owned())].into());
        assert_eq!(of(&web, None), of(&web.clone(), None));
        assert_ne!(of(&web, None), of(&other, None));
        assert_ne!(of(&web, None), of(&web, Some(1)));
        assert!(of(&web, None).bytes().all(|letter| ALPHABET.contains(&letter)));
        assert_eq!(
            fnv1a(0x811c_9dc5, b"a"),
            0xe40c_292c,
            "the published test vector of FNV-1a"
        );
    }
}
