//! Authorization: may this user do this?
//!
//! Authorizers are asked in the configured order; the first with an opinion decides, and where none has one the answer is
//! no. Members of `system:masters` are asked nothing. Deciding reads objects through [`ObjectReader`] and the indexes built over
//! it; the only one who does IO is `webhook`, and only where its memory has no answer.

mod abac;
mod attributes;
pub mod config;
mod escalation;
mod index;
mod node;
mod questions;
mod review;
mod rules;
mod webhook;

use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use coracle_api::status::ApiError;
use jiff::Timestamp;

pub use self::abac::Policies;
pub use self::attributes::Attributes;
pub use self::escalation::RoleRef;
pub use self::index::RbacIndex;
pub(crate) use self::node::identity as node_identity;
pub(crate) use self::questions::Questions;
pub use self::rules::PolicyRule;
pub use self::webhook::{AccessWebhook, AccessWebhookSettings};
use crate::reader::ObjectReader;
use crate::request::UserInfo;

/// The group whose members may do everything, whatever the policy says.
pub const MASTERS: &str = "system:masters";

/// One entry of `--authorization-mode` that needs nothing but its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationMode {
    /// Roles and bindings.
    Rbac,
    /// What a kubelet needs for the pods on its node.
    Node,
    /// Everything is allowed.
    AlwaysAllow,
    /// Nothing is allowed.
    AlwaysDeny,
}

/// A mode that is not served.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an authorization mode; choose from AlwaysAllow, AlwaysDeny, Node, RBAC")]
pub struct UnknownMode(String);

impl FromStr for AuthorizationMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "RBAC" => Ok(Self::Rbac),
            "Node" => Ok(Self::Node),
            "AlwaysAllow" => Ok(Self::AlwaysAllow),
            "AlwaysDeny" => Ok(Self::AlwaysDeny),
            other => Err(UnknownMode(other.to_owned())),
        }
    }
}

/// What an authorizer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and nobody else is asked.
    Allow,
    /// No, and nobody else is asked.
    Deny,
    /// Ask the next.
    NoOpinion,
}

/// A decision and what led to it, as a SubjectAccessReview shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The decision of the whole chain, or of one authorizer.
    pub decision: Decision,
    /// Why; empty where there is nothing to say.
    pub reason: String,
    /// What went wrong on the way; empty where nothing did.
    pub error: String,
}

impl Verdict {
    fn new(decision: Decision, reason: impl Into<String>) -> Self {
        Self {
            decision,
            reason: reason.into(),
            error: String::new(),
        }
    }

    fn with_error(self, error: String) -> Self {
        Self { error, ..self }
    }

    /// Why the request may not go on, as a refusal tells it; None where it may.
    pub(crate) fn refusal(&self) -> Option<String> {
        if self.is_allowed() {
            return None;
        }
        let parts = [self.error.as_str(), self.reason.as_str()];
        let told: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Some(told.join(": "))
    }

    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        self.decision == Decision::Allow
    }
}

/// One who decides.
pub enum Link {
    /// One that needs nothing but what is stored.
    Mode(AuthorizationMode),
    /// The policies of a file.
    Abac(Policies),
    /// A service elsewhere.
    Webhook(Box<AccessWebhook>),
}

impl From<AuthorizationMode> for Link {
    fn from(mode: AuthorizationMode) -> Self {
        Self::Mode(mode)
    }
}

/// Rules that apply to a user.
#[derive(Debug, Default)]
pub struct Resolved {
    /// The rules, of whoever can tell.
    pub rules: Vec<Arc<PolicyRule>>,
    /// What went wrong while they were gathered.
    pub errors: Vec<String>,
    /// Whether somebody who decides cannot tell.
    pub incomplete: bool,
}

/// The configured chain of authorizers.
pub struct Authorizer {
    chain: ArcSwap<Vec<Link>>,
    reader: Arc<dyn ObjectReader>,
    rbac: RbacIndex,
}

impl Authorizer {
    /// Builds the chain; roles and bindings are read when the first request asks for them.
    pub fn new<L: Into<Link>>(chain: Vec<L>, reader: Arc<dyn ObjectReader>) -> Self {
        let rbac = RbacIndex::new(reader.clone());
        let chain = ArcSwap::from_pointee(chain.into_iter().map(Into::into).collect());
        Self { chain, reader, rbac }
    }

    /// Has others decide from the next request on.
    pub(crate) fn replace(&self, chain: Vec<Link>) {
        self.chain.store(Arc::new(chain));
    }

    /// Decides one request.
    pub async fn decide(&self, attributes: &Attributes<'_>) -> Verdict {
        if is_master(attributes.user) {
            return Verdict::new(Decision::Allow, "");
        }
        let mut heard = Heard::default();
        for link in self.chain.load_full().iter() {
            let verdict = match self.own(link, attributes) {
                Ok(verdict) => verdict,
                Err(webhook) => webhook.authorize(attributes, Timestamp::now()).await,
            };
            if let Some(decided) = heard.take(verdict) {
                return decided;
            }
        }
        heard.undecided()
    }

    /// What is decided without asking anybody elsewhere; none where that takes a service that has not answered the same lately.
    /// For [`Questions`].
    fn known(&self, attributes: &Attributes<'_>) -> Option<Verdict> {
        if is_master(attributes.user) {
            return Some(Verdict::new(Decision::Allow, ""));
        }
        let mut heard = Heard::default();
        for link in self.chain.load().iter() {
            let verdict = match self.own(link, attributes) {
                Ok(verdict) => verdict,
                Err(webhook) => webhook.known(attributes, Timestamp::now()).ok()?,
            };
            if let Some(decided) = heard.take(verdict) {
                return Some(decided);
            }
        }
        Some(heard.undecided())
    }

    /// Decides one request; the error is the answer to send.
    ///
    /// # Errors
    /// Forbidden, or that it could not be found out.
    pub async fn require(&self, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        attributes.required(self.decide(attributes).await)
    }

    /// Every rule that applies to a user in a namespace, as far as those who decide can tell.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> Resolved {
        let mut resolved = Resolved::default();
        let untold = |resolved: &mut Resolved, who: &str| {
            let error = format!("{who} authorizer does not support user rule resolution");
            resolved.errors.push(error);
            resolved.incomplete = true;
        };
        for link in self.chain.load().iter() {
            match link {
                Link::Mode(AuthorizationMode::Rbac) => {
                    let (found, failed) = self.rbac_rules(user, namespace);
                    resolved.rules.extend(found);
                    resolved.errors.extend(failed);
                }
                Link::Mode(AuthorizationMode::Node) if node::identity(user).is_some() => {
                    untold(&mut resolved, "node");
                }
                Link::Mode(AuthorizationMode::AlwaysAllow) => {
                    resolved.rules.extend(PolicyRule::everything().map(Arc::new));
                }
                Link::Mode(AuthorizationMode::Node | AuthorizationMode::AlwaysDeny) => {}
                Link::Abac(policies) => {
                    let found = policies.rules_for(user, namespace);
                    resolved.rules.extend(found.into_iter().map(Arc::new));
                }
                Link::Webhook(_) => untold(&mut resolved, "webhook"),
            }
        }
        resolved
    }

    /// Every rule that roles give a user in a namespace, whoever else decides.
    fn rbac_rules(&self, user: &UserInfo, namespace: &str) -> (Vec<Arc<PolicyRule>>, Vec<String>) {
        self.rbac.current().rules_for(user, namespace)
    }

    /// What one says who needs nobody else for it, or the service that is to be asked.
    fn own<'l>(&self, link: &'l Link, attributes: &Attributes<'_>) -> Result<Verdict, &'l AccessWebhook> {
        Ok(match link {
            Link::Mode(AuthorizationMode::Rbac) => self.rbac.current().authorize(attributes),
            Link::Mode(AuthorizationMode::Node) => node::authorize(self.reader.as_ref(), attributes),
            Link::Mode(AuthorizationMode::AlwaysAllow) => Verdict::new(Decision::Allow, ""),
            Link::Mode(AuthorizationMode::AlwaysDeny) => {
                Verdict::new(Decision::NoOpinion, "Everything is forbidden.")
            }
            Link::Abac(policies) => policies.authorize(attributes),
            Link::Webhook(webhook) => return Err(webhook),
        })
    }
}

/// What those said who have no opinion.
#[derive(Default)]
struct Heard {
    reasons: Vec<String>,
    errors: Vec<String>,
}

impl Heard {
    /// Takes what one more says; answers it where it decides.
    fn take(&mut self, verdict: Verdict) -> Option<Verdict> {
        if verdict.decision != Decision::NoOpinion {
            return Some(verdict);
        }
        if !verdict.reason.is_empty() {
            self.reasons.push(verdict.reason);
        }
        if !verdict.error.is_empty() {
            self.errors.push(verdict.error);
        }
        None
    }

    /// What it comes to where nobody decides.
    fn undecided(self) -> Verdict {
        let error = match self.errors.as_slice() {
            [] => String::new(),
            [only] => only.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        Verdict::new(Decision::NoOpinion, self.reasons.join("\n")).with_error(error)
    }
}

/// Whether a user is above the policy.
pub fn is_master(user: &UserInfo) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}
