//! The calls to a key service: gRPC over a unix socket, each within the time that the configuration gives it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::wire::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, EncryptedObject, StatusRequest,
    StatusResponse,
};

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Fault(Status);

impl fmt::Display for Fault {
    /// As Go's gRPC prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.0.code() {
            Code::Ok => "OK".to_owned(),
            Code::Cancelled => "Canceled".to_owned(),
            other => format!("{other:?}"),
        };
        write!(f, "rpc error: code = {code} desc = {}", self.0.message())
    }
}

/// A key service's socket.
pub(super) struct Service {
    channel: Channel,
    timeout: Duration,
}

impl Service {
    /// Nothing is connected yet.
    pub(super) fn new(socket: String, timeout: Duration) -> Self {
        let socket: Arc<str> = socket.into();
        // The authority is not used on a unix socket, but HTTP/2 wants one.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let socket = Arc::clone(&socket);
                async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(&*socket).await?)) }
            }),
        );
        Self { channel, timeout }
    }

    pub(super) async fn status(&self) -> Result<StatusResponse, Fault> {
        self.call("/v2.KeyManagementService/Status", StatusRequest {})
            .await
    }

    pub(super) async fn encrypt(&self, plaintext: &[u8], uid: String) -> Result<EncryptResponse, Fault> {
        let request = EncryptRequest {
            plaintext: plaintext.to_vec(),
            uid,
        };
        self.call("/v2.KeyManagementService/Encrypt", request).await
    }

    pub(super) async fn decrypt(&self, stored: &EncryptedObject, uid: String) -> Result<Vec<u8>, Fault> {
        let request = DecryptRequest {
            ciphertext: stored.encrypted_dek_source.clone(),
            uid,
            key_id: stored.key_id.clone(),
            annotations: stored.annotations.clone(),
        };
        let answer: DecryptResponse = self.call("/v2.KeyManagementService/Decrypt", request).await?;
        Ok(answer.plaintext)
    }

    async fn call<M, A>(&self, method: &'static str, message: M) -> Result<A, Fault>
    where
        M: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        let exchange = async {
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = ProstCodec::<M, A>::default();
            grpc.unary(Request::new(message), PathAndQuery::from_static(method), codec)
                .await
        };
        let answer = tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded")));
        answer.map(tonic::Response::into_inner).map_err(Fault)
    }
}
