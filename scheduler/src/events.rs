//! Records events.k8s.io Events about what was decided. A repeat becomes a series on the first one.
//!
//! Recording never waits: what does not fit into the bounded channel is dropped.

use crate::placed::Placed;
use coracle_api::seldom::Seldom;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const WAITING: usize = 1000;
const REMEMBERED: usize = 4096;
/// The longest note an Event may have, in bytes.
const LONGEST_NOTE: usize = 1024;

/// What is to be recorded about a pod.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) about: ObjectReference,
    /// Whom it is also about.
    pub(crate) related: Option<ObjectReference>,
    /// `Normal` or `Warning`.
    pub(crate) kind: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) action: &'static str,
    pub(crate) note: String,
}

impl Note {
    /// A pod was bound.
    pub(crate) fn scheduled(pod: &Pod, node: &str) -> Self {
        let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
        let place = format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
        let note = format!("Successfully assigned {place} to {node}");
        Self {
            about: reference(pod),
            related: None,
            kind: "Normal",
            reason: "Scheduled",
            action: "Binding",
            note,
        }
    }

    /// A pod could not be placed or bound.
    pub(crate) fn failed(pod: &Pod, mut note: String) -> Self {
        if note.len() > LONGEST_NOTE {
            let end = (0..=LONGEST_NOTE - 3)
                .rev()
                .find(|at| note.is_char_boundary(*at))
                .unwrap_or(0);
            note.truncate(end);
            note.push_str("...");
        }
        Self {
            about: reference(pod),
            related: None,
            kind: "Warning",
            reason: "FailedScheduling",
            action: "Scheduling",
            note,
        }
    }
}

impl Note {
    /// A pod was told to leave its node, to make room for another.
    pub(crate) fn preempted(victim: &Placed, pod: &Pod) -> Self {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        Self {
            about: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                namespace: Some(victim.namespace.clone()),
                name: Some(victim.name.clone()),
                uid: Some(victim.uid.clone()),
                ..ObjectReference::default()
            },
            related: Some(reference(pod)),
            kind: "Normal",
            reason: "Preempted",
            action: "Preempting",
            note: format!("Preempted by pod {uid} on node {}", victim.node),
        }
    }
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: None,
    }
}

/// Takes notes.
#[derive(Clone)]
pub(crate) struct Recorder {
    notes: mpsc::Sender<Note>,
    dropped: Seldom,
}

impl Recorder {
    /// A recorder for this scheduler, and the task that writes for it until the token is cancelled.
    pub(crate) fn new(
        client: kube::Client,
        controller: String,
        instance: String,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (notes, mut waiting) = mpsc::channel(WAITING);
        let write = async move {
            let mut written = Written::new(client, controller, instance);
            while let Some(Some(note)) = shutdown.run_until_cancelled(waiting.recv()).await {
                let now = Timestamp::now();
                if let Some(Err(error)) = shutdown.run_until_cancelled(written.write(&note, now)).await {
                    tracing::warn!(reason = note.reason, pod = note.about.name, %error, "could not write an event");
                }
            }
        };
        let dropped = Seldom::default();
        (Self { notes, dropped }, write)
    }

    pub(crate) fn record(&self, note: Note) {
        if self.notes.try_send(note).is_err()
            && let Some(dropped) = self.dropped.again()
        {
            tracing::warn!(dropped, "an event was dropped: too many wait to be written");
        }
    }
}

/// Writes events, and knows the latest so that a repeat is told apart.
struct Written {
    client: kube::Client,
    controller: String,
    instance: String,
    series: HashMap<Identity, (String, i32)>,
    order: VecDeque<Identity>,
}

/// What makes two notes the same: the pod's uid, the reason, and the words.
type Identity = (Option<String>, &'static str, String);

impl Written {
    fn new(client: kube::Client, controller: String, instance: String) -> Self {
        Self {
            client,
            controller,
            instance,
            series: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    async fn write(&mut self, note: &Note, now: Timestamp) -> Result<(), kube::Error> {
        let namespace = note.about.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let identity = (note.about.uid.clone(), note.reason, note.note.clone());
        if let Some((name, count)) = self.series.get_mut(&identity) {
            *count += 1;
            let series = EventSeries {
                count: *count,
                last_observed_time: MicroTime(now),
            };
            let change = Patch::Merge(json!({"series": series}));
            match api.patch(name, &PatchParams::default(), &change).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => return other.map(drop),
            }
        }
        let event = self.compose(note, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => self.remember(identity, name),
            // The namespace is gone or going, and its events with it.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn compose(&self, note: &Note, now: Timestamp) -> Event {
        let namespace = note
            .about
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let name = format!(
            "{}.{:x}",
            note.about.name.as_deref().unwrap_or_default(),
            now.as_nanosecond()
        );
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(note.kind.to_owned()),
            reason: Some(note.reason.to_owned()),
            action: Some(note.action.to_owned()),
            note: Some(note.note.clone()),
            regarding: Some(note.about.clone()),
            related: note.related.clone(),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }

    fn remember(&mut self, identity: Identity, name: String) {
        if self.series.insert(identity.clone(), (name, 1)).is_none() {
            self.order.push_back(identity);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.series.remove(&oldest);
        }
    }
}
