use serde_json::json;

use super::*;

fn entry() -> Entry {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}}});
    let fields: fn(&Value) -> Fields = |_| vec![("spec.x", "b".to_owned())];
    let head = r#"{"kind":"Pod","apiVersion":"v1","#.into();
    Entry::new(
        "ns/a",
        7,
        object,
        &StoredKind {
            prefix: "/registry/pods/".to_owned(),
            head,
            particulars: Arc::new(fields),
        },
    )
}

#[test]
fn head_is_kept_apart_and_revision_spliced_in() {
    let entry = entry();
    assert_eq!((entry.namespace(), entry.name()), ("ns", "a"));
    assert_eq!(
        entry.json(),
        &br#"{"metadata":{"labels":{"x":"y"},"name":"a","resourceVersion":"7"}}"#[..]
    );
    assert_eq!(
        entry.metadata(),
        &br#"{"labels":{"x":"y"},"name":"a","resourceVersion":"7"}"#[..]
    );
    assert_eq!((entry.label("x"), entry.label("y")), (Some("y"), None));
    assert_eq!(
        (
            entry.field("metadata.name"),
            entry.field("spec.x"),
            entry.field("spec.y")
        ),
        ("a", "b", "")
    );
    let later = entry.restamped(9);
    assert_eq!(
        (
            later.revision(),
            later.value()["metadata"]["resourceVersion"].as_str()
        ),
        (9, Some("9"))
    );
}

#[test]
fn each_representation_is_made_once() {
    let entry = entry();
    let yaml = Representation {
        version: 0,
        format: Format::Yaml,
        view: View::Object,
    };
    let first = entry
        .encoded(yaml, |_| Ok::<_, ()>(Bytes::from_static(b"made")))
        .unwrap();
    let second = entry.encoded(yaml, |_| Err(()));
    assert_eq!((first.clone(), second), (first.clone(), Ok(first)));
}
