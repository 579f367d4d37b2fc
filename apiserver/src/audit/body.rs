//! The body of an answer that is recorded: its end ends the record, and what went by is part of it where that is wanted.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use coracle_api::codec::{protobuf, yaml};
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
    pub(crate) fn follow(
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
            self.started();
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
}

impl Body for Recorded {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        let room = self.room;
        if let Poll::Ready(Some(Ok(frame))) = &next
            && let Some(data) = frame.data_ref()
            && let Some((_, kept)) = &mut self.kept
        {
            if kept.len().saturating_add(data.len()) > room {
                self.kept = None;
            } else {
                kept.extend_from_slice(data);
            }
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

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some((form, kept)) = self.kept.take()
            && let Some(object) = decoded(form, &kept)
        {
            self.recorder.answered(object);
        }
        self.recorder.sent();
    }
}

fn decoded(form: Form, bytes: &[u8]) -> Option<Value> {
    match form {
        Form::Json => serde_json::from_slice(bytes).ok(),
        Form::Protobuf => protobuf::decode_any(bytes).ok(),
        Form::Yaml => yaml::parse(bytes).ok().map(|parsed| parsed.value),
    }
}
