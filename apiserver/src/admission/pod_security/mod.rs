//! `PodSecurity`: pods are held to the standard that the labels of their namespace name; makers of pods are warned before
//! the pods themselves are refused.
//!
//! The standards are `coracle_api::pod_security`. Here is who is exempt, what is asked of namespaces themselves, and what
//! becomes of a verdict.

mod configuration;
mod existing;

use coracle_api::object::Fields;
use coracle_api::pod_security::{Level, LevelVersion, Policy, Verdict, evaluate};
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::Value;

use self::configuration::Configuration;
use super::{Attributes, Cluster, Operation, Plugin};
use crate::reader::GroupResource;

const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";
const ERROR: &str = "pod-security.kubernetes.io/error";

/// Parts of a pod through which its spec cannot change.
const IGNORED_PARTS: [&str; 8] = [
    "exec",
    "attach",
    "binding",
    "eviction",
    "log",
    "portforward",
    "proxy",
    "status",
];

/// The plugin, and what it is told.
pub(super) struct PodSecurity {
    configuration: Configuration,
}

impl PodSecurity {
    /// By a `PodSecurityConfiguration`, or without one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(told: Option<&Value>) -> Result<Self, String> {
        Ok(Self {
            configuration: Configuration::read(told)?,
        })
    }
}

impl Plugin for PodSecurity {
    fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        let written = matches!(attributes.operation, Operation::Create | Operation::Update);
        let Some(object) = object.filter(|_| written) else {
            return Ok(());
        };
        let of = (attributes.resource.group, attributes.resource.resource);
        if of == ("", "namespaces") && attributes.subresource.is_empty() {
            return self.namespace(attributes, object, old, cluster);
        }
        if of == ("", "pods") && !IGNORED_PARTS.contains(&attributes.subresource) {
            let changes = old.is_none_or(|old| matters(object, old));
            return self.pod(
                attributes,
                (&object["metadata"], &object["spec"]),
                changes,
                cluster,
            );
        }
        match template(of, object) {
            Some(template) if attributes.subresource.is_empty() => {
                self.maker(attributes, template, cluster);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The pods that an object makes.
fn template<'v>((group, resource): (&str, &str), object: &'v Value) -> Option<&'v Value> {
    match (group, resource) {
        ("", "podtemplates") => object.field("template"),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => object["spec"].field("template"),
        ("batch", "cronjobs") => object["spec"]["jobTemplate"]["spec"].field("template"),
        _ => None,
    }
}

/// Whether an update changes anything of a pod that the standards look at and that may change: which containers there are,
/// and their images.
fn matters(new: &Value, old: &Value) -> bool {
    let (new, old) = (&new["spec"], &old["spec"]);
    let listed = ["containers", "initContainers"].iter().any(|list| {
        let (new, old) = (new.items(list), old.items(list));
        let images = |items: &[Value]| {
            items
                .iter()
                .map(|item| item.text("image").to_owned())
                .collect::<Vec<_>>()
        };
        images(new) != images(old)
    });
    let before = old.items("ephemeralContainers");
    let debugged = new.items("ephemeralContainers").iter().any(|container| {
        let mut same = before
            .iter()
            .filter(|before| before.text("name") == container.text("name"));
        same.next()
            .is_none_or(|before| before.text("image") != container.text("image"))
    });
    listed || debugged
}

impl PodSecurity {
    /// What is asked of the pods of a namespace, and what is wrong with its labels.
    fn policy(&self, attributes: &Attributes<'_>, cluster: &Cluster<'_>) -> Option<(Policy, String)> {
        let namespaces = GroupResource::new("", "namespaces");
        let namespace = cluster.reader.get(&namespaces, "", attributes.namespace)?;
        let (policy, errors) =
            Policy::of_labels(&namespace["metadata"]["labels"], self.configuration.defaults);
        let wrong = if errors.is_empty() {
            String::new()
        } else {
            errors.aggregate()
        };
        Some((policy, wrong))
    }

    /// Whether the request is of a namespace or a user that is exempt.
    fn is_exempt(&self, attributes: &Attributes<'_>) -> bool {
        let exempt = if self.configuration.exempts_namespace(attributes.namespace) {
            "namespace"
        } else if self.configuration.exempts_user(&attributes.user.name) {
            "user"
        } else {
            return false;
        };
        attributes.annotate(EXEMPT, exempt);
        true
    }

    fn pod(
        &self,
        attributes: &Attributes<'_>,
        pod: (&Value, &Value),
        changes: bool,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        if self.is_exempt(attributes) {
            return Ok(());
        }
        let Some((policy, wrong)) = self.policy(attributes, cluster) else {
            let namespace = quote(attributes.namespace);
            return Err(ApiError::internal(format!(
                "failed to lookup namespace {namespace}"
            )));
        };
        if wrong.is_empty() && policy.is_privileged() {
            attributes.annotate(ENFORCED, &LevelVersion::PRIVILEGED.to_string());
            return Ok(());
        }
        if !changes {
            return Ok(());
        }
        self.judge(attributes, &policy, &wrong, pod, true)
    }

    /// Who makes pods is warned of what they will be refused for.
    fn maker(&self, attributes: &Attributes<'_>, template: &Value, cluster: &Cluster<'_>) {
        if self.is_exempt(attributes) {
            return;
        }
        let Some((policy, wrong)) = self.policy(attributes, cluster) else {
            let namespace = quote(attributes.namespace);
            attributes.annotate(ERROR, &format!("failed to lookup namespace {namespace}"));
            return;
        };
        let silent = [policy.warn, policy.audit]
            .iter()
            .all(|mode| mode.level == Level::Privileged);
        if wrong.is_empty() && silent {
            return;
        }
        let pod = (&template["metadata"], &template["spec"]);
        // Nothing is enforced, so nothing is refused.
        let _ = self.judge(attributes, &policy, &wrong, pod, false);
    }

    fn judge(
        &self,
        attributes: &Attributes<'_>,
        policy: &Policy,
        wrong: &str,
        (metadata, spec): (&Value, &Value),
        enforce: bool,
    ) -> Result<(), ApiError> {
        if self
            .configuration
            .exempts_runtime_class(spec.text("runtimeClassName"))
        {
            attributes.annotate(EXEMPT, "runtimeClass");
            return Ok(());
        }
        if !wrong.is_empty() {
            attributes.annotate(ERROR, &format!("Failed to parse policy: {wrong}"));
        }
        let judged = |standard: LevelVersion| evaluate(standard, metadata, spec);
        let told = |standard: LevelVersion, verdict: &Verdict| {
            format!(
                "PodSecurity {}: {}",
                quote(&standard.to_string()),
                verdict.details()
            )
        };
        let audited = judged(policy.audit);
        if !audited.is_allowed() {
            let told = told(policy.audit, &audited);
            attributes.annotate(VIOLATIONS, &format!("would violate {told}"));
        }
        if enforce {
            attributes.annotate(ENFORCED, &policy.enforce.to_string());
            let verdict = judged(policy.enforce);
            if !verdict.is_allowed() {
                let why = format!("violates {}", told(policy.enforce, &verdict));
                let resource = attributes.resource;
                return Err(ApiError::forbidden(
                    resource.group,
                    resource.resource,
                    attributes.name,
                    &why,
                ));
            }
        }
        let warned = judged(policy.warn);
        if !warned.is_allowed() {
            let told = told(policy.warn, &warned);
            attributes.warnings.add(&format!("would violate {told}"));
        }
        Ok(())
    }

    /// Labels of namespaces say what is known; who enforces more than before hears which pods are there that would not be
    /// let in any more.
    fn namespace(
        &self,
        attributes: &Attributes<'_>,
        namespace: &Value,
        old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        let defaults = self.configuration.defaults;
        let labels = &namespace["metadata"]["labels"];
        let (policy, errors) = Policy::of_labels(labels, defaults);
        let before = old.map(|old| Policy::of_labels(&old["metadata"]["labels"], defaults));
        let known = before.as_ref().is_some_and(|(_, before)| *before == errors);
        if !errors.is_empty() && !known {
            return Err(ApiError::invalid("", "Namespace", attributes.name, &errors));
        }
        let exempt = self.configuration.exempts_namespace(attributes.name);
        let Some((before, _)) = before else {
            if exempt {
                self.warn_of_exemption(attributes, &policy, labels);
            }
            return Ok(());
        };
        let (new, old) = (policy.enforce, before.enforce);
        let relaxed = new.version == old.version && new.level <= old.level;
        if new == old || new.level == Level::Privileged || relaxed {
            return Ok(());
        }
        if exempt {
            self.warn_of_exemption(attributes, &policy, labels);
            return Ok(());
        }
        let pods = cluster
            .reader
            .list(&GroupResource::new("", "pods"), attributes.name);
        let counted = pods.iter().map(|pod| &**pod).filter(|pod| {
            !self
                .configuration
                .exempts_runtime_class(pod["spec"].text("runtimeClassName"))
        });
        for warning in existing::warnings(attributes.name, counted, new) {
            attributes.warnings.add(&warning);
        }
        Ok(())
    }

    fn warn_of_exemption(&self, attributes: &Attributes<'_>, policy: &Policy, labels: &Value) {
        if policy.is_privileged() || policy.is_equivalent(&self.configuration.defaults) {
            return;
        }
        let (name, told) = (quote(attributes.name), policy.told_by(labels));
        attributes.warnings.add(&format!(
            "namespace {name} is exempt from Pod Security, and the policy ({told}) will be ignored"
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_update_matters_where_containers_or_images_change() {
        let pod = |containers: Value, debuggers: Value| json!({"spec": {"containers": containers, "ephemeralContainers": debuggers}});
        let a = json!({"name": "a", "image": "i"});
        let plain = pod(json!([a]), json!([]));
        let table = [
            (
                pod(json!([{"name": "a", "image": "i", "tty": true}]), json!([])),
                false,
            ),
            (pod(json!([{"name": "a", "image": "j"}]), json!([])), true),
            (pod(json!([a, a]), json!([])), true),
            (pod(json!([a]), json!([{"name": "d", "image": "i"}])), true),
        ];
        for (new, want) in table {
            assert_eq!(matters(&new, &plain), want, "{new}");
        }
        let debugged = pod(json!([a]), json!([{"name": "d", "image": "i"}]));
        assert!(!matters(&debugged, &debugged));
    }

    #[test]
    fn makers_of_pods_are_known() {
        let job = json!({"spec": {"jobTemplate": {"spec": {"template": {"x": 1}}}, "template": {"x": 2}}, "template": {"x": 3}});
        let found = |group, resource| template((group, resource), &job).map(|found| found["x"].clone());
        assert_eq!(found("batch", "cronjobs"), Some(json!(1)));
        assert_eq!(found("apps", "deployments"), Some(json!(2)));
        assert_eq!(found("", "podtemplates"), Some(json!(3)));
        assert_eq!(found("", "services"), None);
    }
}
