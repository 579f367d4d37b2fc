//! Reads protobuf's wire format: tags, numbers, and lengths that are checked against what is there.

use super::DecodeError;

/// What remains of a message.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// A field's number and wire type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) number: u32,
    pub(super) wire_type: u8,
}

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
const GROUP: u8 = 3;
const END_GROUP: u8 = 4;
const FIXED32: u8 = 5;

fn end() -> DecodeError {
    DecodeError::Protobuf("unexpected EOF".to_owned())
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that have not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field's tag; nothing at the end.
    pub(super) fn tag(&mut self) -> Result<Option<Tag>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| (1..=0x1fff_ffff).contains(number));
        let number = number.ok_or_else(|| {
            DecodeError::Protobuf(format!("illegal tag {} (wire type {})", key >> 3, key & 7))
        })?;
        Ok(Some(Tag {
            number,
            wire_type: (key & 7) as u8,
        }))
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0_u64;
        for (at, byte) in self.rest.iter().copied().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        if self.rest.len() < 10 {
            Err(end())
        } else {
            Err(DecodeError::Protobuf("integer overflow".to_owned()))
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| end())?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(end)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The bytes of a field that must have a length.
    pub(super) fn bytes(&mut self, tag: Tag, field: &str) -> Result<&'a [u8], DecodeError> {
        tag.expect(BYTES, field)?;
        let len = self.varint()?;
        self.take(len)
    }

    /// The text of a field.
    pub(super) fn text(&mut self, tag: Tag, field: &str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(tag, field)?)
            .map_err(|_| DecodeError::Protobuf(format!("field {field} contains invalid UTF-8")))
    }

    /// The number of a field.
    pub(super) fn number(&mut self, tag: Tag, field: &str) -> Result<u64, DecodeError> {
        tag.expect(VARINT, field)?;
        self.varint()
    }

    /// Eight bytes as a floating-point number.
    pub(super) fn double(&mut self) -> Result<f64, DecodeError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(f64::from_le_bytes(bytes))
    }

    /// Passes over a field that nothing is known about.
    pub(super) fn skip(&mut self, tag: Tag) -> Result<(), DecodeError> {
        // Groups nest, but need no recursion: only their number is counted.
        let mut groups = 0_usize;
        let mut tag = tag;
        loop {
            match tag.wire_type {
                VARINT => {
                    self.varint()?;
                }
                FIXED64 => {
                    self.take(8)?;
                }
                BYTES => {
                    let len = self.varint()?;
                    self.take(len)?;
                }
                FIXED32 => {
                    self.take(4)?;
                }
                GROUP => groups += 1,
                END_GROUP if groups > 0 => groups -= 1,
                END_GROUP => return Err(DecodeError::Protobuf("unexpected end of group".to_owned())),
                other => return Err(DecodeError::Protobuf(format!("illegal wireType {other}"))),
            }
            if groups == 0 {
                return Ok(());
            }
            tag = self.tag()?.ok_or_else(end)?;
        }
    }
}

impl Tag {
    pub(super) fn expect(self, wire_type: u8, field: &str) -> Result<(), DecodeError> {
        if self.wire_type == wire_type {
            return Ok(());
        }
        Err(DecodeError::Protobuf(format!(
            "wrong wireType = {} for field {field}",
            self.wire_type
        )))
    }
}
