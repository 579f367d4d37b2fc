//! Every answer that is not a success: the facts of upstream's `metav1.Status`, with the reasons, codes, causes and
//! wording of apimachinery's `api/errors`.

mod failures;

use serde_json::{Map, Value, json};

/// A machine-readable word for why a request failed (`metav1.StatusReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are upstream's and say it all")]
pub enum Reason {
    /// No reason is given on the wire.
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
}

impl Reason {
    /// The word on the wire; empty for [`Reason::Unknown`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Invalid => "Invalid",
            Self::ServerTimeout => "ServerTimeout",
            Self::Timeout => "Timeout",
            Self::TooManyRequests => "TooManyRequests",
            Self::BadRequest => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::InternalError => "InternalError",
            Self::Expired => "Expired",
            Self::ServiceUnavailable => "ServiceUnavailable",
        }
    }
}

/// One of several causes of a failure (`metav1.StatusCause`). Empty parts are left out on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// Such as `FieldValueRequired` or `FieldManagerConflict`.
    pub reason: String,
    /// What a person reads.
    pub message: String,
    /// The field it is about, such as `spec.replicas`.
    pub field: String,
}

/// What the failure is about (`metav1.StatusDetails`). Empty parts are left out on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// The API group of `kind`.
    pub group: String,
    /// A resource (`pods`) in most failures, a kind (`Pod`) where an object is invalid.
    pub kind: String,
    /// The object's uid.
    pub uid: String,
    /// All causes.
    pub causes: Vec<Cause>,
    /// Seconds after which asking again may help; 0 when it is not said.
    pub retry_after_seconds: u32,
}

/// A request's failure; [`ApiError::to_status`] is its wire form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    code: u16,
    reason: Reason,
    message: String,
    details: Option<Box<Details>>,
    /// The token with which an expired list goes on.
    continuation: Option<Box<str>>,
}

impl ApiError {
    /// A failure of any shape.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>, details: Option<Details>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: details.map(Box::new),
            continuation: None,
        }
    }

    /// The same failure of a list, which may go on with this token, although not consistently.
    #[must_use]
    pub fn with_continue(self, token: &str) -> Self {
        Self {
            continuation: Some(token.into()),
            ..self
        }
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The machine-readable reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What a person reads.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the failure is about, when that is known.
    pub fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    /// Seconds for a `Retry-After` header.
    pub fn retry_after(&self) -> Option<u32> {
        self.details
            .as_ref()
            .map(|details| details.retry_after_seconds)
            .filter(|&seconds| seconds > 0)
    }

    /// The `metav1.Status` object in JSON shape.
    pub fn to_status(&self) -> Value {
        let mut status = Map::new();
        status.insert("kind".into(), "Status".into());
        status.insert("apiVersion".into(), "v1".into());
        let metadata = match &self.continuation {
            Some(token) => json!({"continue": token}),
            None => json!({}),
        };
        status.insert("metadata".into(), metadata);
        status.insert("status".into(), "Failure".into());
        insert_text(&mut status, "message", &self.message);
        insert_text(&mut status, "reason", self.reason.as_str());
        if let Some(details) = &self.details {
            status.insert("details".into(), details.to_value());
        }
        status.insert("code".into(), self.code.into());
        Value::Object(status)
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        insert_text(&mut out, "name", &self.name);
        insert_text(&mut out, "group", &self.group);
        insert_text(&mut out, "kind", &self.kind);
        insert_text(&mut out, "uid", &self.uid);
        if !self.causes.is_empty() {
            out.insert("causes".into(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            out.insert("retryAfterSeconds".into(), self.retry_after_seconds.into());
        }
        Value::Object(out)
    }

    fn of(group: &str, kind: &str, name: &str) -> Self {
        Self {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            ..Self::default()
        }
    }

    fn retry(seconds: u32) -> Self {
        Self {
            retry_after_seconds: seconds,
            ..Self::default()
        }
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        insert_text(&mut out, "reason", &self.reason);
        insert_text(&mut out, "message", &self.message);
        insert_text(&mut out, "field", &self.field);
        Value::Object(out)
    }
}

fn insert_text(map: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        map.insert(key.into(), text.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::{FieldErrors, Path};

    #[test]
    fn failures_are_worded_as_upstream_words_them() {
        let cases = [
            (ApiError::not_found("", "pods", "a"), 404, r#"pods "a" not found"#),
            (
                ApiError::already_exists("apps", "deployments", "a"),
                409,
                r#"deployments.apps "a" already exists"#,
            ),
            (
                ApiError::modified("", "pods", "seed"),
                409,
                "Operation cannot be fulfilled on pods \"seed\": the object has been modified; please apply your changes to the latest version and try again",
            ),
            (ApiError::forbidden("", "", "", "no"), 403, "forbidden: no"),
            (
                ApiError::forbidden("", "pods", "", "no"),
                403,
                "pods is forbidden: no",
            ),
            (
                ApiError::forbidden("", "pods", "a", "no"),
                403,
                "pods \"a\" is forbidden: no",
            ),
            (
                ApiError::method_not_supported("", "pods", "patch"),
                405,
                "patch is not supported on resources of kind \"pods\"",
            ),
            (
                ApiError::generic(404, ""),
                404,
                "the server could not find the requested resource",
            ),
        ];
        for (error, code, message) in cases {
            assert_eq!((error.code(), error.message()), (code, message));
        }
    }

    #[test]
    fn a_status_leaves_empty_parts_out() {
        assert_eq!(
            ApiError::bad_request("no").to_status(),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no",
                   "reason": "BadRequest", "code": 400})
        );
        assert_eq!(ApiError::generic(405, "").to_status()["details"], json!({}));
        assert_eq!(ApiError::unknown("x").to_status().get("reason"), None);
    }

    #[test]
    fn an_invalid_object_names_every_cause() {
        let mut errors = FieldErrors::new();
        errors.required(&Path::new("spec.a"), "");
        errors.invalid(&Path::new("spec.b"), 5, "odd");
        let status = ApiError::invalid("apps", "Deployment", "d", &errors).to_status();
        assert_eq!(
            status["message"],
            "Deployment.apps \"d\" is invalid: [spec.a: Required value, spec.b: Invalid value: 5: odd]"
        );
        assert_eq!(
            status["details"],
            json!({"name": "d", "group": "apps", "kind": "Deployment", "causes": [
                {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.a"},
                {"reason": "FieldValueInvalid", "message": "Invalid value: 5: odd", "field": "spec.b"}]})
        );
    }
}
