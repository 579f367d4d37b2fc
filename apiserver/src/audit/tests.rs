//! Events as they are written, and the batches in which they go, in virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::{self, BatchLimits, Order};
use super::event::{Event, ObjectReference, Stage, User};
use super::policy::{Level, Wanted};
use super::sink::{Sink, Truncation};
use super::{AuditFlags, LogFlags, Recorder};
use crate::request::UserInfo;

fn event(uri: &str) -> Event {
    let at: Timestamp = "2026-01-02T03:04:05.0006Z".parse().unwrap();
    let user = UserInfo {
        name: "jane".to_owned(),
        groups: vec!["a".to_owned(), "b".to_owned()],
        ..UserInfo::default()
    };
    Event {
        kind: "Event",
        api_version: "audit.k8s.io/v1",
        level: Level::Request,
        audit_id: "id".to_owned(),
        stage: Stage::ResponseComplete,
        request_uri: uri.to_owned(),
        verb: "create".to_owned(),
        user: User::of(&user),
        impersonated_user: None,
        authentication_metadata: None,
        source_ips: vec!["192.0.2.1".to_owned()],
        user_agent: "test".to_owned(),
        object_ref: Some(ObjectReference {
            namespace: "ns".to_owned(),
            resource: "pods".to_owned(),
            ..ObjectReference::default()
        }),
        response_status: Some(json!({"metadata": {}, "code": 201})),
        request_object: Some(json!({"kind": "Pod"})),
        response_object: None,
        request_received_timestamp: at,
        stage_timestamp: at,
        annotations: BTreeMap::new(),
    }
}

#[test]
fn an_event_is_written_as_upstream_writes_it() {
    let line = String::from_utf8(event("/api/v1/namespaces/ns/pods").json()).unwrap();
    assert_eq!(
        line,
        "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Request\",\"auditID\":\"id\",\"stage\":\
         \"ResponseComplete\",\"requestURI\":\"/api/v1/namespaces/ns/pods\",\"verb\":\"create\",\"user\":{\"username\":\
         \"jane\",\"groups\":[\"a\",\"b\"]},\"sourceIPs\":[\"192.0.2.1\"],\"userAgent\":\"test\",\"objectRef\":{\"resource\":\
         \"pods\",\"namespace\":\"ns\"},\"responseStatus\":{\"code\":201,\"metadata\":{}},\"requestObject\":{\"kind\":\"Pod\"},\
         \"requestReceivedTimestamp\":\"2026-01-02T03:04:05.000600Z\",\"stageTimestamp\":\"2026-01-02T03:04:05.000600Z\"}\n"
    );
    let legacy = String::from_utf8(event("/api").legacy()).unwrap();
    assert_eq!(
        legacy,
        "2026-01-02T03:04:05.0006Z AUDIT: id=\"id\" stage=\"ResponseComplete\" ip=\"192.0.2.1\" method=\"create\" user=\"jane\" \
         groups=\"\\\"a\\\",\\\"b\\\"\" as=\"<self>\" asgroups=\"<lookup>\" user-agent=\"test\" namespace=\"ns\" uri=\"/api\" \
         response=\"201\"\n"
    );
}

#[test]
fn what_is_too_long_loses_its_objects_first() {
    let long = Event {
        request_object: Some(Value::from("x".repeat(2000))),
        ..event("/")
    };
    let truncation = |max_event_size| Truncation {
        enabled: true,
        max_event_size,
        ..Truncation::default()
    };
    assert_eq!(
        Truncation::default().fit(long.clone()),
        Some(long.clone()),
        "not asked for"
    );
    let cut = truncation(1000).fit(long.clone()).unwrap();
    assert_eq!(cut.request_object, None);
    assert_eq!(cut.annotations["audit.k8s.io/truncated"], "true");
    assert_eq!(truncation(100).fit(long), None);
}

/// The end of a tunnel is the end of its record: not the answer that opened it.
#[tokio::test]
async fn a_record_ends_with_what_was_made_of_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let flags = AuditFlags {
        log: Some(LogFlags::new(&path)),
        ..AuditFlags::default()
    };
    let sink = Sink::open(&flags, &TaskTracker::new(), &CancellationToken::new()).await;
    let wanted = Wanted {
        level: Level::Metadata,
        omit_stages: Vec::new(),
        omit_managed_fields: false,
    };
    let recorder = Recorder::new(wanted, event("/exec"), Arc::new(sink.unwrap()));
    let stages = || {
        let lines = std::fs::read_to_string(&path).unwrap();
        let stage = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["stage"].as_str().unwrap().to_owned()
        };
        lines.lines().map(stage).collect::<Vec<_>>()
    };
    assert!(recorder.received().await);
    recorder.started().await;
    let (one, other) = (recorder.held(), recorder.held());
    recorder.ending().await;
    drop(one);
    assert_eq!(stages(), ["RequestReceived", "ResponseStarted"]);
    drop(other);
    assert_eq!(
        stages(),
        ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    );
}

/// Runs a queue until shutdown, and says when which batches went.
async fn batches(
    limits: BatchLimits,
    max_bytes: usize,
    put: impl AsyncFnOnce(&batch::Queue),
) -> Vec<(u64, Vec<String>)> {
    let (queue, events) = batch::queue(&limits);
    let shutdown = CancellationToken::new();
    let (start, went) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let told = Arc::clone(&went);
    let deliver = move |events: Vec<Event>| {
        let uris = events.into_iter().map(|event| event.request_uri).collect();
        told.lock().unwrap().push((start.elapsed().as_secs(), uris));
        std::future::ready(())
    };
    let how = (max_bytes, Order::Any);
    let running = tokio::spawn(batch::run(events, limits, how, shutdown.clone(), deliver));
    put(&queue).await;
    shutdown.cancel();
    running.await.unwrap();
    let went = went.lock().unwrap();
    went.clone()
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_full_or_its_time_has_come_or_the_server_ends() {
    let limits = BatchLimits {
        max_size: 2,
        ..BatchLimits::of_webhook()
    };
    let went = batches(limits, usize::MAX, async |queue| {
        for uri in ["/1", "/2", "/3"] {
            queue.put(event(uri));
        }
        tokio::time::sleep(Duration::from_secs(40)).await;
        queue.put(event("/4"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    let uris = |uris: &[&str]| uris.iter().map(|uri| (*uri).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        went.await,
        [(0, uris(&["/1", "/2"])), (30, uris(&["/3"])), (41, uris(&["/4"]))]
    );
}

#[tokio::test(start_paused = true)]
async fn batches_are_neither_too_big_nor_too_many() {
    let limits = BatchLimits {
        throttle: Some((1.0, 2)),
        max_wait: Duration::ZERO,
        ..BatchLimits::of_webhook()
    };
    let size = event("/1").json().len();
    let went = batches(limits, size, async |queue| {
        for uri in ["/1", "/2", "/3", "/4"] {
            queue.put(event(uri));
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    });
    let times: Vec<u64> = went
        .await
        .into_iter()
        .map(|(at, uris)| at + (uris.len() as u64 - 1) * 100)
        .collect();
    assert_eq!(
        times,
        [0, 0, 1, 2],
        "one event each, two at once, then one a second"
    );
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_room_for_is_lost_and_nobody_waits() {
    let limits = BatchLimits {
        buffer_size: 2,
        ..BatchLimits::of_webhook()
    };
    let (queue, mut events) = batch::queue(&limits);
    for uri in ["/1", "/2", "/3"] {
        queue.put(event(uri));
    }
    drop(queue);
    let mut left = Vec::new();
    while let Some(event) = events.recv().await {
        left.push(event.request_uri);
    }
    assert_eq!(left, ["/1", "/2"]);
}

#[test]
fn what_makes_no_batches_is_told_apart() {
    let table = [
        (
            BatchLimits {
                buffer_size: 0,
                ..BatchLimits::of_log()
            },
            "buffer size 0",
        ),
        (
            BatchLimits {
                max_size: 0,
                ..BatchLimits::of_log()
            },
            "max batch size 0",
        ),
        (
            BatchLimits {
                throttle: Some((0.0, 1)),
                ..BatchLimits::of_log()
            },
            "throttle QPS 0",
        ),
        (
            BatchLimits {
                throttle: Some((0.5, 0)),
                ..BatchLimits::of_log()
            },
            "throttle burst 0",
        ),
    ];
    for (limits, what) in table {
        let why = format!("invalid audit batch log {what}, must be a positive number");
        assert_eq!(limits.check("log"), Err(why));
    }
    for limits in [BatchLimits::of_log(), BatchLimits::of_webhook()] {
        assert_eq!(limits.check("webhook"), Ok(()));
    }
}

/// A log is written in the order of what happened, however long its batches take.
#[tokio::test(start_paused = true)]
async fn batches_of_a_log_do_not_overtake_each_other() {
    let (queue, events) = batch::queue(&BatchLimits::of_log());
    let written = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&written);
    let deliver = move |events: Vec<Event>| {
        let log = Arc::clone(&log);
        async move {
            let uri = events[0].request_uri.clone();
            let slow = if uri == "/1" { 5 } else { 0 };
            tokio::time::sleep(Duration::from_secs(slow)).await;
            log.lock().unwrap().push(uri);
        }
    };
    let shutdown = CancellationToken::new();
    let how = (usize::MAX, Order::Kept);
    let running = tokio::spawn(batch::run(
        events,
        BatchLimits::of_log(),
        how,
        shutdown.clone(),
        deliver,
    ));
    for uri in ["/1", "/2", "/3"] {
        queue.put(event(uri));
    }
    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(*written.lock().unwrap(), ["/1", "/2", "/3"]);
}

/// What a recorder writes of a list at each level, without and with the fields of managers.
#[tokio::test]
async fn levels_and_managed_fields_decide_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let managed = json!({"metadata": {"name": "a", "managedFields": [{"manager": "m"}]}});
    let list = json!({"kind": "PodList", "items": [managed]});
    let table = json!({"kind": "Table", "rows": [{"object": managed}]});
    for (number, (level, omits)) in [
        (Level::Metadata, false),
        (Level::Request, true),
        (Level::RequestResponse, false),
        (Level::RequestResponse, true),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(number.to_string());
        let flags = AuditFlags {
            log: Some(LogFlags::new(&path)),
            ..AuditFlags::default()
        };
        let sink = Sink::open(&flags, &TaskTracker::new(), &CancellationToken::new()).await;
        let sink = Arc::new(sink.unwrap());
        for answer in [&list, &table] {
            let wanted = Wanted {
                level,
                omit_stages: vec![Stage::RequestReceived],
                omit_managed_fields: omits,
            };
            let blank = Event {
                level,
                request_object: None,
                response_status: None,
                ..event("/")
            };
            let recorder = Recorder::new(wanted, blank, Arc::clone(&sink));
            assert!(recorder.received().await);
            recorder.requested(&managed);
            recorder.answered(answer.clone());
            recorder.ending().await;
        }
        let lines = std::fs::read_to_string(&path).unwrap();
        let events: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(events.len(), 2, "a stage is left out");
        for (event, within) in events.iter().zip(["/items/0", "/rows/0/object"]) {
            let sent = event.pointer("/requestObject/metadata");
            let got = event["responseObject"].pointer(&format!("{within}/metadata"));
            assert_eq!(sent.is_some(), level >= Level::Request, "{level:?}");
            assert_eq!(got.is_some(), level >= Level::RequestResponse, "{level:?}");
            for metadata in sent.into_iter().chain(got) {
                assert_eq!(metadata.get("managedFields").is_none(), omits, "{level:?}");
            }
        }
    }
}
