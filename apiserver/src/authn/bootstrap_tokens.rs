//! Bootstrap tokens: secrets of `kube-system` with which a machine joins a cluster (`--enable-bootstrap-token-auth`).
//!
//! A token is `ID.SECRET`; the secret of the API is `bootstrap-token-ID`. What is not in order there makes the token
//! nobody's, and only the log learns why. Pure.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use subtle::ConstantTimeEq;
use tracing::debug;

use crate::reader::{GroupResource, ObjectReader};
use crate::request::UserInfo;

const NAMESPACE: &str = "kube-system";
const NAME_PREFIX: &str = "bootstrap-token-";
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of everybody who is joining.
const GROUP: &str = "system:bootstrappers";
/// What further groups are called at least.
const GROUP_PREFIX: &str = "system:bootstrappers:";
/// Upstream's `BootstrapGroupPattern`, as it is told.
const GROUP_PATTERN: &str = r"\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z";
const USER_PREFIX: &str = "system:bootstrap:";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 16;

/// Knows who holds which bootstrap token.
pub struct BootstrapTokens {
    reader: Arc<dyn ObjectReader>,
}

impl BootstrapTokens {
    /// Reads the secrets there.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    /// Whose token it is; None where it is nobody's.
    pub(super) fn user(&self, token: &str, now: Timestamp) -> Option<UserInfo> {
        let (id, secret) = parse(token)?;
        let name = format!("{NAME_PREFIX}{id}");
        let object = self
            .reader
            .get(&GroupResource::new("", "secrets"), NAMESPACE, &name)?;
        match holder(&object, id, secret, now) {
            Ok(user) => Some(user),
            Err(why) => {
                debug!(secret = name, why, "a bootstrap token does not count");
                None
            }
        }
    }
}

/// Identifier and secret part of a token.
fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let known = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
    };
    (id.len() == ID_BYTES && secret.len() == SECRET_BYTES && known(id) && known(secret))
        .then_some((id, secret))
}

fn holder(object: &Value, id: &str, secret: &str, now: Timestamp) -> Result<UserInfo, String> {
    if object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|at| !at.is_null())
    {
        return Err("it is deleted and awaiting removal".to_owned());
    }
    if object.get("type").and_then(Value::as_str) != Some(TYPE) {
        return Err(format!("it has invalid type, expected {TYPE}"));
    }
    let data = |key: &str| datum(object, key);
    if !bool::from(data("token-secret").as_slice().ct_eq(secret.as_bytes())) {
        return Err("it has an invalid value for key token-secret".to_owned());
    }
    if data("token-id") != id.as_bytes() {
        return Err("it has an invalid value for key token-id".to_owned());
    }
    if has_expired(&data("expiration"), now) {
        return Err("it has expired".to_owned());
    }
    if data("usage-bootstrap-authentication") != b"true" {
        return Err("it is not marked usage-bootstrap-authentication=true".to_owned());
    }
    Ok(UserInfo {
        name: format!("{USER_PREFIX}{id}"),
        groups: groups(&String::from_utf8_lossy(&data("auth-extra-groups")))?,
        ..UserInfo::default()
    })
}

/// An entry of a secret's data; empty where there is none.
pub(super) fn datum(secret: &Value, key: &str) -> Vec<u8> {
    let encoded = secret.get("data").and_then(|data| data.get(key));
    let decoded = encoded
        .and_then(Value::as_str)
        .and_then(|text| STANDARD.decode(text).ok());
    decoded.unwrap_or_default()
}

/// What cannot be read as a time counts as past, as upstream.
fn has_expired(expiration: &[u8], now: Timestamp) -> bool {
    if expiration.is_empty() {
        return false;
    }
    let at: Option<Timestamp> = std::str::from_utf8(expiration)
        .ok()
        .and_then(|text| text.parse().ok());
    at.is_none_or(|at| at <= now)
}

fn groups(extra: &str) -> Result<Vec<String>, String> {
    let mut groups = vec![GROUP.to_owned()];
    for group in extra.split(',').filter(|_| !extra.is_empty()) {
        if !is_group(group) {
            return Err(format!(
                "bootstrap group {group:?} is invalid (must match {GROUP_PATTERN})"
            ));
        }
        groups.push(group.to_owned());
    }
    groups.sort();
    groups.dedup();
    Ok(groups)
}

fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix(GROUP_PREFIX) else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    let Some((last, body)) = rest.as_bytes().split_last() else {
        return false;
    };
    body.len() <= 255
        && plain(*last)
        && body
            .iter()
            .all(|byte| plain(*byte) || matches!(byte, b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reader::memory::MemoryReader;

    const TOKEN: &str = "abcdef.0123456789abcdef";

    fn secret(change: &[(&str, &str)]) -> Value {
        let mut data = json!({
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:b,system:bootstrappers:a",
            "expiration": "2026-03-02T00:00:00Z",
        });
        for (key, value) in change {
            data[*key] = json!(value);
        }
        for value in data.as_object_mut().unwrap().values_mut() {
            *value = json!(STANDARD.encode(value.as_str().unwrap()));
        }
        json!({"metadata": {"namespace": NAMESPACE, "name": "bootstrap-token-abcdef"}, "type": TYPE, "data": data})
    }

    fn ask(secret: Value, token: &str) -> Option<UserInfo> {
        let reader = MemoryReader::default();
        reader.put(&GroupResource::new("", "secrets"), secret);
        BootstrapTokens::new(Arc::new(reader)).user(token, "2026-03-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_secret_in_order_lets_its_holder_join() {
        let user = ask(secret(&[]), TOKEN).unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(
            user.groups,
            [
                "system:bootstrappers",
                "system:bootstrappers:a",
                "system:bootstrappers:b"
            ]
        );
        assert!(ask(secret(&[("expiration", ""), ("auth-extra-groups", "")]), TOKEN).is_some());
    }

    #[test]
    fn whatever_is_not_in_order_makes_it_nobody_s() {
        for token in [
            "abcdef.0123456789abcdee",
            "abcdee.0123456789abcdef",
            "abcdef",
            "abcdef.0123456789abcdef.",
            "",
        ] {
            assert_eq!(ask(secret(&[]), token), None, "{token}");
        }
        for change in [
            ("expiration", "2026-02-01T00:00:00Z"),
            ("expiration", "tomorrow"),
            ("usage-bootstrap-authentication", "yes"),
            ("token-id", "abcdee"),
            ("auth-extra-groups", "system:masters"),
            ("auth-extra-groups", "system:bootstrappers:a,"),
        ] {
            assert_eq!(ask(secret(&[change]), TOKEN), None, "{change:?}");
        }
        let mut other = secret(&[]);
        other["type"] = json!("Opaque");
        assert_eq!(ask(other, TOKEN), None);
        let mut going = secret(&[]);
        going["metadata"]["deletionTimestamp"] = json!("2026-02-28T00:00:00Z");
        assert_eq!(ask(going, TOKEN), None);
    }
}
