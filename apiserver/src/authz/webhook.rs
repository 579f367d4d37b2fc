//! A service elsewhere that says what is allowed, asked by SubjectAccessReview (`--authorization-webhook-*`, or an entry of an
//! `AuthorizationConfiguration`). Only asked where its conditions hold; answers are remembered for their time.

use std::time::Duration;

use coracle_api::cel::{Activation, Environment, PER_CALL_LIMIT, Program, Value as CelValue};
use coracle_api::object::Fields;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::review;
use super::{Attributes, Decision, Verdict};
use crate::outbound::{Expiring, Remote};

/// How many answers are remembered.
const ANSWERS_MAX: usize = 8192;
/// Answers to longer questions are not, in bytes: whoever asks chooses their length.
const REMEMBERED_MAX: usize = 10_000;

/// What is asked, of whom and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessWebhookSettings {
    /// `v1` or `v1beta1`.
    pub version: String,
    /// For how long a yes counts.
    pub authorized_ttl: Duration,
    /// For how long anything else counts.
    pub unauthorized_ttl: Duration,
    /// How long one question may take.
    pub timeout: Duration,
    /// Whether no answer is a no; otherwise the next is asked.
    pub deny_on_failure: bool,
    /// What has to be true of `request` that it is asked at all.
    pub conditions: Vec<String>,
}

/// Asks a service what is allowed.
pub struct AccessWebhook {
    settings: AccessWebhookSettings,
    remote: Remote,
    environment: Environment,
    conditions: Vec<(String, Program)>,
    answers: Expiring<[u8; 32], Value>,
}

impl AccessWebhook {
    /// Asks `remote`.
    ///
    /// # Errors
    /// What of the conditions does not compile.
    pub(crate) fn new(settings: AccessWebhookSettings, remote: Remote) -> Result<Self, String> {
        let environment = review::environment();
        let mut conditions = Vec::new();
        for source in &settings.conditions {
            let program = review::compile(source, &environment)?;
            conditions.push((source.clone(), program));
        }
        Ok(Self {
            settings,
            remote,
            environment,
            conditions,
            answers: Expiring::new(ANSWERS_MAX),
        })
    }

    /// What is known without asking the service; otherwise what it is to be asked.
    pub(super) fn known(&self, asked: &Attributes<'_>, now: Timestamp) -> Result<Verdict, Unknown> {
        let spec = review::spec(asked);
        match self.concerns(&spec) {
            Ok(true) => {}
            Ok(false) => return Ok(Verdict::new(Decision::NoOpinion, "")),
            Err(error) => return Ok(self.failed(error)),
        }
        let key: [u8; 32] = Sha256::digest(spec.to_string()).into();
        match self.answers.get(&key, now) {
            Some(status) => Ok(read(&status)),
            None => Err(Unknown { spec, key }),
        }
    }

    /// What the service says.
    pub(super) async fn authorize(&self, asked: &Attributes<'_>, now: Timestamp) -> Verdict {
        let Unknown { spec, key } = match self.known(asked, now) {
            Ok(verdict) => return verdict,
            Err(unknown) => unknown,
        };
        let question = json!({
            "kind": "SubjectAccessReview",
            "apiVersion": format!("authorization.k8s.io/{}", self.settings.version),
            "metadata": {"creationTimestamp": null},
            "spec": self.in_version(spec), "status": {"allowed": false},
        });
        let status = match self.remote.ask(&question, self.settings.timeout).await {
            Ok(answer) => answer["status"].clone(),
            Err(error) => {
                warn!(error, "the webhook that knows what is allowed did not answer");
                return self.failed(error);
            }
        };
        if asked.length() < REMEMBERED_MAX {
            let life = if status.flag("allowed") {
                self.settings.authorized_ttl
            } else {
                self.settings.unauthorized_ttl
            };
            self.answers.put(key, status.clone(), life, now);
        }
        read(&status)
    }

    /// The older version calls groups a group.
    fn in_version(&self, mut spec: Value) -> Value {
        if self.settings.version == "v1beta1"
            && let Some(fields) = spec.as_object_mut()
            && let Some(groups) = fields.remove("groups")
        {
            fields.insert("group".to_owned(), groups);
        }
        spec
    }

    fn failed(&self, error: String) -> Verdict {
        let decision = if self.settings.deny_on_failure {
            Decision::Deny
        } else {
            Decision::NoOpinion
        };
        Verdict::new(decision, "").with_error(error)
    }

    /// Whether all conditions hold: false where one is false, an error where none is and one cannot be evaluated.
    fn concerns(&self, spec: &Value) -> Result<bool, String> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let request = review::with_all_fields(spec);
        let mut activation = Activation::new(&self.environment, &[]);
        activation.set(&self.environment, "request", CelValue::json(&request));
        let mut faults = Vec::new();
        for (source, program) in &self.conditions {
            match program.evaluate(&activation, PER_CALL_LIMIT).0 {
                Ok(CelValue::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(error) => faults.push(format!(
                    "cel evaluation error: expression '{source}' resulted in error: {error}"
                )),
            }
        }
        match faults.as_slice() {
            [] => Ok(true),
            [only] => Err(only.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }
}

/// A question that only the service can answer.
pub(super) struct Unknown {
    spec: Value,
    /// What its answer is remembered by.
    key: [u8; 32],
}

/// What an answer means.
fn read(status: &Value) -> Verdict {
    let reason = status.text("reason");
    match (status.flag("denied"), status.flag("allowed")) {
        (true, true) => Verdict::new(Decision::Deny, reason)
            .with_error("webhook subject access review returned both allow and deny response".to_owned()),
        (true, false) => Verdict::new(Decision::Deny, reason),
        (false, true) => Verdict::new(Decision::Allow, reason),
        (false, false) => Verdict::new(Decision::NoOpinion, reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_are_meant() {
        let decision = |status: Value| read(&status).decision;
        assert_eq!(decision(json!({"allowed": true})), Decision::Allow);
        assert_eq!(decision(json!({"allowed": false})), Decision::NoOpinion);
        assert_eq!(decision(json!({"denied": true})), Decision::Deny);
        assert_eq!(decision(json!({"denied": true, "allowed": true})), Decision::Deny);
        assert_eq!(read(&json!({"allowed": true, "reason": "r"})).reason, "r");
        assert_eq!(decision(Value::Null), Decision::NoOpinion);
    }
}
