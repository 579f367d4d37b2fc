//! Records core/v1 Events about what controllers do, counting repeats instead of writing them anew.
//!
//! Recording never waits: notes go through a bounded channel to one task, and what does not fit is dropped, as are notes
//! about one object beyond a burst (upstream's spam filter: 25 at once, one more every five minutes).

use super::key::ObjectKey;
use coracle_api::seldom::Seldom;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Notes that may wait to be written.
const WAITING: usize = 1000;
/// Distinct events whose counts are remembered.
const REMEMBERED: usize = 4096;
/// Notes one object may cause at once, and how often one more.
const BURST: i64 = 25;
const REFILL: SignedDuration = SignedDuration::from_mins(5);

/// The two types of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventType {
    Normal,
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What is to be recorded about an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Note {
    pub(crate) kind: EventType,
    /// Why, in CamelCase.
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
}

impl Note {
    pub(crate) fn normal(reason: impl Into<Cow<'static, str>>, message: String) -> Self {
        Self {
            kind: EventType::Normal,
            reason: reason.into(),
            message,
        }
    }

    pub(crate) fn warning(reason: impl Into<Cow<'static, str>>, message: String) -> Self {
        Self {
            kind: EventType::Warning,
            reason: reason.into(),
            message,
        }
    }
}

/// How an event refers to the object it is about.
pub(crate) fn reference(api_version: &str, kind: &str, meta: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// Takes notes for one controller.
#[derive(Clone)]
pub(crate) struct Recorder {
    notes: mpsc::Sender<(ObjectReference, Note)>,
    dropped: Seldom,
}

impl Recorder {
    /// A recorder, and the task that writes for it until the token is cancelled.
    pub(crate) fn new(
        client: kube::Client,
        component: &'static str,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (notes, waiting) = mpsc::channel(WAITING);
        let write = async move {
            shutdown
                .run_until_cancelled(write_all(client, component, waiting))
                .await;
        };
        let dropped = Seldom::default();
        (Self { notes, dropped }, write)
    }

    pub(crate) fn record(&self, about: &ObjectReference, note: Note) {
        if self.notes.try_send((about.clone(), note)).is_err()
            && let Some(dropped) = self.dropped.again()
        {
            tracing::warn!(
                object = about.name,
                dropped,
                "an event was dropped: too many wait to be written"
            );
        }
    }
}

async fn write_all(
    client: kube::Client,
    component: &'static str,
    mut waiting: mpsc::Receiver<(ObjectReference, Note)>,
) {
    let mut written = Written::default();
    while let Some((about, note)) = waiting.recv().await {
        let now = Timestamp::now();
        if !written.admits(&about, now) {
            continue;
        }
        let namespace = about.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(client.clone(), namespace);
        if let Err(error) = write_one(&api, component, &about, &note, &mut written, now).await {
            tracing::warn!(reason = %note.reason, object = about.name, %error, "could not write an event");
        }
    }
}

async fn write_one(
    api: &Api<Event>,
    component: &str,
    about: &ObjectReference,
    note: &Note,
    written: &mut Written,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let repeat = written.repeats(about, note);
    if let Some((name, count)) = repeat {
        let change = json!({"count": count, "lastTimestamp": Time(now)});
        match api
            .patch(&name, &PatchParams::default(), &Patch::Merge(change))
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => return other.map(drop),
        }
    }
    let event = compose(component, about, note, now);
    let name = event.metadata.name.clone().unwrap_or_default();
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => {
            written.remember(about, note, name);
            Ok(())
        }
        Err(error) if super::write::is_namespace_terminating(&error) || super::write::is_gone(&error) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn compose(component: &str, about: &ObjectReference, note: &Note, now: Timestamp) -> Event {
    let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let name = format!(
        "{}.{:x}",
        about.name.as_deref().unwrap_or_default(),
        now.as_nanosecond()
    );
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: about.clone(),
        type_: Some(note.kind.as_str().to_owned()),
        reason: Some(note.reason.to_string()),
        message: Some(note.message.clone()),
        source: Some(EventSource {
            component: Some(component.to_owned()),
            host: None,
        }),
        reporting_component: Some(component.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    }
}

/// What has been written, so that a repeat only counts.
#[derive(Default)]
struct Written {
    counts: HashMap<(String, Note), (String, i32)>,
    order: VecDeque<(String, Note)>,
    budgets: HashMap<ObjectKey, (i64, Timestamp)>,
}

impl Written {
    /// The event this note repeats, by name, with its count from now on.
    fn repeats(&mut self, about: &ObjectReference, note: &Note) -> Option<(String, i32)> {
        let (name, count) = self.counts.get_mut(&identity(about, note))?;
        *count += 1;
        Some((name.clone(), *count))
    }

    fn remember(&mut self, about: &ObjectReference, note: &Note, name: String) {
        let key = identity(about, note);
        if self.counts.insert(key.clone(), (name, 1)).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
    }

    /// Whether this object may still cause an event.
    fn admits(&mut self, about: &ObjectReference, now: Timestamp) -> bool {
        if self.budgets.len() > REMEMBERED {
            self.budgets.clear();
        }
        let key = ObjectKey::new(
            about.namespace.as_deref().unwrap_or_default(),
            about.uid.as_deref().or(about.name.as_deref()).unwrap_or_default(),
        );
        let (left, since) = self.budgets.entry(key).or_insert((BURST, now));
        let earned = now.duration_since(*since).as_secs() / REFILL.as_secs();
        if earned > 0 {
            *left = (*left + earned).min(BURST);
            *since = now;
        }
        *left -= 1;
        if *left < 0 {
            *left = 0;
            return false;
        }
        true
    }
}

fn identity(about: &ObjectReference, note: &Note) -> (String, Note) {
    (
        about
            .uid
            .clone()
            .or_else(|| about.name.clone())
            .unwrap_or_default(),
        note.clone(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> ObjectReference {
        ObjectReference {
            uid: Some("u".to_owned()),
            name: Some("web".to_owned()),
            ..ObjectReference::default()
        }
    }

    #[test]
    fn a_repeat_counts_and_another_message_does_not() {
        let mut written = Written::default();
        let note = Note::normal("ScalingReplicaSet", "up".to_owned());
        assert_eq!(written.repeats(&about(), &note), None);
        written.remember(&about(), &note, "web.1".to_owned());
        assert_eq!(written.repeats(&about(), &note), Some(("web.1".to_owned(), 2)));
        assert_eq!(written.repeats(&about(), &note), Some(("web.1".to_owned(), 3)));
        let other = Note::normal("ScalingReplicaSet", "down".to_owned());
        assert_eq!(written.repeats(&about(), &other), None);
    }

    #[test]
    fn one_object_has_a_burst_and_then_one_event_in_five_minutes() {
        let mut written = Written::default();
        let start = Timestamp::UNIX_EPOCH;
        let admitted = (0..100).filter(|_| written.admits(&about(), start)).count();
        assert_eq!(admitted, 25);
        let later = start + REFILL;
        assert_eq!((0..10).filter(|_| written.admits(&about(), later)).count(), 1);
    }
}
