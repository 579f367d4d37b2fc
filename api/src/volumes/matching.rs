//! Which volume a claim gets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Claim, Volume};
use crate::object::Fields;
use crate::selector::LabelSelector;

/// Where a volume is to be for a claim.
#[derive(Clone, Copy)]
pub enum Place<'f> {
    /// Anywhere.
    Anywhere,
    /// Anywhere, but only a volume that is kept for the claim already: the scheduler has the choice.
    LeftToScheduler,
    /// Where this holds.
    Where(&'f dyn Fn(Volume<'_>) -> bool),
}

/// The volume that suits a claim best among those that are not taken: the one that is kept for it, or the smallest that is
/// large enough. Of volumes with more access modes than asked for, those with fewer come first.
///
/// A claim whose selector cannot be read gets none.
pub fn find<'v>(
    claim: Claim<'_>,
    volumes: impl IntoIterator<Item = &'v Value>,
    place: Place<'_>,
) -> Option<Volume<'v>> {
    let selector = claim.0["spec"].field("selector");
    let selector = selector.map(|selector| LabelSelector::from_object(Some(selector)));
    let selector = selector.transpose().ok()?;
    let mut by_modes: BTreeMap<(usize, Vec<&str>), Vec<Volume<'v>>> = BTreeMap::new();
    for volume in volumes.into_iter().map(Volume) {
        let modes = modes(volume.0);
        // Whoever chooses for a node takes them all alike.
        let key = match place {
            Place::Where(_) => (0, Vec::new()),
            _ if !has_all(&modes, claim) => continue,
            _ => (modes.len(), modes),
        };
        by_modes.entry(key).or_default().push(volume);
    }
    by_modes
        .into_values()
        .find_map(|volumes| best(claim, &volumes, selector.as_ref(), place))
}

/// What one volume is to a claim.
enum Suit {
    /// It is kept for the claim.
    Kept,
    /// It is kept for the claim, where it is of no use.
    KeptElsewhere,
    Free,
    Not,
}

fn best<'v>(
    claim: Claim<'_>,
    volumes: &[Volume<'v>],
    selector: Option<&LabelSelector>,
    place: Place<'_>,
) -> Option<Volume<'v>> {
    let mut smallest: Option<Volume<'v>> = None;
    for volume in volumes {
        match suit(claim, *volume, selector, place) {
            Suit::Kept => return Some(*volume),
            Suit::KeptElsewhere => return None,
            Suit::Free if smallest.is_none_or(|smallest| volume.capacity() < smallest.capacity()) => {
                smallest = Some(*volume);
            }
            Suit::Free | Suit::Not => {}
        }
    }
    smallest
}

fn suit(claim: Claim<'_>, volume: Volume<'_>, selector: Option<&LabelSelector>, place: Place<'_>) -> Suit {
    let kept = volume.is_for(claim);
    if !kept && (volume.claim_ref().is_some() || volume.class() != claim.class()) {
        return Suit::Not;
    }
    let too_small = volume.capacity() < claim.requested();
    if too_small || !is_alike(claim, volume) || volume.is_going() {
        return Suit::Not;
    }
    let fits = match place {
        Place::Where(fits) => fits(volume),
        Place::Anywhere | Place::LeftToScheduler => true,
    };
    if kept {
        return if fits { Suit::Kept } else { Suit::KeptElsewhere };
    }
    let selected =
        selector.is_none_or(|selector| selector.matches_labels(volume.0["metadata"].field("labels")));
    let wanted = match place {
        Place::LeftToScheduler => false,
        Place::Anywhere => true,
        Place::Where(_) => has_all(&modes(volume.0), claim),
    };
    let free = volume.phase() == "Available" && selected;
    if free && wanted && fits {
        Suit::Free
    } else {
        Suit::Not
    }
}

/// Whether both are of the same mode and volume attributes class.
fn is_alike(claim: Claim<'_>, volume: Volume<'_>) -> bool {
    claim.mode() == volume.mode() && attributes_class(claim.0) == attributes_class(volume.0)
}

fn attributes_class(object: &Value) -> &str {
    object["spec"].text("volumeAttributesClassName")
}

/// The access modes, each once and in an order of their own.
fn modes(object: &Value) -> Vec<&str> {
    let mut modes: Vec<_> = object["spec"]
        .items("accessModes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    modes.sort_unstable();
    modes.dedup();
    modes
}

fn has_all(offered: &[&str], claim: Claim<'_>) -> bool {
    modes(claim.0).iter().all(|mode| offered.contains(mode))
}

/// Why a volume that a claim names is not for it, in upstream's words; none where it is.
pub fn unsatisfied(volume: Volume<'_>, claim: Claim<'_>) -> Option<String> {
    if volume.is_going() {
        return Some(format!("the volume is marked for deletion \"{}\"", volume.name()));
    }
    let fault = if volume.capacity().value() < claim.requested().value() {
        "requested PV is too small"
    } else if volume.class() != claim.class() {
        "storageClassName does not match"
    } else if attributes_class(volume.0) != attributes_class(claim.0) {
        "volumeAttributesClassName does not match"
    } else if volume.mode() != claim.mode() {
        "incompatible volumeMode"
    } else if !has_all(&modes(volume.0), claim) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(fault.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(change: Value) -> Value {
        let mut claim = json!({
            "metadata": {"namespace": "ns", "name": "data", "uid": "1"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}},
        });
        crate::patch::merge::apply(&mut claim, &change).unwrap();
        claim
    }

    fn volume(name: &str, size: &str, change: Value) -> Value {
        let mut volume = json!({
            "metadata": {"name": name, "labels": {"disk": name}},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}},
            "status": {"phase": "Available"},
        });
        crate::patch::merge::apply(&mut volume, &change).unwrap();
        volume
    }

    #[track_caller]
    fn check(claim: &Value, volumes: &[Value], place: Place<'_>, expected: Option<&str>) {
        let found = find(Claim(claim), volumes, place).map(|volume| volume.name().to_owned());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn the_smallest_that_is_large_enough_with_the_fewest_modes() {
        let more = json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}});
        let volumes = [
            volume("small", "1Gi", json!({})),
            volume("large", "50Gi", json!({})),
            volume("right", "5.5Gi", json!({})),
            volume("shared", "5Gi", more),
        ];
        let plain = claim(json!({}));
        check(&plain, &volumes, Place::Anywhere, Some("right"));
        check(&plain, &volumes, Place::LeftToScheduler, None);
        check(&plain, &volumes, Place::Where(&|_| true), Some("shared"));
        check(
            &plain,
            &volumes,
            Place::Where(&|volume| volume.name() == "large"),
            Some("large"),
        );
        let shared = claim(json!({"spec": {"accessModes": ["ReadWriteMany"]}}));
        check(&shared, &volumes, Place::Anywhere, Some("shared"));
        let huge = claim(json!({"spec": {"resources": {"requests": {"storage": "1Ti"}}}}));
        check(&huge, &volumes, Place::Anywhere, None);
        let chosen = claim(json!({"spec": {"selector": {"matchLabels": {"disk": "large"}}}}));
        check(&chosen, &volumes, Place::Anywhere, Some("large"));
    }

    #[test]
    fn what_is_kept_for_a_claim_is_nobody_elses() {
        let reference =
            |uid: &str| json!({"spec": {"claimRef": {"namespace": "ns", "name": "data", "uid": uid}}});
        let other = json!({"spec": {"claimRef": {"namespace": "ns", "name": "other"}}});
        let volumes = [
            volume("free", "5Gi", json!({})),
            volume("kept", "9Gi", reference("")),
        ];
        check(&claim(json!({})), &volumes, Place::Anywhere, Some("kept"));
        check(&claim(json!({})), &volumes, Place::LeftToScheduler, Some("kept"));
        check(
            &claim(json!({})),
            &volumes,
            Place::Where(&|volume| volume.name() == "free"),
            None,
        );
        let volumes = [
            volume("of one before", "9Gi", reference("0")),
            volume("others", "9Gi", other),
        ];
        check(&claim(json!({})), &volumes, Place::Anywhere, None);
    }

    #[test]
    fn all_that_tells_them_apart() {
        for change in [
            json!({"spec": {"storageClassName": "fast"}}),
            json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "fast"}}}),
            json!({"spec": {"volumeMode": "Block"}}),
            json!({"spec": {"volumeAttributesClassName": "gold"}}),
            json!({"spec": {"accessModes": ["ReadWriteMany"]}}),
            json!({"spec": {"resources": {"requests": {"storage": "6Gi"}}}}),
        ] {
            let (plain, like) = (claim(json!({})), claim(change.clone()));
            let volumes = [volume("v", "5Gi", json!({}))];
            check(&like, &volumes, Place::Anywhere, None);
            assert!(
                unsatisfied(Volume(&volumes[0]), Claim(&like)).is_some(),
                "{change}"
            );
            assert_eq!(unsatisfied(Volume(&volumes[0]), Claim(&plain)), None);
        }
        let free = json!({"status": {"phase": "Released"}});
        check(
            &claim(json!({})),
            &[volume("v", "5Gi", free)],
            Place::Anywhere,
            None,
        );
        let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let going = volume("v", "5Gi", going);
        assert_eq!(
            unsatisfied(Volume(&going), Claim(&claim(json!({})))).as_deref(),
            Some("the volume is marked for deletion \"v\"")
        );
    }
}
