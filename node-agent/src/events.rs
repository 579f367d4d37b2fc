//! Events about pods and the node, in the words that users know from upstream, counted instead of repeated.
//!
//! Recording never waits: an event that finds the queue full is dropped. One task writes them; an API that is away
//! costs only the events of that time.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;

const QUEUE: usize = 1024;
/// Known events; the oldest half goes when there are more.
const MAX_KNOWN: usize = 4096;
/// After this long without it, the same event is told as a new one.
const FORGET_AFTER: SignedDuration = SignedDuration::from_mins(10);
const COMPONENT: &str = "kubelet";

/// `Normal` or `Warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }
}

/// Something to tell about an object.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence {
    pub(crate) object: ObjectReference,
    pub(crate) severity: Severity,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
}

/// Takes events in; clones feed the same queue.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Occurrence>,
}

impl Recorder {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Occurrence>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender }, receiver)
    }

    pub(crate) fn record(
        &self,
        object: ObjectReference,
        severity: Severity,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        let reason = reason.into();
        let occurrence = Occurrence {
            object,
            severity,
            reason,
            message: message.into(),
        };
        if let Err(full) = self.sender.try_send(occurrence) {
            let reason = full.into_inner().reason;
            tracing::debug!(%reason, "event queue is full, event dropped");
        }
    }
}

/// A pod, or a container in it, as an event names it.
pub(crate) fn pod_reference(pod: &Pod, container_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: container_path,
    }
}

/// A node as an event names it: its uid is its name, as upstream's kubelet has it.
pub(crate) fn node_reference(node: &Node) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".into()),
        name: node.metadata.name.clone(),
        uid: node.metadata.name.clone(),
        ..ObjectReference::default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: Option<String>,
    path: Option<String>,
    severity: Severity,
    reason: Cow<'static, str>,
    message: String,
}

#[derive(Clone, Debug)]
struct Known {
    name: String,
    namespace: String,
    count: i32,
    last: Timestamp,
}

/// What to write for an occurrence.
#[derive(Debug)]
enum Write {
    Create(Box<Event>),
    Count {
        namespace: String,
        name: String,
        count: i32,
        last: Timestamp,
    },
}

/// Remembers which events stand in the API. Pure.
#[derive(Default)]
struct Correlator {
    known: HashMap<Key, Known>,
}

impl Correlator {
    fn write(&mut self, occurrence: Occurrence, host: &str, now: Timestamp) -> Write {
        let key = Key {
            uid: occurrence.object.uid.clone(),
            path: occurrence.object.field_path.clone(),
            severity: occurrence.severity,
            reason: occurrence.reason.clone(),
            message: occurrence.message.clone(),
        };
        if let Some(known) = self.known.get_mut(&key)
            && now.duration_since(known.last) < FORGET_AFTER
        {
            known.count = known.count.saturating_add(1);
            known.last = now;
            let (namespace, name) = (known.namespace.clone(), known.name.clone());
            return Write::Count {
                namespace,
                name,
                count: known.count,
                last: now,
            };
        }
        let event = event(occurrence, host, now);
        self.shrink();
        let known = Known {
            name: event.metadata.name.clone().unwrap_or_default(),
            namespace: event.metadata.namespace.clone().unwrap_or_default(),
            count: 1,
            last: now,
        };
        self.known.insert(key, known);
        Write::Create(Box::new(event))
    }

    fn shrink(&mut self) {
        if self.known.len() < MAX_KNOWN {
            return;
        }
        let mut ages: Vec<Timestamp> = self.known.values().map(|k| k.last).collect();
        ages.sort();
        let middle = ages[ages.len() / 2];
        self.known.retain(|_, k| k.last > middle);
    }
}

fn event(occurrence: Occurrence, host: &str, now: Timestamp) -> Event {
    let object = occurrence.object;
    let namespace = object.namespace.clone().unwrap_or_else(|| "default".into());
    let name = format!(
        "{}.{:x}",
        object.name.as_deref().unwrap_or_default(),
        now.as_nanosecond()
    );
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: object,
        type_: Some(occurrence.severity.as_str().into()),
        reason: Some(occurrence.reason.into_owned()),
        message: Some(occurrence.message),
        source: Some(EventSource {
            component: Some(COMPONENT.into()),
            host: Some(host.into()),
        }),
        reporting_component: Some(COMPONENT.into()),
        reporting_instance: Some(host.into()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

/// Writes what comes until the token ends it.
pub(crate) async fn write_all(
    client: kube::Client,
    host: String,
    mut receiver: mpsc::Receiver<Occurrence>,
    shutdown: CancellationToken,
) {
    let mut correlator = Correlator::default();
    loop {
        let occurrence = tokio::select! {
            () = shutdown.cancelled() => return,
            next = receiver.recv() => match next {
                Some(occurrence) => occurrence,
                None => return,
            },
        };
        let write = correlator.write(occurrence, &host, clock::now());
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = send(&client, write) => result,
        };
        if let Err(error) = result {
            tracing::debug!(%error, "event not written");
        }
    }
}

async fn send(client: &kube::Client, write: Write) -> Result<(), kube::Error> {
    match write {
        Write::Create(event) => {
            let namespace = event.metadata.namespace.clone().unwrap_or_default();
            let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
            api.create(&PostParams::default(), &event).await.map(drop)
        }
        Write::Count {
            namespace,
            name,
            count,
            last,
        } => {
            let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
            let patch = Patch::Merge(json!({"count": count, "lastTimestamp": Time(last)}));
            api.patch(&name, &PatchParams::default(), &patch).await.map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn occurrence(message: &str) -> Occurrence {
        let object = ObjectReference {
            kind: Some("Pod".into()),
            name: Some("web".into()),
            namespace: Some("ns".into()),
            uid: Some("u1".into()),
            ..ObjectReference::default()
        };
        Occurrence {
            object,
            severity: Severity::Warning,
            reason: "BackOff".into(),
            message: message.into(),
        }
    }

    #[test]
    fn repeated_events_are_counted() {
        let mut correlator = Correlator::default();
        assert!(matches!(
            correlator.write(occurrence("a"), "n1", at(0)),
            Write::Create(_)
        ));
        assert!(matches!(
            correlator.write(occurrence("b"), "n1", at(1)),
            Write::Create(_)
        ));
        match correlator.write(occurrence("a"), "n1", at(2)) {
            Write::Count { namespace, count, .. } => assert_eq!((namespace.as_str(), count), ("ns", 2)),
            other => panic!("expected a count, got {other:?}"),
        }
        assert!(matches!(
            correlator.write(occurrence("a"), "n1", at(1000)),
            Write::Create(_)
        ));
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = Correlator::default();
        for i in 0..3 * MAX_KNOWN {
            correlator.write(occurrence(&i.to_string()), "n1", at(i64::try_from(i).unwrap()));
        }
        assert!(correlator.known.len() <= MAX_KNOWN);
    }

    #[test]
    fn an_event_as_a_whole() {
        insta::assert_json_snapshot!(event(occurrence("Back-off"), "n1", at(0)));
    }
}
