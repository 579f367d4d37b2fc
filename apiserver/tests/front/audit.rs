//! The audit log of a whole server.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coracle_apiserver::{AuditFlags, BatchLimits, Format, LogFlags, Mode, Running, WebhookFlags};
use coracle_store::model::ModelStore;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::Body;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::https::Elsewhere;
use crate::stand_in::{Server, client_of, get, post, send, start_whole_with};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: [system:apiserver]}
- {level: RequestResponse, omitManagedFields: true, verbs: [create, delete], resources: [{resources: [configmaps]}]}
- {level: Request, verbs: [patch], resources: [{resources: [configmaps]}]}
- {level: Metadata, omitStages: [ResponseComplete], verbs: [watch], resources: [{resources: [configmaps]}]}
- {level: Metadata, nonResourceURLs: [/version]}
- {level: Metadata, resources: [{resources: [panics, pods]}]}
";

fn flags(home: &TempDir, policy: &str) -> (AuditFlags, PathBuf) {
    let (file, log) = (
        home.path().join("policy.yaml"),
        home.path().join("logs/audit.log"),
    );
    std::fs::write(&file, policy).unwrap();
    let flags = AuditFlags {
        policy_file: Some(file),
        log: Some(LogFlags::new(&log)),
        webhook: None,
    };
    (flags, log)
}

struct World {
    running: Running,
    client: kube::Client,
    log: PathBuf,
    _homes: [TempDir; 2],
}

async fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let (audit, log) = flags(&home, POLICY);
    let (running, data) = start_whole_with(Arc::new(ModelStore::new()), |config| config.audit = audit).await;
    World {
        client: client_of(&running).await,
        running,
        log,
        _homes: [home, data],
    }
}

fn events(log: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The event of a stage of a request to a path, once it is there.
async fn event(log: &PathBuf, uri: &str, verb: &str, stage: &str) -> Value {
    let looking = async {
        loop {
            let found = events(log)
                .into_iter()
                .find(|event| event["requestURI"] == uri && event["verb"] == verb && event["stage"] == stage);
            match found {
                Some(event) => return event,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), looking).await;
    found.unwrap_or_else(|_| panic!("no {stage} of {verb} {uri} among {:?}", events(log)))
}

#[tokio::test]
async fn as_much_is_told_as_the_policy_says() {
    let world = world().await;
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "b"}});
    let made = post(&world.client, MAPS, &map).await;
    assert_eq!(made.code, 201);
    let told = event(&world.log, MAPS, "create", "ResponseComplete").await;
    assert_eq!(told["auditID"], made.headers["audit-id"].to_str().unwrap());
    assert_eq!(told["user"]["username"], "kubernetes-admin");
    assert_eq!(told["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(
        told["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "name": "m", "apiVersion": "v1"})
    );
    assert_eq!(told["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(told["requestObject"]["data"], json!({"a": "b"}));
    assert_eq!(told["responseObject"]["kind"], "ConfigMap");
    assert_eq!(told["responseObject"]["metadata"].get("managedFields"), None);
    assert_eq!(told["annotations"]["authorization.k8s.io/decision"], "allow");
    let again = post(&world.client, MAPS, &map).await;
    assert_eq!(again.code, 409);
    let one = format!("{MAPS}/m");
    let patch = Request::patch(&one).header("content-type", "application/merge-patch+json");
    let patch = patch.body(Body::from(br#"{"data":{"c":"d"}}"#.to_vec())).unwrap();
    assert_eq!(send(&world.client, patch).await.code, 200);
    let told = event(&world.log, &one, "patch", "ResponseComplete").await;
    assert_eq!(told["requestObject"], json!({"data": {"c": "d"}}));
    assert_eq!(told.get("responseObject"), None);
    let delete = Request::delete(&one).body(Body::empty()).unwrap();
    assert_eq!(send(&world.client, delete).await.code, 200);
    let told = event(&world.log, &one, "delete", "ResponseComplete").await;
    assert_eq!(told["responseStatus"]["status"], "Success");
    get(&world.client, "/version").await;
    let told = event(&world.log, "/version", "get", "ResponseComplete").await;
    assert_eq!(
        (told["level"].as_str(), told.get("objectRef")),
        (Some("Metadata"), None)
    );
    let failures = events(&world.log);
    let failure = failures
        .iter()
        .find(|event| event["responseStatus"]["code"] == 409)
        .unwrap();
    assert_eq!(failure["responseStatus"]["reason"], "AlreadyExists");
    assert!(
        failures
            .iter()
            .all(|event| event["stage"] != "RequestReceived"
                && event["user"]["username"] != "system:apiserver")
    );
    world.running.stop().await;
}

#[tokio::test]
async fn streams_are_told_of_when_they_begin() {
    let world = world().await;
    let uri = format!("{MAPS}?watch=true");
    let response = world
        .client
        .send(Request::get(&uri).body(Body::empty()).unwrap())
        .await
        .unwrap();
    let told = event(&world.log, &uri, "watch", "ResponseStarted").await;
    assert_eq!(told["responseStatus"]["code"], 200);
    drop(response);
    world.running.stop().await;
    assert!(
        events(&world.log)
            .iter()
            .all(|event| event["verb"] != "watch" || event["stage"] == "ResponseStarted")
    );
}

#[tokio::test]
async fn refusals_impersonation_and_panics_are_told() {
    let home = tempfile::tempdir().unwrap();
    let (audit, log) = flags(&home, POLICY);
    let server = Server::start_with(|config| config.audit = audit).await;
    let pods = "/api/v1/namespaces/b/pods";
    assert_eq!(
        get(&server.with_token(Some("jane-token")).await, pods).await.code,
        403
    );
    let told = event(&log, pods, "list", "ResponseComplete").await;
    assert_eq!(told["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(told["responseStatus"]["reason"], "Forbidden");
    let pods = "/api/v1/namespaces/c/pods";
    assert_eq!(
        get(&server.with_token(Some("nobodys")).await, pods).await.code,
        401
    );
    let told = event(&log, pods, "list", "ResponseStarted").await;
    assert_eq!(told["user"], json!({}));
    assert_eq!(
        told["responseStatus"],
        json!({"metadata": {}, "code": 401, "message": "Authentication failed, attempted: bearer"})
    );
    let pods = "/api/v1/namespaces/a/pods";
    let asked = Request::get(pods)
        .header("impersonate-user", "jane")
        .header("x-forwarded-for", "198.51.100.7");
    send(&server.admin().await, asked.body(Body::empty()).unwrap()).await;
    let told = event(&log, pods, "list", "ResponseComplete").await;
    assert_eq!(told["user"]["username"], "kubernetes-admin");
    assert_eq!(told["impersonatedUser"]["username"], "jane");
    assert_eq!(
        told["authenticationMetadata"],
        json!({"impersonationConstraint": "impersonate:user-info"})
    );
    assert_eq!(told["sourceIPs"], json!(["198.51.100.7", "127.0.0.1"]));
    let reason = told["annotations"]["authorization.k8s.io/reason"]
        .as_str()
        .unwrap();
    assert!(reason.starts_with("RBAC: allowed by RoleBinding"), "{reason}");
    get(&server.admin().await, "/api/v1/panics").await;
    let told = event(&log, "/api/v1/panics", "list", "Panic").await;
    assert_eq!(told["responseStatus"]["message"], "APIServer panic'd: as asked");
}

#[tokio::test]
async fn the_legacy_format_is_a_line_of_words() {
    let home = tempfile::tempdir().unwrap();
    let (mut audit, log) = flags(
        &home,
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]",
    );
    audit.log.iter_mut().for_each(|log| log.format = Format::Legacy);
    let server = Server::start_with(|config| config.audit = audit).await;
    get(&server.admin().await, "/version").await;
    server.running.stop().await;
    let text = std::fs::read_to_string(log).unwrap();
    let line = text.lines().next().unwrap();
    assert!(
        line.contains(" AUDIT: id=\"") && line.ends_with("uri=\"/version\" response=\"<deferred>\""),
        "{line}"
    );
}

#[tokio::test]
async fn events_are_sent_to_a_server_in_lists() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (got, refused) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(1)));
    let taken = Arc::clone(&got);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (taken, refused) = (taken.clone(), refused.clone());
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let (taken, refused) = (taken.clone(), refused.clone());
                async move {
                    let uri = request.uri().to_string();
                    let body = request.into_body().collect().await?.to_bytes();
                    // The first list is not taken, so that it has to be sent again.
                    let code = if std::mem::take(&mut *refused.lock().unwrap()) == 1 {
                        500
                    } else {
                        200
                    };
                    if code == 200 {
                        let list: Value = serde_json::from_slice(&body).unwrap();
                        taken.lock().unwrap().push((uri, list));
                    }
                    let response = Response::builder()
                        .status(code)
                        .body(http_body_util::Empty::<bytes::Bytes>::new());
                    Ok::<_, hyper::Error>(response.unwrap())
                }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .map_err(drop)
            });
        }
    });
    let home = tempfile::tempdir().unwrap();
    let (mut audit, _) = flags(&home, POLICY);
    let kubeconfig = home.path().join("webhook.yaml");
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}/audit/events")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}]});
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    audit.log = None;
    audit.webhook = Some(WebhookFlags {
        initial_backoff: Duration::from_millis(1),
        limits: BatchLimits {
            max_wait: Duration::from_millis(1),
            ..BatchLimits::of_webhook()
        },
        ..WebhookFlags::new(kubeconfig)
    });
    let server = Server::start_with(|config| config.audit = audit).await;
    get(&server.admin().await, "/version").await;
    server.running.stop().await;
    let got = got.lock().unwrap();
    let (uri, list) = &got[0];
    assert_eq!(uri, "/audit/events?timeout=30s");
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("EventList"), &json!("audit.k8s.io/v1"))
    );
    assert_eq!(list["items"][0]["requestURI"], "/version");
}

/// Everything but what the server asks of itself, sent to a path at once.
fn to_webhook(home: &TempDir, taker: &Elsewhere, path: &str, mode: Mode) -> AuditFlags {
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, users: ['system:apiserver']}, {level: Metadata}]";
    let (mut audit, _) = flags(home, policy);
    let kubeconfig = home.path().join("webhook.yaml");
    std::fs::write(&kubeconfig, taker.kubeconfig(path)).unwrap();
    audit.log = None;
    audit.webhook = Some(WebhookFlags {
        initial_backoff: Duration::from_millis(1),
        mode,
        ..WebhookFlags::new(kubeconfig)
    });
    audit
}

/// Which stages of a request have been taken.
fn stages(taker: &Elsewhere, path: &str, uri: &str) -> Vec<Value> {
    let lists = taker.asked(path);
    let events = lists.iter().flat_map(|list| list["items"].as_array().unwrap());
    let of_request = events.filter(|event| event["requestURI"] == uri);
    of_request.map(|event| event["stage"].clone()).collect()
}

/// Each stage is recorded before the client sees what follows it: the head of a stream, and the end of an answer.
#[tokio::test]
async fn answers_wait_for_their_records_where_that_is_wanted() {
    let taker = Elsewhere::start(|_, _, _| (200, json!({}))).await;
    for (path, mode) in [("/blocking", Mode::Blocking), ("/strict", Mode::BlockingStrict)] {
        let home = tempfile::tempdir().unwrap();
        let audit = to_webhook(&home, &taker, path, mode);
        let (running, _home) =
            start_whole_with(Arc::new(ModelStore::new()), |config| config.audit = audit).await;
        let client = client_of(&running).await;
        let stages = |uri: &str| stages(&taker, path, uri);
        for uri in ["/version?one", "/api/v1/namespaces?one", "/apis/none/v1/nothing"] {
            get(&client, uri).await;
            assert_eq!(stages(uri), ["RequestReceived", "ResponseComplete"], "{uri}");
        }
        let uri = format!("{MAPS}?watch=true");
        let watch = Request::get(&uri).body(Body::empty()).unwrap();
        let watching = client.send(watch).await.unwrap();
        assert_eq!(stages(&uri), ["RequestReceived", "ResponseStarted"]);
        drop(watching);
        running.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_is_refused_where_that_is_strict() {
    let taker = Elsewhere::start(|_, _, _| (500, json!({}))).await;
    for (mode, code) in [(Mode::Blocking, 200), (Mode::BlockingStrict, 500)] {
        let home = tempfile::tempdir().unwrap();
        let audit = to_webhook(&home, &taker, "/", mode);
        let server = Server::start_with(|config| config.audit = audit).await;
        let answer = get(&server.admin().await, "/version").await;
        assert_eq!(answer.code, code, "{mode:?}");
        let refused = answer.text.contains("failed to store audit event");
        assert_eq!(refused, code == 500, "{}", answer.text);
    }
}
