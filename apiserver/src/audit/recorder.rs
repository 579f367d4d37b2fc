//! What is recorded of one request, from whoever has a part in answering it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::event::{AuthenticationMetadata, Event, Stage, User};
use super::policy::{Level, Wanted};
use super::sink::Sink;
use crate::authn::Impersonated;
use crate::authz::Verdict;

/// A handle that everybody may hold; an empty one, which does nothing, where nothing is recorded.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Option<Arc<Recording>>);

struct Recording {
    wanted: Wanted,
    event: Mutex<Event>,
    going: Mutex<Going>,
    sink: Arc<Sink>,
}

/// What has not ended yet.
struct Going {
    answer: bool,
    connections: usize,
}

/// Something that was made of a request's connection, and goes on.
pub(crate) struct Held(Recorder);

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.ends(|going| going.connections -= 1) {
            self.0.complete_late();
        }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recorder").field(&self.0.is_some()).finish()
    }
}

impl Recorder {
    pub(super) fn new(wanted: Wanted, event: Event, sink: Arc<Sink>) -> Self {
        Self(Some(Arc::new(Recording {
            wanted,
            event: Mutex::new(event),
            going: Mutex::new(Going {
                answer: true,
                connections: 0,
            }),
            sink,
        })))
    }

    /// Whether anything is recorded at all.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether what was sent is recorded.
    pub(crate) fn takes_requests(&self) -> bool {
        self.takes(Level::Request)
    }

    pub(super) fn takes_responses(&self) -> bool {
        self.takes(Level::RequestResponse)
    }

    fn takes(&self, level: Level) -> bool {
        self.0
            .as_ref()
            .is_some_and(|recording| recording.wanted.level >= level)
    }

    fn visit(&self, change: impl FnOnce(&mut Event)) {
        if let Some(recording) = &self.0 {
            change(&mut recording.event());
        }
    }

    /// Adds an annotation. The first value of a key stands.
    pub(crate) fn annotate(&self, key: &str, value: &str) {
        self.visit(|event| {
            let known = event
                .annotations
                .entry(key.to_owned())
                .or_insert_with(|| value.to_owned());
            if known != value {
                tracing::warn!(key, value, known, "an audit annotation is set already");
            }
        });
    }

    /// Adds an annotation that tells of what was sent.
    pub(crate) fn annotate_request(&self, key: &str, value: &str) {
        if self.takes_requests() {
            self.annotate(key, value);
        }
    }

    /// Whom the sender acts as, and by which right.
    pub(crate) fn impersonated(&self, other: &Impersonated) {
        self.visit(|event| {
            event.impersonated_user = Some(User::of(&other.user));
            let constraint = other.constraint.clone();
            event.authentication_metadata = (!constraint.is_empty()).then_some(AuthenticationMetadata {
                impersonation_constraint: constraint,
            });
        });
    }

    /// What was decided, and why.
    pub(crate) fn authorized(&self, verdict: &Verdict) {
        if self.is_on() {
            let decision = if verdict.is_allowed() { "allow" } else { "forbid" };
            self.annotate("authorization.k8s.io/decision", decision);
            self.annotate("authorization.k8s.io/reason", &verdict.reason);
        }
    }

    /// The object that was sent. What the path does not say of it is taken from its metadata.
    pub(crate) fn requested(&self, object: &Value) {
        let Some(recording) = &self.0 else {
            return;
        };
        let mut event = recording.event();
        if let Some(reference) = &mut event.object_ref {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let parts = [
                (&mut reference.namespace, "namespace"),
                (&mut reference.name, "name"),
                (&mut reference.uid, "uid"),
                (&mut reference.resource_version, "resourceVersion"),
            ];
            for (part, field) in parts.into_iter().filter(|(part, _)| part.is_empty()) {
                text(field).clone_into(part);
            }
        }
        if recording.wanted.level >= Level::Request {
            event.request_object = Some(recording.shown(object.clone()));
        }
    }

    /// The patch that was sent.
    pub(crate) fn patched(&self, bytes: &[u8]) {
        if self.takes_requests() {
            let patch = serde_json::from_slice(bytes);
            let patch = patch.unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes)));
            self.visit(|event| event.request_object = Some(patch));
        }
    }

    /// The code that is answered.
    pub(super) fn code(&self, code: u16) {
        self.visit(|event| {
            event
                .response_status
                .get_or_insert_with(|| json!({"metadata": {}}))["code"] = code.into();
        });
    }

    /// The object that was answered.
    pub(super) fn answered(&self, object: Value) {
        let Some(recording) = &self.0 else {
            return;
        };
        let mut event = recording.event();
        if object["kind"] == "Status" {
            event.set_status(&object);
        }
        if recording.wanted.level >= Level::RequestResponse {
            event.response_object = Some(recording.shown(object));
        }
    }

    /// The event as it is at a stage; none where that stage is not recorded.
    fn at(&self, stage: Stage) -> Option<(Event, &Sink)> {
        let recording = self.0.as_ref()?;
        if recording.wanted.omit_stages.contains(&stage) {
            return None;
        }
        let mut event = recording.event();
        event.stage = stage;
        if stage != Stage::RequestReceived {
            event.stage_timestamp = Timestamp::now();
        }
        Some((event.clone(), &*recording.sink))
    }

    /// Records a stage, and waits for that where the answer is to. False where it could not be recorded and must be.
    async fn stage(&self, stage: Stage) -> bool {
        match self.at(stage) {
            Some((event, sink)) => sink.take(event).await,
            None => true,
        }
    }

    /// Whether the answer waits for what is recorded of it.
    pub(super) fn blocks(&self) -> bool {
        self.0.as_ref().is_some_and(|recording| recording.sink.blocks())
    }

    /// The request came in. False where that could not be recorded and must be.
    #[must_use]
    pub(crate) async fn received(&self) -> bool {
        self.stage(Stage::RequestReceived).await
    }

    /// The head of a stream is about to be sent.
    pub(super) async fn started(&self) {
        self.stage(Stage::ResponseStarted).await;
    }

    /// All but the end of the answer is sent. What was made of its connection may go on.
    pub(super) async fn ending(&self) {
        if self.ends(|going| going.answer = false) {
            self.stage(Stage::ResponseComplete).await;
        }
    }

    /// The answer is over, and nobody is there any more to wait for its record.
    pub(super) fn ended(&self) {
        if self.ends(|going| going.answer = false) {
            self.complete_late();
        }
    }

    fn complete_late(&self) {
        if let Some((event, sink)) = self.at(Stage::ResponseComplete) {
            sink.take_late(event);
        }
    }

    /// Keeps the record open for what was made of the request's connection, until this is dropped.
    pub(crate) fn held(&self) -> Held {
        if let Some(recording) = &self.0 {
            recording.going().connections += 1;
        }
        Held(self.clone())
    }

    /// Whether nothing goes on any more once this has ended.
    fn ends(&self, what: impl FnOnce(&mut Going)) -> bool {
        self.0.as_ref().is_some_and(|recording| {
            let mut going = recording.going();
            what(&mut going);
            !going.answer && going.connections == 0
        })
    }

    /// Answering panicked.
    pub(crate) async fn panicked(&self, message: &str) {
        self.visit(|event| {
            event.set_status(&json!({
                "status": "Failure", "reason": "InternalError", "code": 500,
                "message": format!("APIServer panic'd: {message}"),
            }));
        });
        self.stage(Stage::Panic).await;
    }

    /// The sender is not known: nothing follows but the refusal.
    pub(crate) async fn unauthenticated(&self, attempted: &str) {
        self.visit(|event| {
            event.response_status = Some(json!({"metadata": {}, "message": attempted, "code": 401}));
        });
        self.started().await;
    }
}

impl Recording {
    fn event(&self) -> MutexGuard<'_, Event> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn going(&self) -> MutexGuard<'_, Going> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object as it is written.
    fn shown(&self, mut object: Value) -> Value {
        if self.wanted.omit_managed_fields {
            without_managed_fields(&mut object);
            let inside = |object: &mut Value, list: &str, each: fn(&mut Value)| {
                object
                    .get_mut(list)
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                    .for_each(each);
            };
            inside(&mut object, "items", without_managed_fields);
            inside(&mut object, "rows", |row| {
                row.get_mut("object").into_iter().for_each(without_managed_fields);
            });
        }
        object
    }
}

fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}
