//! Authorization: may this user do this?
//!
//! Authorizers are asked in the configured order; the first with an opinion decides, and where none has one the answer is
//! no. Members of `system:masters` are asked nothing. Deciding is pure and synchronous: it reads objects through
//! [`ObjectReader`] and the indexes built over it, and does no IO.

mod attributes;
mod escalation;
mod index;
mod node;
mod rules;

use std::str::FromStr;
use std::sync::Arc;

use coracle_api::status::ApiError;

pub use self::attributes::Attributes;
pub use self::escalation::RoleRef;
pub use self::index::RbacIndex;
pub(crate) use self::node::identity as node_identity;
pub use self::rules::PolicyRule;
use crate::reader::ObjectReader;
use crate::request::UserInfo;

/// The group whose members may do everything, whatever the policy says.
pub const MASTERS: &str = "system:masters";

/// One entry of `--authorization-mode`.
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
}

impl Verdict {
    fn new(decision: Decision, reason: impl Into<String>) -> Self {
        Self {
            decision,
            reason: reason.into(),
        }
    }

    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        self.decision == Decision::Allow
    }
}

/// The configured chain of authorizers.
pub struct Authorizer {
    modes: Vec<AuthorizationMode>,
    reader: Arc<dyn ObjectReader>,
    rbac: RbacIndex,
}

impl Authorizer {
    /// Builds the chain; roles and bindings are read when the first request asks for them.
    pub fn new(modes: Vec<AuthorizationMode>, reader: Arc<dyn ObjectReader>) -> Self {
        let rbac = RbacIndex::new(reader.clone());
        Self { modes, reader, rbac }
    }

    /// Decides one request.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Verdict {
        if is_master(attributes.user) {
            return Verdict::new(Decision::Allow, "");
        }
        let mut reasons = Vec::new();
        for mode in &self.modes {
            let verdict = self.ask(*mode, attributes);
            if verdict.decision != Decision::NoOpinion {
                return verdict;
            }
            if !verdict.reason.is_empty() {
                reasons.push(verdict.reason);
            }
        }
        Verdict::new(Decision::NoOpinion, reasons.join("\n"))
    }

    /// Decides one request; the error is the answer to send.
    pub fn require(&self, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        let verdict = self.authorize(attributes);
        if verdict.is_allowed() {
            Ok(())
        } else {
            Err(attributes.forbidden(&verdict.reason))
        }
    }

    /// Every rule that applies to a user in a namespace, and what went wrong while they were gathered.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Arc<PolicyRule>>, Vec<String>) {
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        for mode in &self.modes {
            match mode {
                AuthorizationMode::Rbac => {
                    let (found, failed) = self.rbac.current().rules_for(user, namespace);
                    rules.extend(found);
                    errors.extend(failed);
                }
                AuthorizationMode::Node if node::identity(user).is_some() => {
                    errors.push("node authorizer does not support user rule resolution".to_owned());
                }
                AuthorizationMode::AlwaysAllow => rules.extend(PolicyRule::everything().map(Arc::new)),
                AuthorizationMode::Node | AuthorizationMode::AlwaysDeny => {}
            }
        }
        (rules, errors)
    }

    fn ask(&self, mode: AuthorizationMode, attributes: &Attributes<'_>) -> Verdict {
        match mode {
            AuthorizationMode::Rbac => self.rbac.current().authorize(attributes),
            AuthorizationMode::Node => node::authorize(self.reader.as_ref(), attributes),
            AuthorizationMode::AlwaysAllow => Verdict::new(Decision::Allow, ""),
            AuthorizationMode::AlwaysDeny => Verdict::new(Decision::NoOpinion, "Everything is forbidden."),
        }
    }
}

/// Whether a user is above the policy.
pub fn is_master(user: &UserInfo) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}
