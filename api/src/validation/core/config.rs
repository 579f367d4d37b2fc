//! ConfigMaps, Secrets, ServiceAccounts and Namespaces.

use base64::Engine as _;
use serde_json::Value;

use crate::names;
use crate::object::{Fields, same};
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::{faults, immutable, kube_finalizers};

/// The most bytes that the data of a ConfigMap or Secret may have.
const DATA_MAX: usize = 1024 * 1024;
const SEALED: &str = "field is immutable when `immutable` is set";

/// How many bytes a base64 text stands for.
fn decoded_size(text: &str) -> usize {
    base64::decoded_len_estimate(text.len()) - text.bytes().rev().take_while(|b| *b == b'=').count().min(2)
}

pub(in crate::validation) fn config_map(map: &Value, errors: &mut FieldErrors) {
    let mut size = 0;
    for (key, value) in map.entries("data") {
        let field = Path::new("data");
        faults(&field.key(key), key, names::config_map_key(key), errors);
        if map.field("binaryData").is_some_and(|binary| binary.has(key)) {
            errors.invalid(&field.key(key), key, "duplicate of key present in binaryData");
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in map.entries("binaryData") {
        faults(
            &Path::new("binaryData").key(key),
            key,
            names::config_map_key(key),
            errors,
        );
        size += value.as_str().map_or(0, decoded_size);
    }
    if size > DATA_MAX {
        errors.too_long(&Path::new(""), DATA_MAX);
    }
}

pub(in crate::validation) fn config_map_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    sealed(new, old, &["data", "binaryData"], errors);
    config_map(new, errors);
}

/// An object that was sealed stays sealed, with what is in it.
fn sealed(new: &Value, old: &Value, fields: &[&str], errors: &mut FieldErrors) {
    if !old.flag("immutable") {
        return;
    }
    if !new.flag("immutable") {
        errors.forbidden(&Path::new("immutable"), SEALED);
    }
    for name in fields
        .iter()
        .filter(|name| !same(new.get(**name), old.get(**name)))
    {
        errors.forbidden(&Path::new(name), SEALED);
    }
}

pub(in crate::validation) fn secret(secret: &Value, errors: &mut FieldErrors) {
    let data = Path::new("data");
    let mut size = 0;
    for (key, value) in secret.entries("data") {
        faults(&data.key(key), key, names::config_map_key(key), errors);
        size += value.as_str().map_or(0, decoded_size);
    }
    if size > DATA_MAX {
        errors.too_long(&data, DATA_MAX);
    }
    let contents = &secret["data"];
    let mut require = |keys: &[&str]| {
        for key in keys.iter().filter(|key| contents.get(**key).is_none()) {
            errors.required(&data.key(key), "");
        }
    };
    match secret.text("type") {
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if secret["metadata"]["annotations"].text(annotation).is_empty() {
                errors.required(&Path::new("metadata.annotations").key(annotation), "");
            }
        }
        "kubernetes.io/dockercfg" => json_object(contents, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => json_object(contents, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" if !contents.has("username") && !contents.has("password") => {
            require(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" if contents.text("ssh-privatekey").is_empty() => {
            errors.required(&data.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"]),
        _ => {}
    }
}

/// The value of `key` is a JSON object; messages never show it.
fn json_object(contents: &Value, key: &str, errors: &mut FieldErrors) {
    let data = Path::new("data");
    let at = data.key(key);
    let Some(text) = contents.get(key).and_then(Value::as_str) else {
        errors.required(&at, "");
        return;
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap_or_default();
    let message = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(_) => "json: cannot unmarshal into Go value of type map[string]interface {}".to_owned(),
        Err(error) if error.is_eof() => "unexpected end of JSON input".to_owned(),
        Err(_) => {
            let first = bytes
                .iter()
                .map(|b| char::from(*b))
                .find(|c| !c.is_whitespace())
                .unwrap_or(' ');
            format!("invalid character '{first}' looking for beginning of value")
        }
    };
    errors.invalid(&at, "<secret contents redacted>", message);
}

pub(in crate::validation) fn secret_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    immutable(new.field("type"), old.field("type"), &Path::new("type"), errors);
    sealed(new, old, &["data"], errors);
    secret(new, errors);
}

pub(in crate::validation) fn namespace(namespace: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec.finalizers");
    for finalizer in namespace["spec"]
        .items("finalizers")
        .iter()
        .filter_map(Value::as_str)
    {
        namespace_finalizer(finalizer, &at, errors);
    }
}

fn namespace_finalizer(finalizer: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    faults(at, finalizer, names::qualified_name(finalizer), errors);
    if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
        errors.invalid(
            at,
            finalizer,
            "name is neither a standard finalizer name nor is it fully qualified",
        );
    }
}

/// What a namespace waits for before it goes.
pub(in crate::validation) fn namespace_finalize(namespace: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec");
    for (index, finalizer) in namespace["spec"].items("finalizers").iter().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        faults(
            &at.child("finalizers").index(index),
            name,
            names::qualified_name(name),
            errors,
        );
    }
    kube_finalizers(&namespace["spec"], &at, errors);
}

pub(in crate::validation) fn namespace_status(new: &Value, _: &Value, errors: &mut FieldErrors) {
    let (phase, condition) = match new["metadata"].has("deletionTimestamp") {
        true => ("Terminating", "`deletionTimestamp` is not empty"),
        false => ("Active", "`deletionTimestamp` is empty"),
    };
    let found = new["status"].text("phase");
    if found != phase {
        errors.invalid(
            &Path::new("status.Phase"),
            found,
            format!("may only be '{phase}' if {condition}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(rule: fn(&Value, &mut FieldErrors), object: Value) -> Vec<String> {
        let mut errors = FieldErrors::new();
        rule(&object, &mut errors);
        errors.iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn config_maps() {
        let cases = [
            (json!({"data": {"a.b": "x"}, "binaryData": {"c": "eA=="}}), vec![]),
            (json!({"data": {"a/b": "x"}}), vec!["data[a/b]"]),
            (
                json!({"data": {"a": "x"}, "binaryData": {"a": "eA=="}}),
                vec!["data[a]"],
            ),
            (json!({"data": {"a": "x".repeat(DATA_MAX + 1)}}), vec![""]),
        ];
        for (map, want) in cases {
            assert_eq!(fields(config_map, map), want);
        }
    }

    #[test]
    fn secrets_of_known_types_have_their_keys() {
        let cases = [
            (json!({"type": "Opaque"}), vec![]),
            (
                json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
                vec!["data[tls.key]"],
            ),
            (
                json!({"type": "kubernetes.io/basic-auth"}),
                vec!["data[username]", "data[password]"],
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eA=="}}),
                vec!["data[.dockerconfigjson]"],
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}),
                vec![],
            ),
        ];
        for (object, want) in cases {
            assert_eq!(fields(secret, object), want);
        }
    }

    #[test]
    fn what_is_sealed_stays() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let mut errors = FieldErrors::new();
        config_map_update(&json!({"data": {"a": "2"}}), &old, &mut errors);
        let found: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(found, ["immutable", "data"]);
    }
}
