//! Levels at work, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::status::ApiError;
use http::Response;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::reader::memory::MemoryReader;
use crate::request::{RequestBody, RequestContext, ResponseBody, StoredSize};

struct Stored;

#[async_trait]
impl ResourceHandler for Stored {
    async fn serve(&self, _: RequestContext, _: RequestBody) -> Result<Response<ResponseBody>, ApiError> {
        Err(ApiError::generic(404, ""))
    }

    fn stored_size(&self, _: &str, resource: &str) -> Option<StoredSize> {
        (resource == "bigs").then_some(StoredSize {
            objects: 1000,
            bytes: 10_000_000,
        })
    }
}

/// `seats` for two levels of the same share, one for jane and one for joe.
fn control(seats: usize) -> (Arc<FlowControl>, Arc<MemoryReader>) {
    let reader = Arc::new(MemoryReader::default());
    for name in ["jane", "joe"] {
        let level = json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 50, "lendablePercent": 50,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 16, "handSize": 1, "queueLengthLimit": 50}}}}});
        let schema = json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": 1,
            "priorityLevelConfiguration": {"name": name}, "distinguisherMethod": {"type": "ByNamespace"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": name}}], "resourceRules":
                [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}});
        reader.put(&GroupResource::new(GROUP, "prioritylevelconfigurations"), level);
        reader.put(&GroupResource::new(GROUP, "flowschemas"), schema);
    }
    let catch_all = json!({"metadata": {"name": "catch-all"}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 0, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}}});
    reader.put(
        &GroupResource::new(GROUP, "prioritylevelconfigurations"),
        catch_all,
    );
    let registry = prometheus::Registry::new();
    let control = FlowControl::new(
        seats,
        reader.clone(),
        Arc::new(Stored),
        &registry,
        TaskTracker::new(),
    );
    (control, reader)
}

async fn enter(control: &FlowControl, name: &str, verb: &str, resource: &str) -> Result<Place, u64> {
    let info = RequestInfo {
        is_resource_request: true,
        verb: verb.to_owned(),
        resource: resource.to_owned(),
        namespace: "a".to_owned(),
        ..RequestInfo::default()
    };
    let user = UserInfo {
        name: name.to_owned(),
        ..UserInfo::default()
    };
    control
        .enter(&Arc::new(info), &user, &[], Duration::from_secs(1))
        .await
        .place
}

fn limit(control: &FlowControl, level: &str) -> u32 {
    control.current.load().levels[level].show(false, |shown| shown.set.limit())
}

#[tokio::test(start_paused = true)]
async fn a_turn_comes_when_a_seat_is_given_back() {
    let (control, _) = control(2);
    let first = enter(&control, "jane", "get", "pods").await.unwrap();
    let second = {
        let control = control.clone();
        tokio::spawn(async move { enter(&control, "jane", "get", "pods").await.map(drop) })
    };
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!second.is_finished());
    assert!(
        enter(&control, "joe", "get", "pods").await.is_ok(),
        "joe has a seat of his own"
    );
    drop(first);
    assert_eq!(second.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_or_gives_up_leaves_no_trace() {
    let (control, _) = control(2);
    let first = enter(&control, "jane", "get", "pods").await.unwrap();
    assert_eq!(
        enter(&control, "jane", "get", "pods").await.err(),
        Some(1),
        "a second is all the time there is"
    );
    let given_up =
        tokio::time::timeout(Duration::from_millis(5), enter(&control, "jane", "get", "pods")).await;
    assert!(given_up.is_err());
    drop(first);
    assert!(control.current.load().levels["jane"].is_idle());
    let counts = control.current.load().levels["jane"].show(false, |shown| shown.set.counts);
    assert_eq!(counts.cancelled, 2);
}

#[tokio::test(start_paused = true)]
async fn seats_that_nobody_needs_are_lent_and_given_back() {
    let (control, _) = control(20);
    let cancel = CancellationToken::new();
    let keeping = tokio::spawn(control.clone().keep(cancel.clone()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((limit(&control, "jane"), limit(&control, "joe")), (10, 10));
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(enter(&control, "jane", "get", "pods").await.unwrap());
    }
    let more: Vec<_> = (0..10)
        .map(|_| {
            let control = control.clone();
            tokio::spawn(async move {
                let info = RequestInfo {
                    is_resource_request: true,
                    verb: "get".to_owned(),
                    ..RequestInfo::default()
                };
                let user = UserInfo {
                    name: "jane".to_owned(),
                    ..UserInfo::default()
                };
                control
                    .enter(&Arc::new(info), &user, &[], Duration::from_secs(60))
                    .await
                    .place
            })
        })
        .collect();
    tokio::time::sleep(LEND_EVERY * 2).await;
    assert_eq!(
        (limit(&control, "jane"), limit(&control, "joe")),
        (15, 5),
        "joe lends half of his"
    );
    let served = more.iter().filter(|task| task.is_finished()).count();
    assert_eq!(served, 5);
    let mut places = Vec::new();
    for _ in 0..5 {
        places.push(enter(&control, "joe", "get", "pods").await.unwrap());
    }
    tokio::time::sleep(LEND_EVERY * 2).await;
    assert!(limit(&control, "joe") >= 5);
    cancel.cancel();
    keeping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn wide_lists_take_many_seats_but_never_more_than_is_fit() {
    let (control, _) = control(200);
    let place = enter(&control, "jane", "list", "bigs").await.unwrap();
    let seats = control.current.load().levels["jane"].show(false, |shown| shown.set.seats_in_use);
    assert_eq!(seats, 10, "a megabyte, whatever there is");
    drop(place);
    let small = enter(&control, "jane", "list", "smalls").await.unwrap();
    assert_eq!(
        control.current.load().levels["jane"].show(false, |shown| shown.set.seats_in_use),
        1
    );
    drop(small);
}

#[tokio::test(start_paused = true)]
async fn a_write_keeps_seats_for_the_watches_it_concerns() {
    let (control, _) = control(200);
    let info = RequestInfo {
        resource: "pods".to_owned(),
        ..RequestInfo::default()
    };
    let watching: Vec<_> = (0..40).map(|_| control.watch(&info, &[])).collect();
    drop(enter(&control, "jane", "create", "pods").await.unwrap());
    let seats = || control.current.load().levels["jane"].show(false, |shown| shown.set.seats_in_use);
    assert_eq!(seats(), 4);
    tokio::time::sleep(Duration::from_millis(6)).await;
    assert_eq!(seats(), 0);
    drop(watching);
}

#[tokio::test(start_paused = true)]
async fn a_level_that_goes_away_is_left_by_those_in_it() {
    let (control, reader) = control(20);
    let place = enter(&control, "jane", "get", "pods").await.unwrap();
    reader.remove(
        &GroupResource::new(GROUP, "prioritylevelconfigurations"),
        "",
        "jane",
    );
    control.digest();
    assert!(
        control
            .dump("/debug/api_priority_and_fairness/dump_priority_levels", &[])
            .unwrap()
            .contains("true,        0")
    );
    let info = RequestInfo::default();
    let user = UserInfo {
        name: "jane".to_owned(),
        ..UserInfo::default()
    };
    assert_eq!(&*control.schema(&info, &user).name, CATCH_ALL);
    drop(place);
    control.digest();
    assert!(control.current.load().leaving.is_empty());
    assert_eq!(limit(&control, "joe"), 20);
}
