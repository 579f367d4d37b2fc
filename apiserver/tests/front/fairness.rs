//! Priority and fairness over the wire: what answers tell, who waits, who is refused, and what can be looked at.

use std::sync::Arc;
use std::time::Duration;

use coracle_apiserver::Running;
use coracle_store::model::ModelStore;
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stand_in::{Answer, Objects, Server, client_of, get, policy, post, send, start_whole_with};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMA_UID: &str = "x-kubernetes-pf-flowschema-uid";
const LEVEL_UID: &str = "x-kubernetes-pf-prioritylevel-uid";
const DUMP: &str = "/debug/api_priority_and_fairness";

/// Jane's requests go to a level of one seat, where `queues` of one request wait, or none.
fn narrow(queues: u32) -> Objects {
    let response = match queues {
        0 => json!({"type": "Reject"}),
        queues => {
            json!({"type": "Queue", "queuing": {"queues": queues, "handSize": 1, "queueLengthLimit": 1}})
        }
    };
    let level = |name: &str, shares: u32, response: Value| {
        json!({"metadata": {"name": name, "uid": format!("level-{name}")}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": response}}})
    };
    let rules = json!([{"subjects": [{"kind": "User", "user": {"name": "jane"}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]);
    let schema = json!({"metadata": {"name": "janes", "uid": "schema-janes"}, "spec": {"matchingPrecedence": 1,
        "priorityLevelConfiguration": {"name": "narrow"}, "rules": rules, "distinguisherMethod": {"type": "ByUser"}}});
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({"metadata": {"name": "everything"},
        "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    let binding = json!({"metadata": {"name": "everything"}, "roleRef": {"kind": "ClusterRole", "name": "everything"},
        "subjects": [{"kind": "User", "name": "jane"}]});
    policy()
        .with(GROUP, "prioritylevelconfigurations", level("narrow", 1, response))
        .with(
            GROUP,
            "prioritylevelconfigurations",
            level("catch-all", 1, json!({"type": "Reject"})),
        )
        .with(GROUP, "flowschemas", schema)
        .with(rbac, "clusterroles", role)
        .with(rbac, "clusterrolebindings", binding)
}

async fn start(queues: u32) -> Server {
    Server::start_among(narrow(queues), |config| {
        (config.limits.reads, config.limits.writes) = (1, 1);
        config.limits.request_timeout = Duration::from_secs(20);
    })
    .await
}

/// A request that is answered for as long as the handle lives.
async fn sleeper(server: &Server) -> tokio::task::JoinHandle<Answer> {
    let jane = server.with_token(Some("jane-token")).await;
    let asking = tokio::spawn(async move { get(&jane, "/api/v1/sleepers").await });
    until_dumped(server, "dump_requests", |dump| dump.contains("/api/v1/sleepers")).await;
    asking
}

async fn dump(server: &Server, what: &str) -> String {
    get(
        &server.admin().await,
        &format!("{DUMP}/{what}?includeRequestDetails=1"),
    )
    .await
    .text
}

async fn until_dumped(server: &Server, what: &str, expected: impl Fn(&str) -> bool) -> String {
    let looking = async {
        loop {
            let dump = dump(server, what).await;
            if expected(&dump) {
                return dump;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking)
        .await
        .expect("the dump never shows it")
}

#[tokio::test]
async fn who_finds_no_seat_in_a_level_that_does_not_wait_is_refused() {
    let server = start(0).await;
    let jane = server.with_token(Some("jane-token")).await;
    let served = get(&jane, "/api/v1/namespaces/a/pods").await;
    assert_eq!(served.code, 200);
    assert_eq!(served.headers[SCHEMA_UID], "schema-janes");
    assert_eq!(served.headers[LEVEL_UID], "level-narrow");
    let asking = sleeper(&server).await;
    let refused = get(&jane, "/api/v1/namespaces/a/pods").await;
    assert_eq!(
        (refused.code, refused.text.as_str()),
        (429, "Too many requests, please try again later.\n")
    );
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.headers[SCHEMA_UID], "schema-janes");
    let exempt = get(&server.admin().await, "/api/v1/pods").await;
    assert_eq!(exempt.code, 200, "others are not concerned");
    asking.abort();
    until_dumped(&server, "dump_requests", |dump| !dump.contains("janes")).await;
    assert_eq!(
        get(&jane, "/api/v1/namespaces/a/pods").await.code,
        200,
        "the seat was given back"
    );
    let metrics = get(&server.admin().await, "/metrics").await.text;
    for series in [
        "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"janes\",priority_level=\"narrow\",reason=\"concurrency-limit\"} 1",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"narrow\"} 1",
        "apiserver_flowcontrol_current_executing_requests{flow_schema=\"janes\",priority_level=\"narrow\"} 0",
        "apiserver_flowcontrol_priority_level_seat_utilization_bucket{phase=\"executing\",priority_level=\"narrow\",le=\"0.99\"}",
        "apiserver_flowcontrol_priority_level_request_utilization_count{phase=\"waiting\",priority_level=\"narrow\"}",
        "apiserver_flowcontrol_demand_seats_bucket{priority_level=\"narrow\",le=\"1.2\"}",
        "apiserver_flowcontrol_request_wait_duration_seconds_count{execute=\"false\",flow_schema=\"janes\",priority_level=\"narrow\"} 1",
        "apiserver_flowcontrol_current_r{priority_level=\"narrow\"} 0",
        "apiserver_flowcontrol_read_vs_write_current_requests_count{phase=\"executing\",request_kind=\"readOnly\"}",
        "apiserver_current_inqueue_requests{request_kind=\"readOnly\"} 0",
        "apiserver_request_terminations_total{code=\"429\",component=\"apiserver\",group=\"\",resource=",
        "apiserver_request_total{code=\"429\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=",
    ] {
        assert!(metrics.contains(series), "{series} is not among\n{metrics}");
    }
}

#[tokio::test]
async fn who_finds_no_seat_waits_their_turn_where_there_are_queues() {
    let server = start(1).await;
    let first = sleeper(&server).await;
    let jane = server.with_token(Some("jane-token")).await;
    let waiting = {
        let jane = jane.clone();
        tokio::spawn(async move { get(&jane, "/api/v1/namespaces/a/pods").await })
    };
    let shown = until_dumped(&server, "dump_requests", |dump| {
        dump.contains("/api/v1/namespaces/a/pods")
    })
    .await;
    let line = shown
        .lines()
        .find(|line| line.contains("/api/v1/namespaces/a/pods"))
        .unwrap();
    let cells: Vec<_> = line.split(',').map(str::trim).collect();
    assert_eq!(cells[..5], ["narrow", "janes", "0", "0", ""], "{line}");
    assert_eq!(cells[9], "0001-01-01T00:00:00Z", "it has not begun");
    let full = get(&jane, "/api/v1/namespaces/a/pods").await;
    assert_eq!(full.code, 429, "the queue is full");
    let levels = dump(&server, "dump_priority_levels").await;
    let narrow = levels.lines().find(|line| line.starts_with("narrow")).unwrap();
    let cells: Vec<_> = narrow.split(',').map(str::trim).collect();
    assert_eq!(
        cells[1..8],
        ["1", "false", "false", "1", "1", "1", "1"],
        "{narrow}"
    );
    first.abort();
    assert_eq!(waiting.await.unwrap().code, 200);
    let queues = dump(&server, "dump_queues").await;
    assert!(queues.starts_with("PriorityLevelName, Index,"), "{queues}");
}

#[tokio::test]
async fn nobody_waits_longer_than_a_part_of_their_time() {
    let server = start(1).await;
    let first = sleeper(&server).await;
    let jane = server.with_token(Some("jane-token")).await;
    let late = get(&jane, "/api/v1/namespaces/a/pods?timeout=40ms").await;
    assert_eq!(late.code, 429);
    let metrics = get(&server.admin().await, "/metrics").await.text;
    let timed_out = "apiserver_flowcontrol_rejected_requests_total{flow_schema=\"janes\",priority_level=\"narrow\",reason=\"time-out\"} 1";
    assert!(metrics.contains(timed_out), "{metrics}");
    first.abort();
}

#[tokio::test]
async fn a_watch_takes_a_seat_only_while_it_begins() {
    let server = start(0).await;
    let jane = server.with_token(Some("jane-token")).await;
    let watch = Request::get("/api/v1/namespaces/a/pods?watch=true")
        .body(Body::empty())
        .unwrap();
    let response = jane.send(watch).await.unwrap();
    assert_eq!(response.headers()[SCHEMA_UID], "schema-janes");
    assert_eq!(get(&jane, "/api/v1/namespaces/a/pods").await.code, 200);
    drop(response);
}

async fn whole() -> (Running, [TempDir; 1], kube::Client) {
    let (running, home) = start_whole_with(Arc::new(ModelStore::new()), |_| {}).await;
    let client = client_of(&running).await;
    (running, [home], client)
}

#[tokio::test]
async fn every_answer_tells_where_its_request_belongs() {
    let (running, _home, client) = whole().await;
    let uid = async |resource: &str, name: &str| {
        let object = get(&client, &format!("/apis/{GROUP}/v1/{resource}/{name}"))
            .await
            .json();
        object["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let answer = get(&client, "/version").await;
    assert_eq!(
        answer.headers[SCHEMA_UID].to_str().unwrap(),
        uid("flowschemas", "exempt").await
    );
    assert_eq!(
        answer.headers[LEVEL_UID].to_str().unwrap(),
        uid("prioritylevelconfigurations", "exempt").await
    );
    let asked = Request::get("/api/v1/pods")
        .header("impersonate-user", "jane")
        .body(Body::empty())
        .unwrap();
    let refused = send(&client, asked).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.headers[SCHEMA_UID].to_str().unwrap(),
        uid("flowschemas", "global-default").await
    );
    running.stop().await;
}

#[tokio::test]
async fn a_new_schema_is_acted_by_and_forgotten_with_its_object() {
    let (running, _home, client) = whole().await;
    let level = json!({"metadata": {"name": "mine"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 10,
        "limitResponse": {"type": "Queue", "queuing": {"queues": 8, "handSize": 2, "queueLengthLimit": 10}}}}});
    let levels = format!("/apis/{GROUP}/v1/prioritylevelconfigurations");
    assert_eq!(post(&client, &levels, &level).await.code, 201);
    let schema = json!({"metadata": {"name": "janes"}, "spec": {"matchingPrecedence": 2,
        "priorityLevelConfiguration": {"name": "mine"}, "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "jane"}}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/version"]}]}]}});
    let made = post(&client, &format!("/apis/{GROUP}/v1/flowschemas"), &schema).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let uid = made.json()["metadata"]["uid"].clone();
    let belongs = async || {
        let asked = Request::get("/version")
            .header("impersonate-user", "jane")
            .body(Body::empty())
            .unwrap();
        send(&client, asked).await.headers[SCHEMA_UID].to_str().unwrap() == uid
    };
    let until = async |expected: bool| {
        let looking = async { while belongs().await != expected {} };
        tokio::time::timeout(Duration::from_secs(60), looking)
            .await
            .expect("it is acted by what is stored");
    };
    until(true).await;
    let one = format!("/apis/{GROUP}/v1/flowschemas/janes");
    assert_eq!(
        send(&client, Request::delete(&one).body(Body::empty()).unwrap())
            .await
            .code,
        200
    );
    until(false).await;
    running.stop().await;
}
