//! ClusterRole aggregation: a role with an aggregation rule has the rules of all roles that it selects.

use crate::labels;
use crate::run::{Context, Informers};
use crate::runtime::{Cache, ObjectKey, Queue, Reconcile, ReconcileError, write};
use crate::target::Target;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::Api;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct ClusterRoles {
    client: kube::Client,
    roles: Arc<Cache<ClusterRole>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<ClusterRoles>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let (own, roles) = (queue.clone(), informers.cluster_roles.cache().clone());
    informers.cluster_roles.subscribe(move |_| {
        for role in roles.all().iter().filter(|role| role.aggregation_rule.is_some()) {
            own.add(ObjectKey::of(&role.metadata));
        }
    });
    let roles = informers.cluster_roles.cache().clone();
    (
        Arc::new(ClusterRoles {
            client: context.client.clone(),
            roles,
        }),
        queue,
    )
}

/// The rules the role should have, if it has others: each selected role's, in the order of names, each once.
fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref()?;
    let selectors: Vec<_> = selectors.iter().filter_map(labels::compile).collect();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for other in all {
        let itself = other.metadata.name == role.metadata.name;
        let labels = other.metadata.labels.as_ref();
        if itself || !selectors.iter().any(|selector| labels::matches(selector, labels)) {
            continue;
        }
        for rule in other.rules.iter().flatten() {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    (role.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}

impl Reconcile for ClusterRoles {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(role) = self.roles.get(key) else {
            return Ok(None);
        };
        let Some(rules) = plan(&role, &self.roles.all()) else {
            return Ok(None);
        };
        let api: Api<ClusterRole> = Api::all(self.client.clone());
        let patched = write::patch(&api, &Target::of(&role.metadata), json!({"rules": rules})).await;
        let role = patched.map_err(ReconcileError::request(format!("aggregating cluster role {key}")))?;
        self.roles
            .shows(self.roles.mark(role.metadata.resource_version.as_deref()))
            .await;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::rbac::v1::AggregationRule;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    fn role(name: &str, label: Option<&str>, verbs: &[&str]) -> ClusterRole {
        let mut role = ClusterRole::default();
        role.metadata.name = Some(name.to_owned());
        role.metadata.labels = label.map(|label| [(label.to_owned(), "true".to_owned())].into());
        let rule = |verb: &&str| PolicyRule {
            verbs: vec![(*verb).to_owned()],
            ..PolicyRule::default()
        };
        role.rules = Some(verbs.iter().map(rule).collect());
        role
    }

    #[test]
    fn rules_of_selected_roles_come_together_once() {
        let selector = LabelSelector {
            match_labels: Some([("to-view".to_owned(), "true".to_owned())].into()),
            ..LabelSelector::default()
        };
        let mut view = role("view", Some("to-view"), &[]);
        view.aggregation_rule = Some(AggregationRule {
            cluster_role_selectors: Some(vec![selector]),
        });
        let all: Vec<_> = [
            role("a", Some("to-view"), &["get", "list"]),
            role("b", Some("to-view"), &["list", "watch"]),
            role("c", None, &["delete"]),
            view.clone(),
        ]
        .into_iter()
        .map(Arc::new)
        .collect();
        let rules = plan(&view, &all).unwrap();
        let verbs: Vec<_> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["get", "list", "watch"]);
        view.rules = Some(rules);
        assert_eq!(plan(&view, &all), None);
    }
}
