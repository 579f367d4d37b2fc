//! Every answer that is not a success: the facts of upstream's `metav1.Status`, with the reasons, codes, causes and
//! wording of apimachinery's `api/errors`.

use serde_json::{Map, Value, json};

use crate::quote::quote;
use crate::validation::FieldErrors;

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
}

impl ApiError {
    /// A failure of any shape.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>, details: Option<Details>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: details.map(Box::new),
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
        status.insert("metadata".into(), json!({}));
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

/// The failures of a request about a resource. `group` is empty for the core group; `resource` is the plural, lower-case
/// name.
impl ApiError {
    /// 404: there is no such object.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(resource, group), quote(name));
        Self::new(
            404,
            Reason::NotFound,
            message,
            Some(Details::of(group, resource, name)),
        )
    }

    /// 409: an object of that name is there already.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(resource, group), quote(name));
        Self::new(
            409,
            Reason::AlreadyExists,
            message,
            Some(Details::of(group, resource, name)),
        )
    }

    /// 409: every name made from a `generateName` was taken.
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            qualified(resource, group),
            quote(name)
        );
        let details = Details {
            retry_after_seconds: 1,
            ..Details::of(group, resource, name)
        };
        Self::new(409, Reason::AlreadyExists, message, Some(details))
    }

    /// 409: the object is not as the request takes it to be, for the reason `why`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: {why}",
            qualified(resource, group),
            quote(name)
        );
        Self::new(
            409,
            Reason::Conflict,
            message,
            Some(Details::of(group, resource, name)),
        )
    }

    /// 409: the object has another resource version than the request names.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    /// 409: other field managers own what an apply would change.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        Self::new(
            409,
            Reason::Conflict,
            message,
            Some(Details {
                causes,
                ..Details::default()
            }),
        )
    }

    /// 422: the object breaks rules of its `kind` (`Pod`, not `pods`).
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &FieldErrors) -> Self {
        let mut message = format!("{} {} is invalid", qualified(kind, group), quote(name));
        if !errors.is_empty() {
            message = format!("{message}: {}", errors.aggregate());
        }
        let causes = errors.iter().map(|error| Cause {
            reason: error.kind.reason().into(),
            message: error.body(),
            field: error.field.clone(),
        });
        let details = Details {
            causes: causes.collect(),
            ..Details::of(group, kind, name)
        };
        Self::new(422, Reason::Invalid, message, Some(details))
    }

    /// 403: `why` says what is not allowed. Resource and name may be empty.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = match (resource.is_empty() && group.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{} is forbidden: {why}", qualified(resource, group)),
            (false, false) => format!(
                "{} {} is forbidden: {why}",
                qualified(resource, group),
                quote(name)
            ),
        };
        Self::new(
            403,
            Reason::Forbidden,
            message,
            Some(Details::of(group, resource, name)),
        )
    }

    /// 405: the resource has no such `action` (`patch`, `delete`).
    pub fn method_not_supported(group: &str, resource: &str, action: &str) -> Self {
        let kind = quote(&qualified(resource, group));
        let message = format!("{action} is not supported on resources of kind {kind}");
        Self::new(
            405,
            Reason::MethodNotAllowed,
            message,
            Some(Details::of(group, resource, "")),
        )
    }

    /// 500: the operation could not be done now; another try may succeed.
    pub fn server_timeout(group: &str, resource: &str, operation: &str, retry_after: u32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            qualified(resource, group)
        );
        let details = Details {
            retry_after_seconds: retry_after,
            ..Details::of(group, resource, operation)
        };
        Self::new(500, Reason::ServerTimeout, message, Some(details))
    }
}

/// The failures that name no resource.
impl ApiError {
    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message, None)
    }

    /// 401: it is not known who asks. Upstream's filter says `Unauthorized`.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        let message = message.into();
        let message = if message.is_empty() {
            "not authorized".into()
        } else {
            message
        };
        Self::new(401, Reason::Unauthorized, message, None)
    }

    /// 406: no representation that the request accepts; `offered` are the media types there are.
    pub fn not_acceptable(offered: &[&str]) -> Self {
        let message = format!(
            "only the following media types are accepted: {}",
            offered.join(", ")
        );
        Self::new(406, Reason::NotAcceptable, message, None)
    }

    /// 415: the body's media type is none of `accepted`.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, Reason::UnsupportedMediaType, message, None)
    }

    /// 413: `message` says what the limit is.
    pub fn request_entity_too_large(message: &str) -> Self {
        let message = format!("Request entity too large: {message}");
        Self::new(413, Reason::RequestEntityTooLarge, message, None)
    }

    /// 410: the revision asked for is compacted away; a client has to list again.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message, None)
    }

    /// 410: what was asked for is no longer there.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Gone, message, None)
    }

    /// 504: no answer in the time allotted.
    pub fn timeout(message: &str, retry_after: u32) -> Self {
        let message = format!("Timeout: {message}");
        Self::new(504, Reason::Timeout, message, Some(Details::retry(retry_after)))
    }

    /// 504: the revision asked for is later than what the server has seen.
    pub fn too_large_resource_version(asked: u64, current: u64, retry_after: u32) -> Self {
        let cause = Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        };
        let details = Details {
            causes: vec![cause],
            ..Details::retry(retry_after)
        };
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Self::new(504, Reason::Timeout, message, Some(details))
    }

    /// 429: asked too often.
    pub fn too_many_requests(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(
            429,
            Reason::TooManyRequests,
            message,
            Some(Details::retry(retry_after)),
        )
    }

    /// 503: a part that is needed does not answer.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(503, Reason::ServiceUnavailable, message, None)
    }

    /// 500: a fault of the server itself.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        let text = error.to_string();
        let message = format!("Internal error occurred: {text}");
        let cause = Cause {
            message: text,
            ..Cause::default()
        };
        Self::new(
            500,
            Reason::InternalError,
            message,
            Some(Details {
                causes: vec![cause],
                ..Details::default()
            }),
        )
    }

    /// 500 without a reason: what upstream answers for an error that is no `Status` of its own.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(500, Reason::Unknown, message, None)
    }

    /// The answer where nothing more is known than a status code (`NewGenericServerResponse` without a resource).
    pub fn generic(code: u16, server_message: &str) -> Self {
        let (reason, message) = match code {
            409 => (Reason::Conflict, "the server reported a conflict"),
            404 => (
                Reason::NotFound,
                "the server could not find the requested resource",
            ),
            400 => (
                Reason::BadRequest,
                "the server rejected our request for an unknown reason",
            ),
            401 => (
                Reason::Unauthorized,
                "the server has asked for the client to provide credentials",
            ),
            403 => (Reason::Forbidden, server_message),
            406 if !matches!(server_message, "" | "unknown") => (Reason::NotAcceptable, server_message),
            406 => (
                Reason::NotAcceptable,
                "the server was unable to respond with a content type that the client supports",
            ),
            415 => (Reason::UnsupportedMediaType, server_message),
            405 => (
                Reason::MethodNotAllowed,
                "the server does not allow this method on the requested resource",
            ),
            422 => (
                Reason::Invalid,
                "the server rejected our request due to an error in our request",
            ),
            503 => (
                Reason::ServiceUnavailable,
                "the server is currently unable to handle the request",
            ),
            504 => (
                Reason::Timeout,
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            ),
            429 => (
                Reason::TooManyRequests,
                "the server has received too many requests and has asked us to try again later",
            ),
            500.. => {
                let message = format!(
                    "an error on the server ({}) has prevented the request from succeeding",
                    quote(server_message)
                );
                return Self::new(code, Reason::InternalError, message, Some(Details::default()));
            }
            _ => {
                let message = format!(
                    "the server responded with the status code {code} but did not return more information"
                );
                return Self::new(code, Reason::Unknown, message, Some(Details::default()));
            }
        };
        Self::new(code, reason, message, Some(Details::default()))
    }
}

/// `deployments.apps`, or `pods` in the core group.
fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
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
    use crate::validation::Path;

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
