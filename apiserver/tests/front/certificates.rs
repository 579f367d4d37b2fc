//! Certificates that come due while the server runs: exchanged without a restart, for those who call it and for those whom
//! it calls, and nobody is cut off.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coracle_apiserver::pki::{Pki, ServerNames};
use jiff::{Timestamp, ToSpan};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::kubelet;
use crate::stand_in::{Answer, Server, get, policy};

const WHOAMI: &str = "/api/v1/namespaces/a/pods/whoami/log";

/// Long enough for a server to start before its certificates come due.
const UNTIL_DUE: i64 = 3;

/// Keys and certificates as a server made them two thirds of a year ago, due in a few seconds.
fn make_nearly_due(directory: &Path) {
    let names = ServerNames::of_cluster("cluster.local", IpAddr::from([10, 96, 0, 1]));
    let now = Timestamp::now();
    let pki = Pki::open(directory, &names, now).unwrap();
    let due_after = {
        // The moment from which the fresh leaf counts as due, found by halving.
        let (mut fresh, mut due) = (0, pki.serving().not_after().as_second() - now.as_second());
        while due - fresh > 1 {
            let middle = fresh.midpoint(due);
            if pki.serving().is_due(now + middle.seconds()) {
                due = middle;
            } else {
                fresh = middle;
            }
        }
        due
    };
    std::fs::remove_dir_all(directory).unwrap();
    Pki::open(directory, &names, now - (due_after - UNTIL_DUE).seconds()).unwrap();
}

/// A server on such certificates, with a node agent to call.
async fn server() -> Server {
    let home = tempfile::tempdir().unwrap();
    make_nearly_due(&home.path().join("pki"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pod = json!({"metadata": {"name": "whoami", "namespace": "a"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]}});
    let objects = policy()
        .with("", "nodes", kubelet::node(listener.local_addr().unwrap().port()))
        .with("", "pods", pod);
    let server = Server::start_in(home, objects, |config| {
        config.look_at_certificates = Duration::from_millis(50);
        config.kubelet_certificate_authority = Some(config.data_dir.join("pki/ca.crt"));
    })
    .await;
    kubelet::serve(listener, &server).await;
    server
}

/// The certificate that a new connection is shown, verified with the cluster's authority.
async fn shown(server: &Server) -> CertificateDer<'static> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(server.home.path().join("pki/ca.crt")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.running.addresses()[0]).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test]
async fn a_running_server_exchanges_what_is_due() {
    let server = server().await;
    let before = shown(&server).await;
    let old = server.admin().await;
    let called_as = async |client: &kube::Client| -> Answer { get(client, WHOAMI).await };
    let called_before = called_as(&old).await;
    assert_eq!(called_before.code, 200, "{}", called_before.text);
    let kubeconfig = || std::fs::read_to_string(server.running.admin_kubeconfig()).unwrap();

    let exchanged = async {
        while shown(&server).await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), exchanged)
        .await
        .expect("another certificate is shown");

    let file = CertificateDer::from_pem_file(server.home.path().join("pki/apiserver.crt")).unwrap();
    assert_eq!(shown(&server).await, file, "what is shown is what is kept");
    assert_eq!(
        get(&old, "/api/v1/pods").await.code,
        200,
        "who was connected still is"
    );
    let called_after = called_as(&old).await;
    assert_eq!(called_after.code, 200, "{}", called_after.text);
    assert_ne!(
        called_after.text, called_before.text,
        "node agents see another certificate"
    );
    assert_eq!(get(&server.admin().await, "/api/v1/pods").await.code, 200);
    let kept = kubeconfig();
    let later = shown(&server).await;
    assert_eq!((later, kubeconfig()), (file, kept), "what is fresh is left alone");
    server.running.stop().await;
}
