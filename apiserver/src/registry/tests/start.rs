//! What a registry makes at its start, and services.

use std::sync::Arc;

use coracle_store::Store;
use coracle_store::model::ModelStore;
use http::Method;
use serde_json::{Value, json};

use super::{Fixture, SERVICES};
use crate::bootstrap;

async fn revision(store: &ModelStore) -> u64 {
    store.revision().await.unwrap().0
}

#[tokio::test]
async fn a_second_start_finds_everything_there() {
    let store = Arc::new(ModelStore::new());
    let fixture = Fixture::on(Arc::clone(&store)).await;
    bootstrap::run(&fixture.registry).await.unwrap();
    assert!(revision(&store).await <= 5, "few transactions");
    let role = fixture
        .get("/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin")
        .await;
    assert_eq!(role.code, 200);
    let before = revision(&store).await;
    let second = Fixture::on(Arc::clone(&store)).await;
    bootstrap::run(&second.registry).await.unwrap();
    assert_eq!(revision(&store).await, before);
}

#[tokio::test]
async fn a_role_gets_back_what_it_lost() {
    let fixture = Fixture::on(Arc::new(ModelStore::new())).await;
    bootstrap::run(&fixture.registry).await.unwrap();
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:kube-scheduler";
    let whole = fixture.get(path).await.json();
    let mut robbed = whole.clone();
    robbed["rules"] = json!([]);
    assert_eq!(fixture.put(path, robbed).await.code, 200);
    bootstrap::run(&fixture.registry).await.unwrap();
    assert_eq!(fixture.get(path).await.json()["rules"], whole["rules"]);
}

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

fn node_port(port: Value) -> Value {
    json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]})
}

#[tokio::test]
async fn services_get_addresses_and_ports_and_give_them_back() {
    let fixture = Fixture::new().await;
    let made = fixture
        .create(SERVICES, service("a", node_port(json!(30080))))
        .await
        .json();
    let address = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10."), "{address}");
    assert_eq!(made["spec"]["clusterIPs"], json!([address]));

    let taken = fixture
        .ask(
            Method::POST,
            SERVICES,
            Some(service("b", node_port(json!(30080)))),
        )
        .await;
    let message = "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated";
    assert_eq!((taken.code, taken.message()), (422, message.to_owned()));
    let wanted = service("b", json!({"clusterIP": address, "ports": [{"port": 80}]}));
    let taken = fixture.ask(Method::POST, SERVICES, Some(wanted.clone())).await;
    assert_eq!(taken.code, 422);
    assert!(taken.message().ends_with(&format!(
        "failed to allocate IP {address}: provided IP is already allocated"
    )));

    fixture.delete(&format!("{SERVICES}/a"), None).await;
    fixture.create(SERVICES, wanted).await;
    fixture
        .create(SERVICES, service("c", node_port(json!(30080))))
        .await;
}

#[tokio::test]
async fn a_refused_or_dry_service_keeps_nothing() {
    let fixture = Fixture::new().await;
    let dry = format!("{SERVICES}?dryRun=All");
    for _ in 0..2 {
        fixture.create(&dry, service("a", node_port(json!(30081)))).await;
    }
    let unnamed = fixture
        .ask(
            Method::POST,
            SERVICES,
            Some(service("Bad_Name", node_port(json!(30081)))),
        )
        .await;
    assert_eq!(unnamed.code, 422);
    fixture
        .create(SERVICES, service("a", node_port(json!(30081))))
        .await;
}

#[tokio::test]
async fn a_restart_knows_what_services_hold() {
    let fixture = Fixture::new().await;
    fixture
        .create(SERVICES, service("a", node_port(json!(30080))))
        .await;
    let second = Fixture::on(fixture.store.clone()).await;
    let taken = second
        .ask(
            Method::POST,
            SERVICES,
            Some(service("b", node_port(json!(30080)))),
        )
        .await;
    assert_eq!(taken.code, 422);
    let changed = service("a", json!({"type": "ClusterIP", "ports": [{"port": 80}]}));
    let changed = second.put(&format!("{SERVICES}/a"), changed).await;
    assert_eq!(changed.code, 200, "{}", changed.message());
    second
        .create(SERVICES, service("b", node_port(json!(30080))))
        .await;
}

#[tokio::test]
async fn concurrent_services_never_share() {
    let fixture = Fixture::new().await;
    let creates = (0..24).map(|i| {
        let fixture = &fixture;
        async move {
            fixture
                .create(SERVICES, service(&format!("s{i}"), node_port(Value::Null)))
                .await
                .json()
        }
    });
    let made = futures::future::join_all(creates).await;
    let distinct = |pointer: &str| {
        made.iter()
            .map(|s| s.pointer(pointer).unwrap().to_string())
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    assert_eq!(
        (distinct("/spec/clusterIP"), distinct("/spec/ports/0/nodePort")),
        (24, 24)
    );
}
