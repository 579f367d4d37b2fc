use serde_json::json;

use super::*;

fn discovery() -> Discovery {
    Discovery::new(built_in(), "127.0.0.1:6443")
}

fn read(path: &str) -> Value {
    let answer = discovery().respond(path, "application/json", None).unwrap();
    assert_eq!(answer.headers["content-type"], "application/json");
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn old_documents() {
    assert_eq!(
        read("/api"),
        json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}]})
    );
    let groups = read("/apis/");
    assert_eq!(groups["groups"][0]["name"], "apiregistration.k8s.io");
    assert_eq!(
        read("/apis/autoscaling"),
        json!({"kind": "APIGroup", "apiVersion": "v1", "name": "autoscaling",
            "versions": [{"groupVersion": "autoscaling/v2", "version": "v2"},
                {"groupVersion": "autoscaling/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": "autoscaling/v2", "version": "v2"}})
    );
    let core = read("/api/v1");
    assert!(core.get("apiVersion").is_none());
    let find = |name: &str| {
        core["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(find("configmaps")["storageVersionHash"], "qFsyl6wFWjQ=");
    assert_eq!(find("events")["storageVersionHash"], "r2yiGXH7wu8=");
    assert_eq!(
        find("pods/eviction"),
        json!({"name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy", "version": "v1",
            "kind": "Eviction", "verbs": ["create"]})
    );
}

#[test]
fn paths_that_are_not_discovery() {
    let discovery = discovery();
    for path in [
        "/",
        "/api/v2",
        "/apis/none",
        "/apis/apps/v9",
        "/api/v1/pods",
        "/version",
        "/apis//v1",
    ] {
        assert!(discovery.respond(path, "", None).is_none(), "{path}");
    }
}

#[test]
fn aggregated_document_with_its_etag() {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let discovery = discovery();
    let answer = discovery.respond("/apis", accept, None).unwrap();
    assert_eq!(
        answer.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let value: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(value["apiVersion"], "apidiscovery.k8s.io/v2");
    let apps = value["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["metadata"]["name"] == "apps")
        .unwrap();
    assert_eq!(apps["versions"][0]["resources"][2]["resource"], "deployments");
    assert_eq!(
        apps["versions"][0]["resources"][2]["subresources"][0],
        json!({"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
            "verbs": ["get", "patch", "update"]})
    );

    assert_eq!(answer.headers["cache-control"], "public");
    let etag = answer.headers["etag"].to_str().unwrap();
    let again = discovery.respond("/apis", accept, Some(etag)).unwrap();
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));

    // Below the roots there is only the old form.
    let plain = discovery.respond("/apis/apps/v1", accept, None).unwrap();
    assert_eq!(plain.headers["content-type"], "application/json");
}

#[test]
fn accepted_forms() {
    let content_type = |accept: &str| {
        let answer = discovery().respond("/api", accept, None).unwrap();
        (
            answer.status.as_u16(),
            answer.headers["content-type"].to_str().unwrap().to_owned(),
        )
    };
    let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    let table = [
        ("", 200, "application/json"),
        ("application/json, */*", 200, "application/json"),
        ("application/json;q=0.5,application/yaml", 200, "application/yaml"),
        (
            "application/vnd.kubernetes.protobuf",
            200,
            "application/vnd.kubernetes.protobuf",
        ),
        (beta, 200, beta),
        (
            "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,*/*",
            200,
            "application/json",
        ),
        ("text/html", 406, "application/json"),
    ];
    for (accept, status, wanted) in table {
        assert_eq!(content_type(accept), (status, wanted.to_owned()), "{accept}");
    }
}

#[test]
fn every_document_can_be_protobuf() {
    let discovery = discovery();
    let aggregated =
        "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    for (path, accept) in [
        ("/api", "application/vnd.kubernetes.protobuf"),
        ("/apis", "application/vnd.kubernetes.protobuf"),
        ("/apis/apps", "application/vnd.kubernetes.protobuf"),
        ("/api/v1", "application/vnd.kubernetes.protobuf"),
        ("/apis", aggregated),
    ] {
        let answer = discovery.respond(path, accept, None).unwrap();
        let kind = protobuf::open(&answer.body).unwrap().kind;
        let value = protobuf::decode_any(&answer.body).unwrap();
        assert_eq!(value["kind"], kind);
    }
}

const AGGREGATED: [&str; 2] = [
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
];

/// Groups of 20 resources each, of which the last has one more for each of `more`.
fn many(number: usize, more: usize) -> Vec<Group> {
    let some = built_in().into_iter().find(|group| group.name == "apps").unwrap();
    let some = Arc::clone(&some.versions[0].resources[0]);
    let group = |place: usize| Group {
        name: format!("group-{place}.example.com").into(),
        versions: vec![Version {
            version: "v1".into(),
            resources: vec![some.clone(); if place + 1 == number { 20 + more } else { 20 }],
        }],
    };
    (0..number).map(group).collect()
}

/// A thousand resources and one more: all is told, and only the group of the one is encoded again.
#[test]
fn a_change_costs_what_has_changed() {
    let ask = |discovery: &Discovery| {
        let lists = AGGREGATED.map(|accept| discovery.respond("/apis", accept, None).unwrap());
        discovery.respond("/apis", "application/json", None).unwrap();
        let count = |value: &Value| -> usize {
            let items = value["items"].as_array().unwrap().iter();
            items
                .map(|item| item["versions"][0]["resources"].as_array().unwrap().len())
                .sum()
        };
        let json: Value = serde_json::from_slice(&lists[0].body).unwrap();
        let protobuf = protobuf::decode_any(&lists[1].body).unwrap();
        assert_eq!(count(&json), count(&protobuf));
        (count(&json), lists[0].headers["etag"].clone())
    };
    let first = Discovery::new(many(50, 0), "");
    let (resources, tag) = ask(&first);
    assert_eq!(resources, 1000);
    let same = first.with(many(50, 0));
    assert_eq!(ask(&same), (1000, tag.clone()));
    let second = first.with(many(50, 1));
    let made = |discovery: &Discovery| {
        discovery
            .groups
            .iter()
            .map(|told| told.parts_made())
            .sum::<usize>()
    };
    let before = made(&second);
    let (resources, other) = ask(&second);
    assert_eq!((resources, other == tag), (1001, false));
    assert_eq!(made(&second) - before, 3, "a part for each form");
    let kept = second
        .groups
        .iter()
        .zip(&first.groups)
        .filter(|(one, other)| Arc::ptr_eq(one, other));
    assert_eq!(kept.count(), 49);
    // What is put together is what would be written at once.
    let whole = Discovery::new(many(50, 1), "");
    for accept in AGGREGATED
        .into_iter()
        .chain(["application/yaml", "application/vnd.kubernetes.protobuf"])
    {
        let [one, other] = [&second, &whole].map(|all| all.respond("/apis", accept, None).unwrap().body);
        assert_eq!(one, other, "{accept}");
    }
}

#[test]
fn lists_have_the_same_groups_in_every_encoding() {
    let discovery = discovery();
    let read = |accept: &str| discovery.respond("/apis", accept, None).unwrap().body;
    let json: Value = serde_json::from_slice(&read("application/json")).unwrap();
    let yaml = yaml::parse(&read("application/yaml")).unwrap().value;
    assert_eq!(json, yaml);
    let protobuf = protobuf::decode_any(&read("application/vnd.kubernetes.protobuf")).unwrap();
    let names = |list: &Value| -> Vec<String> {
        let groups = list["groups"].as_array().unwrap().iter();
        groups
            .map(|group| group["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&json), names(&protobuf));
    let [json, protobuf] = AGGREGATED.map(read);
    let json: Value = serde_json::from_slice(&json).unwrap();
    let protobuf = protobuf::decode_any(&protobuf).unwrap();
    assert_eq!(
        json["items"].as_array().unwrap().len(),
        protobuf["items"].as_array().unwrap().len()
    );
    assert_eq!(json["items"][3]["versions"], protobuf["items"][3]["versions"]);
}

/// The answers of a kube-apiserver, when they lie beside the repository.
#[test]
fn documents_are_those_of_upstream() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/wire/recorded.jsonl.gz");
    let Ok(file) = std::fs::File::open(path) else {
        println!("no recorded answers beside the repository: documents are not compared");
        return;
    };
    let lines = std::io::BufRead::lines(std::io::BufReader::new(flate2::read::GzDecoder::new(file)));
    let discovery = Discovery::new(built_in(), "127.0.0.1:16443");
    let mut compared = 0;
    for line in lines {
        let line = line.unwrap();
        if !line.contains(r#""group": "discovery""#) {
            continue;
        }
        let case: Value = serde_json::from_str(&line).unwrap();
        let path = case["path"].as_str().unwrap();
        let Some(answer) = discovery.respond(path, case["accept"].as_str().unwrap(), None) else {
            continue;
        };
        let mut wanted = case["answer"]["body"].clone();
        // A custom resource was there when it was recorded.
        if let Some(groups) = wanted.get_mut("groups").and_then(Value::as_array_mut) {
            groups.retain(|group| group["name"] != "wire.example.com");
        }
        assert_eq!(
            serde_json::from_slice::<Value>(&answer.body).unwrap(),
            wanted,
            "{path}"
        );
        compared += 1;
    }
    assert_eq!(compared, 12);
}
