//! Answers to load balancers that ask a node whether it has endpoints of a service (`healthCheckNodePort`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::facts::cidr::Family;
use crate::facts::endpoint::Endpoints;
use crate::facts::service::{ServiceName, Services};

/// Connections that one port serves at a time.
const MOST_CONNECTIONS: usize = 64;

/// Time for a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A port to answer on, and what to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The service's `healthCheckNodePort`.
    pub port: u16,
    /// Ready endpoints on this node.
    pub local_endpoints: usize,
}

/// The health checks that services ask for. Endpoints of several ports of a service on one address count once.
pub fn health_checks(services: &Services, endpoints: &Endpoints) -> BTreeMap<ServiceName, HealthCheck> {
    let mut checks = BTreeMap::new();
    let mut local: BTreeMap<&ServiceName, std::collections::BTreeSet<IpAddr>> = BTreeMap::new();
    for (name, port) in services {
        let Some(check_port) = port.health_check_node_port else {
            continue;
        };
        let found = endpoints.get(name).into_iter().flatten();
        let found = found.filter(|endpoint| endpoint.local && endpoint.ready);
        let addresses = local.entry(&name.service).or_default();
        addresses.extend(found.map(|endpoint| endpoint.address.ip()));
        let check = HealthCheck {
            port: check_port,
            local_endpoints: addresses.len(),
        };
        checks.insert(name.service.clone(), check);
    }
    checks
}

/// The answer, as kube-proxy gives it: 200 with endpoints, 503 without.
fn answer(service: &ServiceName, local_endpoints: usize) -> Response<Full<Bytes>> {
    let body = serde_json::json!({
        "service": {"namespace": service.namespace, "name": service.name},
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": true,
    });
    let mut response = Response::new(Full::from(body.to_string()));
    if local_endpoints == 0 {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    headers.insert(
        X_CONTENT_TYPE_OPTIONS,
        hyper::header::HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        "x-load-balancing-endpoint-weight",
        hyper::header::HeaderValue::from(local_endpoints),
    );
    response
}

/// The listening servers, one for each service that asks.
pub(crate) struct HealthServers {
    family: Family,
    running: BTreeMap<ServiceName, Server>,
    tasks: TaskTracker,
}

struct Server {
    port: u16,
    local_endpoints: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl HealthServers {
    pub(crate) fn new(family: Family) -> Self {
        Self {
            family,
            running: BTreeMap::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Makes the running servers those that are wanted. A port that is taken is reported and tried again with the next
    /// change.
    pub(crate) async fn update(&mut self, wanted: BTreeMap<ServiceName, HealthCheck>) {
        self.running
            .retain(|name, server| wanted.get(name).is_some_and(|check| check.port == server.port));
        for (service, check) in wanted {
            if let Some(server) = self.running.get(&service) {
                server
                    .local_endpoints
                    .store(check.local_endpoints, Ordering::Relaxed);
                continue;
            }
            let address: IpAddr = match self.family {
                Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
                Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
            };
            match TcpListener::bind(SocketAddr::new(address, check.port)).await {
                Ok(listener) => self.start(service, &check, listener),
                Err(error) => {
                    warn!(%service, port = check.port, %error, "health check port cannot be opened")
                }
            }
        }
    }

    fn start(&mut self, service: ServiceName, check: &HealthCheck, listener: TcpListener) {
        let local_endpoints = Arc::new(AtomicUsize::new(check.local_endpoints));
        let stop = CancellationToken::new();
        let serving = serve(
            listener,
            service.clone(),
            local_endpoints.clone(),
            self.tasks.clone(),
            stop.clone(),
        );
        let ended = stop.clone();
        self.tasks
            .spawn(async move { ended.run_until_cancelled(serving).await });
        self.running.insert(
            service,
            Server {
                port: check.port,
                local_endpoints,
                stop,
            },
        );
    }

    /// Closes all ports and waits for the last answer.
    pub(crate) async fn close(mut self) {
        self.running.clear();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn serve(
    listener: TcpListener,
    service: ServiceName,
    local_endpoints: Arc<AtomicUsize>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let place = places
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%service, %error, "health check connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (service, local_endpoints, stop) = (service.clone(), local_endpoints.clone(), stop.clone());
        tasks.spawn(async move {
            let respond = service_fn(move |_| {
                let response = answer(&service, local_endpoints.load(Ordering::Relaxed));
                std::future::ready(Ok::<_, Infallible>(response))
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .keep_alive(false);
            // A peer that hangs up or talks nonsense is its own affair.
            let _ = stop
                .run_until_cancelled(server.serve_connection(TokioIo::new(stream), respond))
                .await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_node_without_endpoints_is_unavailable() {
        let service = ServiceName {
            namespace: "ns".into(),
            name: "web".into(),
        };
        assert_eq!(answer(&service, 0).status(), StatusCode::SERVICE_UNAVAILABLE);
        let response = answer(&service, 2);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-load-balancing-endpoint-weight"], "2");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["service"]["name"], "web");
        assert_eq!(body["localEndpoints"], 2);
    }
}
