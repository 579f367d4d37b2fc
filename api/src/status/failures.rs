//! Every failure that an API server answers with, in upstream's words.

use super::{ApiError, Cause, Details, Reason};
use crate::quote::quote;
use crate::validation::FieldErrors;

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
