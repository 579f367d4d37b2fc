//! `PodNodeSelector`: pods run on the nodes that their namespace, or the cluster, selects for them.

use std::collections::BTreeMap;

use coracle_api::names;
use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use serde_json::{Map, Value, json};

use super::{Attributes, Cluster, Operation, Plugin};
use crate::reader::GroupResource;

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
const DEFAULT: &str = "clusterDefaultNodeSelector";

type Labels = BTreeMap<String, String>;

/// The plugin: selectors by namespace, and that of the cluster.
pub(super) struct NodeSelectors {
    selectors: BTreeMap<String, String>,
}

impl NodeSelectors {
    /// By `podNodeSelectorPluginConfig`, or with no selectors but those of namespaces.
    ///
    /// # Errors
    /// A selector that is no text.
    pub(super) fn new(told: Option<&Value>) -> Result<Self, String> {
        let told = told.map(|told| told.entries("podNodeSelectorPluginConfig"));
        let read = told.into_iter().flatten().map(|(name, selector)| {
            let text = selector
                .as_str()
                .ok_or_else(|| format!("podNodeSelectorPluginConfig.{name} must be a string"))?;
            Ok((name.to_owned(), text.to_owned()))
        });
        Ok(Self {
            selectors: read.collect::<Result<_, String>>()?,
        })
    }

    fn selector(&self, name: &str) -> Result<Labels, String> {
        labels(self.selectors.get(name).map_or("", String::as_str))
    }

    /// What a namespace selects: by itself, or as the cluster does.
    fn of_namespace(&self, attributes: &Attributes<'_>, cluster: &Cluster<'_>) -> Result<Labels, ApiError> {
        let namespaces = GroupResource::new("", "namespaces");
        let namespace = cluster.reader.get(&namespaces, "", attributes.namespace);
        let namespace =
            namespace.ok_or_else(|| ApiError::not_found("", "namespaces", attributes.namespace))?;
        let own = namespace["metadata"]["annotations"]
            .get(ANNOTATION)
            .and_then(Value::as_str);
        match own {
            Some(own) => labels(own),
            None => self.selector(DEFAULT),
        }
        .map_err(ApiError::unknown)
    }

    fn check(&self, attributes: &Attributes<'_>, pod: &Value, cluster: &Cluster<'_>) -> Result<(), ApiError> {
        let refuse = |why: &str| ApiError::forbidden("", "pods", pod["metadata"].text("name"), why);
        let (wanted, own) = (self.of_namespace(attributes, cluster)?, own(pod));
        if conflict(&wanted, &own) {
            return Err(refuse(
                "pod node label selector conflicts with its namespace node label selector",
            ));
        }
        let allowed = self.selector(attributes.namespace).map_err(ApiError::unknown)?;
        let within = own.iter().all(|(key, value)| allowed.get(key) == Some(value));
        if !allowed.is_empty() && !within {
            return Err(refuse(
                "pod node label selector labels conflict with its namespace whitelist",
            ));
        }
        Ok(())
    }
}

impl Plugin for NodeSelectors {
    fn mutate(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        _old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        if attributes.operation != Operation::Create || !attributes.is("", "pods") {
            return Ok(());
        }
        let mut all = self.of_namespace(attributes, cluster)?;
        let own = own(pod);
        if conflict(&all, &own) {
            return self.check(attributes, pod, cluster);
        }
        all.extend(own);
        if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut)
            && !all.is_empty()
        {
            let selector: Map<String, Value> =
                all.into_iter().map(|(key, value)| (key, json!(value))).collect();
            spec.insert("nodeSelector".to_owned(), Value::Object(selector));
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
        match object.filter(|_| attributes.operation == Operation::Create && attributes.is("", "pods")) {
            Some(pod) => self.check(attributes, pod, cluster),
            None => Ok(()),
        }
    }
}

fn own(pod: &Value) -> Labels {
    let entries = pod["spec"].entries("nodeSelector");
    let texts = entries.map(|(key, value)| (key.to_owned(), value.as_str().unwrap_or_default().to_owned()));
    texts.collect()
}

fn conflict(one: &Labels, other: &Labels) -> bool {
    let differs = |(key, value): (&String, &String)| other.get(key).is_some_and(|other| other != value);
    one.iter().any(differs)
}

/// `a=b,c=d` (upstream's `ConvertSelectorToLabelsMap`).
fn labels(selector: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for term in selector.split(',').filter(|_| !selector.is_empty()) {
        let parts: Vec<&str> = term.split('=').collect();
        let [key, value] = parts[..] else {
            return Err(format!("invalid selector: [{}]", parts.join(" ")));
        };
        let (key, value) = (key.trim(), value.trim());
        let faults = [names::qualified_name(key), names::label_value(value)].concat();
        if !faults.is_empty() {
            return Err(format!("invalid selector {term:?}: {}", faults.join("; ")));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_pairs() {
        let read = labels("a=b, c = d").unwrap();
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())]
        );
        assert!(labels("").unwrap().is_empty());
        assert_eq!(labels("a").unwrap_err(), "invalid selector: [a]");
        assert!(labels("a=b=c").is_err() && labels("-=b").is_err());
    }
}
