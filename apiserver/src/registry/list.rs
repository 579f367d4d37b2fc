//! `list`: a walk over a snapshot whose bytes are streamed as they stand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_api::status::{ApiError, Reason};
use futures::stream;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Map, Value, json};

use super::continuation::Continuation;
use super::conversion::ByShown;
use super::negotiate::{Accepted, Format, Purpose, View, check_shape};
use super::options::{ListOptions, VersionMatch};
use super::pieces::{PIECE, Pieces};
use super::pretty::Indenter;
use super::served::Served;
use super::{Registry, encode, respond, select};
use crate::cache::WaitError;
use crate::cache::entry::Entry;
use crate::cache::ordered::Keyed;
use crate::cache::resource::Snapshot;
use crate::cache::selection::Selection;
use crate::request::{RequestContext, ResponseBody};
use crate::tables;

/// How long a read waits for a revision that the cache has not come to (upstream's `blockTimeout`).
const PATIENCE: Duration = Duration::from_secs(3);

/// A part of a list, decided on and not written yet.
pub(super) struct Page {
    /// The revision it shows.
    pub revision: u64,
    /// What it shows, in order.
    pub entries: Vec<Arc<Entry>>,
    /// Where the rest begins.
    pub rest: Option<Rest>,
}

/// What a page leaves to the next.
pub(super) struct Rest {
    /// The token that goes on.
    pub token: String,
    /// How many items follow, where that is known.
    pub remaining: Option<usize>,
}

impl Registry {
    pub(super) async fn list(
        &self,
        ctx: &RequestContext,
        served: &Served,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = served.accepted(ctx, Purpose::List)?;
        let options = ListOptions::read(ctx, false)?;
        let selection = select::selection(served, &ctx.info.namespace, &options)?;
        let page = self.page(served, &selection, &options).await?;
        self.convert_ahead(served, &page.entries).await?;
        write(served, page, accepted)
    }

    /// The part of a list that the options ask for.
    pub(super) async fn page(
        &self,
        served: &Served,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<Page, ApiError> {
        served.whole()?;
        if !options.continuation.is_empty() {
            return self.next_page(served, selection, options).await;
        }
        let snapshot = self.snapshot(served, options).await?;
        // Upstream answers "any version" from its cache, all at once.
        let limit = if options.resource_version == "0" {
            0
        } else {
            options.limit
        };
        self.paginated(served, snapshot, selection, String::new(), limit)
            .await
    }

    async fn next_page(
        &self,
        served: &Served,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<Page, ApiError> {
        let token = Continuation::decode(&options.continuation)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        if !options.resource_version.is_empty() && options.resource_version != "0" {
            let why = "specifying resource version is not allowed when using continue";
            return Err(ApiError::bad_request(why));
        }
        let start = selection.key_prefix() + token.start.trim_start_matches('/');
        let snapshot = match token.revision {
            None => self.snapshot(served, &ListOptions::default()).await?,
            Some(revision) => match self.cache.at(&served.cache, revision).await {
                Ok(snapshot) => snapshot,
                Err(coracle_store::ReadError::Compacted { .. }) => return Err(expired_token(token)),
                Err(error) => return Err(super::read_error(&error)),
            },
        };
        self.paginated(served, snapshot, selection, start, options.limit)
            .await
    }

    async fn paginated(
        &self,
        served: &Served,
        snapshot: Snapshot,
        selection: &Selection,
        start: String,
        limit: usize,
    ) -> Result<Page, ApiError> {
        let Some(by) = ByShown::of(served, selection) else {
            let selects = |entry: &Entry| selection.matches(entry);
            return Ok(paginate(served, snapshot, selection, start, limit, selects));
        };
        let prefix = selection.key_prefix();
        let candidates: Vec<Arc<Entry>> = snapshot
            .entries
            .with_prefix(&prefix)
            .filter(|entry| by.coarse.matches(entry))
            .cloned()
            .collect();
        self.convert_ahead(served, &candidates).await?;
        let selects = |entry: &Entry| by.selects(served, entry);
        Ok(paginate(served, snapshot, selection, start, limit, selects))
    }

    async fn snapshot(&self, served: &Served, options: &ListOptions) -> Result<Snapshot, ApiError> {
        let revision = options.revision()?;
        let exact = match (options.version_match, revision) {
            (Some(VersionMatch::Exact), revision) => revision,
            // Without a match, a page as of a revision is that revision's: upstream's older meaning.
            (None, Some(revision)) if revision > 0 && options.limit > 0 => Some(revision),
            _ => None,
        };
        if let Some(revision) = exact {
            return self.snapshot_at(served, revision).await;
        }
        match revision {
            Some(0) => {}
            Some(revision) => self.cache.reached(revision, PATIENCE).await.map_err(wait_error)?,
            None => {
                self.cache.current(PATIENCE).await.map_err(wait_error)?;
            }
        }
        Ok(served.cache.snapshot())
    }

    async fn snapshot_at(&self, served: &Served, revision: u64) -> Result<Snapshot, ApiError> {
        self.cache.reached(revision, PATIENCE).await.map_err(wait_error)?;
        self.cache
            .at(&served.cache, revision)
            .await
            .map_err(|error| match error {
                coracle_store::ReadError::Compacted { .. } => {
                    ApiError::expired("The resourceVersion for the provided list is too old.")
                }
                other => super::read_error(&other),
            })
    }
}

/// The status for a revision that did not come.
pub(super) fn wait_error(error: WaitError) -> ApiError {
    match error {
        WaitError::TooFarAhead { wanted, current } => {
            ApiError::too_large_resource_version(wanted, current, 1)
        }
        WaitError::Read(error) => super::read_error(&error),
    }
}

fn expired_token(token: Continuation) -> ApiError {
    let token = Continuation {
        revision: None,
        ..token
    }
    .encode();
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                   list without the continue parameter, or use the continue token in this response to retrieve the \
                   remainder of the results. Continuing with the provided token results in an inconsistent list - \
                   objects that were created, modified, or deleted between the time the first chunk was returned and \
                   now may show up in the list.";
    ApiError::new(410, Reason::Expired, message, None).with_continue(&token)
}

fn paginate(
    served: &Served,
    snapshot: Snapshot,
    selection: &Selection,
    start: String,
    limit: usize,
    selects: impl Fn(&Entry) -> bool,
) -> Page {
    let revision = snapshot.revision;
    let namespace = if served.resource.namespaced {
        selection.key_prefix()
    } else {
        String::new()
    };
    if let Some(key) = selection.single_key(served.resource.namespaced) {
        let found = snapshot
            .entries
            .get(&key)
            .filter(|entry| selects(entry) && *key >= *start);
        return Page {
            revision,
            entries: found.cloned().into_iter().collect(),
            rest: None,
        };
    }
    let from = if start.is_empty() {
        namespace.clone()
    } else {
        start
    };
    let selected = snapshot
        .entries
        .range_from(&from)
        .take_while(|entry| entry.key().starts_with(&namespace))
        .filter(|entry| !selection.has_selectors() || selects(entry));
    if limit == 0 {
        return Page {
            revision,
            entries: selected.cloned().collect(),
            rest: None,
        };
    }
    let mut entries: Vec<Arc<Entry>> = selected.take(limit + 1).cloned().collect();
    if entries.len() <= limit {
        return Page {
            revision,
            entries,
            rest: None,
        };
    }
    entries.truncate(limit);
    let last = entries
        .last()
        .map(|entry| entry.key().to_owned())
        .unwrap_or_default();
    let next = format!("{last}\0");
    let remaining = (!selection.has_selectors()).then(|| {
        let end = if namespace.is_empty() {
            snapshot.entries.len()
        } else {
            snapshot.entries.rank(&after(&namespace))
        };
        end - snapshot.entries.rank(&next)
    });
    let token = token(revision, &namespace, &next);
    served.cache.keep(snapshot);
    Page {
        revision,
        entries,
        rest: Some(Rest { token, remaining }),
    }
}

/// The token of a page that goes on with a key, behind the prefix of what is listed.
fn token(revision: u64, prefix: &str, next: &str) -> String {
    // As upstream has it: a list of everything ends its prefix before the slash.
    let slash = if prefix.is_empty() { "/" } else { "" };
    let token = Continuation {
        revision: Some(revision),
        start: format!("{slash}{}", &next[prefix.len()..]),
    };
    token.encode()
}

/// The first key after every key of a namespace: `/` is followed by `0`.
fn after(namespace_prefix: &str) -> String {
    format!("{}0", namespace_prefix.trim_end_matches('/'))
}

fn list_meta(page: &Page) -> Value {
    let mut meta = Map::new();
    meta.insert(
        "resourceVersion".to_owned(),
        Value::from(page.revision.to_string()),
    );
    if let Some(rest) = &page.rest {
        meta.insert("continue".to_owned(), Value::from(rest.token.as_str()));
        if let Some(remaining) = rest.remaining {
            meta.insert("remainingItemCount".to_owned(), Value::from(remaining));
        }
    }
    Value::Object(meta)
}

pub(super) fn write(
    served: &Served,
    page: Page,
    accepted: Accepted,
) -> Result<Response<ResponseBody>, ApiError> {
    check_shape(accepted, true, || respond::go_name(served, "List"))?;
    let mut meta = list_meta(&page);
    if let (View::Object, Some(_), Value::Object(meta)) = (accepted.view, &served.custom, &mut meta) {
        // Upstream's list of objects without a type of their own writes the token down even where there is none.
        meta.entry("continue").or_insert_with(|| Value::from(""));
    }
    if accepted.view == View::Table {
        let now = jiff::Timestamp::now();
        let table = tables::of_list(served, &page.entries, meta, accepted, now)?;
        return respond::value(&table, accepted, StatusCode::OK);
    }
    let (kind, api_version) = match accepted.view {
        View::Metadata => (
            "PartialObjectMetadataList".to_owned(),
            format!("meta.k8s.io/{}", accepted.view_version),
        ),
        _ => (served.list_kind(), served.resource.api_version()),
    };
    // Whatever must be converted is converted before the head goes out, so that a failure can still be told.
    let entries = page.entries.iter();
    match accepted.format {
        Format::Json => {
            let items: Result<_, ApiError> = entries.map(|e| encode::item(served, e, accepted)).collect();
            let head =
                format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{meta},"items":"#);
            Ok(match is_nothing(&page, accepted) {
                true => respond::fixed(Bytes::from(head + "null}"), accepted, StatusCode::OK),
                false => send(Pieces::json(head + "[", items?), accepted),
            })
        }
        Format::Protobuf => {
            let items: Result<_, ApiError> = entries.map(|e| encode::message(served, e, accepted)).collect();
            let meta = encode::list_meta(&meta)?;
            Ok(send(
                Pieces::protobuf(&api_version, &kind, &meta, items?),
                accepted,
            ))
        }
        Format::Yaml => {
            let items: Result<Vec<Value>, _> = entries.map(|e| item_value(served, e, accepted)).collect();
            let items = Some(items?).filter(|_| !is_nothing(&page, accepted));
            let list = json!({"kind": kind, "apiVersion": api_version, "metadata": meta, "items": items});
            respond::value(&list, accepted, StatusCode::OK)
        }
    }
}

/// Whether there is no list to show: upstream gathers metadata one by one, and begins a list with the first.
fn is_nothing(page: &Page, accepted: Accepted) -> bool {
    accepted.view == View::Metadata && page.entries.is_empty()
}

fn item_value(served: &Served, entry: &Entry, accepted: Accepted) -> Result<Value, ApiError> {
    let mut value = Arc::unwrap_or_clone(encode::full_value(served, entry, accepted)?);
    if let (View::Object, None, Value::Object(map)) = (accepted.view, &served.custom, &mut value) {
        map.remove("kind");
        map.remove("apiVersion");
    }
    Ok(value)
}

/// Sends a list piece by piece; a short one is one piece of known length.
fn send(pieces: Pieces, accepted: Accepted) -> Response<ResponseBody> {
    if pieces.len() <= PIECE {
        let bytes: Vec<Bytes> = pieces.collect();
        return respond::fixed(Bytes::from(bytes.concat()), accepted, StatusCode::OK);
    }
    let mut indenter = (accepted.pretty && accepted.format == Format::Json).then(Indenter::default);
    let pieces = pieces.map(move |piece| match &mut indenter {
        Some(indenter) => Bytes::from(indenter.indent(&piece)),
        None => piece,
    });
    let body = StreamBody::new(stream::iter(
        pieces.map(|piece| Ok::<_, std::io::Error>(Frame::data(piece))),
    ));
    let mut response = Response::new(body.boxed_unsync());
    respond::set_type(&mut response, accepted.format.media_type());
    response
}
