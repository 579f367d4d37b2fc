//! As much of SPDY/3.1 as a client of exec and attach speaks: it opens streams, and both sides write to them.
//!
//! Pure. Header blocks are compressed in one context per connection, without the protocol's dictionary, which a reader then
//! ignores; those of the other side say nothing that is needed, so they are passed over. Flow control is left to the connection,
//! as the implementation on the other side leaves it. <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};

/// How large a frame may be, in bytes: whoever writes streams copies them in far smaller pieces.
const MAX_FRAME_BYTES: usize = 4 << 20;

const HEAD_BYTES: usize = 8;
const CONTROL: u8 = 0x80;
const VERSION: u8 = 3;
const FLAG_FIN: u8 = 1;
/// The most that a length of 24 bits can say.
const MAX_LENGTH: usize = (1 << 24) - 1;

/// What the other side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// It opens a stream of its own.
    Opened(u32),
    /// It takes part in a stream that was opened.
    Reply(u32),
    /// Bytes of a stream, perhaps its last.
    Data { stream: u32, last: bool, bytes: Bytes },
    /// It wants no more of a stream.
    Reset(u32),
    /// It wants to hear the same.
    Ping(u32),
    /// It takes no more streams.
    GoAway,
    /// What needs no answer.
    Other,
}

/// The other side says what is no SPDY.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("a SPDY frame of {0} bytes")]
    TooLarge(usize),
    #[error("a SPDY frame that ends too early")]
    TooShort,
}

/// Makes the frames that open streams.
pub(super) struct Opener {
    compress: Compress,
}

impl Opener {
    pub(super) fn new() -> Self {
        Self {
            compress: Compress::new(Compression::fast(), true),
        }
    }

    /// Opens a stream; a client's have odd numbers, each higher than the one before.
    pub(super) fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
        let block = self.compressed(&header_block(headers));
        let mut payload = Vec::with_capacity(10 + block.len());
        payload.extend(stream.to_be_bytes());
        // No stream that it belongs to, the highest priority, no slot.
        payload.extend([0; 6]);
        payload.extend(block);
        control(1, &payload)
    }

    fn compressed(&mut self, block: &[u8]) -> Vec<u8> {
        // Enough for what does not compress, so that one call takes it all and ends in a sync flush.
        let mut compressed = Vec::with_capacity(block.len() + 128);
        let flushed = self
            .compress
            .compress_vec(block, &mut compressed, FlushCompress::Sync);
        debug_assert!(flushed.is_ok(), "compression fails only where it was ended");
        compressed
    }
}

fn header_block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = length(headers.len()).to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.extend(length(text.len()));
        block.extend(text.as_bytes());
    }
    block
}

fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()
}

fn control(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![CONTROL, VERSION, 0, kind, 0];
    frame.extend(&length(payload.len())[1..]);
    frame.extend(payload);
    frame
}

/// Bytes of a stream, as few frames as they fit in; the last of them may end it.
pub(super) fn data(stream: u32, bytes: &[u8], last: bool) -> Vec<u8> {
    let mut frames = Vec::with_capacity(HEAD_BYTES + bytes.len());
    let mut rest = bytes;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(MAX_LENGTH));
        frames.extend(stream.to_be_bytes());
        frames.push(if last && after.is_empty() { FLAG_FIN } else { 0 });
        frames.extend(&length(piece.len())[1..]);
        frames.extend(piece);
        if after.is_empty() {
            return frames;
        }
        rest = after;
    }
}

/// The answer to a ping.
pub(super) fn pong(id: u32) -> Vec<u8> {
    control(6, &id.to_be_bytes())
}

/// Takes the first frame out of what was read, if all of it is there.
///
/// # Errors
/// Where it is none.
pub(super) fn take(read: &mut BytesMut) -> Result<Option<Frame>, Broken> {
    let Some(head) = read.first_chunk::<HEAD_BYTES>().copied() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(Broken::TooLarge(length));
    }
    if read.len() < HEAD_BYTES + length {
        return Ok(None);
    }
    read.advance(HEAD_BYTES);
    let payload = read.split_to(length).freeze();
    if head[0] & CONTROL == 0 {
        return Ok(Some(Frame::Data {
            stream: u32::from_be_bytes([head[0], head[1], head[2], head[3]]),
            last: head[4] & FLAG_FIN != 0,
            bytes: payload,
        }));
    }
    let number = || {
        let word = payload.first_chunk::<4>().ok_or(Broken::TooShort)?;
        Ok(u32::from_be_bytes(*word) & 0x7fff_ffff)
    };
    Ok(Some(match head[3] {
        1 => Frame::Opened(number()?),
        2 => Frame::Reply(number()?),
        3 => Frame::Reset(number()?),
        6 => Frame::Ping(u32::from_be_bytes(
            *payload.first_chunk::<4>().ok_or(Broken::TooShort)?,
        )),
        7 => Frame::GoAway,
        _ => Frame::Other,
    }))
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::*;

    #[test]
    fn header_blocks_share_a_context() {
        let (mut opener, mut decompress) = (Opener::new(), Decompress::new(true));
        for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
            let frame = opener.open(stream, &[("streamtype", kind)]);
            assert_eq!(frame[..5], [0x80, 3, 0, 1, 0]);
            assert_eq!(frame[8..12], stream.to_be_bytes());
            let mut block = Vec::with_capacity(256);
            decompress
                .decompress_vec(&frame[18..], &mut block, FlushDecompress::Sync)
                .unwrap();
            assert_eq!(block, header_block(&[("streamtype", kind)]));
        }
    }

    #[test]
    fn frames_are_taken_as_they_come() {
        let mut sent = data(5, b"some words", false);
        sent.extend(data(5, b"", true));
        sent.extend(control(2, &3_u32.to_be_bytes()));
        sent.extend(control(4, b"settings"));
        sent.extend(pong(7));
        sent.extend(control(3, &[0, 0, 0, 9, 0, 0, 0, 5]));
        sent.extend(control(7, &[0; 8]));
        let (mut read, mut frames) = (BytesMut::new(), Vec::new());
        // Byte by byte: a frame is taken when its last one is there, and not before.
        for byte in sent {
            read.extend([byte]);
            frames.extend(take(&mut read).unwrap());
        }
        let data = |bytes: &'static [u8], last| Frame::Data {
            stream: 5,
            last,
            bytes: Bytes::from_static(bytes),
        };
        let expected = [
            data(b"some words", false),
            data(b"", true),
            Frame::Reply(3),
            Frame::Other,
            Frame::Ping(7),
            Frame::Reset(9),
            Frame::GoAway,
        ];
        assert_eq!(frames, expected);
        assert!(read.is_empty());
    }

    #[test]
    fn nonsense_is_told() {
        let take = |bytes: &[u8]| take(&mut BytesMut::from(bytes));
        assert_eq!(
            take(&[0, 0, 0, 1, 0, 255, 255, 255]),
            Err(Broken::TooLarge(0xff_ffff))
        );
        assert_eq!(take(&control(2, b"no")), Err(Broken::TooShort));
        assert_eq!(take(&[0x80]), Ok(None));
    }
}
