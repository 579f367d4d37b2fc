//! One object as the cache keeps it: encoded once, looked at many times.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use super::alike::{self, Families, Kept};
use super::ordered::Keyed;
use super::resource::StoredKind;
use super::terms::{Newest, Terms};
use crate::registry::negotiate::{Format, View};

/// The fields of an object that selectors may name, with their values; absent ones count as empty.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// In which shape an object goes out. One object has few of them, and each is made at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Representation {
    /// The served version, counted from the storage version (0) as the resource lists them.
    pub version: u32,
    /// How it is written.
    pub format: Format,
    /// What is written.
    pub view: View,
}

impl Representation {
    /// What is stored of a built-in kind: the storage version in its protobuf envelope.
    pub(crate) const AS_STORED: Self = Self {
        version: 0,
        format: Format::Protobuf,
        view: View::Object,
    };
}

/// What is made of many entries of one resource is much alike; it is kept so.
#[derive(Debug, Default)]
pub(super) struct Alikes {
    json: Families,
    protobuf: Families,
    terms: Newest,
}

/// An object at one revision. Immutable; shared by every list and watch that shows it.
#[derive(Debug)]
pub(crate) struct Entry {
    key: Box<str>,
    namespace_len: usize,
    revision: u64,
    terms: Terms,
    /// What makes `json` an object of its own.
    head: Arc<str>,
    json: Kept,
    /// Where in `json` the object's metadata stands.
    metadata: Range<usize>,
    /// The object as it is stored, with its revision, and where in it its message stands; none where that is not protobuf.
    protobuf: Option<(Kept, Range<usize>)>,
    /// Whether it is stored otherwise than it would be written now.
    stale: bool,
    value: Mutex<Weak<Value>>,
    encoded: Mutex<Vec<(Representation, Bytes)>>,
}

impl Keyed for Entry {
    fn key(&self) -> &str {
        &self.key
    }
}

impl Entry {
    /// Makes an entry of an object as of a revision. `key` is what follows the resource's prefix in the store:
    /// `namespace/name`, or `name`.
    pub(crate) fn new(key: &str, revision: u64, mut object: Value, kind: &StoredKind) -> Self {
        set_resource_version(&mut object, revision);
        Self::of(key, revision, &object, kind)
    }

    /// The same, with the object that it was made of: [`Entry::value`] gives that out for as long as somebody holds it.
    pub(crate) fn with_value(
        key: &str,
        revision: u64,
        mut object: Value,
        kind: &StoredKind,
    ) -> (Self, Arc<Value>) {
        set_resource_version(&mut object, revision);
        let mut entry = Self::of(key, revision, &object, kind);
        let value = Arc::new(object);
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        if entry.is_headed(text("apiVersion"), text("kind")) {
            entry.value = Mutex::new(Arc::downgrade(&value));
        }
        (entry, value)
    }

    /// Makes an entry of an object that has not been written: the answer to a dry run.
    pub(crate) fn unversioned(key: &str, object: &Value, kind: &StoredKind) -> Self {
        Self::of(key, 0, object, kind)
    }

    fn of(key: &str, revision: u64, object: &Value, kind: &StoredKind) -> Self {
        let terms = Terms::of(object, kind.particulars.fields(object));
        let head = kind.particulars.head(object);
        let (json, metadata) = encode(object);
        Self {
            namespace_len: key.find('/').unwrap_or(0),
            key: key.into(),
            revision,
            terms,
            head: head.unwrap_or_else(|| Arc::clone(&kind.head)),
            json: Kept::Whole(json),
            metadata,
            protobuf: None,
            stale: false,
            value: Mutex::new(Weak::new()),
            encoded: Mutex::default(),
        }
    }

    /// The same entry, of an object that is stored otherwise than it would be written now.
    pub(crate) fn stale(mut self) -> Self {
        self.stale = true;
        self
    }

    /// Whether it is stored otherwise than it would be written now, so that even a write without a change changes it.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    /// What makes its JSON an object of its own: the version in which it is kept.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// The object's namespace; empty for cluster-scoped ones.
    pub(crate) fn namespace(&self) -> &str {
        &self.key[..self.namespace_len]
    }

    /// The object's name.
    pub(crate) fn name(&self) -> &str {
        if self.namespace_len == 0 {
            &self.key
        } else {
            &self.key[self.namespace_len + 1..]
        }
    }

    /// The revision of its last change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The value of one of its labels.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.terms.label(key)
    }

    /// The value of a field that selectors may name; empty where absent.
    pub(crate) fn field(&self, name: &str) -> &str {
        match name {
            "metadata.name" => self.name(),
            "metadata.namespace" => self.namespace(),
            _ => self.terms.field(name),
        }
    }

    /// The object as JSON in its storage version, without `kind` and `apiVersion`: `{"metadata":…}`.
    pub(crate) fn json(&self) -> Bytes {
        self.json.bytes()
    }

    /// How many bytes [`Entry::json`] has.
    pub(crate) fn json_len(&self) -> usize {
        self.json.len()
    }

    /// Writes [`Entry::json`] from where it stands.
    pub(crate) fn put_json(&self, out: &mut BytesMut) {
        self.json.put(0..self.json.len(), out);
    }

    /// How many bytes the message has that is stored and goes out in protobuf; none where none is stored.
    pub(crate) fn message_len(&self) -> Option<usize> {
        self.protobuf.as_ref().map(|(_, message)| message.len())
    }

    /// Writes that message from where it stands.
    pub(crate) fn put_message(&self, out: &mut BytesMut) {
        if let Some((protobuf, message)) = &self.protobuf {
            protobuf.put(message.clone(), out);
        }
    }

    /// How many bytes are held for this entry alone, of what it was made with.
    pub(super) fn held(&self) -> usize {
        self.json.held() + self.protobuf.as_ref().map_or(0, |(kept, _)| kept.held())
    }

    /// The JSON of its metadata alone.
    pub(crate) fn metadata(&self) -> Bytes {
        self.json.range(self.metadata.clone())
    }

    /// The object as it is stored, with `kind` and `apiVersion`; parsed on demand and shared while anybody holds it.
    pub(crate) fn value(&self) -> Arc<Value> {
        let mut kept = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = kept.upgrade() {
            return value;
        }
        let value: Arc<Value> =
            Arc::new(serde_json::from_slice(&self.standing_alone()).expect("encoded by this type"));
        *kept = Arc::downgrade(&value);
        value
    }

    /// The JSON of the object with `kind` and `apiVersion` in front.
    pub(crate) fn standing_alone(&self) -> Bytes {
        self.headed(&self.head)
    }

    /// The JSON of the object with a head in front.
    pub(crate) fn headed(&self, head: &str) -> Bytes {
        let mut out = BytesMut::with_capacity(head.len() + self.json.len());
        self.put_headed(head, &mut out);
        out.freeze()
    }

    /// How many bytes [`Entry::standing_alone`] has.
    pub(crate) fn standing_alone_len(&self) -> usize {
        self.head.len() + self.json.len() - 1
    }

    /// Writes [`Entry::standing_alone`] from where it stands.
    pub(crate) fn put_standing_alone(&self, out: &mut BytesMut) {
        self.put_headed(&self.head, out);
    }

    /// The head takes the place of the bracket that opens the object.
    fn put_headed(&self, head: &str, out: &mut BytesMut) {
        out.put_slice(head.as_bytes());
        self.json.put(1..self.json.len(), out);
    }

    /// Whether an object of a version and kind is one as this entry's head says.
    pub(crate) fn is_headed(&self, api_version: &str, kind: &str) -> bool {
        let rest = self.head.strip_prefix(r#"{"kind":""#);
        let rest = rest.and_then(|rest| rest.strip_prefix(kind));
        let rest = rest.and_then(|rest| rest.strip_prefix(r#"","apiVersion":""#));
        rest.and_then(|rest| rest.strip_prefix(api_version)) == Some(r#"","#)
    }

    /// Takes the envelope in which the object is stored, with its revision; `message` is where in it the message stands.
    pub(super) fn with_protobuf(mut self, envelope: Bytes, message: Range<usize>) -> Self {
        self.protobuf = Some((Kept::Whole(envelope), message));
        self
    }

    /// Keeps only what differs from others that are like it, before anybody sees the entry.
    pub(super) fn alike(mut self, alikes: &Alikes) -> Self {
        self.terms = alikes.terms.share(self.terms);
        let family = alike::family_of(&self.key);
        self.json = alikes.json.keep(family, self.json.bytes());
        let protobuf = self.protobuf.take();
        self.protobuf = protobuf.map(|(kept, message)| (alikes.protobuf.keep(family, kept.bytes()), message));
        self
    }

    /// The object in a representation, made by `encode` the first time it is asked for.
    pub(crate) fn encoded<E>(
        &self,
        representation: Representation,
        encode: impl FnOnce(&Self) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        if representation == Representation::AS_STORED
            && let Some((protobuf, _)) = &self.protobuf
        {
            return Ok(protobuf.bytes());
        }
        let find = |made: &Vec<(Representation, Bytes)>| {
            made.iter()
                .find(|(other, _)| *other == representation)
                .map(|(_, bytes)| bytes.clone())
        };
        if let Some(bytes) = find(&self.encoded.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(bytes);
        }
        let bytes = encode(self)?;
        let mut made = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if find(&made).is_none() {
            made.push((representation, bytes.clone()));
        }
        Ok(bytes)
    }

    /// Whether it has been made in a representation.
    pub(crate) fn has(&self, representation: Representation) -> bool {
        let made = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().any(|(other, _)| *other == representation)
    }

    /// The same object as of a later revision: what a watcher is shown when it goes.
    pub(crate) fn restamped(&self, revision: u64) -> Self {
        let mut object = Value::clone(&self.value());
        set_resource_version(&mut object, revision);
        let (json, metadata) = encode(&object);
        Self {
            key: self.key.clone(),
            namespace_len: self.namespace_len,
            revision,
            terms: self.terms.clone(),
            head: Arc::clone(&self.head),
            json: Kept::Whole(json),
            metadata,
            protobuf: None,
            stale: self.stale,
            value: Mutex::new(Weak::new()),
            encoded: Mutex::new(self.restamped_encodings(revision)),
        }
    }

    /// The JSON of other versions as of another revision: converting it once more may take a question over the network.
    fn restamped_encodings(&self, revision: u64) -> Vec<(Representation, Bytes)> {
        let made = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        let json = made
            .iter()
            .filter(|(form, _)| form.format == Format::Json && form.view == View::Object);
        json.filter_map(|(form, bytes)| Some((*form, restamp(bytes, revision)?)))
            .collect()
    }
}

/// The JSON of an object as of another revision.
fn restamp(json: &[u8], revision: u64) -> Option<Bytes> {
    let mut object: Value = serde_json::from_slice(json).ok()?;
    set_resource_version(&mut object, revision);
    serde_json::to_vec(&object).ok().map(Bytes::from)
}

/// Puts a head (`{"kind":…,"apiVersion":…,`) in front of the JSON of an object.
pub(crate) fn headed(head: &str, json: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(head.len() + json.len());
    out.put_slice(head.as_bytes());
    out.put_slice(json.strip_prefix(b"{").unwrap_or(json));
    out.freeze()
}

/// Writes an object without its head, and says where in it its metadata stands.
fn encode(object: &Value) -> (Bytes, Range<usize>) {
    let mut out = Vec::with_capacity(2048);
    let mut metadata = 0..0;
    let members = object.as_object().into_iter().flatten();
    for (name, value) in members.filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind")) {
        out.push(if out.is_empty() { b'{' } else { b',' });
        write(&mut out, name);
        out.push(b':');
        let start = out.len();
        write(&mut out, value);
        if name == "metadata" {
            metadata = start..out.len();
        }
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    // Kept for as long as the object is: without room to spare.
    (Bytes::from(out.into_boxed_slice()), metadata)
}

fn write(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("a value always encodes");
}

/// Writes `metadata.resourceVersion`.
pub(crate) fn set_resource_version(object: &mut Value, revision: u64) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
    }
}

#[cfg(test)]
mod tests;
