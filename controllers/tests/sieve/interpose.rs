//! Stands between the controllers and the API: counts their writes, ends them at a chosen one, and shows their informers an
//! older world or none for a while.

use crate::oracle::Oracle;
use async_trait::async_trait;
use bytes::Bytes;
use coracle_apiserver::Running;
use coracle_apiserver::request::UserInfo;
use coracle_controllers::{ClientError, ClientFactory};
use coracle_store::Store;
use coracle_store::model::ModelStore;
use futures::stream;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, StreamBody};
use kube::client::Body;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>>;

/// What happens at a write. The three patterns of Sieve (Sun et al., OSDI 2022).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process ends before the write: what was done before stands alone (intermediate state).
    CrashBefore,
    /// The process ends after the write, which it is not told of (intermediate state).
    CrashAfter,
    /// The process ends after the write, and the next one is shown the world as it was just before an earlier write, this one
    /// by number (stale state).
    Stale(usize),
    /// From the write on, no changes of one resource are shown for a while, and then only what is left of them (unobserved
    /// state).
    Hidden(&'static str),
}

/// What informers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Live,
    /// Lists are of this revision, and watches do not come to be: what there is cannot be told by one either.
    Old(u64),
    /// Watches of this resource tell nothing, and have to be begun anew once they are no longer held.
    Without(&'static str),
}

/// A write of a controller.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// Who, how, what.
    pub(crate) what: String,
    /// The store's revision just before it.
    pub(crate) revision: u64,
}

struct State {
    writes: Vec<Write>,
    fault: Option<(usize, Fault)>,
    /// Nothing that controllers ask for gets through any more.
    dead: bool,
}

/// One cluster's interposer, with which its controllers get their clients.
#[derive(Clone)]
pub(crate) struct Interposer {
    server: Arc<Running>,
    store: Arc<ModelStore>,
    state: Arc<Mutex<State>>,
    view: watch::Sender<View>,
    tripped: watch::Sender<Option<Fault>>,
    oracle: Arc<Oracle>,
}

impl Interposer {
    pub(crate) fn new(
        server: Arc<Running>,
        store: Arc<ModelStore>,
        oracle: Arc<Oracle>,
        fault: Option<(usize, Fault)>,
    ) -> Self {
        let state = State {
            writes: Vec::new(),
            fault,
            dead: false,
        };
        Self {
            server,
            store,
            state: Arc::new(Mutex::new(state)),
            view: watch::Sender::new(View::Live),
            tripped: watch::Sender::new(None),
            oracle,
        }
    }

    pub(crate) fn writes(&self) -> Vec<Write> {
        self.state.lock().unwrap().writes.clone()
    }

    /// The store's revision just before a write that has been made.
    pub(crate) fn revision_before(&self, write: usize) -> u64 {
        self.state.lock().unwrap().writes[write].revision
    }

    /// The fault once it has come and is not dealt with yet, be that before it was asked for or within so long.
    pub(crate) async fn trip_of(&self, time: Duration) -> Option<Fault> {
        let mut tripped = self.tripped.subscribe();
        let come = tripped.wait_for(Option::is_some);
        let _ = tokio::time::timeout(time, come).await;
        self.tripped.send_replace(None)
    }

    pub(crate) fn show(&self, view: View) {
        self.view.send_replace(view);
    }

    /// Lets a new process through.
    pub(crate) fn revive(&self) {
        self.state.lock().unwrap().dead = false;
    }

    fn user(&self, name: &str, groups: &[&str]) -> kube::Client {
        let groups = groups.iter().chain(&["system:authenticated"]);
        self.server.client(UserInfo {
            name: name.to_owned(),
            groups: groups.map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        })
    }

    /// Takes a write in. Answers the fault that comes with it, or nothing at all to whoever is dead.
    async fn admit(&self, what: String) -> Option<Option<Fault>> {
        let revision = self.store.revision().await.unwrap().0;
        let mut state = self.state.lock().unwrap();
        if state.dead {
            return None;
        }
        let number = state.writes.len();
        state.writes.push(Write { what, revision });
        let fault = state
            .fault
            .take_if(|(at, _)| *at == number)
            .map(|(_, fault)| fault);
        if fault == Some(Fault::CrashBefore) {
            state.dead = true;
        }
        Some(fault)
    }

    fn trip(&self, fault: Fault) {
        match fault {
            Fault::Hidden(resource) => self.show(View::Without(resource)),
            _ => self.state.lock().unwrap().dead = true,
        }
        self.tripped.send_replace(Some(fault));
    }
}

#[async_trait]
impl ClientFactory for Interposer {
    async fn shared(&self) -> Result<kube::Client, ClientError> {
        let informers = Informers {
            inner: self.user("system:kube-controller-manager", &[]),
            view: self.view.clone(),
        };
        Ok(kube::Client::new(informers, "default"))
    }

    async fn client(&self, controller: &str) -> Result<kube::Client, ClientError> {
        let name = format!("system:serviceaccount:kube-system:{controller}");
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
        let writer = Writer {
            controller: controller.to_owned(),
            inner: self.user(&name, &groups),
            interposer: self.clone(),
        };
        Ok(kube::Client::new(writer, "default"))
    }
}

/// Lists and watches.
#[derive(Clone)]
struct Informers {
    inner: kube::Client,
    view: watch::Sender<View>,
}

impl Service<Request<Body>> for Informers {
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut view = service.view.subscribe();
            let is_old = matches!(*view.borrow(), View::Old(_));
            let query = request.uri().query().unwrap_or_default();
            let (is_watch, is_first) = (query.contains("watch="), query.contains("sendInitialEvents="));
            let path = request.uri().path().to_owned();
            if is_old && is_first {
                return Ok(refused());
            }
            if is_watch {
                view.wait_for(|view| !matches!(view, View::Old(_))).await?;
            } else if let View::Old(revision) = *view.borrow()
                && is_list(&path)
            {
                *request.uri_mut() = as_of(request.uri(), revision);
            }
            let answer = service.inner.send(request).await?;
            if !is_watch || !answer.status().is_success() {
                return Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()));
            }
            let resource = path.rsplit('/').next().unwrap_or_default().to_owned();
            Ok(answer.map(|body| held(body, view, resource)))
        })
    }
}

/// What a server says that cannot tell in a watch what there is.
fn refused() -> Answer {
    const STATUS: &str = concat!(
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"Invalid","code":422,"#,
        r#""message":"sendInitialEvents: Forbidden"}"#,
    );
    let body = http_body_util::Full::new(Bytes::from_static(STATUS.as_bytes()));
    let mut answer = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = http::StatusCode::UNPROCESSABLE_ENTITY;
    answer
}

/// Whether this names a resource, and not a group or a version of one.
fn is_list(path: &str) -> bool {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    match parts[0] {
        "api" => parts.len() > 2,
        _ => parts.len() > 3,
    }
}

fn as_of(uri: &Uri, revision: u64) -> Uri {
    let query = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
    let exactly = format!(
        "{}?{query}resourceVersion={revision}&resourceVersionMatch=Exact",
        uri.path()
    );
    exactly.parse().unwrap()
}

/// The stream of a watch that can be held back. Once it is let go after something was held, it ends as too old, so that what
/// happened meanwhile is never told one by one.
fn held(body: Body, view: watch::Receiver<View>, resource: String) -> <Answer as IntoBody>::Body {
    const EXPIRED: &str = concat!(
        r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
        r#""message":"too old resource version","reason":"Expired","code":410}}"#,
        "\n"
    );
    let frames = stream::unfold(Some((body, view, resource)), |state| async move {
        let (mut body, mut view, resource) = state?;
        let frame = body.frame().await?;
        let hides = |view: &View| matches!(view, View::Without(hidden) if *hidden == resource);
        if hides(&view.borrow()) {
            let _ = view.wait_for(|view| !hides(view)).await;
            let expired = http_body::Frame::data(Bytes::from_static(EXPIRED.as_bytes()));
            return Some((Ok(expired), None));
        }
        Some((frame.map_err(Into::into), Some((body, view, resource))))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

/// Names the body of an answer.
trait IntoBody {
    type Body;
}

impl<B> IntoBody for Response<B> {
    type Body = B;
}

/// What one controller asks by itself.
#[derive(Clone)]
struct Writer {
    controller: String,
    inner: kube::Client,
    interposer: Interposer,
}

impl Service<Request<Body>> for Writer {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self {
            controller,
            inner,
            interposer,
        } = self.clone();
        Box::pin(async move {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let is_write = method != Method::GET && !path.ends_with("/events") && !path.contains("/events/");
            if !is_write {
                return Ok(inner.send(request).await?);
            }
            let Some(fault) = interposer.admit(format!("{controller}: {method} {path}")).await else {
                return pending().await;
            };
            if fault == Some(Fault::CrashBefore) {
                interposer.trip(Fault::CrashBefore);
                return pending().await;
            }
            let crime = interposer.oracle.judge(&controller, &method, &path).await;
            let answer = inner.send(request).await.map_err(BoxError::from);
            if let Some(crime) = crime
                && answer.as_ref().is_ok_and(|answer| answer.status().is_success())
            {
                interposer.oracle.keep(crime);
            }
            match fault {
                Some(fault @ Fault::Hidden(_)) => interposer.trip(fault),
                Some(fault) => {
                    interposer.trip(fault);
                    return pending().await;
                }
                None => {}
            }
            answer
        })
    }
}
