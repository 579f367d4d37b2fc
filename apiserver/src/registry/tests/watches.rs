//! watch.

use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::{Fixture, config_map};
use crate::request::ResponseBody;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Events as `TYPE name`, until there are as many as wanted.
async fn events(body: &mut ResponseBody, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(frames(body).await.iter().map(summary));
    }
    found
}

async fn frames(body: &mut ResponseBody) -> Vec<Value> {
    let frame = tokio::time::timeout(std::time::Duration::from_secs(20), body.frame())
        .await
        .expect("an event in time");
    let data = frame
        .expect("the watch goes on")
        .expect("the watch is whole")
        .into_data()
        .expect("data");
    data.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a line is an event"))
        .collect()
}

fn summary(event: &Value) -> String {
    let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
    format!("{} {name}", event["type"].as_str().unwrap())
        .trim_end()
        .to_owned()
}

#[tokio::test]
async fn a_watch_without_a_revision_begins_with_what_is_there() {
    let fixture = Fixture::new().await;
    fixture.create(MAPS, config_map("a", "1")).await;
    let mut watch = fixture.watch(&format!("{MAPS}?watch=true")).await;
    assert_eq!(events(&mut watch, 1).await, ["ADDED a"]);
    fixture.put(&format!("{MAPS}/a"), config_map("a", "2")).await;
    fixture.delete(&format!("{MAPS}/a"), None).await;
    assert_eq!(events(&mut watch, 2).await, ["MODIFIED a", "DELETED a"]);
}

#[tokio::test]
async fn a_watch_goes_on_where_a_list_ended() {
    let fixture = Fixture::new().await;
    let revision = fixture.get(MAPS).await.revision();
    fixture.create(MAPS, config_map("a", "1")).await;
    fixture.delete(&format!("{MAPS}/a"), None).await;
    let mut watch = fixture
        .watch(&format!("{MAPS}?watch=true&resourceVersion={revision}"))
        .await;
    assert_eq!(events(&mut watch, 2).await, ["ADDED a", "DELETED a"]);
}

#[tokio::test]
async fn a_registry_that_was_restarted_tells_what_happened_before() {
    let fixture = Fixture::new().await;
    let revision = fixture.get(MAPS).await.revision();
    fixture.create(MAPS, config_map("a", "1")).await;
    fixture.delete(&format!("{MAPS}/a"), None).await;
    let second = Fixture::on(fixture.store.clone()).await;
    let mut watch = second
        .watch(&format!("{MAPS}?watch=true&resourceVersion={revision}"))
        .await;
    second.create(MAPS, config_map("b", "1")).await;
    assert_eq!(events(&mut watch, 3).await, ["ADDED a", "DELETED a", "ADDED b"]);
}

#[tokio::test]
async fn what_is_compacted_is_an_error_event() {
    let fixture = Fixture::new().await;
    let revision = fixture.get(MAPS).await.revision();
    fixture.create(MAPS, config_map("a", "1")).await;
    let now = coracle_store::Store::revision(&*fixture.store).await.unwrap();
    coracle_store::Store::compact(&*fixture.store, now).await.unwrap();
    let second = Fixture::on(fixture.store.clone()).await;
    let mut watch = second
        .watch(&format!("{MAPS}?watch=true&resourceVersion={revision}"))
        .await;
    let error = frames(&mut watch).await.remove(0);
    assert_eq!(
        (error["type"].as_str(), error["object"]["code"].as_u64()),
        (Some("ERROR"), Some(410))
    );
    assert_eq!(error["object"]["reason"], "Expired");
    assert!(watch.frame().await.is_none());
}

#[tokio::test]
async fn changes_that_touch_a_selector_come_and_go() {
    let fixture = Fixture::new().await;
    let mut watch = fixture
        .watch(&format!("{MAPS}?watch=true&labelSelector=data=x"))
        .await;
    fixture.create(MAPS, config_map("a", "y")).await;
    fixture.put(&format!("{MAPS}/a"), config_map("a", "x")).await;
    let away = fixture.put(&format!("{MAPS}/a"), config_map("a", "y")).await;
    fixture.delete(&format!("{MAPS}/a"), None).await;
    fixture.create(MAPS, config_map("b", "x")).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(frames(&mut watch).await);
    }
    assert_eq!(
        seen.iter().map(summary).collect::<Vec<_>>(),
        ["ADDED a", "DELETED a", "ADDED b"]
    );
    let left = &seen[1]["object"];
    assert_eq!(
        left["metadata"]["labels"]["data"], "x",
        "the last state that was selected"
    );
    assert_eq!(left["metadata"]["resourceVersion"], away.revision().to_string());
}

#[tokio::test]
async fn a_streamed_list_ends_with_a_bookmark() {
    let fixture = Fixture::new().await;
    for name in ["a", "b"] {
        fixture.create(MAPS, config_map(name, name)).await;
    }
    let query =
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = fixture.watch(&format!("{MAPS}?{query}")).await;
    let seen = frames(&mut watch).await;
    assert_eq!(
        seen.iter().map(summary).collect::<Vec<_>>(),
        ["ADDED a", "ADDED b", "BOOKMARK"]
    );
    let bookmark = &seen[2]["object"]["metadata"];
    assert_eq!(
        bookmark["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    assert_eq!(
        bookmark["resourceVersion"],
        seen[1]["object"]["metadata"]["resourceVersion"]
    );
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_at_the_end() {
    let fixture = Fixture::new().await;
    let target = format!("{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=90&resourceVersion=1");
    let mut watch = fixture.watch(&target).await;
    let mut bookmarks = 0;
    while let Some(frame) = watch.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        let event: Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(event["type"], "BOOKMARK");
        bookmarks += 1;
    }
    assert_eq!(bookmarks, 2);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..5, any::<u8>()).prop_map(|(n, d)| Step::Put(n, d)),
        (0u8..5).prop_map(Step::Delete)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A list at any time and a watch from there amount to the list at the end; also after a restart.
    #[test]
    fn list_and_watch_amount_to_the_present(
        before in prop::collection::vec(step(), 0..12),
        after in prop::collection::vec(step(), 0..12),
        restart in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new().await;
            take(&fixture, &before).await;
            let list = fixture.get(MAPS).await;
            let mut state: BTreeMap<String, Value> = list.json()["items"].as_array().unwrap().iter()
                .map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item["data"].clone())).collect();
            let revision = list.revision();
            take(&fixture, &after).await;
            fixture.create(MAPS, config_map("end", "end")).await;
            let fixture = if restart { Fixture::on(fixture.store.clone()).await } else { fixture };
            let mut watch = fixture.watch(&format!("{MAPS}?watch=true&resourceVersion={revision}")).await;
            while !state.contains_key("end") {
                for event in frames(&mut watch).await {
                    let object = &event["object"];
                    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                    match event["type"].as_str().unwrap() {
                        "DELETED" => { state.remove(&name).expect("what goes was there"); }
                        "ADDED" => assert!(state.insert(name, object["data"].clone()).is_none()),
                        _ => assert!(state.insert(name, object["data"].clone()).is_some()),
                    }
                }
            }
            let present: BTreeMap<String, Value> = fixture.get(MAPS).await.json()["items"].as_array().unwrap().iter()
                .map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item["data"].clone())).collect();
            assert_eq!(state, present);
        });
    }
}

async fn take(fixture: &Fixture, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Put(name, data) => {
                let object = config_map(&format!("m{name}"), &data.to_string());
                let path = format!("{MAPS}/m{name}");
                if fixture.put(&path, object.clone()).await.code == 404 {
                    fixture.create(MAPS, object).await;
                }
            }
            Step::Delete(name) => {
                fixture.delete(&format!("{MAPS}/m{name}"), None).await;
            }
        }
    }
}
