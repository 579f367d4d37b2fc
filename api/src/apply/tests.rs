use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::table;

mod client_side;
mod versions;

const NOW: &str = "2026-01-01T00:00:00Z";

fn manager(name: &str, operation: Operation) -> Manager {
    Manager {
        name: name.into(),
        operation,
        api_version: "v1".into(),
        subresource: String::new(),
    }
}

fn writer(manager: &Manager) -> Writer<'_> {
    Writer {
        manager,
        model: Model::Type(table::by_gvk("", "v1", "Service").unwrap()),
        resets: &["status"],
        now: NOW,
        versions: None,
    }
}

fn service(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec})
}

fn applied(live: Option<&Value>, spec: Value, by: &str, force: bool) -> Result<Value, ApiError> {
    let by = manager(by, Operation::Apply);
    apply(live, &service(spec), force, writer(&by)).map(|applied| applied.object)
}

fn created(spec: Value) -> Value {
    let mut object = service(spec);
    track_update(None, &mut object, writer(&manager("creator", Operation::Update))).unwrap();
    object
}

#[test]
fn a_creator_owns_what_it_wrote() {
    let object = created(
        json!({"type": "ClusterIP", "selector": {"a": "b"}, "ports": [{"port": 80, "protocol": "TCP"}]}),
    );
    let entry = &object["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["manager"], &entry["operation"], &entry["time"]),
        (&json!("creator"), &json!("Update"), &json!(NOW))
    );
    let spec = json!({"f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}}},
        "f:selector": {}, "f:type": {}});
    assert_eq!(entry["fieldsV1"], json!({ "f:spec": spec }));
}

#[test]
fn changing_what_another_owns_is_a_conflict_unless_forced() {
    let live = created(json!({"type": "ClusterIP"}));
    assert!(
        applied(Some(&live), json!({"type": "ClusterIP"}), "other", false).is_ok(),
        "the same value is shared"
    );
    let error = applied(Some(&live), json!({"type": "NodePort"}), "other", false).unwrap_err();
    assert_eq!(
        error.message(),
        "Apply failed with 1 conflict: conflict with \"creator\" using v1: .spec.type"
    );
    let forced = applied(Some(&live), json!({"type": "NodePort"}), "other", true).unwrap();
    assert_eq!(forced["spec"]["type"], "NodePort");
    let owners: Vec<&Value> = forced["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["manager"])
        .collect();
    assert_eq!(owners, [&json!("other")], "the creator owns nothing any more");
}

#[test]
fn what_is_no_longer_applied_goes_unless_another_wants_it() {
    let ports = |numbers: &[i64]| {
        let ports: Vec<Value> = numbers
            .iter()
            .map(|port| json!({"port": port, "protocol": "TCP"}))
            .collect();
        json!({ "ports": ports })
    };
    let first = applied(None, ports(&[80, 81]), "one", false).unwrap();
    let both = applied(Some(&first), ports(&[81]), "two", false).unwrap();
    let less = applied(Some(&both), json!({}), "one", false).unwrap();
    assert_eq!(less["spec"]["ports"], json!([{"port": 81, "protocol": "TCP"}]));
    let none = applied(Some(&less), json!({}), "two", false).unwrap();
    assert_eq!(none["spec"].get("ports"), None);
}

#[test]
fn a_configuration_has_to_fit_its_type() {
    let error = applied(None, json!({"bogus": 1}), "one", false).unwrap_err();
    assert_eq!(
        error.message(),
        "failed to create typed patch object (/s; /v1, Kind=Service): .spec.bogus: field not declared in schema"
    );
    let by = manager("one", Operation::Apply);
    let mut config = service(json!({}));
    config["apiVersion"] = json!("v2");
    assert_eq!(apply(None, &config, false, writer(&by)).unwrap_err().code(), 400);
}

#[test]
fn many_updaters_are_put_together() {
    let mut object = created(json!({"selector": {"a": "0"}}));
    for number in 0..20 {
        let mut next = object.clone();
        next["metadata"]["labels"][format!("l{number}")] = json!("x");
        track_update(
            Some(&object),
            &mut next,
            writer(&manager(&format!("m{number:02}"), Operation::Update)),
        )
        .unwrap();
        object = next;
    }
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    assert!(entries.len() <= UPDATERS_MAX + 1, "{}", entries.len());
    assert!(entries.iter().any(|entry| entry["manager"] == ANCIENT));
}

fn any_spec() -> impl Strategy<Value = Value> {
    let ports = prop::collection::btree_map(80i64..84, prop::option::of("[a-b]"), 0..4);
    let kind = prop::option::of(prop::sample::select(vec!["ClusterIP", "NodePort"]));
    (ports, kind).prop_map(|(ports, kind)| {
        let port = |(number, name): (i64, Option<String>)| match name {
            Some(name) => json!({"port": number, "protocol": "TCP", "name": name}),
            None => json!({"port": number, "protocol": "TCP"}),
        };
        let ports: Vec<Value> = ports.into_iter().map(port).collect();
        let mut spec = json!({});
        if !ports.is_empty() {
            spec["ports"] = Value::Array(ports);
        }
        if let Some(kind) = kind {
            spec["type"] = json!(kind);
        }
        spec
    })
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(live in any_spec(), config in any_spec()) {
        let live = created(live);
        let once = applied(Some(&live), config.clone(), "one", true).unwrap();
        let by = manager("one", Operation::Apply);
        let twice = apply(Some(&once), &service(config), true, writer(&by)).unwrap();
        prop_assert!(!twice.changed);
        prop_assert_eq!(twice.object, once);
    }

    #[test]
    fn what_was_applied_is_in_the_object(live in any_spec(), config in any_spec()) {
        let live = created(live);
        let object = applied(Some(&live), config.clone(), "one", true).unwrap();
        let again = typed::merge(Some(&object["spec"]), &config, Schema::of_type(table::by_name("io.k8s.api.core.v1.ServiceSpec").unwrap()));
        prop_assert_eq!(&again["type"], &object["spec"]["type"]);
        let set = |spec: &Value| spec["ports"].as_array().map_or(0, Vec::len);
        prop_assert_eq!(set(&again), set(&object["spec"]));
    }

    #[test]
    fn managers_of_different_fields_do_not_depend_on_their_order(a in any_spec(), b in "[c-d]") {
        let other = json!({"externalName": b});
        let ab = applied(Some(&applied(None, a.clone(), "one", true).unwrap()), other.clone(), "two", true).unwrap();
        let ba = applied(Some(&applied(None, other, "two", true).unwrap()), a, "one", true).unwrap();
        prop_assert_eq!(ab["spec"].clone(), ba["spec"].clone());
    }

    /// Ownership sums up: of what only appliers wrote, every part is owned by those who last applied it, and nothing else is.
    #[test]
    fn everything_is_owned_by_somebody_and_nothing_else_is(configs in prop::collection::vec((any_spec(), 0..3u8), 1..6)) {
        let mut live: Option<Value> = None;
        for (config, number) in &configs {
            live = Some(applied(live.as_ref(), config.clone(), &format!("m{number}"), true).unwrap());
        }
        let live = live.unwrap();
        let owned = Managed::of(&live).0.iter().fold(FieldSet::EMPTY, |all, entry| all.union(&entry.set));
        let model = Schema::of_type(table::by_gvk("", "v1", "Service").unwrap());
        let bare = json!({"spec": live["spec"]});
        let there = typed::field_set(&bare, model).unwrap();
        prop_assert_eq!(owned.difference(&there.with_named_fields()).paths(), [""; 0]);
        let unowned = there.difference(&owned.with_named_fields()).paths();
        // The list itself is nobody's where only its items were applied; a spec that was applied empty is its applier's.
        let unowned: Vec<&String> = unowned.iter().filter(|path| *path != ".spec" && *path != ".spec.ports").collect();
        prop_assert!(unowned.is_empty(), "{:?}", unowned);
    }

    /// In whatever order managers apply, the last value of each of them that nobody has taken over is there.
    #[test]
    fn what_is_applied_without_force_takes_nothing_from_anybody(a in any_spec(), b in any_spec()) {
        let one = applied(None, a.clone(), "one", false).unwrap();
        if let Ok(both) = applied(Some(&one), b.clone(), "two", false) {
            let again = applied(Some(&both), a, "one", false).unwrap();
            prop_assert_eq!(&again["spec"]["type"], &both["spec"]["type"]);
            let other = applied(None, b, "two", false).unwrap();
            prop_assert!(Managed::of(&both).set_of(&manager("two", Operation::Apply)) == Managed::of(&other).set_of(&manager("two", Operation::Apply)));
        }
    }
}
