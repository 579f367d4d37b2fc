//! PersistentVolumeClaims: what a volume is filled from is said in an old field and in a new one, which follow each other
//! (KEP-1495).

use serde_json::{Map, Value};

use crate::object::Fields;

type Object = Map<String, Value>;

/// Whether the old field always took such a source.
fn is_claim_or_snapshot(source: &Value) -> bool {
    let (group, kind) = (source.text("apiGroup"), source.text("kind"));
    matches!(
        (group, kind),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

/// Drops a source that the old field never took, and fills in whichever of the two fields is not there.
pub(super) fn sources(spec: &mut Object, before: Option<&Object>) {
    let of_another_namespace = |source: &Value| !source.text("namespace").is_empty();
    let was = |name: &str| before.is_some_and(|before| before.has(name));
    if spec.field("dataSourceRef").is_some_and(of_another_namespace) && !was("dataSourceRef") {
        spec.remove("dataSourceRef");
    }
    let garbage = spec
        .field("dataSource")
        .is_some_and(|source| !is_claim_or_snapshot(source));
    if garbage && !spec.has("dataSourceRef") && !was("dataSource") {
        spec.remove("dataSource");
    }
    match (
        spec.field("dataSource").cloned(),
        spec.field("dataSourceRef").cloned(),
    ) {
        (Some(source), None) => {
            spec.insert("dataSourceRef".into(), source);
        }
        (None, Some(source)) if !of_another_namespace(&source) => {
            spec.insert("dataSource".into(), source);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_two_fields_follow_each_other() {
        let claim = json!({"kind": "PersistentVolumeClaim", "name": "c"});
        let other = json!({"apiGroup": "example.com", "kind": "Thing", "name": "t"});
        let cases = [
            (
                json!({"dataSource": claim}),
                json!({"dataSource": claim, "dataSourceRef": claim}),
            ),
            (
                json!({"dataSourceRef": other}),
                json!({"dataSource": other, "dataSourceRef": other}),
            ),
            (json!({"dataSource": other}), json!({})),
            (
                json!({"dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "c", "namespace": "n"}}),
                json!({}),
            ),
        ];
        for (spec, want) in cases {
            let mut made = spec.as_object().cloned().unwrap_or_default();
            sources(&mut made, None);
            assert_eq!(Value::Object(made), want, "{spec}");
        }
    }
}
