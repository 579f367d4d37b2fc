//! The ways in which somebody may act as another (KEP 5284), tried one after the other; one that lets them is enough.
//!
//! A way that is constrained asks for two rights: to be the other, and to do in their name what the request does. The last way,
//! which is the oldest, asks for the first only. Which way let a sender last is tried first the next time, so that nobody pays
//! for ways that they do not use.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use coracle_api::names;
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use coracle_api::validation::{FieldErrors, Path, domain_prefixed_path};
use http::HeaderMap;
use prometheus::Registry;
use tokio::time::Instant;

use super::series::Series;
use super::{Impersonated, ImpersonationError, Wanted, take};
use crate::authn::{
    ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, service_account_groups, split_service_account,
};
use crate::authz::{Attributes, Authorizer, MASTERS};
use crate::request::UserInfo;

/// The group of uids and extra values among impersonated things, and of all of them where the right is constrained.
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
const VERSION: &str = "v1";
const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";
/// Where a service account's extra values say on which node its pod runs.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// What stands for the extra values of who asks to be their own node.
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// From how many groups or extra values on it is asked first whether all are allowed.
const MANY: usize = 4;
/// Of how many senders it is remembered what let them.
const SENDERS_MAX: usize = 10_000;

/// A way to act as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A service account acts as the node on which its pod runs.
    AssociatedNode,
    /// Anybody acts as a node.
    ArbitraryNode,
    /// Anybody acts as a service account.
    ServiceAccount,
    /// Anybody acts as a user who is neither.
    UserInfo,
    /// Anybody acts as anybody, whatever the request does.
    Legacy,
}

const MODES: [Mode; 5] = [
    Mode::AssociatedNode,
    Mode::ArbitraryNode,
    Mode::ServiceAccount,
    Mode::UserInfo,
    Mode::Legacy,
];

/// Lets those act as others who may.
#[derive(Default)]
pub struct Impersonation {
    hasher: RandomState,
    /// By the digest of a sender's name; a collision costs a question more.
    last: Mutex<HashMap<u64, Mode>>,
    series: Series,
}

impl Impersonation {
    /// Whoever acts as another is counted in a registry.
    pub fn new(registry: &Registry) -> Self {
        Self {
            series: Series::new(registry),
            ..Self::default()
        }
    }

    /// Whom a request is made as, where its headers ask for that; `asked` is what the request does in its sender's own name.
    ///
    /// # Errors
    /// The headers cannot be meant, or the right is missing.
    pub async fn heed(
        &self,
        headers: &mut HeaderMap,
        asked: &Attributes<'_>,
        authorizer: &Authorizer,
    ) -> Result<Option<Impersonated>, ImpersonationError> {
        let Some(wanted) = take(headers)? else {
            return Ok(None);
        };
        let started = Instant::now();
        let found = self.find(&wanted, asked, authorizer).await;
        let mode = found.as_ref().map_or("", |(mode, _)| mode.label());
        self.series.attempts.note(mode, found.is_ok(), started.elapsed());
        Ok(found.map(|(_, found)| Some(found))?)
    }

    /// The first way that lets them, beginning with the one that last did.
    async fn find(
        &self,
        wanted: &Wanted,
        asked: &Attributes<'_>,
        authorizer: &Authorizer,
    ) -> Result<(Mode, Impersonated), ApiError> {
        let sender = self.hasher.hash_one(&asked.user.name);
        let last = self.last(sender);
        let others = MODES.into_iter().filter(|mode| Some(*mode) != last);
        let mut refusal = None;
        for mode in last.into_iter().chain(others) {
            if !mode.concerns(wanted, asked.user) {
                continue;
            }
            match mode.check(wanted, asked, authorizer, &self.series).await {
                Ok(found) => {
                    if last != Some(mode) {
                        self.remember(sender, mode);
                    }
                    return Ok((mode, found));
                }
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| ApiError::internal("all impersonation modes failed")))
    }

    fn last(&self, sender: u64) -> Option<Mode> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&sender).copied()
    }

    fn remember(&self, sender: u64, mode: Mode) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= SENDERS_MAX {
            last.clear();
        }
        last.insert(sender, mode);
    }
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    /// What it is counted under.
    fn label(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            constrained => constrained.name(),
        }
    }

    /// Whether this is a way to that user at all.
    fn concerns(self, wanted: &Wanted, sender: &UserInfo) -> bool {
        let alone = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let (node, account) = (node(&wanted.name), split_service_account(&wanted.name));
        match self {
            Self::AssociatedNode => alone && node.is_some() && runs_on(sender) == node,
            Self::ArbitraryNode => alone && node.is_some(),
            Self::ServiceAccount => alone && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }

    async fn check(
        self,
        wanted: &Wanted,
        asked: &Attributes<'_>,
        authorizer: &Authorizer,
        series: &Series,
    ) -> Result<Impersonated, ApiError> {
        if self == Self::Legacy {
            let check = Check {
                mode: self,
                verb: "impersonate",
                sender: asked.user,
                authorizer,
                series,
            };
            let user = check.user(wanted).await?;
            let constraint = String::new();
            return Ok(Impersonated { user, constraint });
        }
        let stripped = (self == Self::AssociatedNode).then(|| without_extra(asked.user));
        let sender = stripped.as_ref().unwrap_or(asked.user);
        let verb = format!("impersonate:{}", self.name());
        let on = format!("impersonate-on:{}:{}", self.name(), asked.verb);
        let check = Check {
            mode: self,
            verb: &verb,
            sender,
            authorizer,
            series,
        };
        let doing = Attributes {
            user: sender,
            verb: &on,
            ..*asked
        };
        check.require(&doing).await?;
        let user = check.user(wanted).await?;
        Ok(Impersonated {
            user,
            constraint: verb,
        })
    }
}

/// The questions whether a sender may be another, by the verb of one way.
struct Check<'a> {
    mode: Mode,
    verb: &'a str,
    sender: &'a UserInfo,
    authorizer: &'a Authorizer,
    series: &'a Series,
}

impl<'a> Check<'a> {
    fn constrains(&self) -> bool {
        self.mode != Mode::Legacy
    }

    /// The user, as an authenticator would have made them.
    async fn user(&self, wanted: &Wanted) -> Result<UserInfo, ApiError> {
        let mut groups = self.name(wanted).await?;
        if !wanted.uid.is_empty() {
            let uid = self.of(AUTHENTICATION_GROUP, "uids").named(&wanted.uid);
            self.require(&uid).await?;
        }
        self.groups(&wanted.groups).await?;
        self.extra(&wanted.extra).await?;
        let has = |group: &str| groups.iter().any(|own| own == group);
        let standing = match wanted.name.as_str() {
            ANONYMOUS => UNAUTHENTICATED,
            _ if has(UNAUTHENTICATED) => UNAUTHENTICATED,
            _ => AUTHENTICATED,
        };
        if !has(standing) {
            groups.push(standing.to_owned());
        }
        Ok(UserInfo {
            name: wanted.name.clone(),
            uid: wanted.uid.clone(),
            groups,
            extra: wanted.extra.clone(),
        })
    }

    /// Whether they may have the name; the groups that come with it, where no others are asked for.
    async fn name(&self, wanted: &Wanted) -> Result<Vec<String>, ApiError> {
        let name = wanted.name.as_str();
        let mut groups = wanted.groups.clone();
        let asked = if let Some((namespace, name)) = split_service_account(name) {
            if groups.is_empty() {
                groups.extend(service_account_groups(namespace));
            }
            self.of(self.group(), "serviceaccounts")
                .in_namespace(namespace)
                .named(name)
        } else if let Some(node) = node(name).filter(|_| self.constrains()) {
            groups = vec![NODES.to_owned()];
            // Which node it is does not matter to who may be the one that they run on.
            let node = if self.mode == Mode::AssociatedNode {
                "*"
            } else {
                node
            };
            self.of(self.group(), "nodes").named(node)
        } else {
            self.of(self.group(), "users").named(name)
        };
        self.require(&asked).await?;
        Ok(groups)
    }

    async fn groups(&self, groups: &[String]) -> Result<(), ApiError> {
        let asked = self.of(self.group(), "groups");
        if self.constrains() {
            let has = |group: &str| groups.iter().any(|own| own == group);
            if has("") {
                return Err(asked.forbidden("impersonating the empty string group is not allowed"));
            }
            if has(MASTERS) {
                let refused = asked.named(MASTERS);
                return Err(refused.forbidden("impersonating the system:masters group is not allowed"));
            }
            if groups.len() >= MANY && self.require(&asked.named("*")).await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            self.require(&asked.named(group)).await?;
        }
        Ok(())
    }

    async fn extra(&self, extra: &BTreeMap<String, Vec<String>>) -> Result<(), ApiError> {
        let asked = self.of(AUTHENTICATION_GROUP, "userextras");
        if self.constrains() {
            check_extra(extra).map_err(|why| asked.forbidden(&why))?;
            let values: usize = extra.values().map(Vec::len).sum();
            let all = asked.subresource("*").named("*");
            if values >= MANY && self.require(&all).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                self.require(&asked.subresource(key).named(value)).await?;
            }
        }
        Ok(())
    }

    /// The API group of names and groups.
    fn group(&self) -> &'static str {
        if self.constrains() {
            AUTHENTICATION_GROUP
        } else {
            ""
        }
    }

    fn of(&self, group: &'a str, resource: &'a str) -> Attributes<'a> {
        Attributes {
            version: VERSION,
            ..Attributes::resource(self.sender, self.verb, group, resource)
        }
    }

    async fn require(&self, asked: &Attributes<'_>) -> Result<(), ApiError> {
        let started = Instant::now();
        let refused = self.authorizer.decide(asked).await.refusal();
        let took = started.elapsed();
        self.series
            .questions
            .note(self.mode.label(), refused.is_none(), took);
        refused.map_or(Ok(()), |why| Err(asked.forbidden(&why)))
    }
}

/// What may be asked for where the right is constrained.
fn check_extra(extra: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    let at = Path::new("extra.key");
    for (key, values) in extra {
        if key.is_empty() {
            return Err("impersonating the empty string key in extra is not allowed".to_owned());
        }
        let mut errors = FieldErrors::new();
        domain_prefixed_path(key, &at, &mut errors);
        if !errors.is_empty() {
            let why = errors.aggregate();
            return Err(format!(
                "impersonating an invalid key in extra is not allowed: {why}"
            ));
        }
        if *key != key.to_lowercase() {
            let key = quote(key);
            return Err(format!(
                "impersonating a non-lowercase key in extra is not allowed: {key}"
            ));
        }
        if values.iter().any(String::is_empty) {
            return Err("impersonating the empty string value in extra is not allowed".to_owned());
        }
    }
    Ok(())
}

/// A sender of whom is told which extra values they have and not what these are: all pods of an account are alike.
fn without_extra(sender: &UserInfo) -> UserInfo {
    let keys: Vec<String> = sender.extra.keys().cloned().collect();
    UserInfo {
        extra: BTreeMap::from([(NODE_KEYS.to_owned(), keys)]),
        ..sender.clone()
    }
}

/// The node on which the pod of a service account runs.
fn runs_on(sender: &UserInfo) -> Option<&str> {
    split_service_account(&sender.name)?;
    match sender.extra.get(NODE_NAME)?.as_slice() {
        [node] => Some(node),
        _ => None,
    }
}

/// The name of the node that a user stands for.
fn node(user: &str) -> Option<&str> {
    let name = user.strip_prefix(NODE_PREFIX)?;
    names::dns1123_subdomain(name).is_empty().then_some(name)
}

#[cfg(test)]
mod tests;
