//! Answers, read as far as it takes to see that they are right. Pure.

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// How many items a list has, and what is left of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) items: usize,
    pub(super) revision: String,
    pub(super) rest: Option<String>,
}

#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct ListMeta {
    #[serde(rename = "resourceVersion", default)]
    revision: String,
    #[serde(rename = "continue", default)]
    rest: String,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
    spec: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct ItemMeta {
    name: String,
    uid: String,
}

/// A list of objects with a spec, in JSON.
pub(super) fn json_list(bytes: &[u8]) -> anyhow::Result<Listed> {
    let list: List = serde_json::from_slice(bytes).context("read a list")?;
    for item in &list.items {
        let whole = !item.metadata.name.is_empty() && !item.metadata.uid.is_empty() && item.spec.is_some();
        ensure!(whole, "an item of the list has no name, uid or spec");
    }
    Ok(Listed {
        items: list.items.len(),
        revision: list.metadata.revision,
        rest: Some(list.metadata.rest).filter(|rest| !rest.is_empty()),
    })
}

/// The same in protobuf: the envelope, in it the list's metadata (1) and its items (2), each with metadata (1) and spec (2).
pub(super) fn protobuf_list(bytes: &[u8]) -> anyhow::Result<Listed> {
    let message = open(bytes)?;
    let mut listed = Listed {
        items: 0,
        revision: String::new(),
        rest: None,
    };
    for field in fields(message) {
        match field? {
            (1, meta) => {
                for field in fields(meta) {
                    match field? {
                        (2, text) => listed.revision = text_of(text)?,
                        (3, text) => listed.rest = Some(text_of(text)?).filter(|rest| !rest.is_empty()),
                        _ => {}
                    }
                }
            }
            (2, item) => {
                let numbers: Vec<u64> = fields(item)
                    .map(|field| field.map(|(number, _)| number))
                    .collect::<anyhow::Result<_>>()?;
                ensure!(
                    numbers.contains(&1) && numbers.contains(&2),
                    "an item of the list has no metadata or spec"
                );
                listed.items += 1;
            }
            _ => {}
        }
    }
    Ok(listed)
}

/// The kind of event of a frame in protobuf, without the length in front: a WatchEvent's type (1).
pub(super) fn protobuf_event(frame: &[u8]) -> anyhow::Result<String> {
    for field in fields(frame) {
        if let (1, text) = field? {
            return text_of(text);
        }
    }
    bail!("a watch event has no type")
}

/// The message in an envelope: field 2 after the four bytes.
fn open(bytes: &[u8]) -> anyhow::Result<&[u8]> {
    let unknown = bytes
        .strip_prefix(b"k8s\0")
        .context("an answer is not protobuf")?;
    for field in fields(unknown) {
        if let (2, message) = field? {
            return Ok(message);
        }
    }
    bail!("an envelope is empty")
}

fn text_of(bytes: &[u8]) -> anyhow::Result<String> {
    String::from_utf8(bytes.to_vec()).context("text in protobuf")
}

/// The fields of a message with their bytes; those that are numbers have none.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = anyhow::Result<(u64, &[u8])>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> anyhow::Result<(u64, &'a [u8])> {
    let tag = varint(rest)?;
    let length = match tag & 7 {
        0 => {
            varint(rest)?;
            0
        }
        2 => usize::try_from(varint(rest)?).context("a length")?,
        1 => 8,
        5 => 4,
        other => bail!("wire type {other} is not in use"),
    };
    let (bytes, after) = rest.split_at_checked(length).context("a message is cut short")?;
    *rest = after;
    Ok((tag >> 3, bytes))
}

fn varint(rest: &mut &[u8]) -> anyhow::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().context("a number is cut short")?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number has no end")
}

/// An object in JSON that has this name and was stored.
pub(super) fn object(bytes: &[u8], name: &str) -> anyhow::Result<Value> {
    let object: Value = serde_json::from_slice(bytes).context("read an object")?;
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    ensure!(
        text("/metadata/name") == name,
        "{name} was asked for, not {object}"
    );
    for needed in ["/metadata/uid", "/metadata/resourceVersion"] {
        ensure!(!text(needed).is_empty(), "{name} has no {needed}");
    }
    Ok(object)
}

/// The same, with an annotation.
pub(super) fn annotated(bytes: &[u8], name: &str, key: &str, value: &str) -> anyhow::Result<Value> {
    let object = object(bytes, name)?;
    let found = object["metadata"]["annotations"][key].as_str();
    ensure!(found == Some(value), "{name} was not annotated: {object}");
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lists_are_counted_and_looked_at() {
        let item = r#"{"metadata":{"name":"a","uid":"1"},"spec":{}}"#;
        let list =
            format!(r#"{{"metadata":{{"resourceVersion":"9","continue":"x"}},"items":[{item},{item}]}}"#);
        let listed = Listed {
            items: 2,
            revision: "9".to_owned(),
            rest: Some("x".to_owned()),
        };
        assert_eq!(json_list(list.as_bytes()).expect("a list"), listed);
        assert!(json_list(list.replace(r#","spec":{}"#, "").as_bytes()).is_err());
        assert!(json_list(&list.as_bytes()[..list.len() - 1]).is_err());
    }

    /// Field `number` with these bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("short");
        [&[number << 3 | 2, length], bytes].concat()
    }

    #[test]
    fn protobuf_lists_are_counted_and_looked_at() {
        let item = field(2, &[field(1, b"meta"), field(2, b"spec")].concat());
        let meta = field(1, &field(2, b"9"));
        let message = [meta, item.clone(), item].concat();
        let list = [&b"k8s\0"[..], &field(1, b"type"), &field(2, &message)].concat();
        let listed = Listed {
            items: 2,
            revision: "9".to_owned(),
            rest: None,
        };
        assert_eq!(protobuf_list(&list).expect("a list"), listed);
        assert!(protobuf_list(&list[..list.len() - 1]).is_err());
        assert!(protobuf_list(b"{}").is_err());
        let hollow = [&b"k8s\0"[..], &field(2, &field(2, &field(1, b"meta")))].concat();
        assert!(protobuf_list(&hollow).is_err());
    }

    #[test]
    fn events_have_a_type() {
        let event = [field(1, b"ADDED"), field(2, b"x")].concat();
        assert_eq!(protobuf_event(&event).expect("an event"), "ADDED");
        assert!(protobuf_event(&field(2, b"x")).is_err());
    }

    #[test]
    fn an_object_is_the_one_that_was_asked_for() {
        let pod = br#"{"metadata":{"name":"a","uid":"1","resourceVersion":"2","annotations":{"k":"v"}}}"#;
        assert!(annotated(pod, "a", "k", "v").is_ok());
        assert!(annotated(pod, "a", "k", "w").is_err());
        assert!(object(pod, "b").is_err());
        assert!(object(br#"{"metadata":{"name":"a","uid":"1"}}"#, "a").is_err());
    }
}
