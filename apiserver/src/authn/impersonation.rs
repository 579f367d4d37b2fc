//! Acting as somebody else: the `Impersonate-*` headers.
//!
//! Each part of the other identity needs the right to `impersonate` it. The headers are taken away once they are heeded.

use std::collections::BTreeMap;

use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, service_account_groups};
use crate::authz::{Attributes, Authorizer};
use crate::request::UserInfo;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// The group of uids and extra values among impersonated things.
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

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

/// Whom a request is to be made as.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// The user whose rights count for the request: the sender, or whom they may act as.
pub async fn impersonate(
    headers: &mut HeaderMap,
    sender: UserInfo,
    authorizer: &Authorizer,
) -> Result<UserInfo, ImpersonationError> {
    let Some(wanted) = read(headers)? else {
        return Ok(sender);
    };
    check(&wanted, &sender, authorizer).await?;
    let names: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
    Ok(assume(wanted))
}

fn read(headers: &HeaderMap) -> Result<Option<Wanted>, ImpersonationError> {
    let mut wanted = Wanted {
        name: text(headers, &USER)?,
        uid: text(headers, &UID)?,
        ..Wanted::default()
    };
    for (name, value) in headers {
        let value = || {
            value
                .to_str()
                .map_err(|_| ImpersonationError::NotText(name.to_string()))
        };
        if *name == GROUP {
            wanted.groups.push(value()?.to_owned());
        } else if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
            wanted.extra.entry(key).or_default().push(value()?.to_owned());
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

fn text(headers: &HeaderMap, name: &HeaderName) -> Result<String, ImpersonationError> {
    let Some(value) = headers.get(name) else {
        return Ok(String::new());
    };
    value
        .to_str()
        .map(str::to_owned)
        .map_err(|_| ImpersonationError::NotText(name.to_string()))
}

async fn check(wanted: &Wanted, sender: &UserInfo, authorizer: &Authorizer) -> Result<(), ApiError> {
    let ask = |group, resource| Attributes::resource(sender, "impersonate", group, resource);
    let by_name = match service_account(&wanted.name) {
        Some((namespace, name)) => ask("", "serviceaccounts").in_namespace(namespace).named(name),
        None => ask("", "users").named(&wanted.name),
    };
    authorizer.require(&by_name).await?;
    for group in &wanted.groups {
        authorizer.require(&ask("", "groups").named(group)).await?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            let by_value = ask(AUTHENTICATION_GROUP, "userextras")
                .subresource(key)
                .named(value);
            authorizer.require(&by_value).await?;
        }
    }
    if !wanted.uid.is_empty() {
        let by_uid = ask(AUTHENTICATION_GROUP, "uids").named(&wanted.uid);
        authorizer.require(&by_uid).await?;
    }
    Ok(())
}

/// The user as an authenticator would have made them.
fn assume(wanted: Wanted) -> UserInfo {
    let mut groups = wanted.groups;
    if groups.is_empty()
        && let Some((namespace, _)) = service_account(&wanted.name)
    {
        groups.extend(service_account_groups(namespace));
    }
    let standing = if wanted.name == ANONYMOUS {
        UNAUTHENTICATED
    } else {
        AUTHENTICATED
    };
    let stands = groups
        .iter()
        .any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED);
    if !stands {
        groups.push(standing.to_owned());
    }
    UserInfo {
        name: wanted.name,
        uid: wanted.uid,
        groups,
        extra: wanted.extra,
    }
}

/// Namespace and name of a service account's user name.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::authz::AuthorizationMode;
    use crate::reader::memory::MemoryReader;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn master() -> UserInfo {
        UserInfo {
            name: "root".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..UserInfo::default()
        }
    }

    fn authorizer() -> Authorizer {
        Authorizer::new(vec![AuthorizationMode::Rbac], Arc::new(MemoryReader::default()))
    }

    #[tokio::test]
    async fn whoever_may_becomes_another() {
        let mut asked = headers(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "devs"),
            ("impersonate-group", "ops"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-example.com%2fscope", "view"),
            ("accept", "application/json"),
        ]);
        let user = impersonate(&mut asked, master(), &authorizer()).await.unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "7"));
        assert_eq!(user.groups, ["devs", "ops", "system:authenticated"]);
        assert_eq!(user.extra["example.com/scope"], ["view"]);
        assert_eq!(asked.len(), 1, "only the headers of no identity are left");
    }

    #[tokio::test]
    async fn service_accounts_and_the_anonymous_get_their_groups() {
        let become_user = async |name| {
            let mut asked = headers(&[("impersonate-user", name)]);
            impersonate(&mut asked, master(), &authorizer())
                .await
                .unwrap()
                .groups
        };
        let want = [
            "system:serviceaccounts",
            "system:serviceaccounts:a",
            "system:authenticated",
        ];
        assert_eq!(become_user("system:serviceaccount:a:bot").await, want);
        assert_eq!(become_user("system:anonymous").await, ["system:unauthenticated"]);
    }

    #[tokio::test]
    async fn others_are_refused() {
        let jane = UserInfo {
            name: "jane".to_owned(),
            ..UserInfo::default()
        };
        let mut asked = headers(&[("impersonate-user", "root")]);
        let refused = impersonate(&mut asked, jane.clone(), &authorizer())
            .await
            .unwrap_err()
            .to_string();
        let want = "users \"root\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at \
                    the cluster scope";
        assert_eq!(refused, want);
        let mut without_user = headers(&[("impersonate-group", "system:masters")]);
        let refused = impersonate(&mut without_user, jane, &authorizer())
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(
            refused,
            "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"system:masters\"}, Extra:map[string][]string(nil)} without \
             impersonating a user name"
        );
    }
}
