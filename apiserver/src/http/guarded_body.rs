//! A body that holds on to what its request holds on to, and that ends when the server does.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::in_flight::Ticket;
use crate::audit::Recorder;
use crate::request::ResponseBody;
use crate::when_woken::WhenWoken;

/// What lives as long as an answer's body does.
#[derive(Default)]
pub(super) struct Guard {
    ticket: Option<Ticket>,
    shutdown: Option<CancellationToken>,
    recorder: Recorder,
}

impl Guard {
    pub(super) fn new(
        ticket: Option<Ticket>,
        shutdown: Option<CancellationToken>,
        recorder: Recorder,
    ) -> Self {
        Self {
            ticket,
            shutdown,
            recorder,
        }
    }

    /// What the answer is recorded with.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

/// Ties a guard to a body.
pub(super) fn guard(body: ResponseBody, guard: Guard) -> ResponseBody {
    let Guard { ticket, shutdown, .. } = guard;
    let ended = shutdown.map(|token| WhenWoken::new(Box::pin(token.cancelled_owned())));
    if ticket.is_none() && ended.is_none() {
        return body;
    }
    Guarded {
        body,
        ended,
        _ticket: ticket,
    }
    .boxed_unsync()
}

struct Guarded {
    body: ResponseBody,
    ended: Option<WhenWoken<Pin<Box<WaitForCancellationFutureOwned>>>>,
    _ticket: Option<Ticket>,
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        if next.is_pending()
            && let Some(ended) = &mut self.ended
            && Pin::new(ended).poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
