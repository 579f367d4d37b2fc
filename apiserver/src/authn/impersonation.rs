//! Acting as somebody else: the `Impersonate-*` headers.
//!
//! Each part of the other identity needs a right to it; `modes` has the ways to have it. The headers are taken away once they
//! are heeded.

mod modes;
mod series;

use std::collections::BTreeMap;

use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

pub use self::modes::Impersonation;
use crate::request::UserInfo;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// Why a request may not be made in another's name.
#[derive(Debug, thiserror::Error)]
pub enum ImpersonationError {
    /// Groups, a uid or extra values, but no user.
    #[error("requested {0} without impersonating a user name")]
    WithoutUser(String),
    /// A header that is not text.
    #[error("the header {0} is not valid text")]
    NotText(String),
    /// The right is missing.
    #[error(transparent)]
    Forbidden(#[from] ApiError),
}

/// Whom a request is made as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonated {
    /// The user, as an authenticator would have made them.
    pub user: UserInfo,
    /// The verb that let the sender do so in this request alone; empty where it was the right to do so in all.
    pub constraint: String,
}

/// Whom a request is to be made as.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// What the headers ask for, taken out of them.
fn take(headers: &mut HeaderMap) -> Result<Option<Wanted>, ImpersonationError> {
    let wanted = read(headers)?;
    if wanted.is_some() {
        let known =
            |name: &&HeaderName| [USER, GROUP, UID].contains(name) || name.as_str().starts_with(EXTRA_PREFIX);
        let names: Vec<HeaderName> = headers.keys().filter(known).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
    Ok(wanted)
}

fn read(headers: &HeaderMap) -> Result<Option<Wanted>, ImpersonationError> {
    let first = |name: HeaderName| {
        let value = headers.get(&name);
        value.map_or_else(|| Ok(String::new()), |value| text(&name, value))
    };
    let mut wanted = Wanted {
        name: first(USER)?,
        uid: first(UID)?,
        ..Wanted::default()
    };
    for (name, value) in headers {
        if *name == GROUP {
            wanted.groups.push(text(name, value)?);
        } else if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            let values = wanted.extra.entry(unescaped(key)).or_default();
            values.push(text(name, value)?);
        }
    }
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted.groups.is_empty() && wanted.extra.is_empty() && wanted.uid.is_empty() {
        return Ok(None);
    }
    Err(ImpersonationError::WithoutUser(wanted.printed()))
}

fn text(name: &HeaderName, value: &HeaderValue) -> Result<String, ImpersonationError> {
    let text = std::str::from_utf8(value.as_bytes());
    text.map(str::to_owned)
        .map_err(|_| ImpersonationError::NotText(name.to_string()))
}

/// A key as it was before it was made fit for a header; where that cannot be told, as it stands.
fn unescaped(key: &str) -> String {
    let escapes = key.split('%').skip(1);
    let mut codes = escapes.map(|rest| rest.as_bytes().get(..2));
    if codes.any(|code| code.is_none_or(|code| !code.iter().all(u8::is_ascii_hexdigit))) {
        return key.to_owned();
    }
    percent_decode_str(key).decode_utf8_lossy().into_owned()
}

impl Wanted {
    /// As Go prints its own type for it, which is how upstream words the refusal.
    fn printed(&self) -> String {
        let list = |items: &[String]| match items {
            [] => "[]string(nil)".to_owned(),
            items => {
                let quoted: Vec<String> = items.iter().map(|item| quote(item)).collect();
                format!("[]string{{{}}}", quoted.join(", "))
            }
        };
        let extra = if self.extra.is_empty() {
            "map[string][]string(nil)".to_owned()
        } else {
            let pairs = self.extra.iter();
            let pairs: Vec<String> = pairs
                .map(|(key, values)| format!("{}:{}", quote(key), list(values)))
                .collect();
            format!("map[string][]string{{{}}}", pairs.join(", "))
        };
        format!(
            "&user.DefaultInfo{{Name:{}, UID:{}, Groups:{}, Extra:{extra}}}",
            quote(&self.name),
            quote(&self.uid),
            list(&self.groups)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::authz::{Attributes, AuthorizationMode, Authorizer};
    use crate::reader::memory::MemoryReader;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// What comes of a master's headers.
    async fn as_master(headers: &mut HeaderMap) -> Result<Option<Impersonated>, String> {
        let master = UserInfo {
            name: "root".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..UserInfo::default()
        };
        let authorizer = Authorizer::new(vec![AuthorizationMode::Rbac], Arc::new(MemoryReader::default()));
        let asked = Attributes::path(&master, "get", "/version");
        let heeded = Impersonation::default().heed(headers, &asked, &authorizer).await;
        heeded.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn whoever_may_becomes_another() {
        let mut asked = headers(&[
            ("impersonate-user", "jürgen"),
            ("impersonate-group", "devs"),
            ("impersonate-group", "ops"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-example.com%2fscope", "view"),
            ("accept", "application/json"),
        ]);
        let user = as_master(&mut asked).await.unwrap().unwrap().user;
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jürgen", "7"));
        assert_eq!(user.groups, ["devs", "ops", "system:authenticated"]);
        assert_eq!(user.extra["example.com/scope"], ["view"]);
        assert_eq!(asked.len(), 1, "only the headers of no identity are left");
        assert_eq!(as_master(&mut asked).await, Ok(None));
    }

    #[tokio::test]
    async fn everybody_gets_the_groups_that_are_theirs() {
        let become_user = async |pairs: &[(&'static str, &str)]| {
            let found = as_master(&mut headers(pairs)).await;
            found.unwrap().unwrap().user.groups
        };
        let want = [
            "system:serviceaccounts",
            "system:serviceaccounts:a",
            "system:authenticated",
        ];
        let account = ("impersonate-user", "system:serviceaccount:a:bot");
        assert_eq!(become_user(&[account]).await, want);
        let anonymous = ("impersonate-user", "system:anonymous");
        assert_eq!(become_user(&[anonymous]).await, ["system:unauthenticated"]);
        let known = ("impersonate-group", "system:authenticated");
        assert_eq!(
            become_user(&[anonymous, known]).await,
            ["system:authenticated", "system:unauthenticated"]
        );
        let masters = [
            ("impersonate-user", "jane"),
            ("impersonate-group", "system:masters"),
        ];
        assert_eq!(
            become_user(&masters).await,
            ["system:masters", "system:authenticated"]
        );
    }

    #[tokio::test]
    async fn without_a_user_nobody_is_meant() {
        let mut asked = headers(&[("impersonate-group", "system:masters")]);
        assert_eq!(
            as_master(&mut asked).await,
            Err(
                "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"system:masters\"}, Extra:map[string][]string(nil)} \
                 without impersonating a user name"
                    .to_owned()
            )
        );
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        assert_eq!(unescaped("example.com%2fscope"), "example.com/scope");
        assert_eq!(unescaped("a%41"), "aA");
        assert_eq!(unescaped("a%4"), "a%4");
        assert_eq!(unescaped("100%-b%2f"), "100%-b%2f");
    }
}
