//! The environment of a container, built in upstream's order. Pure.
//!
//! Service variables come first and are hidden by everything else; then `envFrom` in order, then `env` in order, each
//! seeing what came before it. Service variables that `env` does not name are added at the end.

pub(crate) mod expand;
pub(crate) mod field;
mod services;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret};

pub(crate) use expand::expand;
pub(crate) use field::{FieldError, Surroundings};
pub(crate) use services::service_variables;

/// ConfigMaps and Secrets of the pod's namespace, by name; those that do not exist are absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct References {
    pub(crate) config_maps: BTreeMap<String, ConfigMap>,
    pub(crate) secrets: BTreeMap<String, Secret>,
}

/// Why a container's environment cannot be built; upstream shows it as `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum EnvError {
    #[error("configmap \"{0}\" not found")]
    NoConfigMap(String),
    #[error("secret \"{0}\" not found")]
    NoSecret(String),
    #[error("couldn't find key {key} in ConfigMap {namespace}/{name}")]
    NoConfigMapKey {
        namespace: String,
        name: String,
        key: String,
    },
    #[error("couldn't find key {key} in Secret {namespace}/{name}")]
    NoSecretKey {
        namespace: String,
        name: String,
        key: String,
    },
    #[error("invalid UTF-8 in key {key} of Secret {namespace}/{name}")]
    NotText {
        namespace: String,
        name: String,
        key: String,
    },
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// The variables of `container`, in the order in which the process gets them.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    services: &BTreeMap<String, String>,
    references: &References,
    around: &Surroundings,
) -> Result<Vec<(String, String)>, EnvError> {
    let builder = Builder {
        pod,
        container,
        references,
        around,
    };
    let mut result = Ordered::default();
    builder.env_from(&mut result)?;
    for var in container.env.iter().flatten() {
        if let Some(value) = builder.value(var, &result, services)? {
            result.set(&var.name, value);
        }
    }
    for (name, value) in services {
        if !result.values.contains_key(name) {
            result.set(name, value.clone());
        }
    }
    Ok(result.into_pairs())
}

/// A map that remembers the order of first insertion.
#[derive(Default)]
struct Ordered {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Ordered {
    fn set(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }

    fn into_pairs(mut self) -> Vec<(String, String)> {
        self.order
            .into_iter()
            .filter_map(|name| self.values.remove(&name).map(|value| (name, value)))
            .collect()
    }
}

struct Builder<'a> {
    pod: &'a Pod,
    container: &'a Container,
    references: &'a References,
    around: &'a Surroundings,
}

impl Builder<'_> {
    fn namespace(&self) -> String {
        self.pod.metadata.namespace.clone().unwrap_or_default()
    }

    fn env_from(&self, result: &mut Ordered) -> Result<(), EnvError> {
        for from in self.container.env_from.iter().flatten() {
            let prefix = from.prefix.as_deref().unwrap_or_default();
            if let Some(source) = &from.config_map_ref {
                match self.references.config_maps.get(&source.name) {
                    Some(map) => {
                        for (key, value) in map.data.iter().flatten() {
                            result.set(&format!("{prefix}{key}"), value.clone());
                        }
                    }
                    None if source.optional == Some(true) => {}
                    None => return Err(EnvError::NoConfigMap(source.name.clone())),
                }
            }
            if let Some(source) = &from.secret_ref {
                match self.references.secrets.get(&source.name) {
                    Some(secret) => {
                        for (key, value) in secret.data.iter().flatten() {
                            let text = self.text(&source.name, key, &value.0)?;
                            result.set(&format!("{prefix}{key}"), text);
                        }
                    }
                    None if source.optional == Some(true) => {}
                    None => return Err(EnvError::NoSecret(source.name.clone())),
                }
            }
        }
        Ok(())
    }

    /// None means that an optional source has nothing, so that the variable is left out.
    fn value(
        &self,
        var: &EnvVar,
        so_far: &Ordered,
        services: &BTreeMap<String, String>,
    ) -> Result<Option<String>, EnvError> {
        if let Some(source) = &var.value_from {
            return self.sourced(source);
        }
        let raw = var.value.as_deref().unwrap_or_default();
        let lookup = |name: &str| so_far.values.get(name).or_else(|| services.get(name)).cloned();
        Ok(Some(expand(raw, lookup)))
    }

    fn sourced(&self, source: &EnvVarSource) -> Result<Option<String>, EnvError> {
        if let Some(field) = &source.field_ref {
            return Ok(Some(field::pod_field(self.pod, &field.field_path, self.around)?));
        }
        if let Some(selector) = &source.resource_field_ref {
            let text = field::resource_field(self.pod, Some(self.container), selector, self.around)?;
            return Ok(Some(text));
        }
        if let Some(key) = &source.config_map_key_ref {
            return self.config_map_key(&key.name, &key.key, key.optional == Some(true));
        }
        if let Some(key) = &source.secret_key_ref {
            return self.secret_key(&key.name, &key.key, key.optional == Some(true));
        }
        Ok(Some(String::new()))
    }

    fn config_map_key(&self, name: &str, key: &str, optional: bool) -> Result<Option<String>, EnvError> {
        let map = self.references.config_maps.get(name);
        match map.and_then(|m| m.data.as_ref()?.get(key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None if map.is_none() => Err(EnvError::NoConfigMap(name.into())),
            None => Err(EnvError::NoConfigMapKey {
                namespace: self.namespace(),
                name: name.into(),
                key: key.into(),
            }),
        }
    }

    fn secret_key(&self, name: &str, key: &str, optional: bool) -> Result<Option<String>, EnvError> {
        let secret = self.references.secrets.get(name);
        match secret.and_then(|m| m.data.as_ref()?.get(key)) {
            Some(value) => self.text(name, key, &value.0).map(Some),
            None if optional => Ok(None),
            None if secret.is_none() => Err(EnvError::NoSecret(name.into())),
            None => Err(EnvError::NoSecretKey {
                namespace: self.namespace(),
                name: name.into(),
                key: key.into(),
            }),
        }
    }

    /// The wire to the runtime carries text only.
    fn text(&self, name: &str, key: &str, bytes: &[u8]) -> Result<String, EnvError> {
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| EnvError::NotText {
                namespace: self.namespace(),
                name: name.into(),
                key: key.into(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn build(container: serde_json::Value) -> Result<Vec<(String, String)>, EnvError> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns"}, "spec": {"containers": []},
        }))
        .unwrap();
        let container: Container = serde_json::from_value(container).unwrap();
        let references = References {
            config_maps: serde_json::from_value(json!({"cm": {"data": {"A": "from-cm", "K": "v"}}})).unwrap(),
            secrets: serde_json::from_value(json!({"s": {"data": {"A": "ZnJvbS1zZWNyZXQ=", "BIN": "/w=="}}}))
                .unwrap(),
        };
        let services = BTreeMap::from([("WEB_SERVICE_HOST".to_owned(), "10.96.0.7".to_owned())]);
        environment(&pod, &container, &services, &references, &Surroundings::default())
    }

    fn text(container: serde_json::Value) -> String {
        match build(container) {
            Ok(pairs) => pairs
                .into_iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn sources_in_order_and_later_ones_win() {
        for (container, want) in [
            (json!({"name": "c"}), "WEB_SERVICE_HOST=10.96.0.7"),
            (
                json!({"name": "c", "env": [
                    {"name": "ONE", "value": "1"}, {"name": "TWO", "value": "$(ONE)$(WEB_SERVICE_HOST)$(THREE)"},
                    {"name": "THREE", "value": "3"}, {"name": "WEB_SERVICE_HOST", "value": "mine"},
                ]}),
                "ONE=1 TWO=110.96.0.7$(THREE) THREE=3 WEB_SERVICE_HOST=mine",
            ),
            (
                json!({"name": "c", "envFrom": [{"prefix": "p_", "configMapRef": {"name": "cm"}}]}),
                "p_A=from-cm p_K=v WEB_SERVICE_HOST=10.96.0.7",
            ),
            (
                json!({"name": "c",
                    "envFrom": [{"configMapRef": {"name": "cm"}}, {"secretRef": {"name": "none", "optional": true}}],
                    "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "A"}}},
                            {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                            {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "x", "optional": true}}}]}),
                "A=from-secret K=v N=web WEB_SERVICE_HOST=10.96.0.7",
            ),
        ] {
            assert_eq!(text(container.clone()), want, "{container}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (container, want) in [
            (
                json!({"name": "c", "envFrom": [{"configMapRef": {"name": "x"}}]}),
                "configmap \"x\" not found",
            ),
            (
                json!({"name": "c", "envFrom": [{"secretRef": {"name": "x"}}]}),
                "secret \"x\" not found",
            ),
            (
                json!({"name": "c", "env": [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "x"}}}]}),
                "couldn't find key x in ConfigMap ns/cm",
            ),
            (
                json!({"name": "c", "env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "x"}}}]}),
                "couldn't find key x in Secret ns/s",
            ),
            (
                json!({"name": "c", "env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "BIN"}}}]}),
                "invalid UTF-8 in key BIN of Secret ns/s",
            ),
        ] {
            assert_eq!(text(container.clone()), want, "{container}");
        }
    }
}
