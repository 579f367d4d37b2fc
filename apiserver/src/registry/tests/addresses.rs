//! Addresses of services, the IPAddresses that stand for them, and the ServiceCIDRs that they come from.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_store::model::ModelStore;
use serde_json::{Value, json};

use super::{Fixture, SERVICES};
use crate::registry::services::{ServiceConfig, Told};

const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": spec});
    service["spec"]["ports"] = json!([{"port": 80}]);
    service
}

fn asking_for(name: &str, address: &str) -> Value {
    service(name, json!({"clusterIP": address}))
}

/// A server whose flag names these ranges, on a store of its own.
async fn ranged(ranges: &str) -> Fixture {
    on(Arc::new(ModelStore::new()), ranges).await
}

async fn on(store: Arc<ModelStore>, ranges: &str) -> Fixture {
    let services = ServiceConfig {
        cluster_ip_ranges: ranges.parse().unwrap(),
        ..ServiceConfig::default()
    };
    Fixture::serving(store, services).await
}

/// The names of all IPAddresses but that of `kubernetes`.
async fn names(fixture: &Fixture) -> Vec<String> {
    let list = fixture.get(ADDRESSES).await.json();
    let items = list["items"].as_array().unwrap().iter();
    items
        .filter(|item| item["spec"]["parentRef"]["name"] != "kubernetes")
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Has a range ready, as a controller does.
async fn make_ready(fixture: &Fixture, name: &str, range: &str) {
    let object = json!({"metadata": {"name": name, "finalizers": ["test/kept"]}, "spec": {"cidrs": [range]}});
    fixture.create(RANGES, object).await;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let path = format!("{RANGES}/{name}/status");
    let told = fixture.patch(&path, "application/merge-patch+json", ready).await;
    assert_eq!(told.code, 200, "{}", told.message());
}

#[tokio::test]
async fn an_address_is_an_object_for_as_long_as_a_service_has_it() {
    let fixture = ranged("10.96.0.0/16").await;
    fixture.create(SERVICES, asking_for("a", "10.96.0.9")).await;
    let object = fixture.get(&format!("{ADDRESSES}/10.96.0.9")).await.json();
    let labels = json!({"ipaddress.kubernetes.io/ip-family": "IPv4",
                        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
    assert_eq!(object["metadata"]["labels"], labels);
    let parent = json!({"resource": "services", "namespace": "default", "name": "a"});
    assert_eq!(object["spec"]["parentRef"], parent);
    assert!(object["metadata"]["uid"].is_string());
    let by_service = fixture.get(&format!("{SERVICES}/a")).await;
    assert_eq!(
        object["metadata"]["resourceVersion"],
        by_service.json()["metadata"]["resourceVersion"]
    );

    let external =
        json!({"metadata": {"name": "a"}, "spec": {"type": "ExternalName", "externalName": "a.b"}});
    let changed = fixture.put(&format!("{SERVICES}/a"), external).await;
    assert_eq!(
        (changed.code, names(&fixture).await.len()),
        (200, 0),
        "{}",
        changed.message()
    );
    let back = fixture
        .put(
            &format!("{SERVICES}/a"),
            service("a", json!({"type": "ClusterIP"})),
        )
        .await
        .json();
    assert_eq!(
        names(&fixture).await,
        [back["spec"]["clusterIP"].as_str().unwrap()]
    );
    fixture.delete(&format!("{SERVICES}/a"), None).await;
    assert!(names(&fixture).await.is_empty());
    fixture.create(SERVICES, asking_for("b", "None")).await;
    assert!(names(&fixture).await.is_empty());
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_refused() {
    let fixture = ranged("10.96.0.0/16").await;
    let refused = fixture.try_service(asking_for("a", "10.97.0.9")).await;
    let message = "Service \"a\" is invalid: spec.clusterIPs: Invalid value: [\"10.97.0.9\"]: failed to allocate IP 10.97.0.9: \
                   the provided network does not match the current range";
    assert_eq!((refused.code, refused.message()), (422, message.to_owned()));
    // Somebody's own IPAddress holds the address as well.
    let own = json!({"metadata": {"name": "10.96.0.9"},
                     "spec": {"parentRef": {"group": "a.b", "resource": "gateways", "name": "g"}}});
    fixture.create(ADDRESSES, own).await;
    let refused = fixture.try_service(asking_for("a", "10.96.0.9")).await;
    assert!(
        refused
            .message()
            .ends_with("failed to allocate IP 10.96.0.9: provided IP is already allocated")
    );
    assert_eq!(names(&fixture).await, ["10.96.0.9"]);
}

#[tokio::test]
async fn a_range_that_somebody_adds_gives_addresses_once_it_is_ready_and_until_it_goes() {
    // Two addresses, of which `kubernetes` has the first.
    let fixture = ranged("10.96.0.0/30").await;
    fixture.create(SERVICES, service("a", json!({}))).await;
    let full = fixture.try_service(service("b", json!({}))).await;
    let message = "failed to allocate a serviceIP for Service \"b\": range is full";
    assert!(
        full.code == 500 && full.message().ends_with(message),
        "{}",
        full.message()
    );
    make_ready(&fixture, "more", "10.97.0.0/24").await;
    let made = fixture.create(SERVICES, service("b", json!({}))).await.json();
    let address = made["spec"]["clusterIP"].as_str().unwrap();
    assert!(address.starts_with("10.97.0."), "{address}");

    fixture.delete(&format!("{RANGES}/more"), None).await;
    assert_eq!(fixture.try_service(service("c", json!({}))).await.code, 500);
    assert_eq!(fixture.try_service(asking_for("c", "10.97.0.9")).await.code, 422);
    // What has an address keeps it, and gives it back.
    let mut labelled = fixture.get(&format!("{SERVICES}/b")).await.json();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(fixture.put(&format!("{SERVICES}/b"), labelled).await.code, 200);
    fixture.delete(&format!("{SERVICES}/b"), None).await;
    assert_eq!(names(&fixture).await, ["10.96.0.2"]);
}

#[tokio::test]
async fn with_two_families_a_service_gets_and_gives_up_the_second() {
    let fixture = ranged("10.96.0.0/16,fd00::/108").await;
    let path = format!("{SERVICES}/a");
    let made = fixture
        .create(
            SERVICES,
            service("a", json!({"ipFamilyPolicy": "PreferDualStack"})),
        )
        .await;
    let made = made.json();
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(made["spec"]["clusterIPs"].as_array().unwrap().len(), 2);
    assert_eq!(names(&fixture).await.len(), 2);
    let single = json!({"spec": {"ipFamilyPolicy": "SingleStack"}});
    let less = fixture.patch(&path, "application/merge-patch+json", single).await;
    assert_eq!(less.code, 200, "{}", less.message());
    assert_eq!(
        names(&fixture).await,
        [made["spec"]["clusterIP"].as_str().unwrap()]
    );
    let dual = json!({"spec": {"ipFamilyPolicy": "RequireDualStack"}});
    let more = fixture
        .patch(&path, "application/merge-patch+json", dual)
        .await
        .json();
    assert_eq!(more["spec"]["clusterIPs"][0], made["spec"]["clusterIP"]);
    assert_eq!(names(&fixture).await.len(), 2);
    let six = fixture
        .create(SERVICES, service("six", json!({"ipFamilies": ["IPv6"]})))
        .await
        .json();
    assert!(six["spec"]["clusterIP"].as_str().unwrap().starts_with("fd00:"));
}

#[tokio::test]
async fn servers_on_one_store_never_give_an_address_twice() {
    let store = Arc::new(ModelStore::new());
    let (first, second) = (
        on(store.clone(), "10.96.0.0/27").await,
        on(store, "10.96.0.0/27").await,
    );
    // All that there are but that of `kubernetes`.
    let creates = (0..29).map(|i| {
        let fixture = if i % 2 == 0 { &first } else { &second };
        async move {
            fixture
                .create(SERVICES, service(&format!("s{i}"), json!({})))
                .await
                .json()
        }
    });
    let made = futures::future::join_all(creates).await;
    let distinct: BTreeSet<String> = made
        .iter()
        .map(|made| made["spec"]["clusterIP"].to_string())
        .collect();
    assert_eq!(distinct.len(), 29);
    assert_eq!(first.try_service(service("one-more", json!({}))).await.code, 500);
    assert_eq!(names(&second).await.len(), 29);
}

#[tokio::test]
async fn after_a_restart_what_is_missing_is_made() {
    let store = Arc::new(ModelStore::new());
    let first = on(store.clone(), "10.96.0.0/16").await;
    first.create(SERVICES, asking_for("a", "10.96.0.9")).await;
    first.delete(&format!("{ADDRESSES}/10.96.0.9"), None).await;
    let second = on(store, "10.96.0.0/16").await;
    // Nobody else gets it before it is.
    let refused = second.try_service(asking_for("b", "10.96.0.9")).await;
    assert!(refused.message().ends_with("provided IP is already allocated"));
    let mut told = Told::default();
    second.registry.repair_services(&mut told).await.unwrap();
    assert_eq!(names(&second).await, ["10.96.0.9"]);
    let events = second.get("/api/v1/namespaces/default/events").await.json();
    let event = &events["items"][0];
    assert_eq!(
        (&event["reason"], &event["type"]),
        (&json!("ClusterIPNotAllocated"), &json!("Warning"))
    );
    assert_eq!(
        event["message"],
        "Cluster IP [IPv4]: 10.96.0.9 is not allocated; repairing"
    );
    let refused = second.try_service(asking_for("b", "10.96.0.9")).await;
    assert!(refused.message().ends_with("provided IP is already allocated"));
    second.registry.repair_services(&mut told).await.unwrap();
    let events = second.get("/api/v1/namespaces/default/events").await.json();
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
}
