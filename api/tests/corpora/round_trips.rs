//! The published objects of kubernetes/api, each as JSON, YAML and protobuf.
//!
//! Protobuf and YAML are compared byte for byte. Go writes JSON in the order of its structs, which the facts do not state;
//! here keys are sorted, so JSON is compared byte for byte with the published file once its keys are sorted too.

use std::collections::BTreeMap;

use coracle_api::codec::{DecodeError, Decoded, json, protobuf, yaml};
use coracle_api::table::{self, Type};
use serde_json::Value;

use crate::archive::files;
use crate::outcome::Outcome;

/// One object: the contents of its files by their endings.
type Forms = BTreeMap<String, Vec<u8>>;

/// The objects of this version, by name.
fn objects() -> Option<BTreeMap<String, Forms>> {
    let mut objects: BTreeMap<String, Forms> = BTreeMap::new();
    for (path, bytes) in files("api-roundtrip-0.36.3.tar.gz")? {
        let file = path.rsplit('/').next().unwrap();
        if let Some((stem, ending)) = file.rsplit_once('.').filter(|_| path.contains("/HEAD/")) {
            let forms = objects.entry(stem.to_owned()).or_default();
            forms.insert(ending.to_owned(), bytes);
        }
    }
    Some(objects)
}

fn type_of(forms: &Forms) -> Option<&'static Type> {
    let value = json::parse(&forms["json"]).unwrap().value;
    table::by_api_version(value["apiVersion"].as_str()?, value["kind"].as_str()?)
}

/// A published object as the apiserver shows it: the claim templates of a StatefulSet say their kind.
fn shown(mut object: Value) -> Value {
    let templates = object
        .pointer_mut("/spec/volumeClaimTemplates")
        .and_then(Value::as_array_mut);
    for template in templates.into_iter().flatten() {
        template["apiVersion"] = "v1".into();
        template["kind"] = "PersistentVolumeClaim".into();
    }
    object
}

/// A form: its ending, its decoder, its encoder, and how the published bytes look when the apiserver shows them.
struct Form {
    ending: &'static str,
    decode: fn(&[u8], &'static Type) -> Result<Decoded, DecodeError>,
    encode: fn(&Value, &'static Type) -> Vec<u8>,
    published: fn(&[u8]) -> Vec<u8>,
}

const FORMS: [Form; 3] = [
    Form {
        ending: "json",
        decode: json::decode,
        encode: |object, _| json::encode(object),
        published: |bytes| json::encode(&shown(json::parse(bytes).unwrap().value)),
    },
    Form {
        ending: "yaml",
        decode: yaml::decode,
        encode: |object, _| yaml::encode(object),
        published: |bytes| {
            let value = yaml::parse(bytes).unwrap().value;
            let shown = shown(value.clone());
            if shown == value {
                bytes.to_vec()
            } else {
                yaml::encode(&shown)
            }
        },
    },
    Form {
        ending: "pb",
        decode: protobuf::decode,
        encode: |object, ty| protobuf::encode(object, ty).unwrap(),
        published: <[u8]>::to_vec,
    },
];

/// What differs when an object is read in one form and written in each.
fn wrong(forms: &Forms, from: &Form, ty: &'static Type) -> Option<String> {
    let decoded = match (from.decode)(&forms[from.ending], ty) {
        Ok(decoded) => decoded,
        Err(error) => return Some(error.to_string()),
    };
    if !decoded.findings.is_empty() {
        return Some(decoded.findings.join(", "));
    }
    let differs = |to: &&Form| (to.encode)(&decoded.value, ty) != (to.published)(&forms[to.ending]);
    let to = FORMS.iter().find(differs)?;
    let written = (to.encode)(&decoded.value, ty);
    Some(format!(
        "gives other {}: {}",
        to.ending,
        String::from_utf8_lossy(&written)
    ))
}

#[test]
fn every_form_gives_every_form() {
    let Some(objects) = objects() else { return };
    for from in &FORMS {
        let mut outcome = Outcome::default();
        for (name, forms) in &objects {
            match type_of(forms) {
                Some(ty) => outcome.count(name, wrong(forms, from, ty)),
                None => outcome.unanswered("of versions and kinds that are not served", 1),
            }
        }
        outcome.conclude(
            &format!(
                "kubernetes/api objects, {} to JSON, YAML and protobuf",
                from.ending
            ),
            185,
            &[],
        );
    }
}
