use std::sync::Arc;

use coracle_api::codec::protobuf;
use coracle_store::{KeyValue, Revision};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::steps::{Places, steps};
use super::*;
use crate::cache::entry::{Entry, Fields, Representation};
use crate::cache::resource::{ResourceCache, StoredKind};
use crate::cache::{feed, stored};

/// What its base counts for.
fn share(kept: &Kept) -> usize {
    match kept {
        Kept::Whole(_) => 0,
        Kept::Alike { share, .. } => *share as usize,
    }
}

fn noise(salt: u32, len: u32) -> Bytes {
    let bytes = (0..len).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 11) as u8);
    bytes.collect()
}

fn pod(number: usize) -> String {
    let spec = "{\"containers\":[{\"name\":\"web\",\"image\":\"registry.example/web:1\",\"resources\":{}}]}"
        .repeat(8);
    format!(
        "{{\"metadata\":{{\"name\":\"web-{number:05}\",\"uid\":\"{:032x}\"}},\"spec\":{spec}}}",
        number * 7919
    )
}

#[test]
fn those_that_are_alike_take_a_part_of_the_room() {
    let families = Families::default();
    for number in 0..100 {
        let text = pod(number);
        let kept = families.keep(1, Bytes::from(text.clone()));
        assert_eq!(kept.bytes(), text.as_bytes());
        assert_eq!(kept.len(), text.len());
        let steps = kept.held() - share(&kept);
        assert!(number == 0 || steps * 8 < text.len(), "{steps}");
        assert_eq!(kept.range(5..40), &text.as_bytes()[5..40]);
    }
}

#[test]
fn what_is_unlike_is_what_the_next_are_held_against() {
    let families = Families::default();
    let other = |salt| noise(salt, 2000);
    let whole = |kept: Kept| matches!(kept, Kept::Whole(_));
    assert!(whole(families.keep(1, pod(1).into())));
    assert!(whole(families.keep(1, other(7))));
    assert!(!whole(families.keep(1, other(7))));
    assert!(whole(families.keep(2, pod(2).into())));
    assert!(whole(families.keep(2, Bytes::from_static(b"small"))));
    assert!(!whole(families.keep(2, pod(3).into())));
}

#[test]
fn a_base_that_is_left_alone_is_no_larger_than_some_times_what_is_held_against_it() {
    let families = Families::default();
    let large = noise(1, 16 << 10);
    families.keep(1, large.clone());
    assert!(matches!(families.keep(1, large.slice(..4 << 10)), Kept::Whole(_)));
    // Now that one is the base.
    let kept = families.keep(1, large.slice(..2 << 10));
    assert_eq!(kept.bytes(), large[..2 << 10]);
    assert_eq!(share(&kept), 4 << 10);
    assert_eq!(share(&families.keep(1, large.slice(..3 << 10))), 2 << 10);
}

#[test]
fn what_is_large_is_not_looked_at() {
    let families = Families::default();
    let large = noise(1, 1 << 20);
    for _ in 0..2 {
        assert!(matches!(families.keep(1, large.clone()), Kept::Whole(_)));
    }
    assert!(families.known.lock().unwrap().is_empty());
}

#[test]
fn what_was_kept_outlives_its_base() {
    let families = Families::default();
    families.keep(1, pod(1).into());
    let kept = families.keep(1, pod(2).into());
    assert!(matches!(kept, Kept::Alike { .. }));
    families.keep(1, noise(1, 4000));
    drop(families);
    assert_eq!(kept.bytes(), pod(2).as_bytes());
}

#[test]
fn no_more_families_are_known_than_that() {
    let families = Families::default();
    for family in 0..2 * FAMILIES as u64 {
        families.keep(family, pod(1).into());
    }
    assert_eq!(families.known.lock().unwrap().len(), FAMILIES);
}

#[test]
fn a_family_shares_all_but_the_end_of_its_names() {
    assert_eq!(family_of("ns/web-5d4f8-abcde"), family_of("ns/web-5d4f8-fghij"));
    assert_ne!(family_of("ns/web-5d4f8-abcde"), family_of("ns/web-6d4f8-abcde"));
    assert_ne!(family_of("one/web"), family_of("other/web"));
    assert_eq!(family_of("node"), family_of("other"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_kept_comes_back(
        base in prop::collection::vec(0_u8..4, 256..2000),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, prop::collection::vec(0_u8..4, 0..40)), 0..8),
        range in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let mut changed = base.clone();
        for (place, gone, put) in &edits {
            let at = place.index(changed.len());
            let end = (at + gone).min(changed.len());
            changed.splice(at..end, put.iter().copied());
            changed.push(0);
        }
        let places = Places::of(&base);
        let steps = steps(&base, &places, &changed, usize::MAX).unwrap();
        let kept = Kept::Alike {
            base: Arc::new(base.into()),
            steps: steps.into(),
            len: changed.len() as u32,
            share: 0,
        };
        prop_assert_eq!(kept.bytes(), &changed[..]);
        let (one, other) = (range.0.index(changed.len()), range.1.index(changed.len()));
        let range = one.min(other)..one.max(other);
        prop_assert_eq!(kept.range(range.clone()), &changed[range]);
    }

    #[test]
    fn every_object_goes_out_as_if_it_were_kept_whole(
        objects in prop::collection::vec((0_usize..3, 0_usize..5, 0_usize..4, "\\PC{0,40}", 0_usize..30, any::<bool>()), 1..30),
    ) {
        let fields: fn(&Value) -> Fields = |_| Vec::new();
        let kind = StoredKind {
            prefix: "/registry/pods/".to_owned(),
            head: r#"{"kind":"Pod","apiVersion":"v1","#.into(),
            particulars: Arc::new(fields),
        };
        let cache = ResourceCache::new(kind.clone(), Vec::new(), 0, watch::channel(0).1);
        let mut shown = Vec::new();
        for (at, (template, number, containers, text, size, other)) in objects.into_iter().enumerate() {
            let revision = 1_u64 << (at * 2);
            let container = json!({"name": "c", "image": format!("web:{template}"), "command": ["sh", "-c", text]});
            let name = format!("web-{template}-{number}");
            let mut object = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": name, "namespace": "ns", "labels": {"app": format!("web-{template}")},
                    "annotations": {"large": if other { text.repeat(size * size) } else { "x".repeat(size * size) }},
                },
                "spec": {"containers": vec![container; containers]},
            });
            let kv = KeyValue {
                key: format!("/registry/pods/ns/{name}").into(),
                value: stored::encode(&mut object).unwrap(),
                create_revision: Revision(revision),
                mod_revision: Revision(revision),
                version: 1,
            };
            let (entry, _) = feed::entry_of(&cache, &format!("ns/{name}"), &kv).unwrap();
            let whole = Entry::new(&format!("ns/{name}"), revision, stored::decode(&kv.value).unwrap(), &kind);
            shown.push((entry, whole, protobuf::with_revision(&kv.value, revision).unwrap().1));
        }
        // All of them at the end, when most of what they were held against is something else.
        for (entry, whole, protobuf) in shown {
            prop_assert_eq!(entry.json(), whole.json());
            prop_assert_eq!(entry.json_len(), whole.json().len());
            prop_assert_eq!(entry.metadata(), whole.metadata());
            prop_assert_eq!(entry.standing_alone(), whole.standing_alone());
            prop_assert_eq!(entry.value(), whole.value());
            let mut out = BytesMut::new();
            entry.put_json(&mut out);
            entry.put_standing_alone(&mut out);
            prop_assert_eq!(out, [whole.json(), whole.standing_alone()].concat());
            let told = entry.encoded(Representation::AS_STORED, |_| Err(())).unwrap();
            prop_assert_eq!(&told[..], &protobuf[..]);
            let mut message = BytesMut::new();
            entry.put_message(&mut message);
            prop_assert_eq!(&message[..], protobuf::open(&protobuf).unwrap().message);
            prop_assert_eq!(entry.message_len(), Some(message.len()));
        }
    }
}
