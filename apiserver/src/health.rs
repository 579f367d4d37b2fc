//! `/healthz`, `/livez` and `/readyz`, with their checks one by one, as upstream words them.
//!
//! Upstream's checks named `poststarthook/…` say whether the server has done what it does at start, one by one. Those of the same
//! names here do so for what is done here too, and there is none for what is not.
//!
//! A check looks at one thing and says nothing secret about it: what is wrong goes to the log, not to the asker.

use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coracle_store::Store;
use http::{HeaderValue, Response};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::encryption::Encryption;
use crate::http::respond;
use crate::metrics::Slis;
use crate::request::ResponseBody;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

type Outcome = Result<(), String>;
type Probe = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// What is begun or made at start, in upstream's words. All of it has been done when the server says that it has started.
const BEFORE_STORAGE: [&str; 10] = [
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
];
const AFTER_STORAGE: [&str; 15] = [
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
];

/// The three questions, and which checks answer which.
#[derive(Default)]
pub(crate) struct Health {
    checks: Vec<Check>,
    slis: Slis,
}

struct Check {
    name: &'static str,
    asked: Asked,
    probe: Probe,
}

/// Which questions a check answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// All: a failure means that the process is to be started anew.
    Always,
    /// All but `/livez`: another start would not help.
    NotLive,
    /// `/readyz` alone: the process is only to be left in peace.
    Ready,
}

impl Asked {
    fn by(self, question: &str) -> bool {
        match self {
            Self::Always => true,
            Self::NotLive => question != "livez",
            Self::Ready => question == "readyz",
        }
    }
}

/// Set once everything that is done at start is done.
#[derive(Clone, Default)]
pub(crate) struct Started(Arc<AtomicBool>);

impl Started {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Health {
    /// The checks of an apiserver over a store.
    pub(crate) fn new(store: Arc<dyn Store>, started: Started, shutdown: CancellationToken) -> Self {
        let mut checks = Self::default();
        checks.add("ping", Asked::Always, || async { Ok(()) });
        checks.add("log", Asked::Always, || async { Ok(()) });
        checks.add_store("etcd", Asked::Always, &store);
        checks.add_store("etcd-readiness", Asked::Ready, &store);
        checks.add_start("informer-sync", Asked::Ready, &started);
        for name in BEFORE_STORAGE {
            checks.add_start(name, Asked::Always, &started);
        }
        checks.add_store("poststarthook/storage-readiness", Asked::Always, &store);
        for name in AFTER_STORAGE {
            checks.add_start(name, Asked::Always, &started);
        }
        checks.add("shutdown", Asked::Ready, move || {
            let ending = shutdown.is_cancelled();
            async move {
                if ending {
                    Err("process is shutting down".to_owned())
                } else {
                    Ok(())
                }
            }
        });
        checks
    }

    /// Asks the key services of encryption at rest as well, where there are any.
    pub(crate) fn with_key_services(mut self, encryption: Option<Arc<Encryption>>) -> Self {
        if let Some(encryption) = encryption.filter(|encryption| encryption.is_checked()) {
            self.add("kms-providers", Asked::NotLive, move || {
                let encryption = Arc::clone(&encryption);
                async move { encryption.check().await }
            });
        }
        self
    }

    /// Adds a check of the store.
    fn add_store(&mut self, name: &'static str, asked: Asked, store: &Arc<dyn Store>) {
        let store = store.clone();
        self.add(name, asked, move || {
            let store = store.clone();
            async move {
                let revision = store.revision().await;
                revision.map(drop).map_err(|error| error.to_string())
            }
        });
    }

    /// Adds a check of what is done at start.
    fn add_start(&mut self, name: &'static str, asked: Asked, started: &Started) {
        let started = started.clone();
        self.add(name, asked, move || {
            let done = started.get();
            async move {
                if done {
                    Ok(())
                } else {
                    Err("not finished".to_owned())
                }
            }
        });
    }

    fn add<F, P>(&mut self, name: &'static str, asked: Asked, probe: P)
    where
        F: Future<Output = Outcome> + Send + 'static,
        P: Fn() -> F + Send + Sync + 'static,
    {
        let probe: Probe = Box::new(move || Box::pin(probe()));
        self.checks.push(Check { name, asked, probe });
    }

    /// How checks came out.
    pub(crate) fn slis(&self) -> &Slis {
        &self.slis
    }

    /// Every path that is answered here.
    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        ["healthz", "livez", "readyz"].into_iter().flat_map(|question| {
            let checks = self.checks.iter().filter(move |check| check.asked.by(question));
            let each = checks.map(move |check| format!("/{question}/{}", check.name));
            std::iter::once(format!("/{question}")).chain(each)
        })
    }

    /// The answer at a path, where it is one of ours.
    pub(crate) async fn answer(
        &self,
        path: &str,
        query: &[(String, String)],
    ) -> Option<Response<ResponseBody>> {
        let (question, check) = split(path)?;
        let asked = |check: &&Check| check.asked.by(question);
        if let Some(name) = check {
            let check = self
                .checks
                .iter()
                .filter(asked)
                .find(|check| check.name == name)?;
            return Some(match (check.probe)().await {
                // Nobody has to be told not to guess what this is.
                Ok(()) => respond::bytes(200, TEXT, "ok"),
                Err(error) => respond::text(500, &format!("internal server error: {error}\n")),
            });
        }
        let excluded: Vec<_> = values(query, "exclude").collect();
        let mut report = Report::new(question, &excluded);
        for check in self.checks.iter().filter(asked) {
            if excluded.contains(&check.name) {
                report.excluded(check.name);
                continue;
            }
            let outcome = (check.probe)().await;
            self.slis.observe(check.name, question, outcome.is_ok());
            report.add(check.name, outcome);
        }
        Some(report.finish(values(query, "verbose").next().is_some()))
    }
}

/// What is found out, check by check.
struct Report<'a> {
    question: &'a str,
    lines: String,
    failed: Vec<&'static str>,
    unmatched: Vec<&'a str>,
}

impl<'a> Report<'a> {
    fn new(question: &'a str, excluded: &[&'a str]) -> Self {
        Self {
            question,
            lines: String::new(),
            failed: Vec::new(),
            unmatched: excluded.to_vec(),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.lines
            .write_fmt(line)
            .expect("writing to a String does not fail");
    }

    fn excluded(&mut self, name: &str) {
        self.unmatched.retain(|excluded| *excluded != name);
        self.line(format_args!("[+]{name} excluded: ok\n"));
    }

    fn add(&mut self, name: &'static str, outcome: Outcome) {
        match outcome {
            Ok(()) => self.line(format_args!("[+]{name} ok\n")),
            Err(error) => {
                warn!(check = name, %error, "a health check failed");
                self.failed.push(name);
                self.line(format_args!("[-]{name} failed: reason withheld\n"));
            }
        }
    }

    fn finish(mut self, verbose: bool) -> Response<ResponseBody> {
        if !self.unmatched.is_empty() {
            let names = self
                .unmatched
                .iter()
                .map(|name| format!("{name:?}"))
                .collect::<Vec<_>>()
                .join(",");
            self.line(format_args!(
                "warn: some health checks cannot be excluded: no matches for {names}\n"
            ));
        }
        let question = self.question;
        if !self.failed.is_empty() {
            return respond::text(500, &format!("{}{question} check failed\n", self.lines));
        }
        if verbose {
            return respond::text(200, &format!("{}{question} check passed\n", self.lines));
        }
        respond::text(200, "ok")
    }
}

fn split(path: &str) -> Option<(&str, Option<&str>)> {
    let path = path.strip_prefix('/')?;
    let (question, check) = path
        .split_once('/')
        .map_or((path, None), |(question, check)| (question, Some(check)));
    let check = check.filter(|check| !check.is_empty());
    matches!(question, "healthz" | "livez" | "readyz").then_some((question, check))
}

fn values<'q>(query: &'q [(String, String)], name: &'static str) -> impl Iterator<Item = &'q str> {
    query
        .iter()
        .filter(move |(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::http::request_info::parse_query;

    async fn ask(health: &Health, target: &str) -> (u16, String) {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let response = health
            .answer(path, &parse_query(query))
            .await
            .expect("a health path");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn health(fails: bool) -> Health {
        let mut health = Health::default();
        health.add("ping", Asked::Always, || async { Ok(()) });
        health.add("etcd", Asked::Always, move || async move {
            if fails { Err("secret".to_owned()) } else { Ok(()) }
        });
        health.add("shutdown", Asked::Ready, || async { Ok(()) });
        health
    }

    #[tokio::test]
    async fn health_is_told_briefly_or_at_length() {
        let well = health(false);
        assert_eq!(ask(&well, "/healthz").await, (200, "ok".to_owned()));
        assert_eq!(ask(&well, "/livez/etcd").await, (200, "ok".to_owned()));
        let long = "[+]ping ok\n[+]etcd ok\n[+]shutdown ok\nreadyz check passed\n";
        assert_eq!(ask(&well, "/readyz?verbose").await, (200, long.to_owned()));
        let live = "[+]ping ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\n\
                    livez check passed\n";
        assert_eq!(
            ask(&well, "/livez?verbose=1&exclude=etcd&exclude=x").await,
            (200, live.to_owned())
        );
    }

    #[tokio::test]
    async fn what_fails_is_named_and_no_more() {
        let ill = health(true);
        let told = "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n";
        assert_eq!(ask(&ill, "/livez").await, (500, told.to_owned()));
        assert_eq!(ask(&ill, "/livez?exclude=etcd").await, (200, "ok".to_owned()));
        assert!(ill.answer("/livez/none", &[]).await.is_none());
        assert!(ill.answer("/healthzz", &[]).await.is_none());
    }
}
