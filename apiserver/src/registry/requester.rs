//! Objects that say who asked for them: the server writes it, whatever the client says. Pure.

use serde_json::{Value, json};

use super::served::Served;
use crate::request::UserInfo;

/// Writes into a certificate signing request who made it.
pub(super) fn stamp(served: &Served, object: &mut Value, user: &UserInfo) {
    if !served.is("certificates.k8s.io", "certificatesigningrequests") {
        return;
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let fields = [
        ("username", json!(user.name), user.name.is_empty()),
        ("uid", json!(user.uid), user.uid.is_empty()),
        ("groups", json!(user.groups), user.groups.is_empty()),
        ("extra", json!(user.extra), user.extra.is_empty()),
    ];
    for (field, value, empty) in fields {
        if empty {
            spec.remove(field);
        } else {
            spec.insert(field.to_owned(), value);
        }
    }
}
