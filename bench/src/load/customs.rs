//! Custom resources: many definitions, and large ones.

use super::{Named, Scale, share_out, timed};
use crate::cluster::Call;
use crate::side::Target;
use anyhow::{Context, bail, ensure};
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::Instant;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DISCOVERY: &str = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList";
const GROUPS: usize = 50;
const MANY: usize = 1000;
/// How many define at once: upstream takes two seconds for each, of which it waits most.
const CLIENTS: usize = 16;
/// How many fields a schema has: most definitions are of some ten thousand bytes, a large one is of about a million.
const FIELDS: usize = 30;
const FIELDS_OF_LARGE: usize = 5000;
const LARGE: usize = 5;
/// How often what is served is asked for.
const ASKED: usize = 20;
/// How many objects are made.
const OBJECTS: usize = 500;
/// How often what is described is asked for.
const DESCRIBED: usize = 10;
/// How long a definition may take to be served.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(10);

pub(super) async fn run(target: &Target, scale: Scale) -> anyhow::Result<Vec<Named>> {
    let many = scale.of(MANY);
    let mut samples = Vec::new();
    let defined = share_out(CLIENTS, many, |number| define(target, number, FIELDS));
    samples.push((
        format!("define {many} custom resources, each until an object is taken"),
        target.observe(defined).await?,
    ));
    let objects = scale.of(OBJECTS);
    let created = share_out(1, objects, |number| create(target, number % many, number));
    samples.push((
        "create an object of one of those custom resources".to_owned(),
        target.observe(created).await?,
    ));
    let listed = share_out(1, objects, |number| list(target, number % many));
    samples.push((
        "list the objects of one of those custom resources".to_owned(),
        target.observe(listed).await?,
    ));
    let discovered = share_out(1, scale.of(ASKED), |_| discover(target, many));
    samples.push((
        format!("discovery of {many} custom resources"),
        target.observe(discovered).await?,
    ));
    let large = scale.of(LARGE);
    let defined = share_out(1, large, |number| define(target, many + number, FIELDS_OF_LARGE));
    samples.push((
        "define a custom resource with a schema of 1 MB, until an object is taken".to_owned(),
        target.observe(defined).await?,
    ));
    let described = share_out(1, scale.of(DESCRIBED), |number| {
        describe(target, many + large + number)
    });
    samples.push((
        format!("OpenAPI 2 of {many} custom resources, each time after one more"),
        target.observe(described).await?,
    ));
    // A cluster that is not the benchmark's own is left as it was.
    let all = many + large + scale.of(DESCRIBED);
    share_out(8, all, |number| remove(target, number)).await?;
    Ok(samples)
}

fn group(number: usize) -> String {
    format!("group-{}.bench.coracle.dev", number % GROUPS)
}

fn definition(number: usize, fields: usize) -> Value {
    let field = |number| {
        let description = format!(
            "Field {number}, of which nothing is known but that it is a text, and how long it may be."
        );
        let schema = json!({"type": "string", "maxLength": 100, "description": description});
        (format!("field{number}"), schema)
    };
    let fields: Map<String, Value> = (0..fields).map(field).collect();
    let rule = json!([{"rule": "self.field0 != self.field1", "message": "they have to differ"}]);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things{number}.{}", group(number))},
        "spec": {
            "group": group(number), "scope": "Cluster",
            "names": {"plural": format!("things{number}"), "singular": format!("thing{number}"),
                "kind": format!("Thing{number}"), "listKind": format!("Thing{number}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": fields, "x-kubernetes-validations": rule}}}}}],
        },
    })
}

/// From the definition to its first object, which the rule allows.
async fn define(target: &Target, number: usize, fields: usize) -> anyhow::Result<Duration> {
    let call = Call::post(DEFINITIONS, &definition(number, fields));
    let (path, object) = (place(number), object(number, "first"));
    let started = Instant::now();
    call.succeed(&target.client).await?;
    let answer = loop {
        match Call::post(&path, &object).send(&target.client).await? {
            (StatusCode::CREATED, answer) => break answer,
            (StatusCode::NOT_FOUND, _) if started.elapsed() < PATIENCE => tokio::time::sleep(AGAIN).await,
            (status, answer) => bail!(
                "{path} was answered {status}: {}",
                String::from_utf8_lossy(&answer)
            ),
        }
    };
    let took = started.elapsed();
    let made: Value = serde_json::from_slice(&answer).context("read the object")?;
    ensure!(
        made["spec"] == json!({"field0": "a", "field1": "b"}),
        "the object was not kept as its schema says: {made}"
    );
    Ok(took)
}

fn object(of: usize, name: &str) -> Value {
    json!({
        "apiVersion": format!("{}/v1", group(of)), "kind": format!("Thing{of}"),
        "metadata": {"name": name}, "spec": {"field0": "a", "field1": "b", "gone": 1},
    })
}

fn place(of: usize) -> String {
    format!("/apis/{}/v1/things{of}", group(of))
}

async fn create(target: &Target, of: usize, number: usize) -> anyhow::Result<Duration> {
    let call = Call::post(place(of), &object(of, &format!("object-{number}")));
    let (made, took) = timed(call.object(&target.client)).await?;
    ensure!(made["spec"]["field0"] == "a", "the object was not kept: {made}");
    Ok(took)
}

async fn list(target: &Target, of: usize) -> anyhow::Result<Duration> {
    let (listed, took) = timed(Call::get(place(of)).object(&target.client)).await?;
    let items = listed["items"].as_array().map_or(0, Vec::len);
    ensure!(items >= 2, "two objects were made, and {items} are listed");
    Ok(took)
}

/// One more definition, and the document that has it. Only asking for the document counts.
async fn describe(target: &Target, number: usize) -> anyhow::Result<Duration> {
    define(target, number, FIELDS).await?;
    let kind = format!("Thing{number}");
    let started = Instant::now();
    loop {
        let asked = Instant::now();
        let document = Call::get("/openapi/v2").succeed(&target.client).await?;
        let took = asked.elapsed();
        if String::from_utf8_lossy(&document).contains(&kind) {
            return Ok(took);
        }
        ensure!(started.elapsed() < PATIENCE, "{kind} is not described");
        tokio::time::sleep(AGAIN).await;
    }
}

async fn discover(target: &Target, many: usize) -> anyhow::Result<Duration> {
    let call = Call::get("/apis").accept(DISCOVERY);
    let (answer, took) = timed(call.object(&target.client)).await?;
    let all = answer["items"].as_array().into_iter().flatten();
    let ours = all.filter(|item| {
        let name = item["metadata"]["name"].as_str();
        name.is_some_and(|name| name.ends_with(".bench.coracle.dev"))
    });
    let told: usize = ours
        .map(|item| item["versions"][0]["resources"].as_array().map_or(0, Vec::len))
        .sum();
    ensure!(told == many, "{many} resources were expected, not {told}");
    Ok(took)
}

async fn remove(target: &Target, number: usize) -> anyhow::Result<Duration> {
    let path = format!("{DEFINITIONS}/things{number}.{}", group(number));
    let (_, took) = timed(Call::delete(path).succeed(&target.client)).await?;
    Ok(took)
}
