//! An event as it is written (`k8s.io/apiserver/pkg/apis/audit/v1`), as JSON and as the one line of the legacy format. Pure.

use std::collections::BTreeMap;

use coracle_api::quote::quote;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::policy::Level;
use crate::request::UserInfo;

/// When an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Stage {
    /// Before anything is done.
    RequestReceived,
    /// Once the head of a stream is sent.
    ResponseStarted,
    /// Once nothing more will be sent.
    ResponseComplete,
    /// Where answering panicked.
    Panic,
}

impl Stage {
    pub(super) const ALL: [(Self, &'static str); 4] = [
        (Self::RequestReceived, "RequestReceived"),
        (Self::ResponseStarted, "ResponseStarted"),
        (Self::ResponseComplete, "ResponseComplete"),
        (Self::Panic, "Panic"),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(stage, _)| *stage == self)
            .map_or("", |(_, name)| name)
    }
}

/// `authentication.k8s.io/v1` `UserInfo`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct User {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
}

impl User {
    pub(super) fn of(user: &UserInfo) -> Self {
        Self {
            username: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
        }
    }
}

/// More about how it is known who asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthenticationMetadata {
    /// The verb of the constrained right to act as another.
    pub(super) impersonation_constraint: String,
}

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectReference {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) subresource: String,
}

/// The whole, in upstream's order of fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) level: Level,
    #[serde(rename = "auditID")]
    pub(super) audit_id: String,
    pub(super) stage: Stage,
    #[serde(rename = "requestURI")]
    pub(super) request_uri: String,
    pub(super) verb: String,
    pub(super) user: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) impersonated_user: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authentication_metadata: Option<AuthenticationMetadata>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub(super) source_ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object_ref: Option<ObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_object: Option<Value>,
    #[serde(serialize_with = "micro_time")]
    pub(super) request_received_timestamp: Timestamp,
    #[serde(serialize_with = "micro_time")]
    pub(super) stage_timestamp: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

fn micro_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
}

impl Event {
    /// One line of JSON, its end included.
    pub(super) fn json(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// One line of the legacy format, its end included.
    pub(super) fn legacy(&self) -> Vec<u8> {
        let name = |user: &User, none: &str| match user.username.as_str() {
            "" => none.to_owned(),
            name => name.to_owned(),
        };
        let groups = |user: &User| {
            let quoted: Vec<String> = user.groups.iter().map(|group| quote(group)).collect();
            quoted.join(",")
        };
        let own_groups = match groups(&self.user) {
            none if none.is_empty() => "<none>".to_owned(),
            some => some,
        };
        let (as_user, as_groups) = match &self.impersonated_user {
            None => ("<self>".to_owned(), "<lookup>".to_owned()),
            Some(user) => (user.username.clone(), groups(user)),
        };
        let namespace = self.object_ref.as_ref().map(|object| object.namespace.as_str());
        let namespace = namespace
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or("<none>");
        let code = self
            .response_status
            .as_ref()
            .and_then(|status| status["code"].as_u64());
        let response = code.map_or("<deferred>".to_owned(), |code| code.to_string());
        let ip = self.source_ips.first().map_or("<unknown>", String::as_str);
        let line = format!(
            "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} namespace={} uri={} \
             response=\"{response}\"\n",
            self.request_received_timestamp,
            quote(&self.audit_id),
            quote(self.stage.name()),
            quote(ip),
            quote(&self.verb),
            quote(&name(&self.user, "<none>")),
            quote(&own_groups),
            quote(&as_user),
            quote(&as_groups),
            quote(&self.user_agent),
            quote(namespace),
            quote(&self.request_uri),
        );
        line.into_bytes()
    }

    /// Without the objects of request and answer, which are most of an event that is too long.
    pub(super) fn truncated(mut self) -> Self {
        self.request_object = None;
        self.response_object = None;
        self.annotations
            .insert("audit.k8s.io/truncated".to_owned(), "true".to_owned());
        self
    }

    /// The parts of a `Status` that are written.
    pub(super) fn set_status(&mut self, status: &Value) {
        let mut kept = json!({"metadata": {}});
        for field in ["status", "message", "reason", "details", "code"] {
            if let Some(value) = status.get(field) {
                kept[field] = value.clone();
            }
        }
        self.response_status = Some(kept);
    }
}
