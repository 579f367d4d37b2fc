//! The ConfigMap by which extension servers learn whom to believe: who vouches for clients, and who may say in headers on
//! whose behalf they ask. Pure.

use serde_json::{Value, json};

use crate::aggregation::identity;

/// Certificates as PEM.
pub(crate) struct ClientAuthorities {
    /// Of those who vouch for clients.
    pub(crate) clients: String,
    /// Of who vouches for the front proxy, which is this server.
    pub(crate) front_proxy: String,
}

impl ClientAuthorities {
    /// As upstream's cluster authentication trust controller writes it; lists are JSON.
    pub(super) fn config_map(&self) -> Value {
        let list = |name: &str| json!([name]).to_string();
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": {
                "client-ca-file": self.clients,
                "requestheader-allowed-names": list("front-proxy-client"),
                "requestheader-client-ca-file": self.front_proxy,
                "requestheader-extra-headers-prefix": list(identity::EXTRA_PREFIX),
                "requestheader-group-headers": list(identity::GROUP),
                "requestheader-uid-headers": list(identity::UID),
                "requestheader-username-headers": list(identity::USER),
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
