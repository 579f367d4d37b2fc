//! Reading what the configuration names to say who somebody is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::StartError;
use super::assembly::Lifetime;
use super::certificates::read;
use super::reload::{Refused, Taken};
use crate::authn::{
    Anonymous, Authenticator, BasicUsers, BootstrapTokens, JwtIssuers, LastUsed, LegacyTokens,
    ServiceAccountTokens, StaticTokens, TokenFileError, TokenWebhook, Tokens, jwt,
};
use crate::config::Config;
use crate::outbound::Remote;
use crate::pki::Authorities;
use crate::reader::ObjectReader;
use crate::tokens::{KeyError, TokenKeys};

/// How long new issuers have to say where their keys are before the old ones stay.
const ISSUERS_PATIENCE: Duration = Duration::from_secs(60);
const ISSUERS_PAUSE: Duration = Duration::from_millis(100);

/// The keys of service account tokens: the cluster's own, or those of files.
///
/// # Errors
/// Names the file that cannot be used.
pub(super) fn token_keys(config: &Config, authorities: &Authorities) -> Result<TokenKeys, StartError> {
    let issuer = config.issuer();
    let unusable = |path: &Path| {
        let what = path.display().to_string();
        move |error: KeyError| StartError::Access {
            what,
            reason: error.to_string(),
        }
    };
    let mut keys = match &config.service_account_signing_key_file {
        None => TokenKeys::new(authorities.service_account_key(), &issuer)?,
        Some(path) => TokenKeys::from_pem(&read(path)?, &issuer).map_err(unusable(path))?,
    };
    for path in &config.service_account_key_files {
        keys = keys.trusting(&read(path)?).map_err(unusable(path))?;
    }
    Ok(keys)
}

/// Everybody who can say who somebody is.
///
/// # Errors
/// Names the file that cannot be used.
pub(super) async fn authenticator(
    config: &Config,
    keys: Arc<TokenKeys>,
    reader: Arc<dyn ObjectReader>,
    used_tokens: mpsc::Sender<LastUsed>,
    lifetime: &Lifetime,
) -> Result<Authenticator, StartError> {
    let settings = &config.authentication;
    let service_accounts = ServiceAccountTokens::new(keys.clone(), config.audiences(), reader.clone());
    let mut tokens = Tokens::new(service_accounts);
    tokens.legacy = Some(LegacyTokens::new(keys, reader.clone(), used_tokens));
    tokens.bootstrap = settings
        .bootstrap_tokens
        .then(|| BootstrapTokens::new(reader.clone()));
    if let Some(path) = &config.token_auth_file {
        tokens.fixed = parse(path, StaticTokens::parse)?;
    }
    let (issuers, anonymous) = jwt_issuers(config)?;
    issuers.discover(&lifetime.tasks, &lifetime.shutdown);
    tokens.jwt.store(Some(Arc::new(issuers)));
    if let Some(webhook) = &settings.webhook {
        let remote = Remote::from_kubeconfig(&webhook.kubeconfig).await?;
        let asked = TokenWebhook::new(remote, &webhook.version, config.audiences(), webhook.cache_ttl);
        tokens.webhook = Some(asked);
    }
    let basic = settings.basic_auth_file.as_deref();
    let front_proxy = settings.front_proxy.as_ref().map(|proxy| proxy.headers.clone());
    if let Some(headers) = &front_proxy {
        headers.check()?;
    }
    Ok(Authenticator {
        front_proxy,
        basic: basic.map(|path| parse(path, BasicUsers::parse)).transpose()?,
        tokens,
        anonymous,
    })
}

/// Issuers of tokens elsewhere, and who may do without a token, by flags or by a file.
fn jwt_issuers(config: &Config) -> Result<(JwtIssuers, Anonymous), StartError> {
    let settings = &config.authentication;
    let own = [config.issuer()];
    let unusable = |what: &str, reason| StartError::Access {
        what: what.to_owned(),
        reason,
    };
    let Some(path) = &settings.file else {
        let algorithms = match settings.signing_algorithms.as_slice() {
            [] => vec!["RS256".to_owned()],
            some => some.to_vec(),
        };
        let issuers = JwtIssuers::new(settings.jwt.clone(), &own, algorithms);
        let issuers = issuers.map_err(|reason| unusable("invalid authentication configuration", reason))?;
        return Ok((issuers, config.anonymous.into()));
    };
    let shown = path.display().to_string();
    let file = jwt::AuthenticationConfiguration::parse(read(path)?.as_bytes());
    let file = file.map_err(|reason| unusable(&shown, reason))?;
    let anonymous = match &file.anonymous {
        None => config.anonymous.into(),
        Some(_) if config.anonymous_by_flag => {
            let reason = "anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in \
                          authentication configuration file";
            return Err(unusable(&shown, reason.to_owned()));
        }
        Some(told) if !told.enabled && !told.conditions.is_empty() => {
            let reason = "anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined";
            return Err(unusable(&shown, reason.to_owned()));
        }
        Some(told) => Anonymous {
            enabled: told.enabled,
            paths: told
                .conditions
                .iter()
                .map(|condition| condition.path.clone())
                .collect(),
        },
    };
    let issuers = issuers_of(file, &own).map_err(|reason| unusable(&shown, reason))?;
    Ok((issuers, anonymous))
}

fn issuers_of(file: jwt::AuthenticationConfiguration, own: &[String]) -> Result<JwtIssuers, String> {
    JwtIssuers::new(file.jwt, own, jwt::ALGORITHMS.map(str::to_owned).to_vec())
}

/// Lets tokens of whatever issuers a file names count from when it names them.
pub(super) struct Issuers {
    authenticator: Arc<Authenticator>,
    own: [String; 1],
    /// What the file said at first of who does without a token, which may not change.
    anonymous: Option<jwt::AnonymousConfig>,
    lifetime: Lifetime,
}

impl Issuers {
    /// In place of those that the file names in these contents.
    pub(super) fn new(
        authenticator: Arc<Authenticator>,
        config: &Config,
        contents: &str,
        lifetime: Lifetime,
    ) -> Self {
        let file = jwt::AuthenticationConfiguration::parse(contents.as_bytes());
        Self {
            authenticator,
            own: [config.issuer()],
            anonymous: file.ok().and_then(|file| file.anonymous),
            lifetime,
        }
    }
}

impl Taken for Issuers {
    async fn take(&self, contents: &str) -> Result<(), Refused> {
        let file = jwt::AuthenticationConfiguration::parse(contents.as_bytes()).map_err(Refused::ForGood)?;
        if file.anonymous != self.anonymous {
            let why = "anonymous: Forbidden: changed from initial configuration file";
            return Err(Refused::ForGood(why.to_owned()));
        }
        let issuers = issuers_of(file, &self.own).map_err(Refused::ForGood)?;
        issuers.discover(&self.lifetime.tasks, &self.lifetime.shutdown);
        let known = async {
            while !issuers.are_known() {
                tokio::time::sleep(ISSUERS_PAUSE).await;
            }
        };
        if tokio::time::timeout(ISSUERS_PATIENCE, known).await.is_err() {
            return Err(Refused::ForNow(
                "not every issuer says where its keys are".to_owned(),
            ));
        }
        self.authenticator.tokens.jwt.store(Some(Arc::new(issuers)));
        Ok(())
    }
}

fn parse<T>(path: &Path, parse: impl Fn(&str) -> Result<T, TokenFileError>) -> Result<T, StartError> {
    parse(&read(path)?).map_err(|source| StartError::TokenFile {
        path: path.to_owned(),
        source,
    })
}
