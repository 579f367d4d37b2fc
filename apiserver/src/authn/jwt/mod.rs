//! Tokens of issuers elsewhere: OpenID Connect, by flags (`--oidc-*`) or by an `AuthenticationConfiguration`.
//!
//! `config` is what is written down, `rules` what claims mean (pure), `provider` asks issuers for their keys, and `distributed`
//! those who tell what a token leaves to them. A token is of the issuer that it names; nobody else is asked about it.

mod config;
mod distributed;
mod provider;
mod rules;

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::validation::{FieldErrors, Path};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::config::of_kind;
pub use self::config::{
    AnonymousConfig, AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, Issuer, JwtIssuer,
    Mapping,
};
use self::distributed::Tellers;
use self::provider::Provider;
use self::rules::{Claims, Rules};
use super::quoted;
use crate::request::UserInfo;
pub use crate::tokens::ALGORITHMS;
use crate::tokens::Signed;

/// How far an issuer's clock may be ahead of ours when a token begins.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// Every issuer whose tokens count.
pub struct JwtIssuers {
    issuers: Vec<One>,
    algorithms: Vec<String>,
    /// Ends what is asked for their sake.
    alive: CancellationToken,
}

impl Drop for JwtIssuers {
    fn drop(&mut self) {
        self.alive.cancel();
    }
}

struct One {
    rules: Rules,
    provider: Arc<Provider>,
    tellers: Tellers,
}

impl JwtIssuers {
    /// Compiles what issuers' tokens say. `own` are names of this server's own, which no other issuer may have; signatures count
    /// by these algorithms.
    ///
    /// # Errors
    /// All that is wrong, in upstream's words.
    pub fn new(configs: Vec<JwtIssuer>, own: &[String], algorithms: Vec<String>) -> Result<Self, String> {
        if let Some(odd) = algorithms
            .iter()
            .find(|name| !ALGORITHMS.contains(&name.as_str()))
        {
            return Err(format!("oidc: unsupported signing alg: {odd:?}"));
        }
        let mut errors = FieldErrors::new();
        let list = Path::new("jwt");
        if configs.len() > rules::ISSUERS_MAX {
            errors.too_many(&list, configs.len(), rules::ISSUERS_MAX);
            return Err(errors.aggregate());
        }
        let (mut urls, mut discovery_urls) = (BTreeSet::new(), BTreeSet::new());
        let mut issuers = Vec::new();
        for (index, config) in configs.into_iter().enumerate() {
            let at = list.index(index);
            let issuer = config.issuer.clone();
            let place = at.child("issuer");
            if !issuer.certificate_authority.is_empty()
                && let Err(why) = provider::check_authorities(&issuer.certificate_authority)
            {
                errors.invalid(&place.child("certificateAuthority"), "<omitted>", why);
            }
            let rules = rules::compile_rules(config, own, &at, &mut errors);
            if !urls.insert(issuer.url.clone()) {
                errors.duplicate(&place.child("url"), issuer.url.as_str());
            }
            let discovery = &issuer.discovery_url;
            if !discovery.is_empty() && !discovery_urls.insert(discovery.clone()) {
                errors.duplicate(&place.child("discoveryURL"), discovery.as_str());
            }
            issuers.push(One {
                rules,
                tellers: Tellers::new(issuer.clone()),
                provider: Arc::new(Provider::new(issuer)),
            });
        }
        if errors.is_empty() {
            Ok(Self {
                issuers,
                algorithms,
                alive: CancellationToken::new(),
            })
        } else {
            Err(errors.aggregate())
        }
    }

    /// Begins to find out where the issuers' keys are told. Tokens of an issuer that has not answered yet do not count.
    pub(crate) fn discover(&self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        for one in &self.issuers {
            let (provider, shutdown, alive) = (one.provider.clone(), shutdown.clone(), self.alive.clone());
            tasks.spawn(async move { alive.run_until_cancelled(provider.discover(&shutdown)).await });
        }
    }

    /// Whether every issuer has said where its keys are.
    pub(crate) fn are_known(&self) -> bool {
        self.issuers.iter().all(|one| one.provider.is_known())
    }

    /// Whose token it is; None where none of the issuers is named in it.
    pub(super) async fn verify(&self, token: &str, now: Timestamp) -> Result<Option<UserInfo>, String> {
        let Some(signed) = Signed::parse(token) else {
            return Ok(None);
        };
        let named = |one: &&One| one.rules.config.issuer.url == signed.issuer();
        let Some(one) = self.issuers.iter().find(named) else {
            return Ok(None);
        };
        let told = |why: String| format!("oidc: verify token: {why}");
        check_algorithm(&signed, &self.algorithms).map_err(told)?;
        if !one.provider.is_known() {
            return Err("oidc: authenticator not initialized".to_owned());
        }
        one.provider.verify(&signed, now).await.map_err(told)?;
        check_standing(&signed.claims, &one.rules.config.issuer.audiences, now).map_err(told)?;
        let mut claims = signed.claims;
        let groups = &one.rules.config.claim_mappings.groups.claim;
        if !groups.is_empty() {
            let expanded = one
                .tellers
                .expand(groups, &mut claims, &self.algorithms, now)
                .await;
            expanded.map_err(|why| format!("oidc: could not expand distributed claims: {why}"))?;
        }
        one.rules.user(&claims).map(Some)
    }
}

/// Whether signatures by the algorithm of a token count.
fn check_algorithm(signed: &Signed<'_>, algorithms: &[String]) -> Result<(), String> {
    if algorithms.contains(&signed.algorithm) {
        return Ok(());
    }
    Err(format!(
        "oidc: id token signed with unsupported algorithm, expected {} got {:?}",
        quoted(algorithms),
        signed.algorithm
    ))
}

/// Whether a token counts now, and for us.
fn check_standing(claims: &Claims, audiences: &[String], now: Timestamp) -> Result<(), String> {
    let meant: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.iter().any(|own| meant.contains(&own.as_str())) {
        let found = quoted(&meant);
        return Err(match audiences {
            [only] => format!("oidc: expected audience {only:?} got {found}"),
            several => format!("oidc: expected audience in {} got {found}", quoted(several)),
        });
    }
    let moment = |name: &str| {
        let seconds = claims.get(name).and_then(Value::as_f64);
        #[allow(
            clippy::cast_possible_truncation,
            reason = "whole seconds are meant, and the cast saturates"
        )]
        seconds.and_then(|seconds| Timestamp::from_second(seconds as i64).ok())
    };
    let ends = moment("exp").unwrap_or(Timestamp::UNIX_EPOCH);
    if ends < now {
        return Err(format!("oidc: token is expired (Token Expiry: {ends})"));
    }
    match moment("nbf") {
        Some(begins) if now + LEEWAY < begins => Err(format!(
            "oidc: current time {now} before the nbf (not before) time: {begins}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_count_in_their_time_and_for_us() {
        let now = Timestamp::from_second(1000).unwrap();
        let check = |claims: Value| {
            let audiences = ["us".to_owned(), "we".to_owned()];
            check_standing(claims.as_object().unwrap(), &audiences, now)
        };
        assert_eq!(check(json!({"aud": "we", "exp": 1000, "nbf": 1060})), Ok(()));
        assert_eq!(check(json!({"aud": ["x", "us"], "exp": 1001.5})), Ok(()));
        let told = check(json!({"aud": ["x"], "exp": 1001})).unwrap_err();
        assert_eq!(told, "oidc: expected audience in [\"us\" \"we\"] got [\"x\"]");
        assert!(check(json!({"aud": "us"})).unwrap_err().contains("is expired"));
        assert!(
            check(json!({"aud": "us", "exp": 2000, "nbf": 1061}))
                .unwrap_err()
                .contains("not before")
        );
    }

    #[test]
    fn issuers_stand_once() {
        let issuer = JwtIssuer {
            issuer: Issuer {
                url: "https://a".to_owned(),
                audiences: vec!["us".to_owned()],
                ..Issuer::default()
            },
            claim_mappings: ClaimMappings {
                username: Mapping {
                    claim: "sub".to_owned(),
                    prefix: Some(String::new()),
                    ..Mapping::default()
                },
                ..ClaimMappings::default()
            },
            ..JwtIssuer::default()
        };
        let algorithms = || vec!["RS256".to_owned()];
        assert!(JwtIssuers::new(vec![issuer.clone()], &[], algorithms()).is_ok());
        let twice = JwtIssuers::new(vec![issuer.clone(), issuer.clone()], &[], algorithms()).err();
        assert_eq!(
            twice.as_deref(),
            Some("jwt[1].issuer.url: Duplicate value: \"https://a\"")
        );
        let odd = JwtIssuers::new(vec![issuer], &[], vec!["HS256".to_owned()]).err();
        assert_eq!(odd.as_deref(), Some("oidc: unsupported signing alg: \"HS256\""));
    }
}
