//! Claims that a token leaves to somebody else to tell (distributed claims, OpenID Connect Core 5.6.2): groups, where these are
//! too many for a token. Whoever tells them signs them, as an issuer that is asked for its keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::quote::quote;
use jiff::Timestamp;
use serde_json::Value;

use super::config::Issuer;
use super::provider::Provider;
use super::rules::Claims;
use super::{check_algorithm, check_standing};
use crate::tokens::Signed;

/// How many issuers of such claims are remembered.
const ISSUERS_MAX: usize = 64;

/// Where a claim is told.
#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    url: String,
    access_token: String,
}

/// Those who tell claims of one issuer's tokens.
pub(super) struct Tellers {
    /// The issuer of the tokens: who vouches for it vouches for them.
    issuer: Issuer,
    known: Mutex<HashMap<String, Arc<Provider>>>,
}

impl Tellers {
    pub(super) fn new(issuer: Issuer) -> Self {
        Self {
            issuer,
            known: Mutex::default(),
        }
    }

    /// Puts a claim in its place that somebody else is to tell.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(super) async fn expand(
        &self,
        claim: &str,
        claims: &mut Claims,
        algorithms: &[String],
        now: Timestamp,
    ) -> Result<(), String> {
        let Some(endpoint) = endpoint(claim, claims)? else {
            return Ok(());
        };
        let asker = Provider::new(self.issuer.clone());
        let token = asker.token(&endpoint.url, &endpoint.access_token).await;
        let token =
            token.map_err(|error| format!("while getting distributed claim {}: {error}", quote(claim)))?;
        let token = token.trim();
        let signed = Signed::parse(token).ok_or_else(|| {
            let url = &endpoint.url;
            format!(
                "getting untrusted issuer from endpoint {url} failed for claim {}: malformed token",
                quote(claim)
            )
        })?;
        let told = |why: String| format!("verify distributed claim token: {why}");
        check_algorithm(&signed, algorithms).map_err(told)?;
        let teller = self.teller(signed.issuer());
        if !teller.find().await {
            let issuer = quote(signed.issuer());
            return Err(format!(
                "verifying untrusted issuer {} failed: verifier not initialized for issuer: {issuer}",
                signed.issuer()
            ));
        }
        teller.verify(&signed, now).await.map_err(told)?;
        check_standing(&signed.claims, &self.issuer.audiences, now).map_err(told)?;
        let value = signed.claims.get(claim).ok_or_else(|| {
            let url = quote(&endpoint.url);
            format!("jwt returned by distributed claim endpoint {url} did not contain claim: {claim}")
        })?;
        claims.insert(claim.to_owned(), value.clone());
        Ok(())
    }

    fn teller(&self, url: &str) -> Arc<Provider> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ISSUERS_MAX && !known.contains_key(url) {
            known.clear();
        }
        let new = || {
            Arc::new(Provider::new(Issuer {
                url: url.to_owned(),
                discovery_url: String::new(),
                ..self.issuer.clone()
            }))
        };
        known.entry(url.to_owned()).or_insert_with(new).clone()
    }
}

/// Where a claim is told that stands in a token by its name only; None where it stands there itself, or nowhere.
fn endpoint(claim: &str, claims: &Claims) -> Result<Option<Endpoint>, String> {
    let Some(names) = claims.get("_claim_names").filter(|_| !claims.contains_key(claim)) else {
        return Ok(None);
    };
    let names = names
        .as_object()
        .filter(|names| names.values().all(Value::is_string))
        .ok_or("oidc: error parsing distributed claim names: not an object of strings")?;
    let sources = claims
        .get("_claim_sources")
        .ok_or("oidc: no claim sources")?
        .as_object()
        .ok_or("oidc: could not parse claim sources: not an object")?;
    let Some(name) = names.get(claim).and_then(Value::as_str) else {
        return Ok(None);
    };
    let source = sources.get(name).ok_or_else(|| {
        format!("id token _claim_names contained a source {name} missing in _claims_sources")
    })?;
    let text = |field: &str| source[field].as_str().unwrap_or_default().to_owned();
    let endpoint = Endpoint {
        url: text("endpoint"),
        access_token: text("access_token"),
    };
    Ok(Some(endpoint).filter(|endpoint| !endpoint.url.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_told_elsewhere_where_it_stands_by_its_name_only() {
        let of = |claims: Value| endpoint("groups", claims.as_object().unwrap());
        let sources = json!({"src": {"endpoint": "https://a/g", "access_token": "t"}, "own": {"JWT": "x"}});
        let found = Endpoint {
            url: "https://a/g".to_owned(),
            access_token: "t".to_owned(),
        };
        let names = |name: &str| json!({"groups": name});
        assert_eq!(
            of(json!({"_claim_names": names("src"), "_claim_sources": sources})),
            Ok(Some(found))
        );
        for none in [
            json!({}),
            json!({"groups": ["a"], "_claim_names": names("src")}),
            json!({"_claim_names": {"other": "src"}, "_claim_sources": sources}),
            json!({"_claim_names": names("own"), "_claim_sources": sources}),
        ] {
            assert_eq!(of(none.clone()), Ok(None), "{none}");
        }
        for wrong in [
            json!({"_claim_names": 1, "_claim_sources": sources}),
            json!({"_claim_names": names("src")}),
            json!({"_claim_names": names("src"), "_claim_sources": "x"}),
            json!({"_claim_names": names("lost"), "_claim_sources": sources}),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
