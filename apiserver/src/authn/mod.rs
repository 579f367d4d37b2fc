//! Authentication: who asks?
//!
//! Asked in upstream's order: the client certificate, then the bearer token (static, then service account), and where
//! there is neither, the anonymous user. What is offered and found wrong is a 401: nobody falls back to being anonymous.
//! Deciding is synchronous and reads objects only through [`ObjectReader`](crate::reader::ObjectReader); the one file it
//! needs is read at start. Tokens are compared by their digests, so the time taken tells nothing about them.

mod bearer;
mod client_certificate;
mod impersonation;
mod service_account;
mod static_tokens;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

pub use self::client_certificate::{ClientCertificates, ClientIdentity};
pub use self::impersonation::{ImpersonationError, impersonate};
pub use self::service_account::{ServiceAccountTokens, service_account_groups};
pub use self::static_tokens::{StaticTokens, TokenFileError};
use crate::request::UserInfo;

/// The name of who does not say who they are.
pub const ANONYMOUS: &str = "system:anonymous";

/// The group of everybody who is known.
pub const AUTHENTICATED: &str = "system:authenticated";

/// The group of everybody who is not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Why it is not known who asks. Told to the log; the sender only learns `Unauthorized`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unauthenticated {
    /// The client certificate is not vouched for, or out of its time.
    #[error("x509: {0}")]
    Certificate(String),
    /// The bearer token is nobody's, or no longer counts.
    #[error("invalid bearer token: {0}")]
    Token(String),
    /// Nothing was offered and anonymous requests are not taken.
    #[error("no credentials")]
    None,
}

/// Everything that can say who somebody is.
pub struct Authenticator {
    static_tokens: StaticTokens,
    service_accounts: ServiceAccountTokens,
    anonymous: bool,
}

/// What an audience-aware check of a token found (for TokenReview).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOwner {
    /// Whose token it is.
    pub user: UserInfo,
    /// Which of the audiences asked for the token is meant for.
    pub audiences: Vec<String>,
}

impl Authenticator {
    /// Assembles the chain.
    pub fn new(static_tokens: StaticTokens, service_accounts: ServiceAccountTokens, anonymous: bool) -> Self {
        Self {
            static_tokens,
            service_accounts,
            anonymous,
        }
    }

    /// Says who sent a request, and takes what they proved it with out of its headers.
    pub fn authenticate(
        &self,
        headers: &mut HeaderMap,
        certificate: Option<&Result<ClientIdentity, String>>,
        now: Timestamp,
    ) -> Result<UserInfo, Unauthenticated> {
        if let Some(identity) = certificate {
            let identity = identity
                .as_ref()
                .map_err(|error| Unauthenticated::Certificate(error.clone()))?;
            headers.remove(AUTHORIZATION);
            return identity.user(now).map(authenticated);
        }
        if let Some(token) = bearer::take(headers) {
            return self
                .token(&token, self.service_accounts.api_audiences(), now)
                .map(|owner| owner.user);
        }
        if self.anonymous {
            return Ok(anonymous());
        }
        Err(Unauthenticated::None)
    }

    /// Says whose a token is, if it is meant for one of the audiences.
    pub fn token(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<TokenOwner, Unauthenticated> {
        if let Some(user) = self.static_tokens.user(token) {
            // Such tokens carry no audience: they count for whatever the server itself counts for.
            return Ok(TokenOwner {
                user: authenticated(user),
                audiences: audiences.to_vec(),
            });
        }
        let (user, audiences) = self
            .service_accounts
            .verify(token, audiences, now)
            .map_err(|error| Unauthenticated::Token(error.to_string()))?;
        Ok(TokenOwner {
            user: authenticated(user),
            audiences,
        })
    }

    /// The audiences this server itself counts for.
    pub fn api_audiences(&self) -> &[String] {
        self.service_accounts.api_audiences()
    }
}

/// The user who does not say who they are.
pub fn anonymous() -> UserInfo {
    UserInfo {
        name: ANONYMOUS.to_owned(),
        groups: vec![UNAUTHENTICATED.to_owned()],
        ..UserInfo::default()
    }
}

fn authenticated(mut user: UserInfo) -> UserInfo {
    if !user.groups.iter().any(|group| group == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}
