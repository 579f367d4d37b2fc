//! What upstream's REST framework (go-restful) makes of `Accept` before any handler sees a request: it knows the media types that
//! a route produces, and nothing of parameters, qualities or wildcards but the full one.

use coracle_api::status::{ApiError, Details, Reason};
use http::HeaderMap;

use super::{OFFERED, Purpose, WATCHED, accept_header};

/// Whether the framework has a request answered in a form that it accepts.
pub(crate) fn is_routed_by(headers: &HeaderMap) -> bool {
    let header = accept_header(headers);
    header.is_empty() || is_routed(&header)
}

/// Whether upstream's REST framework lets a request through to its handler: one of the media types, parameters and
/// qualities aside, is one that the route produces. It knows no wildcard but the full one.
pub(super) fn is_routed(header: &str) -> bool {
    header
        .split(',')
        .map(|part| part.split(';').next().unwrap_or_default().trim())
        .any(|media_type| media_type == "*/*" || OFFERED.contains(&media_type))
}

/// Whether that framework lets a request through to a route that produces this one media type.
///
/// # Errors
/// 406 where the client accepts another one only.
pub(crate) fn check_routed(headers: &HeaderMap, produced: &str) -> Result<(), ApiError> {
    let header = accept_header(headers);
    let mut media_types = header
        .split(',')
        .map(|part| part.split(';').next().unwrap_or_default().trim());
    if header.is_empty() || media_types.any(|media_type| media_type == "*/*" || media_type == produced) {
        return Ok(());
    }
    Err(unavailable(&[produced]))
}

/// How that framework turns a request for a plain answer down.
pub(crate) fn not_routed_to_answer() -> ApiError {
    not_routed(Purpose::Answer)
}

/// How that framework turns a request down. Lists and watches of a resource are one route.
pub(super) fn not_routed(purpose: Purpose) -> ApiError {
    let streams = matches!(purpose, Purpose::List | Purpose::Watch);
    let offered: Vec<&str> = OFFERED
        .iter()
        .chain(WATCHED.iter().filter(|_| streams))
        .copied()
        .collect();
    unavailable(&offered)
}

fn unavailable(offered: &[&str]) -> ApiError {
    ApiError::new(
        406,
        Reason::NotAcceptable,
        format!(
            "406: Not Acceptable\n\nAvailable representations: {}",
            offered.join(", ")
        ),
        Some(Details::default()),
    )
}
