//! The published round-trip objects of kubernetes/api, when they lie beside the repository: each as JSON, YAML and protobuf.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use coracle_api::codec::{json, protobuf, yaml};
use coracle_api::table::{self, Type};
use serde_json::Value;

const ARCHIVE: &str = "../../shared/corpora/api-roundtrip-0.36.3.tar.gz";

/// One object: the contents of its files by their endings.
type Forms = BTreeMap<String, Vec<u8>>;

fn corpus() -> Option<BTreeMap<String, Forms>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(ARCHIVE);
    let file = std::fs::File::open(path).ok()?;
    let mut objects: BTreeMap<String, Forms> = BTreeMap::new();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(file))
        .entries()
        .unwrap()
    {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let (Some(stem), Some(ending)) = (path.file_stem(), path.extension()) else {
            continue;
        };
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let forms = objects.entry(stem.to_string_lossy().into_owned()).or_default();
        forms.insert(ending.to_string_lossy().into_owned(), bytes);
    }
    Some(objects)
}

fn type_of(forms: &Forms) -> Option<&'static Type> {
    let value = json::parse(forms.get("json")?).unwrap().value;
    table::by_api_version(value["apiVersion"].as_str()?, value["kind"].as_str()?)
}

/// A published object as the apiserver shows it: the claim templates of a StatefulSet say their kind.
fn named(mut object: Value) -> Value {
    let templates = object
        .pointer_mut("/spec/volumeClaimTemplates")
        .and_then(Value::as_array_mut);
    for template in templates.into_iter().flatten() {
        template["apiVersion"] = "v1".into();
        template["kind"] = "PersistentVolumeClaim".into();
    }
    object
}

#[test]
fn every_form_is_the_same_object() {
    let Some(corpus) = corpus() else {
        println!("no corpus beside the repository: published objects are not read");
        return;
    };
    let mut read = 0;
    let mut faults = Vec::new();
    for (name, forms) in &corpus {
        let Some(ty) = type_of(forms) else { continue };
        read += 1;
        let from_protobuf = protobuf::decode(&forms["pb"], ty).unwrap().value;
        if protobuf::encode(&from_protobuf, ty).unwrap() != forms["pb"] {
            faults.push(format!("{name}: protobuf is not written as it was read"));
        }
        for (form, decoded) in [
            ("json", json::decode(&forms["json"], ty)),
            ("yaml", yaml::decode(&forms["yaml"], ty)),
        ] {
            let decoded = decoded.unwrap();
            if decoded.findings != [""; 0] {
                faults.push(format!("{name}: {form}: {:?}", decoded.findings));
            }
            if decoded.value != from_protobuf {
                faults.push(format!(
                    "{name}: {form} and protobuf differ:\n{}\n{from_protobuf}",
                    decoded.value
                ));
            }
            if protobuf::encode(&decoded.value, ty).unwrap() != forms["pb"] {
                faults.push(format!("{name}: {form} gives other protobuf"));
            }
        }
        let written = yaml::encode(&from_protobuf);
        if yaml::parse(&written).unwrap().value != named(yaml::parse(&forms["yaml"]).unwrap().value) {
            faults.push(format!("{name}: protobuf gives other YAML"));
        }
        let written = json::encode(&from_protobuf);
        if json::parse(&written).unwrap().value != named(json::parse(&forms["json"]).unwrap().value) {
            faults.push(format!("{name}: protobuf gives other JSON"));
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {read}:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(read >= 79, "only {read} objects are of types that the table has");
}
