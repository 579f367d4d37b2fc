//! An object's revision in its own bytes: what is stored has none, and what goes out has the store's.

use super::reader::Reader;
use super::{DecodeError, ENVELOPE_TAIL, Envelope, envelope_head, field_head, open};

/// The field of every object that is stored.
const METADATA: u32 = 1;
/// `ObjectMeta.resourceVersion`.
const RESOURCE_VERSION: u32 = 6;

/// The envelope of a stored object as of a revision: the same bytes, but for `metadata.resourceVersion`. None where its
/// bytes do not stand as [`super::encode`] writes them.
pub fn with_revision(envelope: &[u8], revision: u64) -> Option<(Envelope<'_>, Vec<u8>)> {
    let envelope = open(envelope).ok()?;
    let parts = Parts::of(envelope.message).ok()??;
    let revision = revision.to_string();
    let field = [
        &*field_head(RESOURCE_VERSION, revision.len()),
        revision.as_bytes(),
    ]
    .concat();
    let metadata = parts.before.len() + field.len() + parts.after.len();
    let metadata_head = field_head(METADATA, metadata);
    let message = metadata_head.len() + metadata + parts.rest.len();
    let head = envelope_head(envelope.api_version, envelope.kind, message);
    let pieces = [
        &*head,
        &*metadata_head,
        parts.before,
        &field,
        parts.after,
        parts.rest,
        &ENVELOPE_TAIL,
    ];
    Some((envelope, pieces.concat()))
}

/// A message, around the revision in its metadata.
struct Parts<'a> {
    before: &'a [u8],
    after: &'a [u8],
    /// What follows the metadata.
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// None where the message does not begin with its metadata, or where a revision is not in its place among the fields.
    fn of(message: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let mut reader = Reader::new(message);
        let Some(tag) = reader.tag()?.filter(|tag| tag.number == METADATA) else {
            return Ok(None);
        };
        let metadata = reader.bytes(tag, "metadata")?;
        let rest = reader.rest();
        let mut fields = Reader::new(metadata);
        loop {
            let start = metadata.len() - fields.rest().len();
            let tag = fields.tag()?;
            match tag {
                Some(tag) if tag.number < RESOURCE_VERSION => fields.skip(tag)?,
                Some(tag) if tag.number == RESOURCE_VERSION => {
                    fields.bytes(tag, "resourceVersion")?;
                    return Ok(Some(Self {
                        before: &metadata[..start],
                        after: fields.rest(),
                        rest,
                    }));
                }
                _ => return Ok(None),
            }
        }
    }
}
