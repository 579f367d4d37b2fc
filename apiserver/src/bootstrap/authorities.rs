//! The ConfigMap by which extension servers learn whom to believe: who vouches for clients, and who may say in headers on
//! whose behalf they ask. Pure.

use serde_json::{Value, json};

use crate::aggregation::identity;
use crate::authn::FrontProxyHeaders;

/// Certificates as PEM.
pub(crate) struct ClientAuthorities {
    /// Of those who vouch for clients.
    pub(crate) clients: String,
    /// Of who vouches for front proxies, of which this server is one.
    pub(crate) front_proxy: String,
    /// What other front proxies say, and under which names.
    pub(crate) headers: FrontProxyHeaders,
}

impl ClientAuthorities {
    /// As upstream's cluster authentication trust controller writes it; lists are JSON.
    pub(super) fn config_map(&self) -> Value {
        let other = &self.headers;
        let list = |own: &str, more: &[String]| {
            let more = more.iter().filter(|name| !name.eq_ignore_ascii_case(own));
            let all: Vec<&str> = std::iter::once(own).chain(more.map(String::as_str)).collect();
            json!(all).to_string()
        };
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": {
                "client-ca-file": self.clients,
                "requestheader-allowed-names": list("front-proxy-client", &other.allowed_names),
                "requestheader-client-ca-file": self.front_proxy,
                "requestheader-extra-headers-prefix": list(identity::EXTRA_PREFIX, &other.extra_prefix),
                "requestheader-group-headers": list(identity::GROUP, &other.group),
                "requestheader-uid-headers": list(identity::UID, &other.uid),
                "requestheader-username-headers": list(identity::USER, &other.username),
            },
        })
    }
}

/// The map with the entries that must be as wanted, where they are not.
pub(super) fn corrected(current: &Value, wanted: &Value) -> Option<Value> {
    let mut next = current.clone();
    for (name, value) in wanted["data"].as_object()? {
        next["data"][name] = value.clone();
    }
    (next != *current).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_entries_stay() {
        let authorities = ClientAuthorities {
            clients: "a".to_owned(),
            front_proxy: "b".to_owned(),
            headers: FrontProxyHeaders::default(),
        };
        let wanted = authorities.config_map();
        assert_eq!(
            wanted["data"]["requestheader-username-headers"],
            "[\"X-Remote-User\"]"
        );
        assert_eq!(corrected(&wanted, &wanted), None);
        let mut other = wanted.clone();
        other["data"]["client-ca-file"] = json!("old");
        other["data"]["own"] = json!("x");
        let corrected = corrected(&other, &wanted).unwrap();
        assert_eq!(
            (&corrected["data"]["client-ca-file"], &corrected["data"]["own"]),
            (&json!("a"), &json!("x"))
        );
    }
}
