//! Reading what the configuration names to say who somebody is.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::StartError;
use super::assembly::Lifetime;
use super::certificates::read;
use crate::authn::{
    Anonymous, Authenticator, BasicUsers, BootstrapTokens, JwtIssuers, LastUsed, LegacyTokens,
    ServiceAccountTokens, StaticTokens, TokenFileError, TokenWebhook, Tokens, jwt,
};
use crate::config::Config;
use crate::outbound::Remote;
use crate::reader::ObjectReader;
use crate::tokens::TokenKeys;

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
    tokens.jwt = Some(issuers);
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
    let contents = read(path)?;
    let file = jwt::AuthenticationConfiguration::parse(contents.as_bytes());
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
    let algorithms = jwt::ALGORITHMS.map(str::to_owned).to_vec();
    let issuers = JwtIssuers::new(file.jwt, &own, algorithms).map_err(|reason| unusable(&shown, reason))?;
    Ok((issuers, anonymous))
}

fn parse<T>(path: &Path, parse: impl Fn(&str) -> Result<T, TokenFileError>) -> Result<T, StartError> {
    parse(&read(path)?).map_err(|source| StartError::TokenFile {
        path: path.to_owned(),
        source,
    })
}
