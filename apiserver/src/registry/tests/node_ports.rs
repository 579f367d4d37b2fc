//! Node ports of services, and what is stored of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_store::model::ModelStore;
use coracle_store::{Store, Txn, TxnOutcome};
use http::Method;
use serde_json::{Value, json};

use super::{Fixture, SERVICES};
use crate::registry::services::{PORTS_KEY, ServiceConfig, Told};

const MERGE: &str = "application/merge-patch+json";

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

fn exposed(name: &str, node_port: i64) -> Value {
    let ports = json!([{"port": 80, "nodePort": node_port}]);
    service(name, json!({"type": "NodePort", "ports": ports}))
}

/// A server whose flag names this range of ports.
async fn on(store: &Arc<ModelStore>, range: &str) -> Fixture {
    let services = ServiceConfig {
        node_port_range: range.parse().unwrap(),
        ..ServiceConfig::default()
    };
    Fixture::serving(store.clone(), services).await
}

async fn is_free(fixture: &Fixture, port: i64) -> bool {
    let asked = format!("{SERVICES}?dryRun=All");
    let answer = fixture
        .ask(Method::POST, &asked, Some(exposed("free", port)))
        .await;
    answer.code == 201
}

fn node_port(service: &Value) -> i64 {
    service["spec"]["ports"][0]["nodePort"].as_i64().unwrap()
}

/// What the store has of the ports: upstream's bits.
async fn stored(store: &ModelStore) -> Option<(u64, Vec<u8>)> {
    let found = store.get(PORTS_KEY.as_bytes(), None).await.unwrap().kv?;
    Some((found.mod_revision.0, found.value.to_vec()))
}

/// Whether a message of protobuf ends in these bytes, in field 3.
fn says(stored: Option<(u64, Vec<u8>)>, data: &[u8]) -> bool {
    let (_, bytes) = stored.expect("it is stored");
    let mut end = vec![0x1a, u8::try_from(data.len()).unwrap()];
    end.extend(data);
    end.extend(coracle_api::codec::protobuf::ENVELOPE_TAIL);
    bytes.ends_with(&end)
}

/// The reasons and messages of all events.
async fn events(fixture: &Fixture) -> Vec<(String, String)> {
    let list = fixture.get("/api/v1/namespaces/default/events").await.json();
    let items = list["items"].as_array().unwrap().iter();
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    items
        .map(|item| (text(item, "reason"), text(item, "message")))
        .collect()
}

#[tokio::test]
async fn a_port_is_stored_in_one_transaction_with_its_service() {
    let store = Arc::new(ModelStore::new());
    let fixture = on(&store, "30000-32767").await;
    let inner = service("inner", json!({"ports": [{"port": 80}]}));
    fixture.create(SERVICES, inner).await;
    assert_eq!(stored(&store).await, None);

    let made = fixture.create(SERVICES, exposed("a", 30009)).await;
    assert_eq!(stored(&store).await.unwrap().0, made.revision());
    assert!(says(stored(&store).await, &[2, 0]));
    fixture.create(SERVICES, exposed("b", 30000)).await;
    assert!(says(stored(&store).await, &[2, 1]));
    fixture.delete(&format!("{SERVICES}/a"), None).await;
    assert!(says(stored(&store).await, &[1]));
    // What does not change the ports does not touch them.
    let before = stored(&store).await;
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(
        fixture.patch(&format!("{SERVICES}/b"), MERGE, labels).await.code,
        200
    );
    fixture.delete(&format!("{SERVICES}/inner"), None).await;
    assert_eq!(stored(&store).await, before);
}

#[tokio::test]
async fn changes_of_type_and_port_take_and_give_back() {
    let fixture = on(&Arc::new(ModelStore::new()), "30000-32767").await;
    let path = format!("{SERVICES}/a");
    let change = async |spec: Value| {
        let answer = fixture.patch(&path, MERGE, json!({ "spec": spec })).await;
        assert_eq!(answer.code, 200, "{}", answer.message());
        answer.json()
    };
    fixture.create(SERVICES, exposed("a", 30001)).await;
    change(json!({"ports": [{"port": 80, "nodePort": 30002}]})).await;
    assert!(is_free(&fixture, 30001).await && !is_free(&fixture, 30002).await);

    let balanced = change(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"})).await;
    let check = balanced["spec"]["healthCheckNodePort"].as_i64().unwrap();
    assert!(!is_free(&fixture, check).await && !is_free(&fixture, 30002).await);
    change(json!({"externalTrafficPolicy": "Cluster"})).await;
    assert!(is_free(&fixture, check).await && !is_free(&fixture, 30002).await);

    let both = json!([{"name": "t", "port": 53, "protocol": "TCP", "nodePort": 30002},
                      {"name": "u", "port": 53, "protocol": "UDP", "nodePort": 30002}]);
    change(json!({"ports": both})).await;
    change(json!({"ports": both.as_array().unwrap()[1..]})).await;
    assert!(!is_free(&fixture, 30002).await);
    change(json!({"type": "ClusterIP"})).await;
    assert!(is_free(&fixture, 30002).await);
    let again = change(json!({"type": "NodePort"})).await;
    assert!(!is_free(&fixture, node_port(&again)).await);
    change(json!({"type": "ExternalName", "externalName": "a.b"})).await;
    assert!(is_free(&fixture, node_port(&again)).await);
}

#[tokio::test]
async fn a_dry_run_is_given_a_stand_in_and_takes_nothing() {
    let store = Arc::new(ModelStore::new());
    let fixture = on(&store, "30000-32767").await;
    let dry = format!("{SERVICES}?dryRun=All");
    let any = service("a", json!({"type": "NodePort", "ports": [{"port": 80}]}));
    assert_eq!(node_port(&fixture.create(&dry, any).await.json()), 32769);
    fixture.create(&dry, exposed("a", 30001)).await;
    assert_eq!(stored(&store).await, None);
    fixture.create(SERVICES, exposed("a", 30001)).await;
    let path = format!("{SERVICES}/a?dryRun=All");
    let moved = json!({"spec": {"ports": [{"port": 80, "nodePort": 30002}]}});
    assert_eq!(fixture.patch(&path, MERGE, moved).await.code, 200);
    fixture.delete(&path, None).await;
    assert!(!is_free(&fixture, 30001).await && is_free(&fixture, 30002).await);
}

#[tokio::test]
async fn servers_on_one_store_never_give_a_port_twice() {
    let store = Arc::new(ModelStore::new());
    let (first, second) = (on(&store, "30000-30031").await, on(&store, "30000-30031").await);
    let any = |name: String| service(&name, json!({"type": "NodePort", "ports": [{"port": 80}]}));
    let creates = (0..32).map(|i| {
        let fixture = if i % 2 == 0 { &first } else { &second };
        async move { fixture.create(SERVICES, any(format!("s{i}"))).await.json() }
    });
    let made = futures::future::join_all(creates).await;
    let distinct: BTreeSet<i64> = made.iter().map(node_port).collect();
    assert_eq!(distinct.len(), 32);
    let full = first.try_service(any("more".to_owned())).await;
    let message = "Internal error occurred: failed to allocate a nodePort: range is full";
    assert_eq!((full.code, full.message()), (500, message.to_owned()));

    let deletes = (0..32).map(|i| {
        let fixture = if i % 3 == 0 { &first } else { &second };
        async move { fixture.delete(&format!("{SERVICES}/s{i}"), None).await.code }
    });
    let codes = futures::future::join_all(deletes).await;
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
    let left = stored(&store).await;
    assert!(says(left.clone(), &[]), "{left:?}");
    // What one gave back the other gives.
    let asks =
        [(&first, "a"), (&second, "b")].map(|(fixture, name)| fixture.try_service(exposed(name, 30007)));
    let mut codes: Vec<u16> = futures::future::join_all(asks)
        .await
        .iter()
        .map(|answer| answer.code)
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [201, 422]);
}

/// Takes away what is stored of the ports, as it is with data from before.
async fn forget(store: &ModelStore) {
    let outcome = store.txn(Txn::new().delete(PORTS_KEY)).await.unwrap();
    assert!(matches!(outcome, TxnOutcome::Committed { .. }));
}

#[tokio::test]
async fn ports_of_older_data_are_nobody_else_s_and_are_stored_by_a_repair() {
    let store = Arc::new(ModelStore::new());
    let first = on(&store, "30000-32767").await;
    first.create(SERVICES, exposed("a", 30009)).await;
    forget(&store).await;
    let second = on(&store, "30000-32767").await;
    assert!(!is_free(&second, 30009).await);
    second.create(SERVICES, exposed("b", 30000)).await;
    assert!(says(stored(&store).await, &[1]));

    let mut told = Told::default();
    second.registry.repair_services(&mut told).await.unwrap();
    assert!(says(stored(&store).await, &[2, 1]));
    let event = ("PortNotAllocated", "Port 30009 is not allocated; repairing");
    assert_eq!(events(&second).await, [(event.0.to_owned(), event.1.to_owned())]);
    assert!(!is_free(&second, 30009).await && !is_free(&first, 30009).await);
    second.delete(&format!("{SERVICES}/a"), None).await;
    assert!(is_free(&second, 30009).await && is_free(&first, 30009).await);
}

#[tokio::test]
async fn services_with_one_port_are_told_and_so_are_those_outside() {
    let store = Arc::new(ModelStore::new());
    let first = on(&store, "30000-32767").await;
    first.create(SERVICES, exposed("a", 30009)).await;
    first.create(SERVICES, exposed("far", 32000)).await;
    forget(&store).await;
    first.create(SERVICES, exposed("b", 30009)).await;
    let narrow = on(&store, "30000-30999").await;
    // The flag of the first still stands.
    let message = "Service \"c\" is invalid: spec.ports[0].nodePort: Invalid value: 30001: the provided range does not match \
                   the current range";
    assert_eq!(narrow.try_service(exposed("c", 30001)).await.message(), message);
    narrow
        .registry
        .repair_services(&mut Told::default())
        .await
        .unwrap();
    let mut told = events(&narrow).await;
    told.sort();
    let expected = [
        (
            "PortAlreadyAllocated",
            "Port 30009 was assigned to multiple services; please recreate service",
        ),
        (
            "PortOutOfRange",
            "Port 32000 is not within the port range 30000-30999; please recreate service",
        ),
    ];
    assert_eq!(
        told,
        expected.map(|(reason, note)| (reason.to_owned(), note.to_owned()))
    );
    narrow.create(SERVICES, exposed("c", 30001)).await;
    let refused = narrow.try_service(exposed("d", 32001)).await.message();
    assert!(
        refused.ends_with("The range of valid ports is 30000-30999"),
        "{refused}"
    );
    // What lies outside can still go.
    assert_eq!(narrow.delete(&format!("{SERVICES}/far"), None).await.code, 200);
}

#[tokio::test]
async fn many_at_once_in_one_server_all_get_a_port() {
    let fixture = on(&Arc::new(ModelStore::new()), "30000-32767").await;
    let creates = (0..150).map(|i| {
        let fixture = &fixture;
        let any = service(
            &format!("s{i}"),
            json!({"type": "NodePort", "ports": [{"port": 80}]}),
        );
        async move { node_port(&fixture.create(SERVICES, any).await.json()) }
    });
    let made: BTreeSet<i64> = futures::future::join_all(creates).await.into_iter().collect();
    assert_eq!(made.len(), 150);
    let deletes = (0..150).map(|i| {
        let fixture = &fixture;
        async move { fixture.delete(&format!("{SERVICES}/s{i}"), None).await.code }
    });
    let codes = futures::future::join_all(deletes).await;
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
}
