//! The body of an answer that is recorded: its end ends the record, and what went by is part of it where that is wanted.
//!
//! Where answers wait for their records, the last of the answer is held back until the record is taken, as upstream's handlers
//! return, and so end their answers, only then.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use coracle_api::codec::{protobuf, yaml};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use serde_json::Value;

use super::Recorder;
use crate::request::{RequestInfo, ResponseBody};

/// A `Status` is no longer than this; what is longer is only kept where answers are recorded.
const STATUS_MAX_BYTES: usize = 64 << 10;

impl Recorder {
    /// Records an answer: its head now, the rest when it has been sent, or broken off.
    pub(crate) async fn follow(
        &self,
        info: &RequestInfo,
        streams: bool,
        response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        if !self.is_on() {
            return response;
        }
        self.code(response.status().as_u16());
        if streams {
            self.started().await;
        }
        if response.body().is_end_stream() {
            self.ending().await;
            return response;
        }
        let media_type = response.headers().get(header::CONTENT_TYPE);
        let media_type = media_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let form = match media_type.split(';').next().unwrap_or_default() {
            _ if streams || !info.is_resource_request => None,
            "application/json" => Some(Form::Json),
            "application/vnd.kubernetes.protobuf" => Some(Form::Protobuf),
            "application/yaml" => Some(Form::Yaml),
            _ => None,
        };
        let may_be_status = !response.status().is_success() || info.verb.starts_with("delete");
        let room = match (self.takes_responses(), may_be_status) {
            (true, _) => usize::MAX,
            (false, true) => STATUS_MAX_BYTES,
            (false, false) => 0,
        };
        let recorder = self.clone();
        response.map(|body| {
            let kept = form.filter(|_| room > 0).map(|form| (form, BytesMut::new()));
            Recorded {
                body,
                recorder,
                kept,
                room,
                progress: Progress::Passing,
            }
            .boxed_unsync()
        })
    }
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Protobuf,
    Yaml,
}

struct Recorded {
    body: ResponseBody,
    recorder: Recorder,
    kept: Option<(Form, BytesMut)>,
    room: usize,
    progress: Progress,
}

enum Progress {
    /// What comes is passed on.
    Passing,
    /// The record is being taken, before which the last of the answer is not passed on.
    Ending(BoxFuture<'static, ()>, Option<Frame<Bytes>>),
    /// There is nothing left to record.
    Over,
}

impl Recorded {
    /// Keeps what is to be recorded of a frame.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref()
            && let Some((_, kept)) = &mut self.kept
        {
            if kept.len().saturating_add(data.len()) > self.room {
                self.kept = None;
            } else {
                kept.extend_from_slice(data);
            }
        }
    }

    /// Records what was kept.
    fn tell(&mut self) {
        if let Some((form, kept)) = self.kept.take()
            && let Some(object) = decoded(form, &kept)
        {
            self.recorder.answered(object);
        }
    }

    /// Begins to take the record, with the last of the answer held back.
    fn end(&mut self, last: Option<Frame<Bytes>>) {
        self.tell();
        let recorder = self.recorder.clone();
        self.progress = Progress::Ending(async move { recorder.ending().await }.boxed(), last);
    }
}

impl Body for Recorded {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        loop {
            match &mut self.progress {
                Progress::Over => return Poll::Ready(None),
                Progress::Ending(taking, last) => {
                    ready!(taking.poll_unpin(context));
                    let last = last.take();
                    self.progress = Progress::Over;
                    return Poll::Ready(last.map(Ok));
                }
                Progress::Passing => {}
            }
            let next = ready!(Pin::new(&mut self.body).poll_frame(context));
            if let Some(Ok(frame)) = &next {
                self.keep(frame);
            }
            let is_last = match &next {
                Some(Ok(_)) => self.body.is_end_stream(),
                Some(Err(_)) => false,
                None => true,
            };
            if !is_last || !self.recorder.blocks() {
                return Poll::Ready(next);
            }
            self.end(next.and_then(Result::ok));
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.progress {
            Progress::Passing => !self.recorder.blocks() && self.body.is_end_stream(),
            Progress::Ending(..) => false,
            Progress::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.progress {
            Progress::Ending(_, Some(last)) => {
                SizeHint::with_exact(last.data_ref().map_or(0, |data| data.len() as u64))
            }
            Progress::Ending(_, None) | Progress::Over => SizeHint::with_exact(0),
            Progress::Passing => self.body.size_hint(),
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // What is being taken is taken to its end.
        if matches!(self.progress, Progress::Passing) {
            self.tell();
            self.recorder.ended();
        }
    }
}

fn decoded(form: Form, bytes: &[u8]) -> Option<Value> {
    match form {
        Form::Json => serde_json::from_slice(bytes).ok(),
        Form::Protobuf => protobuf::decode_any(bytes).ok(),
        Form::Yaml => yaml::parse(bytes).ok().map(|parsed| parsed.value),
    }
}
