//! Service account tokens: whose they are, and whether what they are bound to still stands.
//!
//! A signature is looked at once for each token (elliptic curves cost a good part of a millisecond); that the account, and
//! the pod, secret or node the token is bound to, are still the same ones is looked at for every request.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::names;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::quoted;
use crate::reader::{GroupResource, ObjectReader};
use crate::request::UserInfo;
use crate::tokens::{Claims, ObjectClaim, TokenKeys, VerifyError, untrusted_issuer};

/// How many verified tokens are remembered. A cluster has about as many as pods; beyond this they are verified again.
const REMEMBERED: usize = 4096;

/// How long after a bound object's deletion was due its tokens still count, in seconds (upstream's leeway).
const DELETION_LEEWAY: i64 = 60;

/// Verifies service account tokens.
pub struct ServiceAccountTokens {
    keys: Arc<TokenKeys>,
    api_audiences: Vec<String>,
    reader: Arc<dyn ObjectReader>,
    verified: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

/// Why a token does not count.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not signed here, or not now.
    #[error(transparent)]
    Unverified(#[from] VerifyError),
    /// Meant for somebody else.
    #[error("token audiences {} is invalid for the target audiences {}", quoted(.0), quoted(.1))]
    Audience(Vec<String>, Vec<String>),
    /// The account is gone.
    #[error("serviceaccounts {0:?} not found")]
    NoAccount(String),
    /// The account has been deleted for a while.
    #[error("service account {0} has been deleted")]
    Deleted(String),
    /// The pod, secret or node that the token is bound to is gone.
    #[error("service account token has been invalidated")]
    Invalidated,
    /// There is another of the same name.
    #[error("{kind} UID ({found}) does not match {claim} ({claimed})")]
    Another {
        /// `service account`, `pod`, `secret`, `node`.
        kind: &'static str,
        /// What is there.
        found: String,
        /// How the claim is called.
        claim: &'static str,
        /// What the token says.
        claimed: String,
    },
}

impl ServiceAccountTokens {
    /// Verifies what `keys` signed; `api_audiences` are those this server itself counts for.
    pub fn new(keys: Arc<TokenKeys>, api_audiences: Vec<String>, reader: Arc<dyn ObjectReader>) -> Self {
        Self {
            keys,
            api_audiences,
            reader,
            verified: Mutex::default(),
        }
    }

    /// The audiences this server itself counts for.
    pub fn api_audiences(&self) -> &[String] {
        &self.api_audiences
    }

    /// Whose token it is, and for which of the audiences it is meant; None where it is of another sort.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Option<(UserInfo, Vec<String>)>, TokenError> {
        let claims = match self.claims(token, now) {
            Ok(claims) => claims,
            Err(_) if untrusted_issuer(token).as_deref() != Some(self.keys.issuer()) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let meant: Vec<_> = claims
            .audiences
            .iter()
            .filter(|own| audiences.contains(own))
            .cloned()
            .collect();
        if meant.is_empty() {
            return Err(TokenError::Audience(claims.audiences.clone(), audiences.to_vec()));
        }
        self.check_bound(&claims, now)?;
        Ok(Some((user_of(&claims), meant)))
    }

    fn claims(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, VerifyError> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.verified().get(&digest).cloned();
        if let Some(claims) = known {
            claims.check_time(now)?;
            return Ok(claims);
        }
        let claims = Arc::new(self.keys.verify(token, now)?);
        let mut verified = self.verified();
        if verified.len() >= REMEMBERED {
            verified.retain(|_, claims| claims.check_time(now).is_ok());
        }
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(digest, claims.clone());
        Ok(claims)
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Arc<Claims>>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_bound(&self, claims: &Claims, now: Timestamp) -> Result<(), TokenError> {
        let private = &claims.kubernetes;
        let namespace = &private.namespace;
        self.check_account(namespace, &private.service_account, now)?;
        if let Some(secret) = &private.secret {
            self.check_object("secret", namespace, secret, now)?;
        }
        if let Some(pod) = &private.pod {
            self.check_object("pod", namespace, pod, now)?;
        }
        // A pod's token names its node for information; only a token bound to the node itself hangs on it.
        match &private.node {
            Some(node) if private.pod.is_none() => self.check_object("node", "", node, now),
            _ => Ok(()),
        }
    }

    fn check_account(&self, namespace: &str, claim: &ObjectClaim, now: Timestamp) -> Result<(), TokenError> {
        let account = self.object("serviceaccounts", namespace, &claim.name);
        let account = account.ok_or_else(|| TokenError::NoAccount(claim.name.clone()))?;
        let found = text(&account, "/metadata/uid");
        if found != claim.uid {
            return Err(TokenError::Another {
                kind: "service account",
                found: found.to_owned(),
                claim: "claim",
                claimed: claim.uid.clone(),
            });
        }
        if is_long_deleted(&account, now) {
            return Err(TokenError::Deleted(format!("{namespace}/{}", claim.name)));
        }
        Ok(())
    }

    fn check_object(
        &self,
        kind: &'static str,
        namespace: &str,
        claim: &ObjectClaim,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        let (resource, claim_name) = match kind {
            "secret" => ("secrets", "service account secret ref claim"),
            "pod" => ("pods", "service account pod ref claim"),
            _ => ("nodes", "service account node ref claim"),
        };
        let object = self.object(resource, namespace, &claim.name);
        let object = object.ok_or(TokenError::Invalidated)?;
        let found = text(&object, "/metadata/uid");
        if found != claim.uid {
            return Err(TokenError::Another {
                kind,
                found: found.to_owned(),
                claim: claim_name,
                claimed: claim.uid.clone(),
            });
        }
        if is_long_deleted(&object, now) {
            return Err(TokenError::Invalidated);
        }
        Ok(())
    }

    fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.reader
            .get(&GroupResource::new("", resource), namespace, name)
    }
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_long_deleted(object: &Value, now: Timestamp) -> bool {
    let deleted: Option<Timestamp> = text(object, "/metadata/deletionTimestamp").parse().ok();
    deleted.is_some_and(|at| at + SignedDuration::from_secs(DELETION_LEEWAY) < now)
}

/// The groups of every service account of a namespace.
pub fn service_account_groups(namespace: &str) -> [String; 2] {
    [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ]
}

/// Namespace and name of a service account's user name.
pub(crate) fn split_service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let valid = names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

fn user_of(claims: &Claims) -> UserInfo {
    let private = &claims.kubernetes;
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(
                format!("authentication.kubernetes.io/{key}"),
                vec![value.to_owned()],
            );
        }
    };
    if let Some(pod) = &private.pod {
        add("pod-name", &pod.name);
        add("pod-uid", &pod.uid);
    }
    if let Some(node) = &private.node {
        add("node-name", &node.name);
        add("node-uid", &node.uid);
    }
    if !claims.id.is_empty() {
        add("credential-id", &format!("JTI={}", claims.id));
    }
    UserInfo {
        name: format!(
            "system:serviceaccount:{}:{}",
            private.namespace, private.service_account.name
        ),
        uid: private.service_account.uid.clone(),
        groups: service_account_groups(&private.namespace).into(),
        extra,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reader::memory::MemoryReader;
    use crate::tokens::{KubernetesClaims, TokenKeys};

    const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn claims(pod: Option<ObjectClaim>) -> Claims {
        let now = at("2026-03-01T00:00:00Z").as_second();
        Claims {
            audiences: vec![AUDIENCE.to_owned()],
            expires: now + 3600,
            issued: now,
            issuer: AUDIENCE.to_owned(),
            id: "token-1".to_owned(),
            not_before: now,
            subject: "system:serviceaccount:a:bot".to_owned(),
            kubernetes: KubernetesClaims {
                namespace: "a".to_owned(),
                service_account: ObjectClaim::new("bot", "uid-bot"),
                node: pod.is_some().then(|| ObjectClaim::new("n1", "uid-n1")),
                pod,
                ..KubernetesClaims::default()
            },
        }
    }

    fn object(name: &str, uid: &str) -> Value {
        json!({"metadata": {"namespace": "a", "name": name, "uid": uid}})
    }

    #[test]
    fn a_token_counts_while_all_it_is_bound_to_stands() {
        let reader = Arc::new(MemoryReader::default());
        let accounts = GroupResource::new("", "serviceaccounts");
        let pods = GroupResource::new("", "pods");
        let keys = Arc::new(TokenKeys::generate(AUDIENCE));
        let token = keys.sign(&claims(Some(ObjectClaim::new("web", "uid-web"))));
        let tokens = ServiceAccountTokens::new(keys, vec![AUDIENCE.to_owned()], reader.clone());
        let now = at("2026-03-01T00:10:00Z");
        let verify = |now| {
            tokens
                .verify(&token, tokens.api_audiences(), now)
                .map_err(|error| error.to_string())
        };

        assert_eq!(verify(now), Err("serviceaccounts \"bot\" not found".to_owned()));
        reader.put(&accounts, object("bot", "uid-bot"));
        assert_eq!(
            verify(now),
            Err("service account token has been invalidated".to_owned())
        );
        reader.put(&pods, object("web", "uid-other"));
        assert_eq!(
            verify(now),
            Err("pod UID (uid-other) does not match service account pod ref claim (uid-web)".to_owned())
        );
        reader.put(&pods, object("web", "uid-web"));
        let (user, audiences) = verify(now).unwrap().unwrap();
        assert_eq!(user.name, "system:serviceaccount:a:bot");
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:a"]
        );
        let extra = |key: &str| user.extra[&format!("authentication.kubernetes.io/{key}")].join(",");
        assert_eq!(
            (extra("pod-name"), extra("node-uid")),
            ("web".to_owned(), "uid-n1".to_owned())
        );
        assert_eq!(extra("credential-id"), "JTI=token-1");
        assert_eq!(audiences, [AUDIENCE]);

        let mut dying = object("web", "uid-web");
        dying["metadata"]["deletionTimestamp"] = json!("2026-03-01T00:09:30Z");
        reader.put(&pods, dying.clone());
        assert!(verify(now).is_ok(), "within the leeway");
        dying["metadata"]["deletionTimestamp"] = json!("2026-03-01T00:08:00Z");
        reader.put(&pods, dying);
        assert_eq!(
            verify(now),
            Err("service account token has been invalidated".to_owned())
        );
        reader.put(&pods, object("web", "uid-web"));
        assert!(
            verify(at("2026-03-01T02:00:00Z"))
                .unwrap_err()
                .contains("expired")
        );
    }

    #[test]
    fn a_token_for_somebody_else_or_from_somewhere_else_does_not_count() {
        let reader = Arc::new(MemoryReader::default());
        reader.put(
            &GroupResource::new("", "serviceaccounts"),
            object("bot", "uid-bot"),
        );
        let keys = Arc::new(TokenKeys::generate(AUDIENCE));
        let now = at("2026-03-01T00:10:00Z");
        let token = keys.sign(&claims(None));
        let foreign = TokenKeys::generate(AUDIENCE).sign(&claims(None));
        let tokens = ServiceAccountTokens::new(keys, vec![AUDIENCE.to_owned()], reader);
        assert!(tokens.verify(&token, tokens.api_audiences(), now).is_ok());
        let vault = ["vault".to_owned()];
        assert!(matches!(
            tokens.verify(&token, &vault, now),
            Err(TokenError::Audience(..))
        ));
        assert!(matches!(
            tokens.verify(&foreign, tokens.api_audiences(), now),
            Err(TokenError::Unverified(_))
        ));
    }
}
