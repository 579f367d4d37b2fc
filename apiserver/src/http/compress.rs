//! gzip for big answers, where the client takes it.
//!
//! As upstream: only answers to gets and lists, only from 128 KiB on, at the fastest level. An answer is held back until it
//! has that size or ends; from there on it streams.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use crate::request::{RequestInfo, ResponseBody, full_body};

/// From which size on compression is worth its time, in bytes.
const THRESHOLD: usize = 128 * 1024;

/// Compresses an answer if it is one that should be.
pub(super) async fn if_worthwhile(
    info: &RequestInfo,
    asked: &HeaderMap,
    response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    let eligible = info.is_resource_request
        && matches!(info.verb.as_str(), "get" | "list")
        && info.subresource.is_empty()
        && response.status() == StatusCode::OK
        && !response.headers().contains_key(header::CONTENT_ENCODING)
        && accepts_gzip(asked);
    if !eligible
        || response
            .body()
            .size_hint()
            .upper()
            .is_some_and(|most| most < THRESHOLD as u64)
    {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let body = match hold_back(body).await {
        Held::Small(bytes) => full_body(bytes),
        Held::Failed(read, error) => broken(read, error),
        Held::Big(read, rest) => {
            head.headers
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            head.headers
                .append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            head.headers.remove(header::CONTENT_LENGTH);
            Gzip {
                first: Some(read),
                rest,
                encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())),
            }
            .boxed_unsync()
        }
    };
    Response::from_parts(head, body)
}

fn accepts_gzip(asked: &HeaderMap) -> bool {
    let values = asked
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip") && quality.trim().replace(' ', "") != "q=0"
    })
}

enum Held {
    Small(Bytes),
    Big(Bytes, ResponseBody),
    Failed(Bytes, std::io::Error),
}

async fn hold_back(mut body: ResponseBody) -> Held {
    let mut read = BytesMut::new();
    while read.len() < THRESHOLD {
        match body.frame().await {
            None => return Held::Small(read.freeze()),
            Some(Err(error)) => return Held::Failed(read.freeze(), error),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    read.extend_from_slice(&data);
                }
            }
        }
    }
    Held::Big(read.freeze(), body)
}

fn broken(read: Bytes, error: std::io::Error) -> ResponseBody {
    let frames = [Ok(Frame::data(read)), Err(error)];
    http_body_util::StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

/// Compresses frame by frame. The encoder is gone once its end was written.
struct Gzip {
    first: Option<Bytes>,
    rest: ResponseBody,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Gzip {
    /// What the encoder has ready after taking some bytes.
    fn take(&mut self, data: &[u8]) -> Result<Bytes, std::io::Error> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(Bytes::new());
        };
        encoder.write_all(data)?;
        Ok(std::mem::take(encoder.get_mut()).into())
    }
}

impl Body for Gzip {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        loop {
            let data = match self.first.take() {
                Some(first) => first,
                None if self.encoder.is_none() => return Poll::Ready(None),
                None => match Pin::new(&mut self.rest).poll_frame(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(None) => {
                        let ended = self
                            .encoder
                            .take()
                            .map_or_else(|| Ok(Vec::new()), GzEncoder::finish);
                        return Poll::Ready(Some(ended.map(|bytes| Frame::data(bytes.into()))));
                    }
                },
            };
            match self.take(&data) {
                Ok(ready) if ready.is_empty() => {}
                ready => return Poll::Ready(Some(ready.map(Frame::data))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn list() -> RequestInfo {
        RequestInfo {
            is_resource_request: true,
            verb: "list".to_owned(),
            ..RequestInfo::default()
        }
    }

    fn asks(encoding: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_str(encoding).unwrap())])
    }

    fn chunks(count: usize) -> ResponseBody {
        let frames: Vec<_> = (0..count)
            .map(|at| Ok(Frame::data(Bytes::from(format!("{at:032}").repeat(1024)))))
            .collect();
        http_body_util::StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
    }

    async fn answer(info: &RequestInfo, asked: &HeaderMap, count: usize) -> (bool, Vec<u8>) {
        let response = if_worthwhile(info, asked, Response::new(chunks(count))).await;
        let zipped = response.headers().contains_key(header::CONTENT_ENCODING);
        (
            zipped,
            response.into_body().collect().await.unwrap().to_bytes().to_vec(),
        )
    }

    #[tokio::test]
    async fn big_answers_shrink_and_unpack_to_the_same() {
        let plain = chunks(20).collect().await.unwrap().to_bytes();
        let (zipped, bytes) = answer(&list(), &asks("deflate, gzip;q=0.8"), 20).await;
        assert!(zipped && bytes.len() < plain.len() / 4);
        let mut unpacked = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
    }

    #[tokio::test]
    async fn other_answers_stay_as_they_are() {
        let small = chunks(2).collect().await.unwrap().to_bytes();
        assert_eq!(answer(&list(), &asks("gzip"), 2).await, (false, small.to_vec()));
        assert!(!answer(&list(), &asks("gzip;q=0"), 20).await.0);
        assert!(!answer(&list(), &HeaderMap::new(), 20).await.0);
        let watch = RequestInfo {
            verb: "watch".to_owned(),
            ..list()
        };
        assert!(!answer(&watch, &asks("gzip"), 20).await.0);
    }
}
