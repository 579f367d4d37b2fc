//! `PodTolerationRestriction`: pods tolerate what their namespace gives them, and nothing beyond what it, or the cluster,
//! allows.

use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use coracle_api::strategy::qos_class;
use serde_json::{Value, json};

use super::configuration::{expect_kind, only};
use super::runtime_class::{covers, merged};
use super::{Attributes, Cluster, Operation, Plugin};
use crate::reader::GroupResource;

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const WHITELIST: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";
const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

/// The plugin: what counts where namespaces say nothing.
#[derive(Default)]
pub(super) struct TolerationRestriction {
    defaults: Vec<Value>,
    whitelist: Vec<Value>,
}

impl TolerationRestriction {
    /// By its configuration, or without one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(told: Option<&Value>) -> Result<Self, String> {
        let Some(told) = told else {
            return Ok(Self::default());
        };
        let version = "podtolerationrestriction.admission.k8s.io/v1alpha1";
        expect_kind(told, &[version], "Configuration")?;
        only(told, &["apiVersion", "kind", "default", "whitelist"], "")?;
        Ok(Self {
            defaults: told.items("default").to_vec(),
            whitelist: told.items("whitelist").to_vec(),
        })
    }

    fn check(&self, attributes: &Attributes<'_>, pod: &Value, cluster: &Cluster<'_>) -> Result<(), ApiError> {
        let tolerations = pod["spec"].items("tolerations");
        if tolerations.is_empty() {
            return Ok(());
        }
        let own = annotated(attributes, WHITELIST, cluster)?;
        let (whitelist, scope) = match &own {
            Some(own) => (own, "namespace"),
            None => (&self.whitelist, "cluster"),
        };
        let allowed = |toleration: &Value| whitelist.iter().any(|wide| covers(wide, toleration));
        if whitelist.is_empty() || tolerations.iter().all(allowed) {
            return Ok(());
        }
        Err(ApiError::unknown(format!(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its {scope} whitelist"
        )))
    }
}

/// The tolerations in an annotation of the pod's namespace; none where it is not there.
fn annotated(
    attributes: &Attributes<'_>,
    annotation: &str,
    cluster: &Cluster<'_>,
) -> Result<Option<Vec<Value>>, ApiError> {
    let namespaces = GroupResource::new("", "namespaces");
    let namespace = cluster.reader.get(&namespaces, "", attributes.namespace);
    let namespace = namespace.ok_or_else(|| ApiError::not_found("", "namespaces", attributes.namespace))?;
    let text = namespace["metadata"]["annotations"]
        .get(annotation)
        .and_then(Value::as_str);
    match text {
        None => Ok(None),
        Some("") => Ok(Some(Vec::new())),
        Some(text) => serde_json::from_str(text)
            .map(Some)
            .map_err(|error| ApiError::unknown(error.to_string())),
    }
}

fn concerns(attributes: &Attributes<'_>) -> bool {
    let written = matches!(attributes.operation, Operation::Create | Operation::Update);
    written && attributes.is("", "pods")
}

impl Plugin for TolerationRestriction {
    fn mutate(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        _old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        if !concerns(attributes) {
            return Ok(());
        }
        let mut extra = Vec::new();
        if attributes.operation == Operation::Create {
            let own = annotated(attributes, DEFAULTS, cluster)?;
            extra = own.unwrap_or_else(|| self.defaults.clone());
        }
        if qos_class(&pod["spec"]) != "BestEffort" {
            extra.push(json!({"key": MEMORY_PRESSURE, "operator": "Exists", "effect": "NoSchedule"}));
        }
        if !extra.is_empty() {
            let own = pod["spec"].items("tolerations").iter();
            let all: Vec<Value> = own.cloned().chain(extra).collect();
            if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
                spec.insert("tolerations".to_owned(), Value::from(merged(&all)));
            }
        }
        self.check(attributes, pod, cluster)
    }

    fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        match object.filter(|_| concerns(attributes)) {
            Some(pod) => self.check(attributes, pod, cluster),
            None => Ok(()),
        }
    }
}
