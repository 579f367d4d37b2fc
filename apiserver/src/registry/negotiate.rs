//! Which form of an object goes over the wire: the rules of the `Accept` and `Content-Type` headers.
//!
//! Pure. Follows upstream's `negotiation` package: clauses are tried by their quality, wildcards match, and a clause may ask
//! for another object in place of the resource's own (`as=Table;v=v1;g=meta.k8s.io`).

mod clauses;
mod routed;

use coracle_api::quote::quote;
use coracle_api::status::{ApiError, Reason};
use http::{HeaderMap, header};

use self::clauses::{Clause, clauses};
pub(crate) use self::routed::{check_routed, is_routed_by, not_routed_to_answer};
use self::routed::{is_routed, not_routed};
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

#[cfg(test)]
mod tests;
