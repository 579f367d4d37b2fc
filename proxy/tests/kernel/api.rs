//! An API that the test plays, and a proxy that follows it.

use std::thread;

use bytes::Bytes;
use coracle_proxy::Config;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::net::Net;

/// Services and slices as an API server would serve them.
#[derive(Clone, Default)]
pub(crate) struct Objects {
    version: u32,
    services: Vec<Value>,
    slices: Vec<Value>,
}

impl Objects {
    /// Services of namespace `ns`, all with the same endpoints.
    pub(crate) fn of(version: u32, services: &[(&str, Value)], endpoints: &[&str]) -> Self {
        let mut objects = Self {
            version,
            ..Self::default()
        };
        for (name, spec) in services {
            let metadata =
                json!({"namespace": "ns", "name": name, "labels": {"kubernetes.io/service-name": name}});
            objects.services.push(json!({"metadata": metadata, "spec": spec}));
            let endpoints: Vec<Value> = endpoints
                .iter()
                .map(|address| json!({"addresses": [address], "nodeName": "node"}))
                .collect();
            objects
                .slices
                .push(json!({"metadata": metadata, "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints}));
        }
        objects
    }

    fn list(&self, path: &str) -> Value {
        let (kind, api_version, items) = match path.ends_with("/services") {
            true => ("ServiceList", "v1", &self.services),
            false => ("EndpointSliceList", "discovery.k8s.io/v1", &self.slices),
        };
        json!({"kind": kind, "apiVersion": api_version, "items": items,
               "metadata": {"resourceVersion": self.version.to_string()}})
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// Lists what is there; a watch ends with "gone" as soon as that changed, so that the client lists anew.
fn respond(mut objects: watch::Receiver<Objects>, request: &Request<kube::client::Body>) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    if !query.contains("watch=true") {
        let list = objects.borrow().list(request.uri().path()).to_string();
        return Response::new(Full::from(list).map_err(|never| match never {}).boxed_unsync());
    }
    let seen = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("resourceVersion="))
        .unwrap()
        .to_owned();
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": 410,
                      "status": "Failure", "reason": "Expired", "message": "too old resource version"}});
    let event = async move {
        let changed = objects
            .wait_for(|objects| objects.version.to_string() != seen)
            .await;
        changed.map_err(std::io::Error::other)?;
        Ok(Frame::data(Bytes::from(format!("{gone}\n"))))
    };
    Response::new(StreamBody::new(stream::once(event)).boxed_unsync())
}

/// A proxy inside the node that follows the test's objects.
pub(crate) struct RunningProxy {
    pub(crate) objects: watch::Sender<Objects>,
    shutdown: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl RunningProxy {
    pub(crate) fn start(net: &Net) -> Self {
        let (objects, served) = watch::channel(Objects::default());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let cidr = "10.244.0.0/16".parse().unwrap();
        let config = Config::new("node", vec!["192.0.2.1".parse().unwrap()], vec![cidr]);
        let thread = net.within("node", move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let service = tower::service_fn(move |request| {
                    std::future::ready(Ok::<_, std::io::Error>(respond(served.clone(), &request)))
                });
                coracle_proxy::run(Client::new(service, "default"), config, stop)
                    .await
                    .unwrap();
            });
        });
        Self {
            objects,
            shutdown,
            thread: Some(thread),
        }
    }

    pub(crate) fn stop(mut self) {
        self.shutdown.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
