//! Every pod runs as a service account of its namespace, and gets a token of it unless it declines.

use coracle_api::status::ApiError;
use serde_json::{Map, Value, json};

use super::{Attributes, Operation};
use crate::reader::{GroupResource, ObjectReader};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// An hour and a bit: the kubelet renews a token that has used up 80 % of an hour.
const TOKEN_SECONDS: i64 = 3607;
/// As upstream's generated names: no vowels, no digits that look like letters.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

pub(super) fn admit(
    attributes: &Attributes<'_>,
    object: &mut Value,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    if !attributes.is("", "pods") || attributes.operation != Operation::Create || is_mirror(object) {
        return Ok(());
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let name = match text(spec, "serviceAccountName") {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    // The old name of the field always says the same as the new one.
    for field in ["serviceAccountName", "serviceAccount"] {
        spec.insert(field.to_owned(), Value::from(name.as_str()));
    }
    let account = account(attributes, &name, reader)?;
    if wants_token(spec, &account) {
        mount_token(spec, attributes.chance);
    }
    let has_pull_secrets = spec
        .get("imagePullSecrets")
        .and_then(Value::as_array)
        .is_some_and(|l| !l.is_empty());
    if !has_pull_secrets
        && let Some(secrets) = account
            .get("imagePullSecrets")
            .filter(|secrets| secrets.is_array())
    {
        spec.insert("imagePullSecrets".to_owned(), secrets.clone());
    }
    Ok(())
}

pub(super) fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let Some(pod) = object.filter(|_| attributes.is("", "pods") && attributes.operation == Operation::Create)
    else {
        return Ok(());
    };
    if is_mirror(pod) {
        return validate_mirror(attributes, pod);
    }
    let name = pod
        .pointer("/spec/serviceAccountName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    account(attributes, name, reader).map(drop)
}

fn validate_mirror(attributes: &Attributes<'_>, pod: &Value) -> Result<(), ApiError> {
    let named = pod
        .pointer("/spec/serviceAccountName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !named.is_empty() {
        return Err(attributes.forbidden("a mirror pod may not reference service accounts"));
    }
    Ok(())
}

fn account(
    attributes: &Attributes<'_>,
    name: &str,
    reader: &dyn ObjectReader,
) -> Result<std::sync::Arc<Value>, ApiError> {
    let accounts = GroupResource::new("", "serviceaccounts");
    reader.get(&accounts, attributes.namespace, name).ok_or_else(|| {
        attributes.forbidden(&format!(
            "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
            attributes.namespace
        ))
    })
}

fn wants_token(spec: &Map<String, Value>, account: &Value) -> bool {
    let flag = |object: Option<&Value>| object.and_then(Value::as_bool);
    flag(spec.get("automountServiceAccountToken"))
        .or_else(|| flag(account.get("automountServiceAccountToken")))
        .unwrap_or(true)
}

/// Adds the token volume where a container has nothing mounted at its place yet.
fn mount_token(spec: &mut Map<String, Value>, chance: u64) {
    let volume = existing_volume(spec).unwrap_or_else(|| new_name(spec, chance));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            if mounts.is_null() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else {
                continue;
            };
            if !mounts
                .iter()
                .any(|mount| mount.get("mountPath").and_then(Value::as_str) == Some(MOUNT_PATH))
            {
                mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
                needed = true;
            }
        }
    }
    if needed && existing_volume(spec).is_none() {
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        if volumes.is_null() {
            *volumes = json!([]);
        }
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.push(token_volume(&volume));
        }
    }
}

fn existing_volume(spec: &Map<String, Value>) -> Option<String> {
    let volumes = spec.get("volumes")?.as_array()?;
    let names = volumes.iter().filter_map(|volume| volume.get("name")?.as_str());
    names
        .into_iter()
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned)
}

/// A name that no volume of the pod has.
fn new_name(spec: &Map<String, Value>, chance: u64) -> String {
    let volumes = spec
        .get("volumes")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let taken = |name: &str| {
        volumes
            .iter()
            .any(|volume| volume.get("name").and_then(Value::as_str) == Some(name))
    };
    let candidates =
        (0..).map(|attempt: u64| format!("{VOLUME_PREFIX}{}", suffix(chance.wrapping_add(attempt))));
    candidates
        .into_iter()
        .find(|name| !taken(name))
        .expect("a pod has fewer volumes than there are names")
}

fn suffix(mut chance: u64) -> String {
    let base = ALPHABET.len() as u64;
    let mut letters = String::new();
    for _ in 0..5 {
        letters.push(char::from(ALPHABET[(chance % base) as usize]));
        chance /= base;
    }
    letters
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    })
}

fn is_mirror(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(MIRROR_ANNOTATION))
        .is_some()
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}
