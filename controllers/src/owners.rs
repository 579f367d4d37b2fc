//! Owner references: who controls an object, and which strays a controller may take.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// The reference marked `controller: true`, of which there is at most one.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .as_ref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// Whether the object with this uid controls the one with this metadata.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// The reference an owner writes into what it creates.
pub(crate) fn controller_reference(api_version: &str, kind: &str, meta: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What becomes of an object that a controller may own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours and matches.
    Keep,
    /// It has no controller, matches, and we may take it.
    Adopt,
    /// It is ours and matches no longer.
    Release,
    /// It is none of our business.
    Ignore,
}

/// Upstream's rule for adoption and release: keep what is owned and matches, release what is owned and matches no longer,
/// adopt what has no controller and matches, unless either side is being deleted.
pub(crate) fn claim(owner: &ObjectMeta, object: &ObjectMeta, matches: bool) -> Claim {
    let owner_leaves = owner.deletion_timestamp.is_some();
    let uid = owner.uid.as_deref().unwrap_or_default();
    match controller_of(object) {
        Some(controller) if controller.uid != uid => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        Some(_) if owner_leaves => Claim::Ignore,
        Some(_) => Claim::Release,
        None if !matches || owner_leaves || object.deletion_timestamp.is_some() => Claim::Ignore,
        None => Claim::Adopt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    fn meta(uid: &str, controller: Option<&str>, leaving: bool) -> ObjectMeta {
        ObjectMeta {
            uid: Some(uid.to_owned()),
            deletion_timestamp: leaving.then_some(Time(Timestamp::UNIX_EPOCH)),
            owner_references: controller.map(|uid| {
                let owner = ObjectMeta {
                    uid: Some(uid.to_owned()),
                    ..ObjectMeta::default()
                };
                vec![controller_reference("apps/v1", "ReplicaSet", &owner)]
            }),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn claims_follow_controller_selector_and_deletion() {
        let owner = meta("me", None, false);
        let leaving = meta("me", None, true);
        let cases = [
            (&owner, meta("a", Some("me"), false), true, Claim::Keep),
            (&owner, meta("a", Some("me"), false), false, Claim::Release),
            (&owner, meta("a", Some("other"), false), true, Claim::Ignore),
            (&owner, meta("a", None, false), true, Claim::Adopt),
            (&owner, meta("a", None, false), false, Claim::Ignore),
            (&owner, meta("a", None, true), true, Claim::Ignore),
            (&leaving, meta("a", None, false), true, Claim::Ignore),
            (&leaving, meta("a", Some("me"), false), false, Claim::Ignore),
            (&leaving, meta("a", Some("me"), false), true, Claim::Keep),
        ];
        for (owner, object, matches, expected) in cases {
            assert_eq!(
                claim(owner, &object, matches),
                expected,
                "{object:?} matches={matches}"
            );
        }
    }
}
