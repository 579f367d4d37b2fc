//! An issuer over the network: where its keys are told, and what they are. The only IO of this room.
//!
//! Where the keys stand is asked until it is known; the keys are asked for by the first token that none of the known ones
//! signed, by one of those who wait for them at a time. So keys may rotate, and an issuer that is away does no harm to
//! tokens of keys that are known.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::response::Parts;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use kube::client::Body;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::config::Issuer;
use crate::tokens::{Key, Signed};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it rests after an issuer did not answer.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 4 << 20;
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// An issuer, whose keys are asked for when they are needed.
pub(super) struct Provider {
    issuer: Issuer,
    /// Where its keys are told, once that is known.
    jwks_uri: ArcSwapOption<Uri>,
    keys: Mutex<Known>,
    /// Held by whoever asks for keys.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct Known {
    keys: Arc<Vec<Key>>,
    /// Until when the issuer said that they stand.
    until: Option<Timestamp>,
    /// How often they were asked for, so that those who waited for the answer do not ask again.
    times: u64,
}

impl Provider {
    pub(super) fn new(issuer: Issuer) -> Self {
        Self {
            issuer,
            jwks_uri: ArcSwapOption::default(),
            keys: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Finds out where the keys are told, however long that takes.
    pub(super) async fn discover(&self, shutdown: &CancellationToken) {
        loop {
            match self.ask_for_discovery().await {
                Ok(uri) => {
                    self.jwks_uri.store(Some(Arc::new(uri)));
                    return;
                }
                Err(error) => {
                    warn!(issuer = self.issuer.url, %error, "an issuer of tokens does not say where its keys are");
                }
            }
            if timeout(PAUSE, shutdown.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    /// Whether it has said where its keys are.
    pub(super) fn is_known(&self) -> bool {
        self.jwks_uri.load().is_some()
    }

    async fn ask_for_discovery(&self) -> Result<Uri, String> {
        let usual = format!("{}{WELL_KNOWN}", self.issuer.url.trim_end_matches('/'));
        let url = match self.issuer.discovery_url.as_str() {
            "" => usual.as_str(),
            other => other,
        };
        let (document, _) = self.get(url).await?;
        let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("issuer") != self.issuer.url {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {:?}",
                self.issuer.url,
                text("issuer")
            ));
        }
        let uri = text("jwks_uri");
        if uri.is_empty() {
            return Err("provider did not return JWKS URL".to_owned());
        }
        uri.parse().map_err(|error| format!("{uri}: {error}"))
    }

    /// Whether it says where its keys are, asked once where that is not known.
    pub(super) async fn find(&self) -> bool {
        if !self.is_known()
            && let Ok(uri) = self.ask_for_discovery().await
        {
            self.jwks_uri.store(Some(Arc::new(uri)));
        }
        self.is_known()
    }

    /// A token that is told at a place to who holds another (which may be none).
    pub(super) async fn token(&self, url: &str, bearer: &str) -> Result<String, String> {
        let (head, body) = self.ask(url, bearer).await?;
        if !head.status.is_success() {
            return Err(format!(
                "error while getting distributed claim JWT: {}",
                head.status
            ));
        }
        String::from_utf8(body.into()).map_err(|_| "could not decode distributed claim response".to_owned())
    }

    /// Whether the issuer signed a token; where its keys are has to be known.
    ///
    /// # Errors
    /// Why not, or why that is not known.
    pub(super) async fn verify(&self, token: &Signed<'_>, now: Timestamp) -> Result<(), String> {
        let Some(uri) = self.jwks_uri.load_full() else {
            return Err("oidc: authenticator not initialized".to_owned());
        };
        let wrong = || "failed to verify signature: failed to verify id token signature".to_owned();
        let known = self.known();
        if token.is_signed_by(&known.keys) {
            return Ok(());
        }
        if known.until.is_some_and(|until| now < until) {
            return Err(wrong());
        }
        let _asking = self.asking.lock().await;
        let current = self.known();
        let keys = if current.times > known.times {
            current.keys
        } else {
            let told = |error| format!("failed to verify signature: fetching keys {error}");
            self.ask_for_keys(&uri, now).await.map_err(told)?
        };
        if token.is_signed_by(&keys) {
            Ok(())
        } else {
            Err(wrong())
        }
    }

    async fn ask_for_keys(&self, uri: &Uri, now: Timestamp) -> Result<Arc<Vec<Key>>, String> {
        let (set, max_age) = self.get(&uri.to_string()).await?;
        let keys = Key::set(&set).ok_or("oidc: failed to decode keys")?;
        let keys = Arc::new(keys);
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Known {
            keys: keys.clone(),
            until: max_age.and_then(|age| now.checked_add(age).ok()),
            times: known.times + 1,
        };
        Ok(keys)
    }

    fn known(&self) -> Known {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A document of JSON, and how long it stands.
    async fn get(&self, url: &str) -> Result<(Value, Option<Duration>), String> {
        let (head, body) = self.ask(url, "").await?;
        if head.status != StatusCode::OK {
            return Err(format!("{}: {}", head.status, String::from_utf8_lossy(&body)));
        }
        let document = serde_json::from_slice(&body)
            .map_err(|error| format!("oidc: failed to decode the answer of {url}: {error}"))?;
        let control = head.headers.get(header::CACHE_CONTROL);
        Ok((document, control.and_then(|value| max_age(value.to_str().ok()?))))
    }

    /// An answer and its body; `bearer` is shown where it is not empty.
    async fn ask(&self, url: &str, bearer: &str) -> Result<(Parts, Bytes), String> {
        let answer = timeout(PATIENCE, self.exchange(url, bearer)).await;
        answer.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
    }

    async fn exchange(&self, url: &str, bearer: &str) -> Result<(Parts, Bytes), String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        if uri.scheme_str() != Some("https") {
            return Err(format!("{url}: URL scheme must be https"));
        }
        let told = |error: &dyn std::fmt::Display| format!("Get {url:?}: {error}");
        let mut config = kube::Config::new(uri.clone());
        config.default_retry = false;
        if !self.issuer.certificate_authority.is_empty() {
            config.root_cert = Some(authorities(&self.issuer.certificate_authority)?);
        }
        // One connection a question: keys are asked for seldom, and what the machine trusts may have changed by then.
        config.cluster_url = origin(&uri).map_err(|error| told(&error))?;
        let client = kube::Client::try_from(config).map_err(|error| told(&error))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::get(path);
        request = match bearer {
            "" => request.header(header::ACCEPT, "application/json"),
            token => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        };
        let request = request.body(Body::empty()).map_err(|error| told(&error))?;
        let answer = client.send(request).await.map_err(|error| told(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|error| told(&error))?.to_bytes();
        Ok((head, body))
    }
}

fn origin(uri: &Uri) -> Result<Uri, http::Error> {
    let mut builder = Uri::builder().path_and_query("/");
    if let Some(scheme) = uri.scheme() {
        builder = builder.scheme(scheme.clone());
    }
    if let Some(authority) = uri.authority() {
        builder = builder.authority(authority.clone());
    }
    builder.build()
}

fn authorities(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let read = read.map_err(|error| error.to_string())?;
    if read.is_empty() {
        return Err("data does not contain any valid RSA or ECDSA certificates".to_owned());
    }
    Ok(read.into_iter().map(|der| der.to_vec()).collect())
}

/// Whether authorities can be read.
///
/// # Errors
/// Why not.
pub(super) fn check_authorities(pem: &str) -> Result<(), String> {
    authorities(pem).map(drop)
}

/// For how long an answer may be kept (RFC 9111, 5.2.2).
fn max_age(control: &str) -> Option<Duration> {
    let mut directives = control.split(',').map(str::trim);
    if directives
        .clone()
        .any(|directive| matches!(directive, "no-store" | "no-cache"))
    {
        return None;
    }
    let age = directives.find_map(|directive| directive.strip_prefix("max-age="))?;
    age.trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_say_how_long_they_stand() {
        let seconds = |text| max_age(text).map(|age| age.as_secs());
        assert_eq!(seconds("public, max-age=3600"), Some(3600));
        assert_eq!(seconds("max-age=60, no-store"), None);
        assert_eq!(seconds("public"), None);
        assert!(check_authorities("nothing").is_err());
    }
}
