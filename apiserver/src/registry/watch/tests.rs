//! Bookmarks among changes that come while they are due.

use http::Method;
use serde_json::json;

use super::*;
use crate::registry::tests::{Fixture, context};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A watcher from now on.
async fn watcher(fixture: &Fixture) -> Watcher {
    let after = fixture.get(MAPS).await.revision();
    let target = format!("{MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={after}");
    let ctx = context(Method::GET, &target, &[]);
    let served = fixture.registry.catalog.find("", "v1", "configmaps");
    let served = served.expect("ConfigMaps are served");
    let accepted = served.accepted(&ctx, Purpose::Watch).expect("JSON is accepted");
    let watcher = fixture.registry.watcher(&ctx, &served, accepted).await;
    watcher.map_err(|error| error.to_string()).expect("a watch")
}

/// The next piece, each event as its type and revision.
async fn told(watcher: &mut Watcher) -> Vec<(String, u64)> {
    let piece = watcher.next().await.expect("the watch goes on");
    let piece = piece.map_err(|error| error.to_string()).expect("bytes");
    let lines = piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let event: serde_json::Value = serde_json::from_slice(line).expect("an event");
            let revision = event["object"]["metadata"]["resourceVersion"].as_str();
            let revision = revision.expect("a revision").parse().expect("a number");
            (event["type"].as_str().expect("a type").to_owned(), revision)
        })
        .collect()
}

async fn create(fixture: &Fixture, name: &str) -> u64 {
    fixture
        .create(MAPS, json!({"metadata": {"name": name}}))
        .await
        .revision()
}

fn events(events: &[(&str, u64)]) -> Vec<(String, u64)> {
    events
        .iter()
        .map(|(kind, revision)| ((*kind).to_owned(), *revision))
        .collect()
}

#[tokio::test]
async fn a_bookmark_comes_between_what_is_older_and_what_is_newer() {
    let fixture = Fixture::new().await;
    let mut watcher = watcher(&fixture).await;
    let older = create(&fixture, "older").await;
    watcher.due = Some(watcher.cache.delivered());
    let newer = create(&fixture, "newer").await;
    assert_eq!(told(&mut watcher).await, events(&[("ADDED", older)]));
    assert_eq!(
        told(&mut watcher).await,
        events(&[("BOOKMARK", older), ("ADDED", newer)])
    );
    watcher.due = Some(watcher.cache.delivered());
    assert_eq!(told(&mut watcher).await, events(&[("BOOKMARK", newer)]));
}

#[tokio::test]
async fn a_watch_ends_with_its_bookmark() {
    let fixture = Fixture::new().await;
    let mut watcher = watcher(&fixture).await;
    let older = create(&fixture, "older").await;
    (watcher.due, watcher.ending) = (Some(watcher.cache.delivered()), true);
    create(&fixture, "newer").await;
    assert_eq!(told(&mut watcher).await, events(&[("ADDED", older)]));
    assert_eq!(told(&mut watcher).await, events(&[("BOOKMARK", older)]));
    assert!(watcher.next().await.is_none());
}
