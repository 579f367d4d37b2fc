//! How keys, objects and log entries look on disk. Pure.
//!
//! All integers are big endian, so that log keys sort as their revisions do.
//!
//! - object: key → create revision, mod revision, version (8 bytes each), value
//! - log: revision → events; an event is its kind (1 byte), key (4-byte length, bytes) and one or two states: the new one,
//!   then the previous one; a state is an object's form after a 4-byte length
//!
//! Blocks and write-ahead log carry RocksDB's checksums; decoding checks every length all the same.

use crate::{Batch, Event, KeyValue, Revision};
use bytes::{Buf, BufMut, Bytes};
use thiserror::Error;

/// The version of this layout, kept in the database.
pub(super) const FORMAT: u64 = 1;

const HEADER_BYTES: usize = 24;

/// What an event is.
mod kind {
    pub(super) const CREATE: u8 = 1;
    pub(super) const UPDATE: u8 = 2;
    pub(super) const DELETE: u8 = 3;
}

/// Bytes that this layout does not allow.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Malformed {
    #[error("it ends too early")]
    Short,
    #[error("it has the unknown event kind {0}")]
    EventKind(u8),
    #[error("{0} bytes follow its end")]
    Trailing(usize),
}

pub(super) fn revision_key(revision: Revision) -> [u8; 8] {
    revision.0.to_be_bytes()
}

pub(super) fn decode_revision(bytes: &[u8]) -> Result<Revision, Malformed> {
    let bytes: [u8; 8] = bytes.try_into().map_err(|_| Malformed::Short)?;
    Ok(Revision(u64::from_be_bytes(bytes)))
}

pub(super) fn encode_object(kv: &KeyValue) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + kv.value.len());
    put_object(&mut out, kv);
    out
}

fn put_object(out: &mut Vec<u8>, kv: &KeyValue) {
    out.put_u64(kv.create_revision.0);
    out.put_u64(kv.mod_revision.0);
    out.put_u64(kv.version);
    out.put_slice(&kv.value);
}

/// The object under a key; its value shares the memory of `bytes`.
pub(super) fn decode_object(key: Bytes, mut bytes: Bytes) -> Result<KeyValue, Malformed> {
    if bytes.len() < HEADER_BYTES {
        return Err(Malformed::Short);
    }
    Ok(KeyValue {
        key,
        create_revision: Revision(bytes.get_u64()),
        mod_revision: Revision(bytes.get_u64()),
        version: bytes.get_u64(),
        value: bytes,
    })
}

pub(super) fn encode_log(batch: &Batch) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.events.iter().map(event_bytes).sum());
    for event in &batch.events {
        let (kind, new, prev) = match event {
            Event::Put { kv, prev: None } => (kind::CREATE, Some(kv), None),
            Event::Put { kv, prev } => (kind::UPDATE, Some(kv), prev.as_ref()),
            Event::Delete { prev } => (kind::DELETE, None, Some(prev)),
        };
        out.put_u8(kind);
        put_length(&mut out, event.key().len());
        out.put_slice(event.key());
        for state in [new, prev].into_iter().flatten() {
            put_length(&mut out, HEADER_BYTES + state.value.len());
            put_object(&mut out, state);
        }
    }
    out
}

/// About what an event takes in memory and in the log.
pub(super) fn event_bytes(event: &Event) -> usize {
    let state = |kv: &KeyValue| 4 + HEADER_BYTES + kv.value.len();
    5 + event.key().len() + event.current().map_or(0, state) + event.prev().map_or(0, state)
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.put_u32(u32::try_from(length).expect("a transaction is far smaller than 4 GiB"));
}

/// What happened at a revision; keys and values share the memory of `bytes`.
pub(super) fn decode_log(revision: Revision, mut bytes: Bytes) -> Result<Batch, Malformed> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let kind = bytes.try_get_u8().map_err(|_| Malformed::Short)?;
        let key = take_slice(&mut bytes)?;
        let mut state = || take_slice(&mut bytes).and_then(|object| decode_object(key.clone(), object));
        events.push(match kind {
            kind::CREATE => Event::Put {
                kv: state()?,
                prev: None,
            },
            kind::UPDATE => Event::Put {
                kv: state()?,
                prev: Some(state()?),
            },
            kind::DELETE => Event::Delete { prev: state()? },
            other => return Err(Malformed::EventKind(other)),
        });
    }
    if events.is_empty() {
        return Err(Malformed::Short);
    }
    Ok(Batch { revision, events })
}

fn take_slice(bytes: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = bytes.try_get_u32().map_err(|_| Malformed::Short)? as usize;
    if length > bytes.len() {
        return Err(Malformed::Short);
    }
    Ok(bytes.split_to(length))
}

/// A single number of the `meta` family.
pub(super) fn decode_number(mut bytes: &[u8]) -> Result<u64, Malformed> {
    let number = bytes.try_get_u64().map_err(|_| Malformed::Short)?;
    if bytes.is_empty() {
        Ok(number)
    } else {
        Err(Malformed::Trailing(bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key_value() -> impl Strategy<Value = KeyValue> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        (bytes(), bytes(), any::<[u64; 3]>()).prop_map(|(key, value, [create, modified, version])| KeyValue {
            key,
            value,
            create_revision: Revision(create),
            mod_revision: Revision(modified),
            version,
        })
    }

    fn event() -> impl Strategy<Value = Event> {
        let same_key = |kv: &KeyValue, prev: KeyValue| KeyValue {
            key: kv.key.clone(),
            ..prev
        };
        prop_oneof![
            key_value().prop_map(|kv| Event::Put { kv, prev: None }),
            (key_value(), key_value()).prop_map(move |(kv, prev)| Event::Put {
                prev: Some(same_key(&kv, prev)),
                kv
            }),
            key_value().prop_map(|prev| Event::Delete { prev }),
        ]
    }

    proptest! {
        #[test]
        fn objects_come_back(kv in key_value()) {
            let bytes = Bytes::from(encode_object(&kv));
            prop_assert_eq!(decode_object(kv.key.clone(), bytes), Ok(kv));
        }

        #[test]
        fn log_entries_come_back(events in proptest::collection::vec(event(), 1..5), revision in any::<u64>()) {
            let batch = Batch { revision: Revision(revision), events };
            let bytes = encode_log(&batch);
            prop_assert_eq!(bytes.len(), batch.events.iter().map(event_bytes).sum::<usize>());
            prop_assert_eq!(decode_log(batch.revision, bytes.into()), Ok(batch));
        }

        #[test]
        fn a_shortened_log_entry_never_decodes_to_the_same(event in event(), cut in any::<prop::sample::Index>()) {
            let batch = Batch { revision: Revision(7), events: vec![event] };
            let bytes = encode_log(&batch);
            let short = Bytes::copy_from_slice(&bytes[..cut.index(bytes.len())]);
            prop_assert_ne!(decode_log(batch.revision, short), Ok(batch));
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let decoded = decode_log(Revision(1), bytes.clone().into());
            if let Ok(batch) = decoded {
                prop_assert_eq!(encode_log(&batch), bytes);
            }
        }
    }
}
