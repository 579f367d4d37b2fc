//! The status of ValidatingAdmissionPolicies: what is odd about the types of their expressions.

use crate::run::{Context, Informers};
use crate::runtime::{Cache, ObjectKey, Queue, Reconcile, ReconcileError, write};
use crate::target::Target;
use coracle_api::cel::policy::Policy;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::api::Api;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Policies {
    client: kube::Client,
    policies: Arc<Cache<ValidatingAdmissionPolicy>>,
}

/// Builds the controller and its queue, fed by the informer.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Policies>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .policies
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let controller = Policies {
        client: context.client.clone(),
        policies: informers.policies.cache().clone(),
    };
    (Arc::new(controller), queue)
}

/// The status a policy should have, where it has another: of each generation its expressions are looked at once.
fn plan(policy: &ValidatingAdmissionPolicy) -> Option<Value> {
    let generation = policy.metadata.generation.unwrap_or_default();
    let status = policy.status.as_ref();
    let seen = status
        .and_then(|status| status.observed_generation)
        .unwrap_or_default();
    if seen >= generation && status.is_some_and(|status| status.type_checking.is_some()) {
        return None;
    }
    let spec = serde_json::to_value(&policy.spec).unwrap_or_default();
    let warnings: Vec<Value> = Policy::expression_warnings(&spec)
        .into_iter()
        .map(|(field, warning)| json!({"fieldRef": field, "warning": warning}))
        .collect();
    // Where there are none, those of an earlier generation go.
    let warnings = (!warnings.is_empty()).then_some(warnings);
    Some(json!({"observedGeneration": generation, "typeChecking": {"expressionWarnings": warnings}}))
}

impl Reconcile for Policies {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(policy) = self.policies.get(key) else {
            return Ok(None);
        };
        let Some(status) = plan(&policy) else {
            return Ok(None);
        };
        let api: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        let patched =
            write::patch_status(&api, &Target::of(&policy.metadata), json!({"status": status})).await;
        patched.map_err(ReconcileError::request(format!(
            "writing the status of admission policy {key}"
        )))?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(status: Value) -> ValidatingAdmissionPolicy {
        let rule = json!({"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]});
        let spec = json!({"matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "object.spec.replicas > 1"}, {"expression": "object.spec.foo == 1"}]});
        let policy = json!({"metadata": {"name": "p", "generation": 2}, "spec": spec, "status": status});
        serde_json::from_value(policy).expect("it is a policy")
    }

    #[test]
    fn each_generation_is_looked_at_once() {
        let status = plan(&policy(json!({"observedGeneration": 1, "typeChecking": {}}))).expect("it is new");
        assert_eq!(status["observedGeneration"], 2);
        let warnings = &status["typeChecking"]["expressionWarnings"];
        assert_eq!(warnings[0]["fieldRef"], "spec.validations[1].expression");
        let warning = warnings[0]["warning"].as_str().expect("it is text");
        let start = "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'foo'\n";
        assert!(warning.starts_with(start), "{warning}");
        assert_eq!(plan(&policy(status)), None);
    }
}
