//! What kubectl applied by itself becomes what it applies here.

use super::*;

const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A service that kubectl applied by itself, whose fields are therefore written down for an updater.
fn applied_by_client(spec: Value) -> Value {
    let mut object = service(spec);
    let last = object.to_string();
    object["metadata"]["annotations"] = json!({ LAST: last });
    let by = manager("kubectl-client-side-apply", Operation::Update);
    track_update(None, &mut object, writer(&by)).unwrap();
    object
}

#[test]
fn what_kubectl_applied_itself_is_its_own() {
    let live = applied_by_client(json!({"type": "ClusterIP", "externalName": "a"}));
    let changed = json!({"type": "NodePort", "externalName": "<a>"});
    let refused = applied(Some(&live), changed.clone(), "other", false).unwrap_err();
    assert_eq!(refused.code(), 409, "others have no part in that");
    let taken = applied(Some(&live), changed, "kubectl", false).unwrap();
    assert_eq!(taken["spec"]["type"], "NodePort");
    let last = taken["metadata"]["annotations"][LAST].as_str().unwrap();
    assert!(last.contains(r#""\u003ca\u003e""#), "{last}");
    let wanted = service(json!({"type": "NodePort", "externalName": "<a>"}));
    assert_eq!(
        serde_json::from_str::<Value>(last).unwrap(),
        wanted,
        "there is a way back"
    );
    assert!(last.ends_with('\n'));
}

#[test]
fn what_was_changed_since_is_another_s() {
    let mut live = applied_by_client(json!({"type": "ClusterIP", "externalName": "a"}));
    let before = live.clone();
    live["spec"]["externalName"] = json!("b");
    track_update(
        Some(&before),
        &mut live,
        writer(&manager("editor", Operation::Update)),
    )
    .unwrap();
    let config = json!({"type": "NodePort", "externalName": "c"});
    let refused = applied(Some(&live), config, "kubectl", false).unwrap_err();
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"editor\" using v1: .spec.externalName"
    );
}
