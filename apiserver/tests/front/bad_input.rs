//! What a stranger may send that is wrong, against a whole server over TLS: each gets a `Status` in upstream's words, nothing
//! of it is kept, and the server goes on.

use std::sync::Arc;

use coracle_apiserver::Running;
use coracle_store::model::ModelStore;
use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stand_in::{Answer, client_of, get, post, send, start_whole};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A server, an administrator's client, and what must stay there meanwhile.
struct Whole {
    running: Running,
    admin: kube::Client,
    _home: TempDir,
}

impl Whole {
    async fn start() -> Self {
        let (running, home) = start_whole(Arc::new(ModelStore::new())).await;
        let admin = client_of(&running).await;
        Self {
            running,
            admin,
            _home: home,
        }
    }

    async fn send(&self, method: Method, path: &str, media_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type);
        send(&self.admin, request.body(Body::from(body.into())).unwrap()).await
    }

    /// Whatever was sent before: nothing of it is there, and the next good request is answered.
    async fn has_kept_nothing_and_goes_on(self) {
        let kept = get(&self.admin, MAPS).await.json();
        assert_eq!(kept["items"], json!([]), "nothing wrong was stored");
        let made = post(&self.admin, MAPS, &config_map("good")).await;
        assert_eq!(made.code, 201, "{}", made.text);
        assert_eq!(get(&self.admin, "/readyz").await.text, "ok");
        self.running.stop().await;
    }
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "value"}})
}

/// The whole of a failure that says nothing but its message.
fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code})
}

#[tokio::test]
async fn bodies_that_are_nothing() {
    let server = Whole::start().await;
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): ";
    let prefix = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
    for (media_type, body, message) in [
        (
            JSON,
            "{\"kind\":",
            "couldn't get version/kind; json parse error: unexpected end of JSON input ({\"kind\":)",
        ),
        (
            JSON,
            "apiVersion: v1",
            "couldn't get version/kind; json parse error: invalid character 'a' looking for beginning of value \
             (61706956657273696f6e3a207631)",
        ),
        (PROTOBUF, "{}", &format!("{prefix} ({{}})")),
        (PROTOBUF, "", &format!("{prefix} (<empty>)")),
    ] {
        let answer = server.send(Method::POST, MAPS, media_type, body).await;
        let want = failure(400, "BadRequest", &format!("{unrecognized}{message}"));
        assert_eq!((answer.code, answer.json()), (400, want), "{media_type}: {body}");
    }
    // The parser's own words follow here, and where in the text it stopped.
    for body in ["a: [", "a: b: c"] {
        let answer = server.send(Method::POST, MAPS, YAML, body).await;
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert_eq!(
            (answer.code, &answer.json()["reason"]),
            (400, &json!("BadRequest"))
        );
        assert!(message.starts_with(&format!("{unrecognized}yaml: ")), "{message}");
    }
    server.has_kept_nothing_and_goes_on().await;
}

#[tokio::test]
async fn protobuf_that_breaks_off_or_lies() {
    let server = Whole::start().await;
    let gvk = coracle_api::table::Gvk {
        group: "",
        version: "v1",
        kind: "ConfigMap",
    };
    let ty = coracle_api::table::by_gvk(gvk.group, gvk.version, gvk.kind).unwrap();
    let whole = coracle_api::codec::protobuf::encode(&config_map("broken"), ty).unwrap();
    // The envelope's last two fields are empty and may be missing; anything else may not.
    for length in 0..whole.len() - 4 {
        let answer = server.send(Method::POST, MAPS, PROTOBUF, &whole[..length]).await;
        // An object cut off between two fields is a whole one without a name.
        assert!([400, 422].contains(&answer.code), "{length}: {}", answer.text);
        assert_eq!(answer.json()["kind"], "Status", "{}", answer.text);
    }
    // A length that goes beyond the end of everything.
    let mut lies = b"k8s\0".to_vec();
    lies.extend([0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    let answer = server.send(Method::POST, MAPS, PROTOBUF, lies).await;
    assert_eq!(
        (answer.code, &answer.json()["reason"]),
        (400, &json!("BadRequest"))
    );
    server.has_kept_nothing_and_goes_on().await;
}

#[tokio::test]
async fn wrong_types_and_unknown_kinds() {
    let server = Whole::start().await;
    let cannot = |kind: &str, version: &str, why: &str| {
        format!("{kind} in version \"{version}\" cannot be handled as a ConfigMap: {why}")
    };
    let unknown = |kind: &str, version: &str| {
        let why = format!(
            "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\""
        );
        cannot(kind, version.rsplit('/').next().unwrap(), &why)
    };
    let with = |field: &str, value: Value| {
        let mut object = config_map("a");
        object[field] = value;
        object
    };
    let unmarshal = |what: &str| cannot("ConfigMap", "v1", &format!("json: cannot unmarshal {what}"));
    for (object, message) in [
        (
            with("data", json!({"key": 5})),
            unmarshal("number into Go struct field ConfigMap.data of type string"),
        ),
        (
            with("data", json!([])),
            unmarshal("array into Go struct field ConfigMap.data of type map[string]string"),
        ),
        (
            with("immutable", json!("yes")),
            unmarshal("string into Go struct field ConfigMap.immutable of type bool"),
        ),
        (
            with("binaryData", json!({"bin": "aGVsbG8=-2"})),
            cannot("ConfigMap", "v1", "illegal base64 data at input byte 8"),
        ),
        (with("kind", json!("Wrong")), unknown("Wrong", "v1")),
        (with("apiVersion", json!("v9")), unknown("ConfigMap", "v9")),
        (
            with("apiVersion", json!("example.com/v1")),
            unknown("ConfigMap", "example.com/v1"),
        ),
    ] {
        let answer = post(&server.admin, MAPS, &object).await;
        let want = failure(400, "BadRequest", &message);
        assert_eq!((answer.code, answer.json()), (400, want), "{object}");
    }
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let answer = post(&server.admin, &strict, &with("dta", json!({}))).await;
    let message = cannot("ConfigMap", "v1", "strict decoding error: unknown field \"dta\"");
    assert_eq!(answer.json(), failure(400, "BadRequest", &message));
    server.has_kept_nothing_and_goes_on().await;
}

#[tokio::test]
async fn too_much_too_deep_and_too_clever() {
    let server = Whole::start().await;
    let mut huge = config_map("huge");
    huge["data"]["key"] = json!("x".repeat(3 << 20));
    let answer = post(&server.admin, MAPS, &huge).await;
    let want = failure(
        413,
        "RequestEntityTooLarge",
        "Request entity too large: limit is 3145728",
    );
    assert_eq!((answer.code, answer.json()), (413, want));

    huge["data"]["key"] = json!("x".repeat(2 << 20));
    let answer = post(&server.admin, MAPS, &huge).await;
    assert_eq!(answer.code, 422, "more than a ConfigMap holds");
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .ends_with("Too long: may not be more than 1048576 bytes"),
        "{}",
        answer.text
    );

    for (media_type, body) in [
        (JSON, "[".repeat(1 << 20)),
        (
            JSON,
            format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
        ),
        (YAML, "[".repeat(100_000)),
        (YAML, bomb()),
    ] {
        let answer = server.send(Method::POST, MAPS, media_type, body).await;
        assert_eq!(answer.code, 400, "{media_type}: {:.300}", answer.text);
        assert_eq!(answer.json()["reason"], "BadRequest");
    }
    server.has_kept_nothing_and_goes_on().await;
}

/// A short text that would be a billion values if every alias in it were followed.
fn bomb() -> String {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..9 {
        let below = vec![format!("*a{}", level - 1); 10].join(",");
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    text
}

#[tokio::test]
async fn media_types_that_are_not_spoken() {
    let server = Whole::start().await;
    let whole = config_map("a").to_string();
    let accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let unknown = "the body of the request was in an unknown format - accepted media types include: ";
    for media_type in ["application/xml", "text/plain", "application/cbor"] {
        let answer = server
            .send(Method::POST, MAPS, media_type, whole.as_bytes())
            .await;
        let want = failure(415, "UnsupportedMediaType", &format!("{unknown}{accepted}"));
        assert_eq!((answer.code, answer.json()), (415, want), "{media_type}");
    }
    let patched = server
        .send(
            Method::PATCH,
            &format!("{MAPS}/kube-root-ca.crt"),
            JSON,
            whole.as_bytes(),
        )
        .await;
    // What no route of a resource reads is refused by the framework that upstream routes with, in its words.
    let message = patched.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(patched.code, 415, "{}", patched.text);
    assert_eq!(message, "415: Unsupported Media Type");
    let asked = Request::get(MAPS)
        .header("accept", "image/png")
        .body(Body::empty())
        .unwrap();
    let answer = send(&server.admin, asked).await;
    assert_eq!(
        (answer.code, &answer.json()["reason"]),
        (406, &json!("NotAcceptable"))
    );
    server.has_kept_nothing_and_goes_on().await;
}

#[tokio::test]
async fn names_out_of_rule() {
    let server = Whole::start().await;
    let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
        and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
        '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let long = "x".repeat(254);
    for (name, cause, detail) in [
        (
            "Bad_Value!",
            "FieldValueInvalid",
            format!("Invalid value: \"Bad_Value!\": {subdomain}"),
        ),
        (
            &long,
            "FieldValueInvalid",
            format!("Invalid value: \"{long}\": must be no more than 253 characters"),
        ),
        (
            "",
            "FieldValueRequired",
            "Required value: name or generateName is required".to_owned(),
        ),
    ] {
        let answer = post(&server.admin, MAPS, &config_map(name)).await;
        let status = answer.json();
        assert_eq!(
            (answer.code, &status["reason"]),
            (422, &json!("Invalid")),
            "{}",
            answer.text
        );
        assert_eq!(
            status["message"],
            format!("ConfigMap \"{name}\" is invalid: metadata.name: {detail}")
        );
        let causes = json!([{"reason": cause, "message": detail, "field": "metadata.name"}]);
        assert_eq!(status["details"]["causes"], causes);
    }
    let bad = json!({"metadata": {"name": "Bad_Space"}});
    let space = post(&server.admin, "/api/v1/namespaces", &bad).await;
    assert_eq!(space.code, 422, "{}", space.text);
    server.has_kept_nothing_and_goes_on().await;
}

#[tokio::test]
async fn conflicts_and_what_is_taken() {
    let server = Whole::start().await;
    let admin = &server.admin;
    let made = post(admin, MAPS, &config_map("a")).await.json();
    let again = post(admin, MAPS, &config_map("a")).await;
    let mut want = failure(409, "AlreadyExists", "configmaps \"a\" already exists");
    want["details"] = json!({"name": "a", "kind": "configmaps"});
    assert_eq!((again.code, again.json()), (409, want));

    let path = format!("{MAPS}/a");
    let put = async |object: &Value| server.send(Method::PUT, &path, JSON, object.to_string()).await;
    let mut newer = made.clone();
    newer["data"]["key"] = json!("newer");
    assert_eq!(put(&newer).await.code, 200);
    let late = put(&made).await;
    let message = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
        changes to the latest version and try again";
    let mut want = failure(409, "Conflict", message);
    want["details"] = json!({"name": "a", "kind": "configmaps"});
    assert_eq!((late.code, late.json()), (409, want));
    assert_eq!(
        get(admin, &path).await.json()["data"]["key"],
        "newer",
        "nothing is lost"
    );
    let stale = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let kept = server.send(Method::DELETE, &path, JSON, stale.to_string()).await;
    assert_eq!((kept.code, &kept.json()["reason"]), (409, &json!("Conflict")));

    let service = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}})
    };
    assert_eq!(post(admin, SERVICES, &service("first")).await.code, 201);
    let taken = post(admin, SERVICES, &service("second")).await;
    let detail = "Invalid value: 30080: provided port is already allocated";
    let message = format!("Service \"second\" is invalid: spec.ports[0].nodePort: {detail}");
    let mut want = failure(422, "Invalid", &message);
    let cause = json!({"reason": "FieldValueInvalid", "message": detail, "field": "spec.ports[0].nodePort"});
    want["details"] = json!({"name": "second", "kind": "Service", "causes": [cause]});
    assert_eq!((taken.code, taken.json()), (422, want));
    let beyond = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "beyond"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}});
    let beyond = post(admin, SERVICES, &beyond).await;
    assert_eq!(beyond.code, 422);
    assert!(
        beyond.text.contains("provided port is not in the valid range"),
        "{}",
        beyond.text
    );
    server.running.stop().await;
}
