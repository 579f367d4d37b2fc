//! Authentication: who asks?
//!
//! Asked in upstream's order: a proxy in front of the server, the client certificate, the bearer token, a password (where
//! there is a file of them), and where nothing of all this was offered, the anonymous user. What is offered and found wrong is
//! a 401 unless something else that was offered is right: nobody falls back to being anonymous. Objects are read through
//! [`ObjectReader`](crate::reader::ObjectReader); files are read at start. Secrets are compared in constant time, or by their
//! digests, so the time taken tells nothing about them.

mod basic;
mod bearer;
mod bootstrap_tokens;
mod client_certificate;
mod front_proxy;
mod impersonation;
pub mod jwt;
mod legacy_tokens;
mod service_account;
mod static_tokens;
mod tokens;
mod webhook;

use coracle_api::quote::quote;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

pub use self::basic::BasicUsers;
pub use self::bootstrap_tokens::BootstrapTokens;
pub use self::client_certificate::{ClientCertificates, ClientIdentity, Peer};
pub use self::front_proxy::{FrontProxyError, FrontProxyHeaders};
pub use self::impersonation::{Impersonated, Impersonation, ImpersonationError};
pub use self::jwt::JwtIssuers;
pub(crate) use self::legacy_tokens::{LastUsed, keep_last_used, marks};
pub use self::legacy_tokens::{LegacySigner, LegacyTokens};
pub(crate) use self::service_account::split_service_account;
pub use self::service_account::{ServiceAccountTokens, service_account_groups};
pub use self::static_tokens::{StaticTokens, TokenFileError};
pub use self::tokens::{TokenOwner, Tokens};
pub use self::webhook::TokenWebhook;
use crate::request::UserInfo;

/// The name of who does not say who they are.
pub const ANONYMOUS: &str = "system:anonymous";

/// The group of everybody who is known.
pub const AUTHENTICATED: &str = "system:authenticated";

/// The group of everybody who is not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Why it is not known who asks. Told to the log and in a TokenReview; the sender only learns `Unauthorized`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unauthenticated {
    /// Everything that was offered, and why it does not count, as upstream joins it.
    #[error("{0}")]
    Refused(String),
    /// Nothing was offered and anonymous requests are not taken.
    #[error("no credentials")]
    None,
}

/// Who may do without saying who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anonymous {
    /// Whether anybody may.
    pub enabled: bool,
    /// The paths that may be asked for so; all where empty.
    pub paths: Vec<String>,
}

impl From<bool> for Anonymous {
    fn from(enabled: bool) -> Self {
        Self {
            enabled,
            paths: Vec::new(),
        }
    }
}

impl Anonymous {
    fn allows(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|allowed| allowed == path))
    }
}

/// Everything that can say who somebody is.
pub struct Authenticator {
    /// Proxies in front of the server, where there are any.
    pub front_proxy: Option<FrontProxyHeaders>,
    /// Passwords, where there are any.
    pub basic: Option<BasicUsers>,
    /// Bearer tokens.
    pub tokens: Tokens,
    /// Who may do without.
    pub anonymous: Anonymous,
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The user.
    pub user: UserInfo,
    /// What they are to be warned of about how they proved it.
    pub warning: Option<&'static str>,
}

impl Authenticator {
    /// Says who sent a request, and takes what they proved it with out of its headers.
    ///
    /// # Errors
    /// Why nobody knows.
    pub async fn authenticate(
        &self,
        headers: &mut HeaderMap,
        path: &str,
        peer: Option<&Peer>,
        now: Timestamp,
    ) -> Result<Sender, Unauthenticated> {
        let mut refusals = Vec::new();
        let known = self.known(headers, peer, now, &mut refusals).await;
        if let Some(sender) = known {
            headers.remove(AUTHORIZATION);
            front_proxy::strip(headers, self.front_proxy.as_ref());
            return Ok(Sender {
                user: authenticated(sender.user),
                ..sender
            });
        }
        if !refusals.is_empty() {
            return Err(Unauthenticated::Refused(aggregate(&refusals)));
        }
        if self.anonymous.allows(path) {
            front_proxy::strip(headers, self.front_proxy.as_ref());
            return Ok(Sender {
                user: anonymous(),
                warning: None,
            });
        }
        Err(Unauthenticated::None)
    }

    /// Whoever proves by something that they are somebody; what proves nothing is added to `refusals`.
    async fn known(
        &self,
        headers: &mut HeaderMap,
        peer: Option<&Peer>,
        now: Timestamp,
        refusals: &mut Vec<String>,
    ) -> Option<Sender> {
        let plain = |user| Some(Sender { user, warning: None });
        if let Some((proxies, peer)) = self.front_proxy.as_ref().zip(peer) {
            match proxies.authenticate(headers, peer, now) {
                Ok(Some(user)) => return plain(user),
                Ok(None) => {}
                Err(why) => refusals.push(why),
            }
        }
        if let Some(peer) = peer {
            match peer.client.clone().and_then(|identity| identity.user(now)) {
                Ok(user) => return plain(user),
                Err(why) => refusals.push(why),
            }
        }
        match self.basic.as_ref().and_then(|basic| basic.authenticate(headers)) {
            Some(Ok(user)) => return plain(user),
            Some(Err(why)) => refusals.push(why.to_owned()),
            None => {}
        }
        let token = bearer::take(headers)?;
        match self.tokens.owner(&token, self.tokens.api_audiences(), now).await {
            Ok(owner) => Some(Sender {
                user: owner.user,
                warning: owner.warning,
            }),
            Err(faults) => {
                refusals.extend(faults);
                None
            }
        }
    }

    /// Says whose a token is, if it is meant for one of the audiences.
    ///
    /// # Errors
    /// Why it is nobody's, as upstream words it.
    pub async fn token(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<TokenOwner, Unauthenticated> {
        match self.tokens.owner(token, audiences, now).await {
            Ok(owner) => Ok(TokenOwner {
                user: authenticated(owner.user),
                ..owner
            }),
            Err(faults) => Err(Unauthenticated::Refused(aggregate(&faults))),
        }
    }

    /// The audiences this server itself counts for.
    pub fn api_audiences(&self) -> &[String] {
        self.tokens.api_audiences()
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
    let placed = [AUTHENTICATED, UNAUTHENTICATED];
    if !user.groups.iter().any(|group| placed.contains(&group.as_str())) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// A list as Go prints it with `%q`.
fn quoted<S: AsRef<str>>(list: &[S]) -> String {
    let quoted: Vec<_> = list.iter().map(|text| quote(text.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

/// Several faults as upstream joins them, each once.
fn aggregate(faults: &[String]) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for fault in faults {
        if !distinct.contains(&fault.as_str()) {
            distinct.push(fault);
        }
    }
    match distinct[..] {
        [only] => only.to_owned(),
        _ => format!("[{}]", distinct.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::reader::memory::MemoryReader;
    use crate::tokens::TokenKeys;

    fn authenticator() -> Authenticator {
        let reader = Arc::new(MemoryReader::default());
        let keys = Arc::new(TokenKeys::generate("https://us"));
        let mut tokens = Tokens::new(ServiceAccountTokens::new(
            keys,
            vec!["https://us".to_owned()],
            reader,
        ));
        tokens.fixed = StaticTokens::parse("s3cret,jane,7,devs").unwrap();
        Authenticator {
            front_proxy: None,
            basic: Some(BasicUsers::parse("pass,joe,8").unwrap()),
            tokens,
            anonymous: Anonymous {
                enabled: true,
                paths: vec!["/livez".to_owned()],
            },
        }
    }

    async fn ask(
        headers: &[(&'static str, &str)],
        path: &str,
        peer: Option<Peer>,
    ) -> Result<UserInfo, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let answer = authenticator()
            .authenticate(&mut map, path, peer.as_ref(), now)
            .await;
        assert!(!map.contains_key("x-remote-user") || answer.is_err());
        answer
            .map(|sender| sender.user)
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn whatever_proves_somebody_counts() {
        let jane = ask(
            &[("authorization", "Bearer s3cret"), ("x-remote-user", "root")],
            "/",
            None,
        )
        .await
        .unwrap();
        assert_eq!(jane.groups, ["devs", "system:authenticated"]);
        let joe = ask(&[("authorization", "Basic am9lOnBhc3M=")], "/", None).await;
        assert_eq!(joe.unwrap().name, "joe");
        let stranger = Peer {
            client: Err("x509: unknown".to_owned()),
            front_proxy: None,
        };
        let beside = ask(&[("authorization", "Bearer s3cret")], "/", Some(stranger.clone())).await;
        assert_eq!(beside.unwrap().name, "jane", "one good proof is enough");
        let wrong = ask(&[("authorization", "Bearer no")], "/livez", Some(stranger)).await;
        assert_eq!(wrong, Err("[x509: unknown, invalid bearer token]".to_owned()));
    }

    #[tokio::test]
    async fn the_anonymous_stay_where_they_may() {
        assert_eq!(ask(&[], "/livez", None).await.unwrap().name, ANONYMOUS);
        assert_eq!(ask(&[], "/api", None).await, Err("no credentials".to_owned()));
        assert!(
            ask(&[("authorization", "Basic am9lOm5v")], "/livez", None)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn tokens_of_no_audience_count_for_the_server_alone() {
        let authenticator = authenticator();
        let ask = async |audiences: &[&str]| {
            let audiences: Vec<String> = audiences.iter().map(|text| (*text).to_owned()).collect();
            let owner = authenticator.token("s3cret", &audiences, Timestamp::UNIX_EPOCH);
            owner.await.map(|owner| owner.audiences).ok()
        };
        assert_eq!(
            ask(&["other", "https://us"]).await,
            Some(vec!["https://us".to_owned()])
        );
        assert_eq!(ask(&["other"]).await, None);
    }
}
