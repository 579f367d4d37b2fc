//! A group version that another server answers for, over TLS on loopback, behind a Service that names this machine.

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_apiserver::Running;
use coracle_apiserver::request::UserInfo;
use coracle_store::model::ModelStore;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::client::Body;
use kube::runtime::wait::await_condition;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::stand_in::{get, post, send, start_whole};

const GROUP: &str = "wardle.example.com";
const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

/// An extension server that takes nobody but the front proxy.
struct Extension {
    port: u16,
    authority: String,
    running: JoinHandle<()>,
}

impl Drop for Extension {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Extension {
    async fn start(front_proxy_ca: RootCertStore) -> Self {
        let own = rcgen::generate_simple_self_signed(["api.wardle.svc".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(front_proxy_ca), provider.clone());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let running = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(answer));
                    let _ = connection.with_upgrades().await;
                });
            }
        });
        Self {
            port,
            authority: STANDARD.encode(own.cert.pem()),
            running,
        }
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let own = format!("/apis/{GROUP}/v1alpha1");
    let document = |value: Value| Response::new(Full::new(Bytes::from(value.to_string())));
    Ok(match path.strip_prefix(&own) {
        Some("") => document(json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": "wardle.example.com/v1alpha1", "resources": [
                {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                    "verbs": ["create", "get", "list"]}]})),
        Some(rest) if rest.ends_with("/moved") => {
            let moved = Response::builder()
                .status(302)
                .header(header::LOCATION, "https://elsewhere.example.com/");
            moved.body(Full::new(Bytes::new())).unwrap()
        }
        Some(rest) if rest.ends_with("/stream") => {
            if request
                .headers()
                .get(header::UPGRADE)
                .is_none_or(|protocol| protocol != "SPDY/3.1")
            {
                let refusal = Response::builder().status(403);
                return Ok(refusal
                    .body(Full::new(Bytes::from_static(b"not that protocol")))
                    .unwrap());
            }
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgraded.await.unwrap());
                let mut four = [0; 4];
                stream.read_exact(&mut four).await.unwrap();
                stream.write_all(&four).await.unwrap();
            });
            let switched = Response::builder()
                .status(101)
                .header(header::UPGRADE, "SPDY/3.1");
            let switched = switched.header(header::CONNECTION, "Upgrade");
            switched.body(Full::new(Bytes::new())).unwrap()
        }
        Some(_) => echo(request).await,
        None if path == "/openapi/v3" => {
            let url = format!("/openapi/v3{own}?hash=ABC");
            document(
                json!({"paths": {&own[1..]: {"serverRelativeURL": url}, "apis/other/v1": {"serverRelativeURL": "/x"}}}),
            )
        }
        None if path == "/openapi/v2" => {
            let flunder = json!({"type": "object", "properties": {"metadata": {"$ref": "#/definitions/meta"}},
                "x-kubernetes-group-version-kind": [{"group": GROUP, "version": "v1alpha1", "kind": "Flunder"}]});
            document(
                json!({"swagger": "2.0", "paths": {format!("{own}/flunders"): {"get": {"operationId": "listFlunders",
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/flunder"}}}}}},
                "definitions": {"flunder": flunder, "meta": {"type": "object"}, "unused": {"type": "object"}}}),
            )
        }
        None if path == format!("/openapi/v3{own}") => document(json!({"openapi": "3.0.0", "of": "wardle"})),
        None => Response::builder()
            .status(404)
            .body(Full::new(Bytes::new()))
            .unwrap(),
    })
}

/// What arrived.
async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let mut headers = serde_json::Map::new();
    for name in head.headers.keys() {
        let values = head.headers.get_all(name).iter();
        let values: Vec<_> = values.map(|value| value.to_str().unwrap_or_default()).collect();
        headers.insert(name.to_string(), json!(values));
    }
    let body = body.collect().await.unwrap().to_bytes();
    let seen = json!({"method": head.method.as_str(), "target": head.uri.to_string(), "headers": headers,
        "body": String::from_utf8_lossy(&body)});
    Response::new(Full::new(seen.to_string().into()))
}

/// A cluster with an extension server that answers for a group version.
struct Cluster {
    running: Running,
    extension: Extension,
    _home: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let (running, home) = start_whole(Arc::new(ModelStore::new())).await;
        let mut roots = RootCertStore::empty();
        let authority = running
            .pki()
            .lock()
            .await
            .authorities()
            .front_proxy_ca()
            .certificate_der()
            .clone();
        roots.add(authority).unwrap();
        let extension = Extension::start(roots).await;
        Self {
            running,
            extension,
            _home: home,
        }
    }

    fn root(&self) -> kube::Client {
        self.running.client(UserInfo {
            name: "root".to_owned(),
            uid: "7".to_owned(),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
            extra: [("scopes".to_owned(), vec!["all".to_owned()])].into(),
        })
    }

    async fn create(&self, path: &str, object: Value) {
        let made = post(&self.root(), path, &object).await;
        assert_eq!(made.code, 201, "{}", made.text);
    }

    async fn register(&self) {
        let spec = json!({"group": GROUP, "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
            "caBundle": self.extension.authority,
            "service": {"namespace": "wardle", "name": "api", "port": self.extension.port}});
        let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1alpha1.wardle.example.com"}, "spec": spec});
        self.create(API_SERVICES, service).await;
    }

    async fn add_service(&self) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "wardle"}});
        self.create("/api/v1/namespaces", namespace).await;
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"},
            "spec": {"type": "ExternalName", "externalName": "localhost"}});
        self.create("/api/v1/namespaces/wardle/services", service).await;
    }

    /// Waits until the condition of an APIService has a reason.
    async fn wait(&self, name: &str, reason: &str) {
        let api: kube::Api<APIService> = kube::Api::all(self.root());
        let has_reason = |service: Option<&APIService>| {
            let status = service.and_then(|service| service.status.as_ref());
            let conditions = status.and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.reason.as_deref() == Some(reason)))
        };
        let found = await_condition(api, name, has_reason);
        let limit = std::time::Duration::from_secs(30);
        tokio::time::timeout(limit, found).await.expect(reason).unwrap();
    }
}

#[tokio::test]
async fn a_server_is_available_once_it_answers_and_until_it_goes() {
    let cluster = Cluster::start().await;
    cluster.wait("v1.apps", "Local").await;
    cluster.register().await;
    cluster
        .wait("v1alpha1.wardle.example.com", "ServiceNotFound")
        .await;
    let early = get(&cluster.root(), FLUNDERS).await;
    assert_eq!((early.code, early.text.as_str()), (503, "service unavailable\n"));
    cluster.add_service().await;
    cluster.wait("v1alpha1.wardle.example.com", "Passed").await;
    assert_eq!(get(&cluster.root(), FLUNDERS).await.code, 200);
    let service = Request::delete("/api/v1/namespaces/wardle/services/api");
    let gone = send(&cluster.root(), service.body(Body::empty()).unwrap()).await;
    assert_eq!(gone.code, 200, "{}", gone.text);
    cluster
        .wait("v1alpha1.wardle.example.com", "ServiceNotFound")
        .await;
    cluster.running.stop().await;
}

#[tokio::test]
async fn requests_are_passed_on_in_the_name_of_their_sender() {
    let cluster = Cluster::start().await;
    cluster.add_service().await;
    cluster.register().await;
    cluster.wait("v1alpha1.wardle.example.com", "Passed").await;
    let asked = Request::post(format!("{FLUNDERS}?fieldManager=a+b&x="))
        .header("x-remote-user", "somebody")
        .header("x-remote-extra-evil", "1")
        .header("authorization", "Bearer secret")
        .header("content-type", "application/json");
    let echoed = send(&cluster.root(), asked.body(Body::from(b"{}".to_vec())).unwrap()).await;
    let seen = echoed.json();
    assert_eq!(
        (seen["method"].as_str(), seen["body"].as_str()),
        (Some("POST"), Some("{}"))
    );
    assert_eq!(seen["target"], format!("{FLUNDERS}?fieldManager=a+b&x="));
    let headers = &seen["headers"];
    assert_eq!(headers["x-remote-user"], json!(["root"]));
    assert_eq!(headers["x-remote-uid"], json!(["7"]));
    assert_eq!(
        headers["x-remote-group"],
        json!(["system:masters", "system:authenticated"])
    );
    assert_eq!(headers["x-remote-extra-scopes"], json!(["all"]));
    assert!(headers.get("authorization").is_none() && headers.get("x-remote-extra-evil").is_none());
    let moved = get(&cluster.root(), &format!("{FLUNDERS}/a/moved")).await;
    let why = "the backend attempted to redirect this request, which is not permitted";
    assert_eq!(
        (
            moved.code,
            moved.text.as_str(),
            moved.headers.get(header::LOCATION)
        ),
        (502, why, None)
    );
    cluster.running.stop().await;
}

#[tokio::test]
async fn streams_are_joined_where_the_server_agrees_and_only_there() {
    let cluster = Cluster::start().await;
    cluster.add_service().await;
    cluster.register().await;
    cluster.wait("v1alpha1.wardle.example.com", "Passed").await;
    let asking = |protocol: &str, path: &str| {
        Request::get(format!("{FLUNDERS}/{path}"))
            .header(header::HOST, "localhost")
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, protocol)
            .body(Body::empty())
            .unwrap()
    };
    let mut switched = cluster.root().send(asking("SPDY/3.1", "a/stream")).await.unwrap();
    assert_eq!(switched.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut switched).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
    let refused = send(&cluster.root(), asking("websocket", "a/stream")).await;
    assert_eq!((refused.code, refused.text.as_str()), (403, "not that protocol"));
    assert_eq!(
        send(&cluster.root(), asking("SPDY/3.1", "a/moved")).await.code,
        502
    );
    cluster.running.stop().await;
}

#[tokio::test]
async fn discovery_and_schemas_tell_of_other_servers_too() {
    let cluster = Cluster::start().await;
    cluster.add_service().await;
    cluster.register().await;
    cluster.wait("v1alpha1.wardle.example.com", "Passed").await;
    let root = cluster.root();
    let groups = get(&root, "/apis").await.json();
    let named: Vec<_> = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| &group["name"])
        .collect();
    assert_eq!(*named.last().unwrap(), GROUP);
    assert_eq!(
        get(&root, "/apis/wardle.example.com").await.json()["versions"][0]["version"],
        "v1alpha1"
    );
    let resources = get(&root, "/apis/wardle.example.com/v1alpha1").await.json();
    assert_eq!(resources["resources"][0]["name"], "flunders");
    let all = Request::get("/apis").header(
        header::ACCEPT,
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    );
    let all = send(&root, all.body(Body::empty()).unwrap()).await.json();
    let last = all["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["metadata"]["name"], GROUP);
    assert_eq!(
        last["versions"][0]["resources"][0]["responseKind"]["kind"],
        "Flunder"
    );
    let index = get(&root, "/openapi/v3").await.json();
    let place = &index["paths"]["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"];
    assert_eq!(place, "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=ABC");
    assert!(index["paths"]["apis/apps/v1"].is_object() && index["paths"].get("apis/other/v1").is_none());
    assert_eq!(get(&root, place.as_str().unwrap()).await.json()["of"], "wardle");
    let spec = get(&root, "/openapi/v2").await.json();
    assert_eq!(
        spec["paths"]["/apis/wardle.example.com/v1alpha1/flunders"]["get"]["operationId"],
        "listFlunders"
    );
    let definitions = &spec["definitions"];
    assert!(definitions["flunder"].is_object() && definitions["io.k8s.api.apps.v1.Deployment"].is_object());
    assert!(definitions.get("unused").is_none());
    let path = format!("{API_SERVICES}/v1alpha1.wardle.example.com");
    send(&root, Request::delete(path).body(Body::empty()).unwrap()).await;
    assert_eq!(get(&root, "/apis/wardle.example.com").await.code, 404);
    assert_eq!(get(&root, FLUNDERS).await.code, 404);
    cluster.running.stop().await;
}

#[tokio::test]
async fn extension_servers_learn_whom_to_believe() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let data = get(&cluster.root(), path).await.json()["data"].clone();
    let pki = cluster.running.pki();
    let pki = pki.lock().await;
    assert_eq!(data["client-ca-file"], pki.ca().certificate_pem());
    assert_eq!(
        data["requestheader-client-ca-file"],
        pki.authorities().front_proxy_ca().certificate_pem()
    );
    assert_eq!(data["requestheader-allowed-names"], "[\"front-proxy-client\"]");
    drop(pki);
    cluster.running.stop().await;
}
