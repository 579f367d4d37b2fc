//! get and list.

use std::sync::Arc;

use coracle_store::Store;
use http::Method;
use serde_json::{Value, json};

use super::{Fixture, config_map, context};
use crate::reader::{GroupResource, ObjectReader};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn with_maps(names: &[&str]) -> Fixture {
    let fixture = Fixture::new().await;
    for name in names {
        fixture.create(MAPS, config_map(name, name)).await;
    }
    fixture
}

fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn items_carry_no_kind_and_lists_do() {
    let fixture = with_maps(&["a", "b"]).await;
    let list = fixture.get(MAPS).await.json();
    assert_eq!(
        (list["kind"].as_str(), list["apiVersion"].as_str()),
        (Some("ConfigMapList"), Some("v1"))
    );
    assert_eq!(names(&list), ["a", "b"]);
    assert!(list["items"][0].get("kind").is_none());
    assert!(list["metadata"]["resourceVersion"].is_string());
}

#[tokio::test]
async fn a_list_in_pieces_is_the_list_it_began_as() {
    let fixture = with_maps(&["a", "b", "c", "d", "e"]).await;
    let first = fixture.get(&format!("{MAPS}?limit=2")).await.json();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    fixture.create(MAPS, config_map("cc", "new")).await;
    fixture.delete(&format!("{MAPS}/d"), None).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = fixture
        .get(&format!("{MAPS}?limit=2&continue={token}"))
        .await
        .json();
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = fixture
        .get(&format!("{MAPS}?limit=2&continue={token}"))
        .await
        .json();
    assert_eq!(names(&last), ["e"]);
    assert!(last["metadata"].get("continue").is_none());
}

#[tokio::test]
async fn a_list_in_pieces_expires_with_the_stores_history() {
    let fixture = with_maps(&["a", "b", "c"]).await;
    let first = fixture.get(&format!("{MAPS}?limit=1")).await.json();
    let added = fixture.create(MAPS, config_map("d", "new")).await.revision();
    fixture
        .store
        .compact(coracle_store::Revision(added))
        .await
        .unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let refused = fixture.get(&format!("{MAPS}?limit=1&continue={token}")).await;
    assert_eq!(
        (refused.code, &refused.json()["reason"]),
        (410, &json!("Expired"))
    );
    let status = refused.json();
    let token = status["metadata"]["continue"].as_str().unwrap();
    let second = fixture
        .get(&format!("{MAPS}?limit=1&continue={token}"))
        .await
        .json();
    assert_eq!(names(&second), ["b"]);
    assert_eq!(second["metadata"]["remainingItemCount"], 2);
    assert_eq!(second["metadata"]["resourceVersion"], added.to_string());
}

#[tokio::test]
async fn selectors_select() {
    let fixture = with_maps(&["a", "b", "c"]).await;
    for (query, want) in [
        ("labelSelector=data=a", vec!["a"]),
        ("labelSelector=data!=a", vec!["b", "c"]),
        ("labelSelector=data in (a,c)", vec!["a", "c"]),
        ("fieldSelector=metadata.name=b", vec!["b"]),
        ("fieldSelector=metadata.name!=b", vec!["a", "c"]),
        ("fieldSelector=metadata.namespace=other", vec![]),
        ("fieldSelector=metadata.name=b&labelSelector=data=a", vec![]),
    ] {
        let list = fixture.get(&format!("{MAPS}?{query}")).await.json();
        assert_eq!(names(&list), want, "{query}");
    }
    let all = fixture
        .get("/api/v1/configmaps?labelSelector=data=c")
        .await
        .json();
    assert_eq!(names(&all), ["c"]);
}

#[tokio::test]
async fn refusals_of_reads() {
    let fixture = with_maps(&["a"]).await;
    for (target, code, message) in [
        (
            "/api/v1/namespaces/default/configmaps/b",
            404,
            "configmaps \"b\" not found",
        ),
        (
            "/api/v1/configmaps?fieldSelector=spec.bogus=1",
            400,
            "\"spec.bogus\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        (
            "/api/v1/pods?fieldSelector=spec.bogus=1",
            400,
            "field label not supported: spec.bogus",
        ),
        (
            "/api/v1/pods?labelSelector=a b",
            400,
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        (
            "/api/v1/pods?limit=ten",
            400,
            "strconv.ParseInt: parsing \"ten\": invalid syntax",
        ),
        (
            "/api/v1/pods?resourceVersionMatch=Exact",
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden \
             unless resourceVersion is provided",
        ),
    ] {
        let answer = fixture.get(target).await;
        assert_eq!(
            (answer.code, answer.message()),
            (code, message.to_owned()),
            "{target}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_does_not_come_is_a_timeout() {
    let fixture = with_maps(&["a"]).await;
    let answer = fixture
        .get(&format!(
            "{MAPS}?resourceVersion=999&resourceVersionMatch=NotOlderThan"
        ))
        .await;
    assert_eq!(answer.code, 504);
    assert!(
        answer
            .message()
            .starts_with("Timeout: Too large resource version: 999, current: ")
    );
}

#[tokio::test]
async fn older_states_can_be_read_until_they_are_compacted() {
    let fixture = with_maps(&["a"]).await;
    let then = fixture.get(MAPS).await.revision();
    fixture.create(MAPS, config_map("b", "b")).await;
    let target = format!("{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact");
    assert_eq!(names(&fixture.get(&target).await.json()), ["a"]);
    let now = coracle_store::Store::revision(&*fixture.store).await.unwrap();
    coracle_store::Store::compact(&*fixture.store, now).await.unwrap();
    assert_eq!(fixture.get(&target).await.code, 410);
}

#[tokio::test]
async fn forms_of_one_object() {
    let fixture = with_maps(&["a"]).await;
    let target = format!("{MAPS}/a");
    let ask = |accept: &'static str| {
        let ctx = context(Method::GET, &target, &[("accept", accept)]);
        fixture.ask_with(ctx, "")
    };
    let yaml = ask("application/yaml").await;
    assert!(String::from_utf8_lossy(&yaml.bytes).contains("kind: ConfigMap\n"));
    let protobuf = ask("application/vnd.kubernetes.protobuf").await;
    let decoded = coracle_api::codec::protobuf::decode_any(&protobuf.bytes).unwrap();
    assert_eq!(decoded["data"], json!({"key": "a"}));
    let partial = ask("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
        .await
        .json();
    assert_eq!(
        (partial["kind"].as_str(), partial.get("data")),
        (Some("PartialObjectMetadata"), None)
    );
    let table = ask("application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        .await
        .json();
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(ask("text/plain").await.code, 406);
}

#[tokio::test]
async fn lists_in_protobuf_and_yaml() {
    let fixture = with_maps(&["a", "b"]).await;
    let protobuf = fixture
        .ask_with(
            context(
                Method::GET,
                MAPS,
                &[("accept", "application/vnd.kubernetes.protobuf")],
            ),
            "",
        )
        .await;
    let list = coracle_api::codec::protobuf::decode_any(&protobuf.bytes).unwrap();
    assert_eq!(names(&list), ["a", "b"]);
    let yaml = fixture
        .ask_with(context(Method::GET, MAPS, &[("accept", "application/yaml")]), "")
        .await;
    assert!(String::from_utf8_lossy(&yaml.bytes).contains("kind: ConfigMapList\n"));
}

#[tokio::test]
async fn what_is_read_for_every_write_is_parsed_once_until_it_changes() {
    let fixture = Fixture::new().await;
    let namespaces = GroupResource::new("", "namespaces");
    let read = || fixture.registry.reader.get(&namespaces, "", "default").unwrap();
    let first = Arc::downgrade(&read());
    // Enough that the cache does not hold it for having been written lately.
    for number in 0..10 {
        let large =
            json!({"metadata": {"name": format!("large-{number}")}, "data": {"key": "x".repeat(60_000)}});
        fixture.create(MAPS, large).await;
    }
    let held = first.upgrade().expect("held by the reader");
    assert!(Arc::ptr_eq(&held, &read()));
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let path = "/api/v1/namespaces/default";
    let changed = fixture
        .patch(path, "application/merge-patch+json", labelled)
        .await;
    assert_eq!(changed.code, 200, "{}", changed.message());
    assert_eq!(read()["metadata"]["labels"]["a"], "b");
}
