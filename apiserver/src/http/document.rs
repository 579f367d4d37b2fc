//! Objects that are asked and answered and never stored: reviews, token requests; and `Status`. They come and go in the same
//! encodings as stored objects.

use coracle_api::codec::body::{self, MediaType};
use coracle_api::codec::conform::conform;
use coracle_api::codec::{FieldValidation, protobuf, yaml};
use coracle_api::status::ApiError;
use coracle_api::table::Gvk;
use coracle_api::{defaults, table};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, header};
use serde_json::Value;

use super::request_info::parse_query;
use super::respond;
use crate::registry::check_acceptable;
use crate::registry::negotiate::{Format, format_of_failure, wants_pretty};
use crate::request::{RequestBody, RequestContext, ResponseBody};

/// An object as it was asked, and what its sender is to be warned of.
pub(crate) struct Asked {
    pub(crate) object: Value,
    pub(crate) warnings: Vec<String>,
}

/// Reads a body as an object of this kind, with its defaults, if the client takes what it will be answered with.
pub(crate) async fn read(context: &RequestContext, body: RequestBody, kind: Gvk) -> Result<Asked, ApiError> {
    check_acceptable(context)?;
    let validation = context.query("fieldValidation").unwrap_or_default();
    let validation = FieldValidation::parse(validation).unwrap_or_default();
    let sent = context
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = MediaType::of_content_type(sent.unwrap_or_default())
        .ok_or_else(|| ApiError::unsupported_media_type(&MediaType::NAMES))?;
    let bytes = body.read().await?;
    let (mut object, warnings) = body::decode(&bytes, media_type, kind, validation)?;
    defaults::apply(kind, &mut object);
    context.warnings.audit().requested(&object);
    Ok(Asked { object, warnings })
}

/// How a client likes its answers.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    headers: &'a HeaderMap,
    /// Whether JSON is indented for a person's eyes.
    pretty: bool,
}

impl<'a> Wish<'a> {
    /// As the request says.
    pub(crate) fn of(context: &'a RequestContext) -> Self {
        Self {
            headers: &context.headers,
            pretty: wants_pretty(&context.headers, context.query("pretty")),
        }
    }

    /// As the head of a request says that may have come to nothing.
    pub(crate) fn of_head(head: &'a Parts) -> Self {
        let query = parse_query(head.uri.query());
        let pretty = query.iter().find(|(name, _)| name == "pretty");
        Self {
            headers: &head.headers,
            pretty: wants_pretty(&head.headers, pretty.map(|(_, value)| value.as_str())),
        }
    }
}

/// Answers an object in the encoding that the client likes best.
pub(crate) fn answer(
    wish: Wish<'_>,
    code: u16,
    mut object: Value,
    warnings: &[String],
) -> Response<ResponseBody> {
    shape(&mut object);
    let (media_type, bytes) = encode(accepted(wish.headers), &object, wish.pretty);
    let response = respond::bytes(code, HeaderValue::from_static(media_type), bytes);
    respond::with_warnings(response, warnings)
}

/// Brings an object into the form in which upstream's types are written: what is always there is there.
fn shape(object: &mut Value) {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    if let Some(ty) = table::by_api_version(text("apiVersion"), text("kind"))
        && let Err(error) = conform(object, ty)
    {
        tracing::error!(%error, "an answer of our own is not of its type");
    }
    // A list that was made for the answer is there even if it is empty.
    if object.get("items").is_some_and(Value::is_null) {
        object["items"] = Value::Array(Vec::new());
    }
}

fn accepted(headers: &HeaderMap) -> MediaType {
    match format_of_failure(headers) {
        Format::Json => MediaType::Json,
        Format::Yaml => MediaType::Yaml,
        Format::Protobuf => MediaType::Protobuf,
    }
}

fn encode(media_type: MediaType, object: &Value, pretty: bool) -> (&'static str, Vec<u8>) {
    let encoded = match media_type {
        MediaType::Yaml => Some(yaml::encode(object)),
        MediaType::Protobuf => protobuf::encode_any(object).ok(),
        MediaType::Json => None,
    };
    encoded.map_or_else(
        || {
            let text = if pretty {
                format!("{object:#}")
            } else {
                format!("{object}\n")
            };
            (MediaType::Json.name(), text.into_bytes())
        },
        |bytes| (media_type.name(), bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(headers: &HeaderMap) -> Wish<'_> {
        Wish {
            headers,
            pretty: false,
        }
    }

    #[test]
    fn who_shows_answers_to_a_person_gets_them_indented() {
        let head = |target: &str, agent: &str| {
            let request = http::Request::get(target).header(header::USER_AGENT, agent);
            request.body(()).unwrap().into_parts().0
        };
        for (target, agent, pretty) in [
            ("/a", "curl/8", true),
            ("/a", "kubectl/v1", false),
            ("/a?pretty=true", "kubectl/v1", true),
            ("/a?x=y&pretty=false", "curl/8", false),
        ] {
            assert_eq!(
                Wish::of_head(&head(target, agent)).pretty,
                pretty,
                "{target} {agent}"
            );
        }
        let (_, indented) = encode(MediaType::Json, &serde_json::json!({"a": [1]}), true);
        assert_eq!(indented, b"{\n  \"a\": [\n    1\n  ]\n}");
    }

    #[test]
    fn failures_come_in_the_encoding_that_was_asked_for() {
        let status = ApiError::bad_request("no").to_status();
        let media_type = |accept: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(accept).unwrap())]);
            answer(wish(&headers), 400, status.clone(), &[]).headers()[header::CONTENT_TYPE]
                .to_str()
                .unwrap()
                .to_owned()
        };
        let cases = [
            ("application/json", "application/json"),
            (
                "application/vnd.kubernetes.protobuf, application/json",
                "application/vnd.kubernetes.protobuf",
            ),
            ("application/yaml", "application/yaml"),
            ("text/html, */*", "application/json"),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                "application/json",
            ),
        ];
        for (accept, want) in cases {
            assert_eq!(media_type(accept), want, "{accept}");
        }
    }

    #[test]
    fn warnings_are_quoted() {
        let status = ApiError::bad_request("no").to_status();
        let response = answer(
            wish(&HeaderMap::new()),
            400,
            status,
            &["say \"x\"\nnow".to_owned()],
        );
        assert_eq!(response.headers()[header::WARNING], "299 - \"say \\\"x\\\" now\"");
    }
}
