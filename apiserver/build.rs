//! Writes down what each API type and field is for, as `k8s-openapi` tells it, so that the server can publish descriptions.
//!
//! The result is small (each text once, compressed) and goes into the binary; `openapi::descriptions` reads it when a
//! document is asked for. Types that `k8s-openapi` lacks have no descriptions.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use k8s_openapi::schemars::generate::SchemaSettings;
use serde_json::{Value, json};

#[rustfmt::skip]
#[path = "build/roots.rs"]
mod roots;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/roots.rs");
    let mut generator = SchemaSettings::draft07().into_generator();
    roots::describe(&mut generator);
    let document = document(generator.definitions());

    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(document.to_string().as_bytes())
        .expect("memory takes every write");
    let bytes = encoder.finish().expect("memory takes every write");
    std::fs::write(out.join("descriptions.json.deflate"), bytes).expect("the output folder takes files");
}

/// `texts`, and in `types` by name of a type and of a field which text describes it; the type itself has an empty name.
fn document(definitions: &serde_json::Map<String, Value>) -> Value {
    let mut texts = Texts::default();
    let types: BTreeMap<&str, BTreeMap<&str, usize>> = definitions
        .iter()
        .map(|(name, schema)| {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let properties = properties.map(|(field, schema)| (field.as_str(), schema));
            let described = std::iter::once(("", schema)).chain(properties);
            let described = described
                .filter_map(|(field, schema)| Some((field, texts.place(schema["description"].as_str()?))));
            (name.as_str(), described.collect())
        })
        .collect();
    json!({"types": types, "texts": texts.all})
}

/// Texts, each once.
#[derive(Default)]
struct Texts<'a> {
    all: Vec<&'a str>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Texts<'a> {
    fn place(&mut self, text: &'a str) -> usize {
        let all = &mut self.all;
        *self.places.entry(text).or_insert_with(|| {
            all.push(text);
            all.len() - 1
        })
    }
}
