//! The status of ValidatingAdmissionPolicies: what is odd about the types of their expressions.

use crate::run::{Context, Informers};
use crate::runtime::{Cache, ObjectKey, Queue, Reconcile, ReconcileError, write};
use crate::target::Target;
use coracle_api::cel::Published;
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

/// Whether a policy's expressions are to be looked at: of each generation once.
fn is_due(policy: &ValidatingAdmissionPolicy) -> bool {
    let generation = policy.metadata.generation.unwrap_or_default();
    let status = policy.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation);
    seen.unwrap_or_default() < generation || status.is_none_or(|status| status.type_checking.is_none())
}

/// The status a policy should have.
fn plan(generation: i64, spec: &Value, published: &Published) -> Value {
    let warnings: Vec<Value> = Policy::expression_warnings(spec, published)
        .into_iter()
        .map(|(field, warning)| json!({"fieldRef": field, "warning": warning}))
        .collect();
    // Where there are none, those of an earlier generation go.
    let warnings = (!warnings.is_empty()).then_some(warnings);
    json!({"observedGeneration": generation, "typeChecking": {"expressionWarnings": warnings}})
}

impl Policies {
    /// What the server tells of the kinds that a policy names and are not built in; a group version that it does not have is
    /// left out.
    async fn published(&self, spec: &Value) -> Result<Published, kube::Error> {
        let mut published = Published::default();
        for group_version in Published::wanted(spec) {
            let resources = self.told(&format!("/apis/{group_version}")).await?;
            let document = self.told(&format!("/openapi/v3/apis/{group_version}")).await?;
            if let Some((resources, document)) = resources.zip(document) {
                published.add(group_version, &resources, &document);
            }
        }
        Ok(published)
    }

    async fn told(&self, path: &str) -> Result<Option<Value>, kube::Error> {
        let request = http::Request::get(path)
            .header(http::header::ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        match self.client.request(request).await {
            Ok(told) => Ok(Some(told)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Reconcile for Policies {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(policy) = self.policies.get(key) else {
            return Ok(None);
        };
        if !is_due(&policy) {
            return Ok(None);
        }
        let spec = serde_json::to_value(&policy.spec).unwrap_or_default();
        let published = self.published(&spec).await;
        let published = published.map_err(ReconcileError::request(format!(
            "asking what the kinds of admission policy {key} are"
        )))?;
        let status = plan(policy.metadata.generation.unwrap_or_default(), &spec, &published);
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
        let told = policy(json!({"observedGeneration": 1, "typeChecking": {}}));
        assert!(is_due(&told));
        let spec = serde_json::to_value(&told.spec).expect("it is JSON");
        let status = plan(2, &spec, &Published::default());
        assert_eq!(status["observedGeneration"], 2);
        let warnings = &status["typeChecking"]["expressionWarnings"];
        assert_eq!(warnings[0]["fieldRef"], "spec.validations[1].expression");
        let warning = warnings[0]["warning"].as_str().expect("it is text");
        let start = "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'foo'\n";
        assert!(warning.starts_with(start), "{warning}");
        assert!(!is_due(&policy(status)));
    }
}
