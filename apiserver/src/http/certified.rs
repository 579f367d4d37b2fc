//! The front as it answers connections: whoever greets with a certificate is known by it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::listener::Answering;
use super::{Front, Origin};
use crate::authn::ClientCertificates;
use crate::request::{RequestBody, ResponseBody};

/// See the module.
#[derive(Clone)]
pub struct CertifiedFront {
    /// Answers.
    pub front: Front,
    /// Says what a peer's certificate is worth.
    pub certificates: Arc<ClientCertificates>,
}

impl Answering for CertifiedFront {
    type Caller = (Origin, Option<SocketAddr>);
    type Body = ResponseBody;

    fn caller(&self, stream: &TlsStream<TcpStream>) -> Self::Caller {
        let (socket, session) = stream.get_ref();
        let identity = self
            .certificates
            .identify(session.peer_certificates(), Timestamp::now());
        (
            Origin::Connection(identity.map(Arc::new)),
            socket.peer_addr().ok(),
        )
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        (origin, peer): Self::Caller,
    ) -> Response<ResponseBody> {
        self.front
            .handle_from(request.map(RequestBody::new), origin, peer)
            .await
    }
}
