//! The pieces of a streamed list: a head, items as they stand, a tail. Pure.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::codec::protobuf;

use crate::cache::entry::Entry;

/// Pieces are about this large.
pub(super) const PIECE: usize = 64 << 10;

/// What parts one item from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Commas between items.
    Json,
    /// Before each item its field's tag and its length.
    Protobuf,
}

/// One item, written when its turn comes.
#[derive(Debug)]
pub(super) enum Item {
    /// As it goes out.
    Made(Bytes),
    /// The JSON that the cache keeps of an object.
    Json(Arc<Entry>),
    /// The same, with the kind and version in which it is kept.
    Alone(Arc<Entry>),
    /// The protobuf message that the cache keeps of an object.
    Message(Arc<Entry>),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Made(bytes) => bytes.len(),
            Self::Json(entry) => entry.json_len(),
            Self::Alone(entry) => entry.standing_alone_len(),
            Self::Message(entry) => entry.message_len().unwrap_or(0),
        }
    }

    fn put(&self, piece: &mut BytesMut) {
        match self {
            Self::Made(bytes) => piece.put_slice(bytes),
            Self::Json(entry) => entry.put_json(piece),
            Self::Alone(entry) => entry.put_standing_alone(piece),
            Self::Message(entry) => entry.put_message(piece),
        }
    }
}

/// Writes a list piece by piece.
#[derive(Debug)]
pub(super) struct Pieces {
    head: Option<Bytes>,
    items: std::vec::IntoIter<Item>,
    tail: &'static [u8],
    form: Form,
    first: bool,
    /// How many bytes all pieces have together.
    len: usize,
}

impl Pieces {
    /// A list in JSON: `head` ends with the bracket that opens its items.
    pub(super) fn json(head: String, items: Vec<Item>) -> Self {
        let commas = items.len().saturating_sub(1);
        let body = commas + items.iter().map(Item::len).sum::<usize>();
        Self::new(Form::Json, head.into(), items, b"]}\n", body)
    }

    /// A list in protobuf, in its envelope. The items are messages; so is the metadata.
    pub(super) fn protobuf(api_version: &str, kind: &str, metadata: &[u8], items: Vec<Item>) -> Self {
        let meta = [&*protobuf::field_head(1, metadata.len()), metadata].concat();
        let (mut heads, mut messages) = (0, 0);
        for item in &items {
            let len = item.len();
            heads += protobuf::field_head(2, len).len();
            messages += len;
        }
        let mut head = protobuf::envelope_head(api_version, kind, meta.len() + heads + messages);
        head.extend(meta);
        let tail = &protobuf::ENVELOPE_TAIL;
        Self::new(Form::Protobuf, head.into(), items, tail, heads + messages)
    }

    /// `body` is how many bytes the items have, with what parts them.
    fn new(form: Form, head: Bytes, items: Vec<Item>, tail: &'static [u8], body: usize) -> Self {
        let len = head.len() + body + tail.len();
        Self {
            head: Some(head),
            items: items.into_iter(),
            tail,
            form,
            first: true,
            len,
        }
    }

    /// How many bytes all pieces have together.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn put(&mut self, item: &Item, piece: &mut BytesMut) {
        match self.form {
            Form::Json if std::mem::take(&mut self.first) => {}
            Form::Json => piece.put_u8(b','),
            Form::Protobuf => piece.put_slice(&protobuf::field_head(2, item.len())),
        }
        item.put(piece);
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.tail.is_empty() {
            return None;
        }
        let mut piece = BytesMut::with_capacity(self.len.min(PIECE + 4096));
        if let Some(head) = self.head.take() {
            piece.put_slice(&head);
        }
        while piece.len() < PIECE {
            let Some(item) = self.items.next() else {
                piece.put_slice(std::mem::take(&mut self.tail));
                break;
            };
            self.put(&item, &mut piece);
        }
        Some(piece.freeze())
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::table;
    use serde_json::{Value, json};

    use super::*;

    fn all(pieces: Pieces) -> (usize, Vec<Bytes>) {
        (pieces.len(), pieces.collect())
    }

    #[test]
    fn json_has_commas_between_items_and_no_more() {
        for (count, text) in [(0, "[]}\n"), (1, "[{}]}\n"), (3, "[{},{},{}]}\n")] {
            let items = (0..count)
                .map(|_| Item::Made(Bytes::from_static(b"{}")))
                .collect();
            let (len, pieces) = all(Pieces::json("[".to_owned(), items));
            assert_eq!(pieces.concat(), text.as_bytes());
            assert_eq!(len, text.len());
        }
    }

    #[test]
    fn protobuf_is_what_the_encoder_makes_of_the_whole() {
        let pods = table::by_gvk("", "v1", "Pod").unwrap();
        let meta = table::by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta").unwrap();
        for count in [0, 1, 3, 2000] {
            let values: Vec<Value> = (0..count)
                .map(|number| json!({"metadata": {"name": format!("{number}{}", "x".repeat(number % 300))}}))
                .collect();
            let metadata = json!({"resourceVersion": "17", "remainingItemCount": 3});
            let whole = json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": values});
            let items: Vec<Item> = values
                .iter()
                .map(|pod| Item::Made(protobuf::encode_message(pod, pods).unwrap().into()))
                .collect();
            let metadata = protobuf::encode_message(&metadata, meta).unwrap();
            let (len, pieces) = all(Pieces::protobuf("v1", "PodList", &metadata, items));
            let written = pieces.concat();
            assert_eq!(written, protobuf::encode_any(&whole).unwrap());
            assert_eq!(len, written.len());
            assert!(pieces.iter().all(|piece| piece.len() < PIECE + 4096));
            assert_eq!(pieces.len() > 1, count == 2000);
        }
    }
}
