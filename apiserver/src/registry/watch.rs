//! `watch`: where it begins, and the stream of frames that follows.
//!
//! Frames come from the events themselves, which encode each telling once for all watchers. A watcher that is too slow
//! is cut off by the cache (its channel ends) and takes the watch up again from the last revision it saw. When the server ends,
//! whoever asked for the body ends it.

mod clock;
mod first;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coracle_api::status::ApiError;
use futures::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc::{self, error::TryRecvError};

use self::clock::Clock;
use self::first::First;
use super::conversion::ByShown;
use super::frames::Frames;
use super::list::wait_error;
use super::negotiate::{Accepted, Purpose};
use super::options::ListOptions;
use super::served::Served;
use super::{Registry, conversion, respond, select};
use crate::cache::PastError;
use crate::cache::entry::Entry;
use crate::cache::event::{Event, EventType};
use crate::cache::resource::{ResourceCache, Subscription};
use crate::cache::selection::Selection;
use crate::request::{RequestContext, ResponseBody, Streams};
use crate::webhook::Webhooks;

const PATIENCE: Duration = Duration::from_secs(3);
/// A watch without a time of its own ends after this, and up to as long again.
const SHORTEST_SECONDS: u64 = 1800;
/// Events that are ready together go out together, up to about this many bytes.
const PIECE: usize = 64 << 10;

/// How a watch begins.
struct Beginning {
    /// The revision after which changes are told.
    after: Option<u64>,
    /// Whether the current state is told first, as `ADDED`.
    initial_state: bool,
    /// Whether a bookmark says that this was all of it.
    initial_end: bool,
}

impl Registry {
    pub(super) async fn watch(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = served.accepted(ctx, Purpose::Watch)?;
        let watcher = self.watcher(ctx, served, accepted).await?;
        Ok(respond_with(watcher, accepted.format.watch_media_type()))
    }

    async fn watcher(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        accepted: Accepted,
    ) -> Result<Watcher, ApiError> {
        let options = ListOptions::read(ctx, true)?;
        let selection = Arc::new(select::selection(served, &ctx.info.namespace, &options)?);
        let by_shown = ByShown::of(served, &selection);
        let selection = match &by_shown {
            Some(by) => Arc::clone(&by.coarse),
            None => selection,
        };
        let frames = Frames::new(Arc::clone(served), accepted);
        let beginning = self.beginning(&options).await?;
        served.whole()?;
        let subscription = served.cache.subscribe(Arc::clone(&selection), beginning.after);
        let first = match self.first(served, &selection, &beginning, &subscription).await {
            Ok(first) => first,
            Err(error) => VecDeque::from([First::Error(error)]),
        };
        Ok(Watcher {
            frames,
            cache: Arc::clone(&served.cache),
            first,
            live_after: subscription.snapshot.revision.max(beginning.after.unwrap_or(0)),
            receiver: subscription.receiver,
            bookmarks: options.bookmarks,
            due: None,
            clock: Clock::new(options.bookmarks, self.watch_time(&options)),
            ending: false,
            asks: conversion::asks(served),
            by_shown,
            webhooks: Arc::clone(&self.webhooks),
        })
    }

    async fn beginning(&self, options: &ListOptions) -> Result<Beginning, ApiError> {
        let revision = options.watched_revision()?;
        let wants_state = options.send_initial_events;
        match revision {
            None => {
                self.cache.current(PATIENCE).await.map_err(wait_error)?;
            }
            Some(revision) if wants_state == Some(true) => {
                self.cache.reached(revision, PATIENCE).await.map_err(wait_error)?;
            }
            Some(_) => {}
        }
        let unset = matches!(revision, None | Some(0));
        let initial_state = wants_state.unwrap_or(unset);
        Ok(Beginning {
            after: if initial_state || unset { None } else { revision },
            initial_state,
            initial_end: wants_state == Some(true) && options.bookmarks,
        })
    }

    async fn first(
        &self,
        served: &Served,
        selection: &Selection,
        beginning: &Beginning,
        subscription: &Subscription,
    ) -> Result<VecDeque<First>, ApiError> {
        let now = subscription.snapshot.revision;
        if beginning.initial_state {
            let prefix = selection.key_prefix();
            let selected = subscription
                .snapshot
                .entries
                .with_prefix(&prefix)
                .filter(|e| selection.matches(e));
            let mut first: VecDeque<First> = selected.cloned().map(First::State).collect();
            if beginning.initial_end {
                first.push_back(First::InitialEnd(now));
            }
            return Ok(first);
        }
        let missed = match (&subscription.missed, beginning.after) {
            (Some(missed), _) => missed.clone(),
            (None, Some(after)) => self
                .cache
                .past(&served.cache, after, now)
                .await
                .map_err(|error| past_error(error, after))?,
            (None, None) => Vec::new(),
        };
        let seen = missed
            .into_iter()
            .filter_map(|event| Some(First::Event(event.seen_by(selection)?, event)));
        Ok(seen.collect())
    }

    fn watch_time(&self, options: &ListOptions) -> Duration {
        let seconds = match options.timeout_seconds {
            Some(seconds) if seconds > 0 => seconds,
            _ => SHORTEST_SECONDS + self.chance() % SHORTEST_SECONDS,
        };
        Duration::from_secs(seconds)
    }
}

fn past_error(error: PastError, after: u64) -> ApiError {
    match error {
        PastError::Expired { oldest, .. } => {
            ApiError::expired(format!("too old resource version: {after} ({oldest})"))
        }
        PastError::Watch(error) => {
            tracing::error!(%error, "the history of changes could not be read");
            ApiError::internal("the history of changes could not be read")
        }
    }
}

fn respond_with(watcher: Watcher, media_type: &'static str) -> Response<ResponseBody> {
    let pieces = stream::unfold(watcher, |mut watcher| async move {
        let piece = watcher.next().await?;
        Some((piece.map(Frame::data).map_err(std::io::Error::other), watcher))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    respond::set_type(&mut response, media_type);
    response.extensions_mut().insert(Streams);
    response
}

struct Watcher {
    frames: Frames,
    cache: Arc<ResourceCache>,
    first: VecDeque<First>,
    /// Changes up to here have been told already, or were not asked for.
    live_after: u64,
    receiver: mpsc::Receiver<(EventType, Arc<Event>)>,
    bookmarks: bool,
    /// A bookmark to be sent as soon as nothing older is waiting.
    due: Option<u64>,
    clock: Clock,
    ending: bool,
    /// Whether a webhook converts what is told.
    asks: bool,
    /// What is selected among what it makes.
    by_shown: Option<ByShown>,
    webhooks: Arc<Webhooks>,
}

impl Watcher {
    /// The next bytes; `None` when the watch is over.
    async fn next(&mut self) -> Option<Result<Bytes, ApiError>> {
        loop {
            let piece = self.turn().await?;
            // Of what was converted, nothing may have been selected.
            if !matches!(&piece, Ok(bytes) if bytes.is_empty()) {
                return Some(piece);
            }
        }
    }

    async fn turn(&mut self) -> Option<Result<Bytes, ApiError>> {
        if !self.first.is_empty() {
            return Some(self.next_first().await);
        }
        loop {
            if self.ending && self.due.is_none() {
                return None;
            }
            if let Some(due) = self.due {
                return self.drain(due).await;
            }
            tokio::select! {
                biased;
                notice = self.receiver.recv() => {
                    let (kind, event) = notice?;
                    if event.revision() > self.live_after {
                        return Some(self.gather(kind, event).await);
                    }
                }
                is_over = self.clock.strike() => {
                    self.ending = is_over;
                    if self.bookmarks {
                        self.due = Some(self.cache.delivered());
                    }
                }
            }
        }
    }

    async fn next_first(&mut self) -> Result<Bytes, ApiError> {
        if self.asks && !matches!(self.first.front(), Some(First::Error(_) | First::InitialEnd(_))) {
            let changes = self.first_changes();
            return self.converted(changes).await;
        }
        let mut piece = BytesMut::new();
        while piece.len() < PIECE {
            let frame = match self.first.pop_front() {
                Some(First::State(entry)) => self.frames.state(&entry)?,
                Some(First::Event(kind, event)) => self.frames.event(kind, &event)?,
                Some(First::InitialEnd(revision)) => self.frames.bookmark(revision, true)?,
                Some(First::Error(error)) => {
                    self.ending = true;
                    self.frames.error(&error)?
                }
                None => break,
            };
            piece.extend_from_slice(&frame);
        }
        Ok(piece.freeze())
    }

    /// The first few of what is told before the changes that are yet to come.
    fn first_changes(&mut self) -> Vec<First> {
        let mut changes = Vec::new();
        let mut bytes = 0;
        while bytes < PIECE {
            bytes += match self.first.front() {
                Some(First::State(entry)) => entry.json().len(),
                Some(First::Event(_, event)) => event.entry().json().len(),
                _ => break,
            };
            changes.extend(self.first.pop_front());
        }
        changes
    }

    /// Changes of objects that a webhook has to convert. Where it does not, that is the end of the watch.
    async fn converted(&mut self, changes: Vec<First>) -> Result<Bytes, ApiError> {
        let shown = match self.seen(changes).await {
            Ok(shown) => shown,
            Err(error) => {
                self.first.clear();
                (self.ending, self.due) = (true, None);
                return self.frames.error(&error);
            }
        };
        let mut piece = BytesMut::new();
        for (kind, entry) in &shown {
            piece.extend_from_slice(&self.frames.change(*kind, entry)?);
        }
        Ok(piece.freeze())
    }

    /// What changes are to this watcher, with the objects that show them, converted.
    async fn seen(&mut self, changes: Vec<First>) -> Result<Vec<(EventType, Arc<Entry>)>, ApiError> {
        let (webhooks, served) = (&self.webhooks, self.frames.served());
        let mut changes = changes;
        if let Some(by) = &self.by_shown {
            let states: Vec<Arc<Entry>> = changes.iter().flat_map(First::states).cloned().collect();
            conversion::ahead(webhooks, served, &states).await?;
            changes = changes
                .into_iter()
                .filter_map(|change| change.selected(|entry| by.selects(served, entry)))
                .collect();
        }
        let shown: Vec<_> = changes.into_iter().filter_map(First::shown).collect();
        let entries: Vec<Arc<Entry>> = shown.iter().map(|(_, entry)| Arc::clone(entry)).collect();
        conversion::ahead(webhooks, served, &entries).await?;
        Ok(shown)
    }

    /// One event, and those that are waiting behind it.
    async fn gather(&mut self, kind: EventType, event: Arc<Event>) -> Result<Bytes, ApiError> {
        if !self.asks {
            return self.gather_shared(kind, &event);
        }
        let mut bytes = event.entry().json().len();
        let mut changes = vec![First::Event(kind, event)];
        while bytes < PIECE
            && let Ok((kind, event)) = self.receiver.try_recv()
        {
            if event.revision() > self.live_after {
                bytes += event.entry().json().len();
                changes.push(First::Event(kind, event));
            }
        }
        self.converted(changes).await
    }

    /// The same of objects that need not be converted, or are in code: the bytes are shared by all watchers.
    fn gather_shared(&mut self, kind: EventType, event: &Arc<Event>) -> Result<Bytes, ApiError> {
        let first = self.frames.event(kind, event)?;
        let Ok(next) = self.receiver.try_recv() else {
            return Ok(first);
        };
        let mut piece = BytesMut::from(&first[..]);
        let mut next = Some(next);
        while let Some((kind, event)) = next {
            if event.revision() > self.live_after {
                piece.extend_from_slice(&self.frames.event(kind, &event)?);
            }
            next = if piece.len() < PIECE {
                self.receiver.try_recv().ok()
            } else {
                None
            };
        }
        Ok(piece.freeze())
    }

    /// What is waiting that is no newer than the bookmark, and then the bookmark: it must not overtake a change, and no
    /// newer change may overtake it.
    async fn drain(&mut self, due: u64) -> Option<Result<Bytes, ApiError>> {
        let due = due.max(self.live_after);
        loop {
            let waiting = match self.receiver.try_recv() {
                Ok((_, event)) if event.revision() <= self.live_after => continue,
                Ok(notice) => Some(notice),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return None,
            };
            return match waiting {
                Some((kind, event)) if event.revision() <= due => Some(self.tell(kind, event).await),
                newer => Some(self.bookmark_before(due, newer).await),
            };
        }
    }

    /// The bookmark that is due, and after it a change that is newer. A watch that ends leaves that to the one that goes
    /// on from the bookmark.
    async fn bookmark_before(
        &mut self,
        due: u64,
        newer: Option<(EventType, Arc<Event>)>,
    ) -> Result<Bytes, ApiError> {
        self.due = None;
        let bookmark = self.frames.bookmark(due, false)?;
        match newer {
            Some((kind, event)) if !self.ending => {
                let change = self.tell(kind, event).await?;
                Ok(Bytes::from([bookmark, change].concat()))
            }
            _ => Ok(bookmark),
        }
    }

    /// One event.
    async fn tell(&mut self, kind: EventType, event: Arc<Event>) -> Result<Bytes, ApiError> {
        if self.asks {
            self.converted(vec![First::Event(kind, event)]).await
        } else {
            self.frames.event(kind, &event)
        }
    }
}

#[cfg(test)]
mod tests;
