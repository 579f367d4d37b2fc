//! Policies that refuse.

use coracle_api::cel::policy::{Decision, Inputs};
use coracle_api::status::{ApiError, Cause, Details, Reason};
use serde_json::{Value, json};
use tracing::debug;

use super::installed::{Binding, Installed};
use super::{Asker, Policies, States, inputs, misconfigured, params, request, subject};
use crate::authz::Questions;
use crate::webhook::matching::Subject;
use crate::webhook::{Asked, Shapes, Version};

/// The longest value of an audit annotation, in bytes (upstream's `maxAuditAnnotationValueLength`).
const ANNOTATION_MAX: usize = 10 * 1024;

/// A refusal.
struct Denied {
    policy: String,
    binding: Option<String>,
    message: String,
    /// Empty for `Invalid`.
    reason: String,
}

impl Policies {
    /// Evaluates the validating policies that concern a request. `object` is absent where something is deleted.
    ///
    /// # Errors
    /// The first refusal; 404 where the namespace is not there.
    pub(crate) async fn validate(
        &self,
        asked: &Asked<'_>,
        shapes: &dyn Shapes,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let all = self.validating.now(&*self.reader);
        let subject = Subject { object, old };
        let mut denied = Vec::new();
        for installed in all.iter() {
            let version = match installed.scope.concerned(asked, subject, &*self.reader) {
                Ok(None) => continue,
                Ok(Some(version)) => version,
                Err(error) => {
                    let why = misconfigured(None, error.message());
                    installed.deny(None, &why, &mut denied);
                    continue;
                }
            };
            for binding in &installed.bindings {
                let judged = Judged {
                    installed,
                    binding,
                    version,
                };
                self.judge(&judged, asked, shapes, subject, &mut denied).await?;
            }
        }
        match denied.into_iter().next() {
            None => Ok(()),
            Some(first) => Err(first.error(asked)),
        }
    }

    /// Evaluates a policy for one of its bindings, once for each of its parameters.
    async fn judge(
        &self,
        judged: &Judged<'_>,
        asked: &Asked<'_>,
        shapes: &dyn Shapes,
        subject: Subject<'_>,
        denied: &mut Vec<Denied>,
    ) -> Result<(), ApiError> {
        let Judged {
            installed,
            binding,
            version,
        } = judged;
        let mut misconfigured = |why: &str| {
            let why = misconfigured(Some(&binding.name), why);
            installed.deny(Some(&binding.name), &why, denied);
        };
        if let Some(scope) = &binding.scope {
            match scope.concerned(asked, subject, &*self.reader) {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => {
                    misconfigured(error.message());
                    return Ok(());
                }
            }
        }
        let kind = installed.param_kind.as_ref();
        let params = match params::collect(kind, binding.params.as_ref(), asked.namespace, &*self.reader) {
            Ok(params) => params,
            Err(why) => {
                misconfigured(&why);
                return Ok(());
            }
        };
        let states = match States::shown(shapes, version, subject.object, subject.old).await {
            Ok(states) => states,
            Err(error) => {
                misconfigured(&format!("failed to convert object version: {}", error.message()));
                return Ok(());
            }
        };
        let (namespace, request) = (self.namespace(asked)?, request(asked, version));
        let questions = Questions::new(self.authorizer());
        let asker = self.authorizer().map(|_| Asker::new(&questions, asked.user));
        for param in &params {
            let inputs = inputs(
                &states,
                param.as_deref(),
                &request,
                namespace.as_deref(),
                asker.as_ref(),
            );
            let said = questions.settle(|| judged.weigh(&inputs)).await;
            judged.act_on(said, asked, denied);
        }
        Ok(())
    }
}

/// A policy, one of its bindings, and the version of the request that it is about.
struct Judged<'a> {
    installed: &'a Installed,
    binding: &'a Binding,
    version: &'a Version,
}

/// What a policy says of a request, before anything is done about it.
#[derive(Default)]
struct Said<'a> {
    decisions: Vec<Decision>,
    annotations: Vec<(&'a str, Result<String, String>)>,
}

impl<'a> Judged<'a> {
    /// Evaluates the policy for one of its parameters.
    fn weigh(&self, inputs: &Inputs<'_>) -> Said<'a> {
        let policy = &self.installed.policy;
        match policy.matches(inputs) {
            Ok(true) => Said {
                decisions: policy.validate(inputs),
                annotations: policy.annotate(inputs),
            },
            Ok(false) => Said::default(),
            Err(why) => Said {
                decisions: vec![Decision::Fail(why)],
                annotations: Vec::new(),
            },
        }
    }

    /// Does what is to be done about what the policy says.
    fn act_on(&self, said: Said<'_>, asked: &Asked<'_>, denied: &mut Vec<Denied>) {
        let name = &self.installed.name;
        for (index, decision) in said.decisions.into_iter().enumerate() {
            self.act(decision, index, asked, denied);
        }
        for (key, value) in said.annotations {
            match value {
                Ok(value) => {
                    let end = value.floor_char_boundary(ANNOTATION_MAX);
                    let key = format!("{name}/{key}");
                    asked.warnings.audit().annotate(&key, &value[..end]);
                }
                Err(why) => self.installed.deny(Some(&self.binding.name), &why, denied),
            }
        }
    }

    /// Does what the binding wants done with a decision.
    fn act(&self, decision: Decision, index: usize, asked: &Asked<'_>, denied: &mut Vec<Denied>) {
        let (message, reason) = match decision {
            Decision::Admit => return,
            Decision::Fail(why) if self.installed.fails_open => {
                debug!(
                    policy = self.installed.name,
                    why, "a policy failed and was passed over"
                );
                return;
            }
            Decision::Fail(why) => (why, String::new()),
            Decision::Deny(message, reason) => (message, reason),
        };
        let (policy, binding) = (&self.installed.name, &self.binding.name);
        for action in &self.binding.actions {
            match action.as_str() {
                "Deny" => denied.push(Denied {
                    policy: policy.clone(),
                    binding: Some(binding.clone()),
                    message: message.clone(),
                    reason: reason.clone(),
                }),
                "Warn" => asked.warnings.add(&format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
                )),
                _ => self.tell_audit(index, &message, asked),
            }
        }
    }
}

impl Judged<'_> {
    /// Tells the audit log of a decision.
    fn tell_audit(&self, index: usize, message: &str, asked: &Asked<'_>) {
        let failure = json!([{
            "message": message, "policy": self.installed.name, "binding": self.binding.name,
            "expressionIndex": index, "validationActions": self.binding.actions,
        }]);
        let key = "validation.policy.admission.k8s.io/validation_failure";
        asked.warnings.audit().annotate(key, &failure.to_string());
    }
}

impl Installed {
    /// Refuses because something is wrong with the policy itself, unless that is to be ignored.
    fn deny(&self, binding: Option<&str>, why: &str, denied: &mut Vec<Denied>) {
        if self.fails_open {
            debug!(policy = self.name, why, "a policy failed and was passed over");
            return;
        }
        denied.push(Denied {
            policy: self.name.clone(),
            binding: binding.map(ToOwned::to_owned),
            message: why.to_owned(),
            reason: String::new(),
        });
    }
}

impl Denied {
    /// As upstream words it: the message of a forbidden request, with the code of the policy's reason.
    fn error(&self, asked: &Asked<'_>) -> ApiError {
        let with = match &self.binding {
            Some(binding) => format!(" with binding '{binding}'"),
            None => String::new(),
        };
        let message = format!(
            "ValidatingAdmissionPolicy '{}'{with} denied request: {}",
            self.policy, self.message
        );
        let (group, resource) = subject(asked);
        let forbidden = ApiError::forbidden(group, resource, asked.name, &message);
        let (code, reason) = match self.reason.as_str() {
            "Forbidden" => (403, Reason::Forbidden),
            "Unauthorized" => (401, Reason::Unauthorized),
            "RequestEntityTooLarge" => (413, Reason::RequestEntityTooLarge),
            _ => (422, Reason::Invalid),
        };
        let details = Details {
            causes: vec![Cause {
                message,
                ..Cause::default()
            }],
            ..forbidden.details().cloned().unwrap_or_default()
        };
        ApiError::new(code, reason, forbidden.message(), Some(details))
    }
}
