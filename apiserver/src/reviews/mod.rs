//! Questions about who somebody is and what they may do, asked as objects that are answered and never stored.
//!
//! `access` answers whether somebody may, `rules` what all they may, `identity` who they are. Each is a pure function from
//! the object asked and the authorizer or authenticator to the object answered.

mod access;
mod identity;
mod rules;
mod selectors;

use std::sync::Arc;

use coracle_api::status::ApiError;
use coracle_api::table::{self, Gvk};
use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::authn::Authenticator;
use crate::authz::Authorizer;
use crate::http::document::{self, Wish};
use crate::registry::track_answered;
use crate::request::{RequestBody, RequestContext, RequestInfo, ResponseBody, UserInfo};
use crate::webhook::Webhooks;

/// Answers every kind of review.
pub struct Reviews {
    authenticator: Arc<Authenticator>,
    authorizer: Arc<Authorizer>,
    webhooks: Arc<Webhooks>,
}

/// The kinds of review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Review {
    Token,
    SelfSubject,
    SubjectAccess,
    LocalSubjectAccess,
    SelfSubjectAccess,
    SelfSubjectRules,
}

impl Review {
    /// The review that a path asks for, where it is one.
    pub(crate) fn of(info: &RequestInfo) -> Option<Self> {
        if info.api_version != "v1" || !info.subresource.is_empty() {
            return None;
        }
        Some(match (info.api_group.as_str(), info.resource.as_str()) {
            ("authentication.k8s.io", "tokenreviews") => Self::Token,
            ("authentication.k8s.io", "selfsubjectreviews") => Self::SelfSubject,
            ("authorization.k8s.io", "subjectaccessreviews") => Self::SubjectAccess,
            ("authorization.k8s.io", "localsubjectaccessreviews") => Self::LocalSubjectAccess,
            ("authorization.k8s.io", "selfsubjectaccessreviews") => Self::SelfSubjectAccess,
            ("authorization.k8s.io", "selfsubjectrulesreviews") => Self::SelfSubjectRules,
            _ => return None,
        })
    }

    fn kind(self) -> Gvk {
        let (group, kind) = match self {
            Self::Token => ("authentication.k8s.io", "TokenReview"),
            Self::SelfSubject => ("authentication.k8s.io", "SelfSubjectReview"),
            Self::SubjectAccess => ("authorization.k8s.io", "SubjectAccessReview"),
            Self::LocalSubjectAccess => ("authorization.k8s.io", "LocalSubjectAccessReview"),
            Self::SelfSubjectAccess => ("authorization.k8s.io", "SelfSubjectAccessReview"),
            Self::SelfSubjectRules => ("authorization.k8s.io", "SelfSubjectRulesReview"),
        };
        Gvk {
            group,
            version: "v1",
            kind,
        }
    }
}

impl Reviews {
    /// Answers by these two, of what these webhooks let pass.
    pub(crate) fn new(
        authenticator: Arc<Authenticator>,
        authorizer: Arc<Authorizer>,
        webhooks: Arc<Webhooks>,
    ) -> Self {
        Self {
            authenticator,
            authorizer,
            webhooks,
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(
        &self,
        review: Review,
        context: &RequestContext,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ApiError> {
        if context.info.verb != "create" {
            return Err(ApiError::generic(405, ""));
        }
        let asked = document::read(context, body, review.kind()).await?;
        let mut answer = asked.object;
        if review == Review::LocalSubjectAccess {
            in_namespace(&mut answer, &context.info.namespace)?;
        }
        self.webhooks.create(context, review.kind(), &mut answer).await?;
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let kind = review.kind();
        let tracked = !matches!(review, Review::SelfSubject | Review::SelfSubjectRules);
        if let Some(ty) = table::by_gvk(kind.group, kind.version, kind.kind).filter(|_| tracked) {
            track_answered(context, ty, &mut answer, &now);
        }
        let status = self.status(review, &answer, context).await?;
        match review {
            Review::SelfSubject => answer["metadata"]["creationTimestamp"] = now.into(),
            // What was asked is not repeated.
            Review::SelfSubjectRules => {
                answer["spec"] = json!({});
                answer["metadata"] = json!({});
            }
            _ => {}
        }
        answer["status"] = status;
        Ok(document::answer(Wish::of(context), 201, answer, &asked.warnings))
    }

    async fn status(
        &self,
        review: Review,
        asked: &Value,
        context: &RequestContext,
    ) -> Result<Value, ApiError> {
        let (user, namespace) = (&context.user, context.info.namespace.as_str());
        match review {
            Review::Token => identity::of_token(&self.authenticator, asked, Timestamp::now()).await,
            Review::SelfSubject => Ok(json!({"userInfo": user_value(user)})),
            Review::SubjectAccess => access::of_subject(&self.authorizer, asked).await,
            Review::LocalSubjectAccess => access::of_local_subject(&self.authorizer, asked, namespace).await,
            Review::SelfSubjectAccess => access::of_self(&self.authorizer, asked, user).await,
            Review::SelfSubjectRules => rules::of_self(&self.authorizer, asked, user),
        }
    }
}

/// Puts a question into the namespace it is asked in, where it does not name one.
fn in_namespace(asked: &mut Value, namespace: &str) -> Result<(), ApiError> {
    let sent = text(asked, "/metadata/namespace");
    if !sent.is_empty() && sent != namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    asked["metadata"]["namespace"] = namespace.into();
    Ok(())
}

/// A user in the form of `authentication.k8s.io/v1` `UserInfo`.
fn user_value(user: &UserInfo) -> Value {
    json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra})
}

/// Text at a pointer; empty where there is none.
fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A list of texts at a pointer.
fn texts(value: &Value, pointer: &str) -> Vec<String> {
    let items = value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
