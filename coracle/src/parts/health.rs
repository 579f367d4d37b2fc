//! `/healthz`, `/livez` and `/readyz` of a part that is a process of its own, where upstream's programs have them.
//!
//! Whoever asks is answered whether the part runs, as upstream's `--authorization-always-allow-paths` has it; nothing else is
//! shown to anybody.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use coracle_apiserver::components::Alive;
use coracle_apiserver::http::{Answering, Connections, ListenerLimits, Listeners};
use coracle_apiserver::pki::ServingCertificate;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For how long a caller may take over a handshake and over a request's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many are answered at a time.
const CONNECTIONS_MAX: usize = 64;
/// For how long a part that ends waits for answers under way.
const GRACE: Duration = Duration::from_secs(1);

/// Where a part tells how it is, in upstream's flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct HealthFlags {
    /// The address at which it is told how this part is
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    /// The port there, with TLS; 0 for none [default: upstream's: 10257 for controllers, 10259 for the scheduler]
    #[arg(long)]
    secure_port: Option<u16>,
    /// The certificate that callers are greeted with, in PEM; one that is signed by nobody by default
    #[arg(long, requires = "tls_private_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "tls_cert_file")]
    tls_private_key_file: Option<PathBuf>,
}

/// A part's door, open before the part begins, so that a taken port is known at once.
pub(crate) struct Door {
    socket: TcpListener,
    tls: TlsAcceptor,
    part: Part,
}

/// What is asked about.
#[derive(Clone)]
struct Part {
    name: &'static str,
    alive: Alive,
}

impl Answering for Part {
    type Caller = ();
    type Body = String;

    fn caller(&self, _: &TlsStream<TcpStream>) {}

    async fn answer(&self, request: Request<Incoming>, (): ()) -> Response<String> {
        answer(self.name, self.alive.get(), &request)
    }
}

impl Door {
    /// Opens it; none where the flags want none.
    ///
    /// # Errors
    /// When the port is taken or the certificate cannot be used.
    pub(crate) async fn open(
        flags: &HealthFlags,
        part: &'static str,
        default_port: u16,
        alive: &Alive,
    ) -> Result<Option<Self>> {
        let port = flags.secure_port.unwrap_or(default_port);
        if port == 0 {
            return Ok(None);
        }
        let address = SocketAddr::new(flags.bind_address, port);
        let socket = TcpListener::bind(address).await;
        let socket = socket.with_context(|| {
            format!("cannot listen at {address}; choose another --secure-port, or 0 for none")
        })?;
        Ok(Some(Self {
            socket,
            tls: TlsAcceptor::from(Arc::new(greeting(flags)?)),
            part: Part {
                name: part,
                alive: alive.clone(),
            },
        }))
    }

    /// Answers until shutdown.
    ///
    /// # Errors
    /// Where the system does not say at which address it listens.
    pub(crate) async fn keep(self, shutdown: CancellationToken) -> Result<()> {
        let tasks = TaskTracker::new();
        let limits = ListenerLimits {
            handshake: PATIENCE,
            headers: PATIENCE,
            connections: CONNECTIONS_MAX,
            ..ListenerLimits::default()
        };
        Listeners::of(self.socket)?.serve(&Connections {
            answering: self.part,
            tls: self.tls,
            limits,
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        });
        shutdown.cancelled().await;
        tasks.close();
        // Who has not been answered by then does not keep the part from ending.
        let _ = timeout(GRACE, tasks.wait()).await;
        Ok(())
    }
}

fn greeting(flags: &HealthFlags) -> Result<rustls::ServerConfig> {
    let (chain, key) = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(chain), Some(key)) => (super::node::read(chain)?, super::node::read(key)?),
        _ => {
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let made = rcgen::generate_simple_self_signed(names)?;
            (made.cert.pem(), made.signing_key.serialize_pem())
        }
    };
    let certificate = ServingCertificate::new(&chain, &key)
        .context("cannot use the certificate that callers are greeted with")?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What is answered about a part that runs, or does not. Pure.
fn answer<B>(part: &str, alive: bool, request: &Request<B>) -> Response<String> {
    let path = request.uri().path();
    let mut steps = path.trim_start_matches('/').splitn(2, '/');
    let (question, check) = (steps.next().unwrap_or_default(), steps.next());
    if !matches!(question, "healthz" | "livez" | "readyz") {
        return refused(request);
    }
    let checks = [("ping", true), (part, alive)];
    let asked: Vec<(&str, bool)> = match check {
        None | Some("") => checks.to_vec(),
        Some(name) => checks.into_iter().filter(|(known, _)| *known == name).collect(),
    };
    if asked.is_empty() {
        return text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
    }
    let well = asked.iter().all(|(_, well)| *well);
    let query = request.uri().query().unwrap_or_default();
    let verbose = query
        .split('&')
        .any(|pair| pair.split('=').next() == Some("verbose"));
    if well && !verbose {
        return text(StatusCode::OK, "ok".to_owned());
    }
    let mut told = String::new();
    for (name, well) in &asked {
        let line = match well {
            true => writeln!(told, "[+]{name} ok"),
            false => writeln!(told, "[-]{name} failed: reason withheld"),
        };
        line.expect("writing to a String does not fail");
    }
    if well {
        text(StatusCode::OK, format!("{told}{question} check passed\n"))
    } else {
        text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{told}{question} check failed\n"),
        )
    }
}

/// Nobody is known here, so nobody may see anything else.
fn refused<B>(request: &Request<B>) -> Response<String> {
    let verb = match *request.method() {
        Method::GET => "get".to_owned(),
        ref other => other.as_str().to_lowercase(),
    };
    let error = if request.headers().contains_key(header::AUTHORIZATION) {
        ApiError::unauthorized("Unauthorized")
    } else {
        let path = quote(request.uri().path());
        let why = format!("User \"system:anonymous\" cannot {verb} path {path}");
        ApiError::forbidden("", "", "", &why)
    };
    let code = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = text(code, error.to_status().to_string());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn text(code: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn it_is_told_how_a_part_is_and_nothing_else() {
        let asked = |target: &str, alive: bool| {
            let request = Request::get(target).body(()).unwrap();
            let response = answer("kube-scheduler", alive, &request);
            (response.status().as_u16(), response.into_body())
        };
        assert_eq!(asked("/healthz", true), (200, "ok".to_owned()));
        assert_eq!(
            asked("/readyz?verbose", true),
            (
                200,
                "[+]ping ok\n[+]kube-scheduler ok\nreadyz check passed\n".to_owned()
            )
        );
        assert_eq!(
            asked("/livez", false),
            (
                500,
                "[+]ping ok\n[-]kube-scheduler failed: reason withheld\nlivez check failed\n".to_owned()
            )
        );
        assert_eq!(asked("/livez/ping", false), (200, "ok".to_owned()));
        assert_eq!(asked("/livez/none", true).0, 404);
        let (code, body) = asked("/metrics", true);
        assert_eq!(code, 403);
        assert!(
            body.contains("forbidden: User \\\"system:anonymous\\\" cannot get path \\\"/metrics\\\""),
            "{body}"
        );
    }

    #[tokio::test]
    async fn a_door_is_opened_where_one_is_wanted() {
        let flags = HealthFlags {
            bind_address: IpAddr::from([127, 0, 0, 1]),
            secure_port: None,
            tls_cert_file: None,
            tls_private_key_file: None,
        };
        let unwanted = Door::open(&flags, "kube-scheduler", 0, &Alive::default())
            .await
            .unwrap();
        assert!(unwanted.is_none());
    }

    /// A door that is open, and what its certificate is verified with.
    async fn door(dir: &std::path::Path, alive: &Alive) -> (Door, rustls::RootCertStore) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (dir.join("cert"), dir.join("key"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let flags = HealthFlags {
            bind_address: IpAddr::from([127, 0, 0, 1]),
            secure_port: None,
            tls_cert_file: Some(cert),
            tls_private_key_file: Some(key),
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let door = Door {
            socket: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tls: TlsAcceptor::from(Arc::new(greeting(&flags).unwrap())),
            part: Part {
                name: "kube-scheduler",
                alive: alive.clone(),
            },
        };
        (door, roots)
    }

    #[tokio::test]
    async fn a_door_greets_and_answers_until_the_end() {
        let (dir, alive) = (tempfile::tempdir().unwrap(), Alive::default());
        let (door, roots) = door(dir.path(), &alive).await;
        let address = door.socket.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let asking = async {
            let config = rustls::ClientConfig::builder().with_root_certificates(roots);
            let stream = TcpStream::connect(address).await.unwrap();
            let name = "localhost".try_into().unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config.with_no_client_auth()));
            let mut stream = connector.connect(name, stream).await.unwrap();
            let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"livez check failed\n") {
                let read = stream.read_buf(&mut answer).await.unwrap();
                assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            }
            assert!(answer.starts_with(b"HTTP/1.1 500"));
            // The connection stands, and does not keep the part from ending.
            shutdown.cancel();
        };
        let (kept, ()) = tokio::join!(door.keep(shutdown.clone()), asking);
        kept.unwrap();
    }
}
