//! Whose a bearer token is: everybody who may know is asked in upstream's order, those at hand before those far away.

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

use super::bootstrap_tokens::BootstrapTokens;
use super::jwt::JwtIssuers;
use super::legacy_tokens::LegacyTokens;
use super::service_account::ServiceAccountTokens;
use super::static_tokens::StaticTokens;
use super::webhook::TokenWebhook;
use crate::request::UserInfo;

/// Told of a token that nobody knows, and before whatever else is wrong with it.
const INVALID: &str = "invalid bearer token";

/// Everybody who may know whose a token is.
pub struct Tokens {
    /// Those of a file.
    pub fixed: StaticTokens,
    /// Those of service accounts that live in secrets.
    pub legacy: Option<LegacyTokens>,
    /// Those of service accounts.
    service_accounts: ServiceAccountTokens,
    /// Those of machines that join.
    pub bootstrap: Option<BootstrapTokens>,
    /// Those of issuers elsewhere.
    pub jwt: ArcSwapOption<JwtIssuers>,
    /// A service that knows of others.
    pub webhook: Option<TokenWebhook>,
}

/// What an audience-aware check of a token found (for TokenReview).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOwner {
    /// Whose token it is.
    pub user: UserInfo,
    /// Which of the audiences asked for the token is meant for.
    pub audiences: Vec<String>,
    /// What its sender is to be warned of.
    pub warning: Option<&'static str>,
}

impl Tokens {
    /// Knows those of service accounts, so far.
    pub fn new(service_accounts: ServiceAccountTokens) -> Self {
        Self {
            fixed: StaticTokens::default(),
            legacy: None,
            service_accounts,
            bootstrap: None,
            jwt: ArcSwapOption::empty(),
            webhook: None,
        }
    }

    /// The audiences this server itself counts for.
    pub fn api_audiences(&self) -> &[String] {
        self.service_accounts.api_audiences()
    }

    /// Whose a token is, if it is meant for one of the audiences; else all that is wrong with it.
    pub(super) async fn owner(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<TokenOwner, Vec<String>> {
        let mut faults = vec![INVALID.to_owned()];
        // Tokens that name no audience count for whatever the server itself counts for.
        let own: Vec<String> = self
            .api_audiences()
            .iter()
            .filter(|own| audiences.contains(own))
            .cloned()
            .collect();
        let owner = |user, warning| TokenOwner {
            user,
            audiences: own.clone(),
            warning,
        };
        if let Some(user) = self.fixed.user(token).filter(|_| !own.is_empty()) {
            return Ok(owner(user, None));
        }
        if let Some(legacy) = self.legacy.as_ref().filter(|_| !own.is_empty()) {
            match legacy.verify(token, now) {
                Ok(Some((user, warning))) => return Ok(owner(user, warning)),
                Ok(None) => {}
                Err(why) => faults.push(why),
            }
        }
        match self.service_accounts.verify(token, audiences, now) {
            Ok(Some((user, audiences))) => {
                return Ok(TokenOwner {
                    user,
                    audiences,
                    warning: None,
                });
            }
            Ok(None) => {}
            Err(error) => faults.push(error.to_string()),
        }
        if let Some(bootstrap) = self.bootstrap.as_ref().filter(|_| !own.is_empty())
            && let Some(user) = bootstrap.user(token, now)
        {
            return Ok(owner(user, None));
        }
        if let Some(jwt) = self.jwt.load_full().filter(|_| !own.is_empty()) {
            match jwt.verify(token, now).await {
                Ok(Some(user)) => return Ok(owner(user, None)),
                Ok(None) => {}
                Err(why) => faults.push(why),
            }
        }
        if let Some(webhook) = &self.webhook {
            match webhook.verify(token, audiences, now).await {
                Ok(Some((user, audiences))) => {
                    return Ok(TokenOwner {
                        user,
                        audiences,
                        warning: None,
                    });
                }
                Ok(None) => {}
                Err(why) => faults.push(why),
            }
        }
        Err(faults)
    }
}
