//! Which form of an object goes over the wire: the rules of the `Accept` and `Content-Type` headers.
//!
//! Pure. Follows upstream's `negotiation` package: clauses are tried by their quality, wildcards match, and a clause may ask
//! for another object in place of the resource's own (`as=Table;v=v1;g=meta.k8s.io`).

use coracle_api::status::{ApiError, Details, Reason};
use http::{HeaderMap, header};

use crate::request::RequestContext;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// Which object is answered in place of the resource itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum View {
    /// The object as the path's version has it.
    Object,
    /// `Table` of `meta.k8s.io`.
    Table,
    /// `PartialObjectMetadata` of `meta.k8s.io`, or a list of them.
    Metadata,
}

/// The outcome of negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// How it is written.
    pub(crate) format: Format,
    /// What is written.
    pub(crate) view: View,
    /// `v1` or `v1beta1` of `meta.k8s.io`, where the view is not the object itself.
    pub(crate) view_version: &'static str,
    /// Whether JSON is indented for a person's eyes.
    pub(crate) pretty: bool,
    /// What a table's rows carry.
    pub(crate) include: Include,
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

impl Format {
    /// The media type of one object.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Yaml => YAML,
            Self::Protobuf => PROTOBUF,
        }
    }

    /// The media type of a stream of watch events.
    pub(crate) fn watch_media_type(self) -> &'static str {
        match self {
            Self::Json | Self::Yaml => JSON,
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

/// What the request is for; single objects and lists may be asked for under other names than watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One object.
    Object,
    /// A list.
    List,
    /// A stream of events.
    Watch,
    /// An object that was made for this answer only: it can be shown in no other view.
    Answer,
}

/// What a table's rows carry besides their cells (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// The object's metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

/// Picks the form of the answer.
///
/// # Errors
/// 406 where nothing that the client accepts can be made.
pub(crate) fn accepted(ctx: &RequestContext, purpose: Purpose) -> Result<Accepted, ApiError> {
    let include = match ctx.query("includeObject") {
        Some("None") => Include::None,
        Some("Object") => Include::Object,
        _ => Include::Metadata,
    };
    Ok(Accepted {
        include,
        ..negotiated(&ctx.headers, ctx.query("pretty"), purpose)?
    })
}

/// Whether a client takes an object that is made for the answer only.
///
/// # Errors
/// 406 where it accepts nothing that can be made, a table for one.
pub(crate) fn check_acceptable(ctx: &RequestContext) -> Result<(), ApiError> {
    accepted(ctx, Purpose::Answer).map(drop)
}

fn negotiated(headers: &HeaderMap, pretty: Option<&str>, purpose: Purpose) -> Result<Accepted, ApiError> {
    let header = accept_header(headers);
    let pretty = wants_pretty(headers, pretty);
    let include = Include::Metadata;
    let plain = |format| Accepted {
        format,
        view: View::Object,
        view_version: "v1",
        pretty,
        include,
    };
    if header.trim().is_empty() {
        return Ok(plain(Format::Json));
    }
    for clause in clauses(&header) {
        let Some(format) = format_of(clause.media_type, purpose) else {
            continue;
        };
        match view_of(&clause, format, purpose) {
            Some((view, view_version)) => {
                return Ok(Accepted {
                    view,
                    view_version,
                    ..plain(format)
                });
            }
            None => continue,
        }
    }
    Err(not_acceptable(purpose))
}

struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    quality: u32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let quality = parameters
            .iter()
            .find(|(name, _)| *name == "q")
            .and_then(|(_, q)| q.parse::<f32>().ok());
        Self {
            media_type,
            parameters,
            quality: (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32,
        }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    }
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<_> = header
        .split(',')
        .take(64)
        .map(|text| Clause::parse(text.trim()))
        .collect();
    clauses.retain(|clause| clause.quality > 0);
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    clauses
}

fn accept_header(headers: &HeaderMap) -> String {
    let values: Vec<_> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    values.join(",")
}

fn format_of(media_type: &str, purpose: Purpose) -> Option<Format> {
    match media_type {
        JSON | "*/*" | "application/*" => Some(Format::Json),
        YAML if purpose != Purpose::Watch => Some(Format::Yaml),
        PROTOBUF => Some(Format::Protobuf),
        _ => None,
    }
}

fn view_of(clause: &Clause<'_>, format: Format, purpose: Purpose) -> Option<(View, &'static str)> {
    if let Some(stream) = clause.parameter("stream")
        && !(stream == "watch" && purpose == Purpose::Watch)
    {
        return None;
    }
    let Some(kind) = clause.parameter("as") else {
        return Some((View::Object, "v1"));
    };
    if purpose == Purpose::Answer {
        return None;
    }
    let version = match (clause.parameter("g"), clause.parameter("v")) {
        (Some("meta.k8s.io"), Some("v1")) => "v1",
        (Some("meta.k8s.io"), Some("v1beta1")) => "v1beta1",
        _ => return None,
    };
    match kind {
        // Upstream makes tables in protobuf as well; no client asks for one, and `Table` holds raw JSON in either case.
        "Table" if format != Format::Protobuf => Some((View::Table, version)),
        "PartialObjectMetadata" if purpose != Purpose::List => Some((View::Metadata, version)),
        "PartialObjectMetadataList" if purpose == Purpose::List => Some((View::Metadata, version)),
        _ => None,
    }
}

fn wants_pretty(headers: &HeaderMap, parameter: Option<&str>) -> bool {
    match parameter {
        Some(value) if !value.is_empty() => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        _ => headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|agent| {
                ["curl", "Wget", "Mozilla/5.0"]
                    .iter()
                    .any(|browser| agent.starts_with(browser))
            }),
    }
}

fn not_acceptable(purpose: Purpose) -> ApiError {
    match purpose {
        Purpose::Watch => ApiError::not_acceptable(&[
            "application/json;stream=watch",
            "application/vnd.kubernetes.protobuf;stream=watch",
        ]),
        _ => ApiError::new(
            406,
            Reason::NotAcceptable,
            format!("406: Not Acceptable\n\nAvailable representations: {JSON}, {YAML}, {PROTOBUF}"),
            Some(Details::default()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str, purpose: Purpose) -> Option<(Format, View)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value.parse().unwrap());
        negotiated(&headers, None, purpose)
            .ok()
            .map(|accepted| (accepted.format, accepted.view))
    }

    #[test]
    fn accept_header_table() {
        use Purpose::{Answer, List, Object, Watch};
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (value, purpose, want) in [
            ("application/json", Object, Some((Format::Json, View::Object))),
            ("*/*", Object, Some((Format::Json, View::Object))),
            ("application/json, */*", List, Some((Format::Json, View::Object))),
            ("application/yaml", Object, Some((Format::Yaml, View::Object))),
            ("application/yaml", Watch, None),
            (
                "application/vnd.kubernetes.protobuf, application/json",
                Object,
                Some((Format::Protobuf, View::Object)),
            ),
            (
                "application/json;q=0.5,application/yaml",
                Object,
                Some((Format::Yaml, View::Object)),
            ),
            (
                "application/cbor,application/json",
                Object,
                Some((Format::Json, View::Object)),
            ),
            (table, List, Some((Format::Json, View::Table))),
            (table, Watch, Some((Format::Json, View::Table))),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", List, None),
            (
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
                List,
                Some((Format::Json, View::Metadata)),
            ),
            (
                "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
                Watch,
                Some((Format::Json, View::Metadata)),
            ),
            (
                "application/vnd.kubernetes.protobuf;stream=watch",
                Watch,
                Some((Format::Protobuf, View::Object)),
            ),
            (table, Answer, Some((Format::Json, View::Object))),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", Answer, None),
            ("text/html-not", Object, None),
        ] {
            assert_eq!(accept(value, purpose), want, "{value} for {purpose:?}");
        }
    }

    #[test]
    fn browsers_and_the_query_ask_for_indentation() {
        let mut headers = HeaderMap::new();
        assert!(!negotiated(&headers, None, Purpose::Object).unwrap().pretty);
        assert!(
            negotiated(&headers, Some("true"), Purpose::Object)
                .unwrap()
                .pretty
        );
        headers.insert(header::USER_AGENT, "curl/8.0".parse().unwrap());
        assert!(negotiated(&headers, None, Purpose::Object).unwrap().pretty);
        assert!(
            !negotiated(&headers, Some("false"), Purpose::Object)
                .unwrap()
                .pretty
        );
    }
}
