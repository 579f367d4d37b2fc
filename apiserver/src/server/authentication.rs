//! Reading what the configuration names to say who somebody is.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::StartError;
use super::certificates::read;
use crate::authn::{
    Authenticator, BasicUsers, BootstrapTokens, LastUsed, LegacyTokens, ServiceAccountTokens, StaticTokens,
    TokenFileError, Tokens,
};
use crate::config::Config;
use crate::reader::ObjectReader;
use crate::tokens::TokenKeys;

/// Everybody who can say who somebody is.
///
/// # Errors
/// Names the file that cannot be used.
pub(super) fn authenticator(
    config: &Config,
    keys: Arc<TokenKeys>,
    reader: Arc<dyn ObjectReader>,
    used_tokens: mpsc::Sender<LastUsed>,
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
    let basic = settings.basic_auth_file.as_deref();
    let front_proxy = settings.front_proxy.as_ref().map(|proxy| proxy.headers.clone());
    if let Some(headers) = &front_proxy {
        headers.check()?;
    }
    Ok(Authenticator {
        front_proxy,
        basic: basic.map(|path| parse(path, BasicUsers::parse)).transpose()?,
        tokens,
        anonymous: config.anonymous.into(),
    })
}

fn parse<T>(path: &Path, parse: impl Fn(&str) -> Result<T, TokenFileError>) -> Result<T, StartError> {
    parse(&read(path)?).map_err(|source| StartError::TokenFile {
        path: path.to_owned(),
        source,
    })
}
