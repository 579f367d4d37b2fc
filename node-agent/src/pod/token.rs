//! Service account tokens for a pod's volumes: asked for, kept, and asked for again before they end.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};

use crate::clock;
use crate::volume::content::{TokenWanted, tokens_wanted};

/// Upstream asks anew at 80 % of a token's life, and at the latest after a day.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);
const RETRY: SignedDuration = SignedDuration::from_secs(30);

#[derive(Clone)]
struct Held {
    text: String,
    renew_at: Timestamp,
    expires_at: Timestamp,
}

/// A token that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("failed to fetch token: {0}")]
pub(super) struct TokenError(#[from] kube::Error);

/// The tokens of one pod.
#[derive(Clone, Default)]
pub(super) struct Tokens {
    held: BTreeMap<(String, String), Held>,
}

/// When a token of this life, made at `now`, is to be replaced. Pure.
fn renewal(now: Timestamp, expires_at: Timestamp) -> Timestamp {
    let life = expires_at.duration_since(now);
    let age = (life * 4 / 5).min(MAX_AGE);
    now.saturating_add(age).unwrap_or(expires_at)
}

impl Tokens {
    /// Texts by (volume, path).
    pub(super) fn texts(&self) -> BTreeMap<(String, String), String> {
        self.held
            .iter()
            .map(|(key, held)| (key.clone(), held.text.clone()))
            .collect()
    }

    /// When the next token is to be renewed.
    pub(super) fn renew_at(&self) -> Option<Timestamp> {
        self.held.values().map(|h| h.renew_at).min()
    }

    /// Makes every token that the pod wants current. A token that cannot be renewed is kept while it is valid.
    pub(super) async fn refresh(&mut self, client: &kube::Client, pod: &Pod) -> Result<(), TokenError> {
        for wanted in tokens_wanted(pod) {
            let key = (wanted.volume.clone(), wanted.path.clone());
            let now = clock::now();
            let held = self.held.get_mut(&key);
            if held.as_ref().is_some_and(|h| now < h.renew_at) {
                continue;
            }
            match (request(client, pod, &wanted).await, held) {
                (Ok(fresh), _) => {
                    self.held.insert(key, fresh);
                }
                (Err(error), Some(held)) if now < held.expires_at => {
                    tracing::warn!(%error, volume = wanted.volume, "service account token not renewed");
                    held.renew_at = now.saturating_add(RETRY).unwrap_or(held.expires_at);
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

async fn request(client: &kube::Client, pod: &Pod, wanted: &TokenWanted) -> Result<Held, kube::Error> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let account = pod
        .spec
        .as_ref()
        .and_then(|s| s.service_account_name.as_deref())
        .unwrap_or("default");
    let body = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: wanted.audience.clone().map(|a| vec![a]),
            expiration_seconds: Some(wanted.expiration_seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let now = clock::now();
    let answer = api
        .create_token_request(account, &PostParams::default(), &body)
        .await?;
    let status = answer.status.unwrap_or_default();
    let asked = SignedDuration::from_secs(wanted.expiration_seconds);
    let expires_at = status
        .expiration_timestamp
        .map_or_else(|| now.saturating_add(asked).unwrap_or(now), |t| t.0);
    Ok(Held {
        text: status.token.unwrap_or_default(),
        renew_at: renewal(now, expires_at),
        expires_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_at_four_fifths_of_their_life() {
        let at = |s: i64| Timestamp::from_second(1_700_000_000 + s).unwrap();
        for (life, renew) in [(3600, 2880), (600, 480), (365 * 86_400, 86_400)] {
            assert_eq!(renewal(at(0), at(life)), at(renew), "{life}");
        }
    }
}
