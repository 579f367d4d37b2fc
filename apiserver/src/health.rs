//! `/healthz`, `/livez` and `/readyz`, with their checks one by one, as upstream words them.
//!
//! A check looks at one thing and says nothing secret about it: what is wrong goes to the log, not to the asker.

use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coracle_store::Store;
use http::Response;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::encryption::Encryption;
use crate::http::respond;
use crate::request::ResponseBody;

type Outcome = Result<(), String>;
type Probe = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// The three questions, and which checks answer which.
pub(crate) struct Health {
    checks: Vec<Check>,
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
        let mut checks = Self { checks: Vec::new() };
        checks.add("ping", Asked::Always, || async { Ok(()) });
        checks.add("log", Asked::Always, || async { Ok(()) });
        checks.add("etcd", Asked::Always, move || {
            let store = store.clone();
            async move {
                store
                    .revision()
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
        });
        checks.add("poststarthook/rbac/bootstrap-roles", Asked::Always, move || {
            let done = started.get();
            async move {
                if done {
                    Ok(())
                } else {
                    Err("not finished".to_owned())
                }
            }
        });
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

    fn add<F, P>(&mut self, name: &'static str, asked: Asked, probe: P)
    where
        F: Future<Output = Outcome> + Send + 'static,
        P: Fn() -> F + Send + Sync + 'static,
    {
        let probe: Probe = Box::new(move || Box::pin(probe()));
        self.checks.push(Check { name, asked, probe });
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
                Ok(()) => respond::text(200, "ok"),
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
            report.add(check.name, (check.probe)().await);
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
        let mut health = Health { checks: Vec::new() };
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
