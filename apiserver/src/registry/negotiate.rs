//! Which form of an object goes over the wire: the rules of the `Accept` and `Content-Type` headers.
//!
//! Pure. Follows upstream's `negotiation` package: clauses are tried by their quality, wildcards match, and a clause may ask
//! for another object in place of the resource's own (`as=Table;v=v1;g=meta.k8s.io`).

use coracle_api::quote::quote;
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
    /// Whether metadata is asked for as that of a list.
    pub(crate) of_list: bool,
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
    accepted_of(ctx, purpose, true)
}

/// The same for objects that may have no protobuf form.
///
/// # Errors
/// 406 where nothing that the client accepts can be made, 400 for a table with what there is not.
pub(crate) fn accepted_of(
    ctx: &RequestContext,
    purpose: Purpose,
    has_protobuf: bool,
) -> Result<Accepted, ApiError> {
    let accepted = negotiated(&ctx.headers, ctx.query("pretty"), purpose, has_protobuf)?;
    let include = match ctx.query("includeObject") {
        Some("None") => Include::None,
        Some("Object") => Include::Object,
        Some(other) if accepted.view == View::Table && !matches!(other, "" | "Metadata") => {
            let sent = quote(other);
            return Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {sent}: must be 'Metadata', \
                 'Object', 'None', or empty"
            )));
        }
        _ => Include::Metadata,
    };
    Ok(Accepted { include, ..accepted })
}

/// Whether a client takes an object that is made for the answer only.
///
/// # Errors
/// 406 where it accepts nothing that can be made, a table for one.
pub(crate) fn check_acceptable(ctx: &RequestContext) -> Result<(), ApiError> {
    accepted(ctx, Purpose::Answer).map(drop)
}

fn negotiated(
    headers: &HeaderMap,
    pretty: Option<&str>,
    purpose: Purpose,
    has_protobuf: bool,
) -> Result<Accepted, ApiError> {
    let header = accept_header(headers);
    let pretty = wants_pretty(headers, pretty);
    let plain = |format| Accepted {
        format,
        view: View::Object,
        view_version: "v1",
        of_list: purpose == Purpose::List,
        pretty,
        include: Include::Metadata,
    };
    if header.is_empty() {
        return Ok(plain(Format::Json));
    }
    // Custom resources are served outside upstream's REST framework, which turns down what no handler sees.
    if has_protobuf && !is_routed(&header) {
        return Err(not_routed(purpose));
    }
    let choices = clauses(&header)
        .into_iter()
        .flat_map(|clause| clause.formats().map(move |format| (clause.clone(), format)));
    for (clause, format) in choices {
        let Some(choice) = choice(&clause, format, purpose) else {
            continue;
        };
        if choice.view == View::Object && format == Format::Protobuf && !has_protobuf {
            continue;
        }
        if purpose == Purpose::Watch && format == Format::Yaml {
            return Err(ApiError::not_acceptable(&WATCHED));
        }
        let accepted = plain(format);
        return Ok(Accepted {
            pretty: pretty || clause.parameter("pretty") == Some("1"),
            ..choice.of(accepted)
        });
    }
    Err(ApiError::not_acceptable(&OFFERED))
}

/// The form of a failure: whatever the client accepts as it stands, and JSON where it accepts nothing, since an answer in
/// a form that was not asked for tells more than none.
pub(crate) fn format_of_failure(headers: &HeaderMap) -> Format {
    let header = accept_header(headers);
    let mut choices = clauses(&header)
        .into_iter()
        .flat_map(|clause| clause.formats().map(move |format| (clause.clone(), format)));
    choices
        .find(|(clause, format)| clause.target().is_none() && clause.streams_in(*format))
        .map_or(Format::Json, |(_, format)| format)
}

/// One alternative of an `Accept` header.
#[derive(Clone)]
struct Clause<'a> {
    main: &'a str,
    sub: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    quality: u32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next()?;
        let (main, sub) = match media_type.split_once('/') {
            Some((main, sub)) => (main.trim(), sub.trim()),
            None if media_type == "*" => ("*", "*"),
            None => return None,
        };
        let parameters: Vec<_> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q");
        let quality = quality.map_or(1.0, |(_, q)| q.parse::<f32>().unwrap_or(0.0));
        Some(Self {
            main,
            sub,
            parameters,
            quality: (quality.clamp(0.0, 1.0) * 1000.0) as u32,
        })
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut named = self.parameters.iter().filter(|(key, _)| *key == name);
        named.next().map(|(_, value)| *value)
    }

    /// Group, version and kind of the object that is asked for in place of the resource's own.
    fn target(&self) -> Option<(&'a str, &'a str, &'a str)> {
        let of = |name| self.parameter(name);
        [of("as"), of("g"), of("v")].iter().any(Option::is_some).then(|| {
            let text = |name| of(name).unwrap_or_default();
            (text("g"), text("v"), text("as"))
        })
    }

    /// Whether what is asked for as a stream can be streamed, and no version of the server is asked for.
    fn streams_in(&self, format: Format) -> bool {
        let streams = match self.parameter("stream").unwrap_or_default() {
            "" => true,
            stream => stream == "watch" && format != Format::Yaml,
        };
        streams && self.parameter("sv").unwrap_or_default().is_empty()
    }

    /// The formats that it stands for, in the server's order.
    fn formats(&self) -> impl Iterator<Item = Format> + use<> {
        let matches = |format: Format| {
            let (main, sub) = format.media_type().split_once('/').unwrap_or_default();
            matches!((self.main, self.sub), ("*", "*"))
                || self.main == main && (self.sub == "*" || self.sub == sub)
        };
        let formats: Vec<Format> = [Format::Json, Format::Yaml, Format::Protobuf]
            .into_iter()
            .filter(|format| matches(*format))
            .collect();
        formats.into_iter()
    }

    /// Whether it is tried before another: by quality, and what is more exact first, however little it is liked, which is
    /// what the order of upstream's library comes to.
    fn goes_before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || self.main != "*" && other.main == "*"
            || self.sub != "*" && other.sub == "*"
    }
}

/// The alternatives, in the order in which they are tried.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let texts = header.split(',').map(str::trim).filter(|text| !text.is_empty());
    let mut clauses: Vec<Clause<'_>> = Vec::new();
    // The order is no total one, so the way of sorting is upstream's too: insertion.
    for clause in texts.take(MOST_CLAUSES).filter_map(Clause::parse) {
        let mut at = clauses.len();
        while at > 0 && clause.goes_before(&clauses[at - 1]) {
            at -= 1;
        }
        clauses.insert(at, clause);
    }
    clauses
}

/// As many alternatives are read; no client sends as many.
const MOST_CLAUSES: usize = 64;

fn accept_header(headers: &HeaderMap) -> String {
    let value = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// What is answered in place of the resource's own object.
struct Choice {
    view: View,
    version: &'static str,
    of_list: bool,
}

impl Choice {
    fn of(&self, accepted: Accepted) -> Accepted {
        Accepted {
            view: self.view,
            view_version: self.version,
            of_list: self.of_list,
            ..accepted
        }
    }
}

fn choice(clause: &Clause<'_>, format: Format, purpose: Purpose) -> Option<Choice> {
    if !clause.streams_in(format) {
        return None;
    }
    let of_list = purpose == Purpose::List;
    let Some((group, version, kind)) = clause.target() else {
        return Some(Choice {
            view: View::Object,
            version: "v1",
            of_list,
        });
    };
    if purpose == Purpose::Answer || group != "meta.k8s.io" {
        return None;
    }
    let version = match version {
        "v1" => "v1",
        "v1beta1" => "v1beta1",
        _ => return None,
    };
    let (view, of_list) = match kind {
        "Table" if format != Format::Protobuf => (View::Table, of_list),
        "PartialObjectMetadata" => (View::Metadata, false),
        // An event holds no list, so what it holds is shown as it is.
        "PartialObjectMetadataList" if purpose == Purpose::Watch => (View::Object, false),
        "PartialObjectMetadataList" => (View::Metadata, true),
        _ => return None,
    };
    Some(Choice {
        view,
        version,
        of_list,
    })
}

/// The failure of asking for the metadata of a list where there is one object, or of one object where there is a list. `go` is
/// Go's name of what there is. Upstream finds out when it writes the answer, so what was asked has been done.
pub(crate) fn check_shape(
    accepted: Accepted,
    is_list: bool,
    go: impl FnOnce() -> String,
) -> Result<(), ApiError> {
    if accepted.view != View::Metadata || accepted.of_list == is_list {
        return Ok(());
    }
    let message = if is_list {
        format!(
            "you requested PartialObjectMetadata, but the requested object is a list ({})",
            go()
        )
    } else {
        format!(
            "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
            go()
        )
    };
    Err(ApiError::new(406, Reason::NotAcceptable, message, None))
}

/// Whether JSON is to be indented for a person's eyes: by the parameter, or for programs that show it to one.
pub(crate) fn wants_pretty(headers: &HeaderMap, parameter: Option<&str>) -> bool {
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

const OFFERED: [&str; 3] = [JSON, YAML, PROTOBUF];
const WATCHED: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// Whether that framework has a request answered in a form that it accepts.
pub(crate) fn is_routed_by(headers: &HeaderMap) -> bool {
    let header = accept_header(headers);
    header.is_empty() || is_routed(&header)
}

/// Whether upstream's REST framework lets a request through to its handler: one of the media types, parameters and
/// qualities aside, is one that the route produces. It knows no wildcard but the full one.
fn is_routed(header: &str) -> bool {
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
fn not_routed(purpose: Purpose) -> ApiError {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str, purpose: Purpose) -> Option<(Format, View)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value.parse().unwrap());
        negotiated(&headers, None, purpose, true)
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
            ("application/*", Object, None),
            ("application/JSON", Object, None),
            ("application/json;q=0", Object, Some((Format::Json, View::Object))),
            (
                "application/yaml;q=0, application/json",
                Object,
                Some((Format::Json, View::Object)),
            ),
            (
                "application/*;q=0.3,application/yaml;q=0.2",
                Object,
                Some((Format::Yaml, View::Object)),
            ),
            (
                "application/vnd.kubernetes.protobuf;stream=watch",
                Object,
                Some((Format::Protobuf, View::Object)),
            ),
            ("application/yaml;stream=watch", Object, None),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
                List,
                None,
            ),
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
    fn refusals_in_upstream_s_words() {
        let refusal = |value: &str, purpose| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]);
            negotiated(&headers, None, purpose, true)
                .unwrap_err()
                .message()
                .to_owned()
        };
        let three = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        let routed = format!("406: Not Acceptable\n\nAvailable representations: {three}");
        let handled = format!("only the following media types are accepted: {three}");
        assert_eq!(refusal("text/html", Purpose::Object), routed);
        assert_eq!(
            refusal("text/html", Purpose::List),
            format!("{routed}, {streams}")
        );
        assert_eq!(
            refusal("text/html", Purpose::Watch),
            format!("{routed}, {streams}")
        );
        assert_eq!(
            refusal("application/json;as=Other;v=v1;g=meta.k8s.io", Purpose::List),
            handled
        );
        assert_eq!(
            refusal("application/yaml", Purpose::Watch),
            format!("only the following media types are accepted: {streams}")
        );
    }

    #[test]
    fn failures_come_as_they_are_accepted_and_else_in_json() {
        for (value, want) in [
            ("application/yaml", Format::Yaml),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
                Format::Json,
            ),
            ("application/yaml;q=0.1, application/json;q=0.9", Format::Json),
            ("text/html", Format::Json),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]);
            assert_eq!(format_of_failure(&headers), want, "{value}");
        }
    }

    #[test]
    fn browsers_and_the_query_ask_for_indentation() {
        let mut headers = HeaderMap::new();
        assert!(!negotiated(&headers, None, Purpose::Object, true).unwrap().pretty);
        assert!(
            negotiated(&headers, Some("true"), Purpose::Object, true)
                .unwrap()
                .pretty
        );
        headers.insert(header::USER_AGENT, "curl/8.0".parse().unwrap());
        assert!(negotiated(&headers, None, Purpose::Object, true).unwrap().pretty);
        assert!(
            !negotiated(&headers, Some("false"), Purpose::Object, true)
                .unwrap()
                .pretty
        );
    }
}
