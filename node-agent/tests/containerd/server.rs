//! The agent's own server: logs and streams.

use serde_json::json;

use crate::support::api::FakeApi;
use crate::support::cluster::{Agent, assign_range, is_ready, pod};
use crate::support::pki::Pki;
use crate::support::runtime::{Containerd, available};
use crate::{NS, log, wait_for_text};

/// One request over TLS from within the node's network: everything that comes back until the other end closes, or
/// until `enough` is seen.
fn ask(
    runtime: &Containerd,
    tls: tokio_rustls::TlsConnector,
    request: String,
    enough: &'static [u8],
) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let network = format!("/proc/{}/ns/net", runtime.pid());
    let thread = std::thread::spawn(move || {
        let file = std::fs::File::open(network).unwrap();
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", 10250))
                .await
                .unwrap();
            let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
            let mut stream = tls.connect(name, stream).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut seen = Vec::new();
            let read = async {
                let mut chunk = [0; 4096];
                loop {
                    let count = stream.read(&mut chunk).await.unwrap_or(0);
                    seen.extend_from_slice(&chunk[..count]);
                    if count == 0 || (!enough.is_empty() && seen.windows(enough.len()).any(|w| w == enough)) {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(std::time::Duration::from_secs(20), read).await;
            seen
        })
    });
    thread.join().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_streams_go_through_the_server() {
    if !available() {
        return;
    }
    let pki = Pki::new();
    let api = FakeApi::new();
    let runtime = Containerd::start("server").await;
    let _agent = Agent::start(&api, &runtime, Some(pki.serving()));
    assign_range(&api).await;
    api.put("pods", pod("talk", &["say", "good morning"], json!({})));
    let talk = api
        .wait_for("pod runs", "pods", NS, "talk", is_ready)
        .await
        .unwrap();
    wait_for_text(|| log(&runtime, &talk, "c", 0), "good morning").await;
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: node\r\n{more}\r\n");
    let close = "Connection: close\r\n";
    let allowed = || pki.client(Some("kube-apiserver-kubelet-client"));
    for (client, want) in [
        (pki.client(None), "401"),
        (pki.client(Some("somebody")), "403"),
        (allowed(), "200"),
    ] {
        let seen = ask(&runtime, client, get("/healthz", close), b"");
        assert!(
            seen.starts_with(format!("HTTP/1.1 {want}").as_bytes()),
            "{}",
            String::from_utf8_lossy(&seen)
        );
    }
    let logs = ask(
        &runtime,
        allowed(),
        get("/containerLogs/default/talk/c?tailLines=1", close),
        b"",
    );
    assert!(String::from_utf8_lossy(&logs).contains("good morning"));
    let none = ask(
        &runtime,
        allowed(),
        get("/containerLogs/default/talk/c?previous=true", close),
        b"",
    );
    assert!(
        String::from_utf8_lossy(&none)
            .contains("previous terminated container \"c\" in pod \"talk\" not found")
    );
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n";
    let path = "/exec/default/talk/c?command=/work&command=env&output=1&error=1";
    let seen = ask(&runtime, allowed(), get(path, websocket), b"\"Success\"");
    let text = String::from_utf8_lossy(&seen);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}");
    assert!(text.contains("HOSTNAME=talk"), "{text}");
    assert!(text.contains("\"Success\""), "{text}");
}
