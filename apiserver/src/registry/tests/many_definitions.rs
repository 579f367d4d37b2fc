//! A thousand definitions: each takes as long as the one before, and so does what is told of all of them after a change.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::customs::DEFINITIONS;
use super::{Fixture, context};
use crate::discovery::Discovery;
use crate::openapi::{OpenApi, Wanted};
use crate::request::ResourceHandler as _;

const MANY: usize = 1000;
/// How many definitions share a group.
const OF_A_GROUP: usize = 20;
/// How many are taken together, for a middle that does not depend on one.
const SAMPLE: usize = 100;
/// How many times as long the last may take as the first. Work that grew with their number would take some hundred times as
/// long; what is told apart here is the machine's other work from that.
const FACTOR: u32 = 5;

fn group(number: usize) -> String {
    format!("group-{}.example.com", number / OF_A_GROUP)
}

fn definition(number: usize) -> Value {
    let fields = (0..10).map(|field| {
        (
            format!("field{field}"),
            json!({"type": "string", "maxLength": 10}),
        )
    });
    let fields: serde_json::Map<String, Value> = fields.collect();
    let rule = json!([{"rule": "self.field0 != self.field1"}]);
    let spec = json!({"type": "object", "properties": fields, "x-kubernetes-validations": rule});
    json!({
        "metadata": {"name": format!("things{number}.{}", group(number))},
        "spec": {"group": group(number), "scope": "Cluster",
            "names": {"plural": format!("things{number}"), "kind": format!("Thing{number}")},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]},
    })
}

/// From a definition to an object of it that can be listed.
async fn define(fixture: &Fixture, number: usize) -> Duration {
    let objects = format!("/apis/{}/v1/things{number}", group(number));
    let object = json!({"apiVersion": format!("{}/v1", group(number)), "kind": format!("Thing{number}"),
        "metadata": {"name": "first"}, "spec": {"field0": "a", "field1": "b"}});
    let started = Instant::now();
    fixture.create(DEFINITIONS, definition(number)).await;
    fixture.create(&objects, object).await;
    let listed = fixture.get(&objects).await.json();
    let took = started.elapsed();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    took
}

/// How long the documents take after the definitions have changed, and what they say.
fn described(fixture: &Fixture, before: &OpenApi) -> (Duration, OpenApi, Value) {
    let started = Instant::now();
    let open_api = before.with(fixture.registry.custom_resources());
    let zipped = Wanted {
        accept: "application/json",
        accept_encoding: "gzip",
        ..Wanted::default()
    };
    open_api.respond("/openapi/v2", "", zipped).expect("it is there");
    let took = started.elapsed();
    let plain = Wanted {
        accept_encoding: "",
        ..zipped
    };
    let document = open_api.respond("/openapi/v2", "", plain).expect("it is there");
    let document = serde_json::from_slice(&document.body).expect("it is JSON");
    (took, open_api, document)
}

/// How long the list of all groups takes after the definitions have changed, and of how many resources of ours it tells.
fn told(fixture: &Fixture, before: &Discovery) -> (Duration, Discovery, usize) {
    let started = Instant::now();
    let discovery = before.with(fixture.registry.custom_groups());
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let list = discovery.respond("/apis", accept, None).expect("it is there");
    let took = started.elapsed();
    let list: Value = serde_json::from_slice(&list.body).expect("it is JSON");
    let resources = list["items"].as_array().into_iter().flatten().map(|group| {
        let resources = group["versions"][0]["resources"].as_array();
        resources.map_or(0, Vec::len)
    });
    (took, discovery, resources.sum())
}

fn middle(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test]
async fn a_thousand_definitions_take_a_thousand_times_as_long_as_one() {
    let fixture = Fixture::new().await;
    let mut times = Vec::new();
    for number in 0..MANY {
        times.push(define(&fixture, number).await);
    }
    let (first, last) = (middle(&times[..SAMPLE]), middle(&times[MANY - SAMPLE..]));
    println!("{MANY} definitions, each with an object: the first {first:?}, the last {last:?}");
    assert!(last < FACTOR * first, "{last:?} after {first:?}");

    // What is told of all of them is made once; after that a change costs what has changed.
    let (whole, open_api, document) = described(&fixture, &OpenApi::default());
    let schemas = |document: &Value| {
        let definitions = document["definitions"].as_object().expect("there are some");
        let ours = definitions.keys().filter(|name| name.starts_with("com.example."));
        ours.count()
    };
    assert_eq!(schemas(&document), 2 * MANY);
    let (whole_list, discovery, resources) = told(&fixture, &Discovery::new(Vec::new(), ""));
    assert_eq!(resources, MANY);
    define(&fixture, MANY).await;
    let (list_after_one, _, resources) = told(&fixture, &discovery);
    assert_eq!(resources, MANY + 1);
    println!("the list of groups takes {whole_list:?}, and {list_after_one:?} after one more definition");
    assert!(
        FACTOR * list_after_one < whole_list,
        "{list_after_one:?} after {whole_list:?}"
    );
    let (after_one, _, document) = described(&fixture, &open_api);
    assert_eq!(schemas(&document), 2 * (MANY + 1));
    println!("OpenAPI 2 takes {whole:?}, and {after_one:?} after one more definition");
    assert!(FACTOR * after_one < whole, "{after_one:?} after {whole:?}");
}

#[tokio::test]
async fn a_definition_of_a_million_bytes_is_taken() {
    let fixture = Fixture::new().await;
    let mut large = definition(0);
    let fields = (0..5000).map(|field| {
        let description = format!(
            "Field {field}, {}",
            "of which there is much to be said ".repeat(4)
        );
        (
            format!("field{field}"),
            json!({"type": "string", "maxLength": 10, "description": description}),
        )
    });
    let properties: serde_json::Map<String, Value> = fields.collect();
    large["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] =
        properties.into();
    assert!(large.to_string().len() > 1_000_000);
    fixture.create(DEFINITIONS, large).await;
    let object = json!({"apiVersion": "group-0.example.com/v1", "kind": "Thing0", "metadata": {"name": "a"},
        "spec": {"field0": "a", "field1": "a"}});
    let refused = context(Method::POST, "/apis/group-0.example.com/v1/things0", &[]);
    let refused = fixture.ask_with(refused, object.to_string()).await;
    assert_eq!(refused.code, 422, "{}", refused.message());
}
