//! Keeping the conditions of APIServices true, what their servers serve known, and those of custom resources there.
//!
//! One loop: look, plan, act. It looks again when something that counts has changed, and at servers from time to time, for
//! no event tells that one has gone away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::object::Fields;
use futures::future::join_all;
use http::{Method, Request, header};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::check::{self, Check, Finding};
use super::registration::{self, Defined};
use super::routes::{self, Remote};
use super::{Aggregator, GROUP, GroupVersion, Served};
use crate::reader::{Followed, GroupResource, ObjectReader};

const PATH: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
/// How often a server that is well is looked at.
const WELL: Duration = Duration::from_secs(30);
/// How soon one that is not is looked at again; twice as long each time, up to [`WELL`].
const UNWELL: Duration = Duration::from_millis(100);

/// What is remembered of a server between looks.
struct Known {
    /// What it was looked at by.
    inputs: Inputs,
    finding: Finding,
    failures: u32,
    /// When it is looked at again.
    due: Instant,
}

/// What a finding depends on, besides the server itself.
#[derive(Debug, PartialEq)]
struct Inputs {
    check: Check,
    remote: Remote,
    service: String,
}

/// A server to be asked.
struct Question {
    name: String,
    at: GroupVersion,
    inputs: Inputs,
}

/// The loop's memory.
struct Memory {
    servers: BTreeMap<String, Known>,
    /// What definitions ask for.
    definitions: Followed<Defined>,
    api_services: Followed<ApiService>,
}

/// What is to be known of an APIService.
struct ApiService {
    /// Whether it is kept for a definition.
    managed: bool,
    at: GroupVersion,
    /// The object, where there may be something to do: another server answers, or its condition is not what it has to be.
    /// There may be a thousand of which nothing more is to be said.
    looked_at: Option<Arc<Value>>,
}

/// Changes that make a look due.
struct Changes {
    api_services: watch::Receiver<u64>,
    definitions: watch::Receiver<u64>,
    services: watch::Receiver<u64>,
    slices: watch::Receiver<u64>,
}

/// Runs until cancelled. What could not be written is tried again at the next look.
pub(crate) async fn keep(aggregator: Arc<Aggregator>, client: kube::Client, cancel: CancellationToken) {
    let mut changes = Changes::of(&*aggregator.reader);
    let mut memory = Memory::new();
    loop {
        changes.seen();
        let looking = look(&aggregator, &client, &mut memory);
        let Some(due) = cancel.run_until_cancelled(looking).await else {
            return;
        };
        let next = changes.next(!memory.servers.is_empty(), due);
        match cancel.run_until_cancelled(next).await {
            Some(true) => {}
            // Nothing will change any more.
            Some(false) | None => return,
        }
    }
}

impl Changes {
    fn of(reader: &dyn ObjectReader) -> Self {
        let changes = |group, resource| reader.changes(&GroupResource::new(group, resource));
        Self {
            api_services: changes(GROUP, "apiservices"),
            definitions: changes("apiextensions.k8s.io", "customresourcedefinitions"),
            services: changes("", "services"),
            slices: changes("discovery.k8s.io", "endpointslices"),
        }
    }

    fn seen(&mut self) {
        for change in [
            &mut self.api_services,
            &mut self.definitions,
            &mut self.services,
            &mut self.slices,
        ] {
            change.borrow_and_update();
        }
    }

    /// Waits until there is reason to look; false where there never will be. Services count only where a server is behind
    /// one.
    async fn next(&mut self, remotes: bool, due: Option<Instant>) -> bool {
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let changed = tokio::select! {
            changed = self.api_services.changed() => changed,
            changed = self.definitions.changed() => changed,
            changed = self.services.changed(), if remotes => changed,
            changed = self.slices.changed(), if remotes => changed,
            () = timer => Ok(()),
        };
        changed.is_ok()
    }
}

/// One look at everything. Says when the next is due.
async fn look(aggregator: &Aggregator, client: &kube::Client, memory: &mut Memory) -> Option<Instant> {
    let reader = &*aggregator.reader;
    memory.look(reader);
    register(client, memory.plan()).await;
    let api_services = memory.looked_at();
    let questions = memory.questions(&api_services, reader);
    let before = aggregator.served.load_full();
    let answers = join_all(questions.iter().map(async |question| {
        let (group, version) = &question.at;
        let remote = &question.inputs.remote;
        aggregator
            .probe(
                remote,
                (group.as_str(), version.as_str()),
                before.get(&question.at),
            )
            .await
    }))
    .await;
    let mut served = Served::clone(&before);
    if !served.is_empty() {
        let there: BTreeSet<&GroupVersion> = memory.api_services.iter().map(|(_, known)| &known.at).collect();
        served.retain(|at, _| there.contains(at));
    }
    let mut fresh = served.len() != before.len();
    for (question, answer) in questions.into_iter().zip(answers) {
        let finding = Finding::of_answer(&answer.as_ref().map(drop).map_err(Clone::clone));
        if let Ok(serves) = answer {
            fresh |= served.get(&question.at) != Some(&serves);
            served.insert(question.at.clone(), serves);
        }
        memory.learn(question, finding);
    }
    // What is served is known before a server is told to be available.
    if fresh {
        aggregator.served.store(Arc::new(served));
    }
    let writes = api_services.iter().filter_map(|service| {
        let finding = memory.finding(service, reader)?;
        check::with_finding(service, &finding, Timestamp::now())
    });
    join_all(writes.map(|service| write_status(client, service))).await;
    memory.servers.values().map(|known| known.due).min()
}

fn group_version(service: &Value) -> GroupVersion {
    let spec = &service["spec"];
    (spec.text("group").to_owned(), spec.text("version").to_owned())
}

/// What can be said of an APIService without asking its server.
fn checked(service: &Value, reader: &dyn ObjectReader) -> (Check, String) {
    let Some(reference) = service["spec"].field("service") else {
        return (check::check(service, None, &[]), String::new());
    };
    let (namespace, name) = (reference.text("namespace"), reference.text("name"));
    let found = reader.get(&GroupResource::new("", "services"), namespace, name);
    let slices = reader.list(
        &GroupResource::new("discovery.k8s.io", "endpointslices"),
        namespace,
    );
    let slices: Vec<&Value> = slices
        .iter()
        .map(AsRef::as_ref)
        .filter(|slice| slice["metadata"]["labels"].text("kubernetes.io/service-name") == name)
        .collect();
    let revisions = found
        .iter()
        .map(|service| &**service)
        .chain(slices.iter().copied());
    let revisions: Vec<&str> = revisions
        .map(|object| object["metadata"].text("resourceVersion"))
        .collect();
    (
        check::check(service, found.as_deref(), &slices),
        revisions.join(" "),
    )
}

impl ApiService {
    fn read(service: &Arc<Value>) -> Self {
        let settled = match check::check(service, None, &[]) {
            Check::Known(finding) => {
                let is_local = !service["spec"].has("service");
                is_local && check::with_finding(service, &finding, Timestamp::UNIX_EPOCH).is_none()
            }
            Check::Ask => false,
        };
        Self {
            managed: registration::is_managed(service),
            at: group_version(service),
            looked_at: (!settled).then(|| Arc::clone(service)),
        }
    }
}

impl Memory {
    fn new() -> Self {
        Self {
            servers: BTreeMap::new(),
            definitions: Followed::new(GroupResource::new(
                "apiextensions.k8s.io",
                "customresourcedefinitions",
            )),
            api_services: Followed::new(GroupResource::new(GROUP, "apiservices")),
        }
    }

    fn look(&mut self, reader: &dyn ObjectReader) {
        self.definitions
            .look(reader, |definition| Defined::read(definition));
        self.api_services.look(reader, ApiService::read);
        // What is local now has nothing to be remembered for.
        let services = &self.api_services;
        let matters = |name: &String| services.get(name).is_some_and(|known| known.looked_at.is_some());
        self.servers.retain(|name, _| matters(name));
    }

    fn plan(&self) -> registration::Plan {
        let definitions = self.definitions.iter().map(|(_, defined)| defined);
        let api_services = self.api_services.iter();
        registration::plan(
            definitions,
            api_services.map(|(name, known)| (name, known.managed)),
        )
    }

    /// The APIServices of which more may have to be said.
    fn looked_at(&self) -> Vec<Arc<Value>> {
        let services = self.api_services.iter();
        services
            .filter_map(|(_, service)| service.looked_at.clone())
            .collect()
    }

    /// The servers that have to be asked now.
    fn questions(&mut self, api_services: &[Arc<Value>], reader: &dyn ObjectReader) -> Vec<Question> {
        let now = Instant::now();
        let mut questions = Vec::new();
        for service in api_services {
            let Some(remote) = routes::remote(service) else {
                self.servers.remove(service["metadata"].text("name"));
                continue;
            };
            let (check, service_state) = checked(service, reader);
            let inputs = Inputs {
                check,
                // Whether it is available is what is to be found out.
                remote: Remote {
                    available: false,
                    ..remote
                },
                service: service_state,
            };
            let name = service["metadata"].text("name").to_owned();
            let known = self.servers.get(&name);
            if known.is_some_and(|known| known.inputs == inputs && known.due > now) {
                continue;
            }
            match inputs.check.clone() {
                Check::Ask => questions.push(Question {
                    at: group_version(service),
                    name,
                    inputs,
                }),
                Check::Known(finding) => {
                    let due = now + WELL;
                    let known = Known {
                        inputs,
                        finding,
                        failures: 0,
                        due,
                    };
                    self.servers.insert(name, known);
                }
            }
        }
        questions
    }

    fn learn(&mut self, question: Question, finding: Finding) {
        let before = self.servers.get(&question.name);
        let failures = match (finding.available, before) {
            (true, _) => 0,
            (false, Some(known)) if known.inputs == question.inputs => known.failures + 1,
            (false, _) => 1,
        };
        let pause = match failures {
            0 => WELL,
            failures => UNWELL.saturating_mul(1 << (failures - 1).min(16)).min(WELL),
        };
        let known = Known {
            inputs: question.inputs,
            finding,
            failures,
            due: Instant::now() + pause,
        };
        self.servers.insert(question.name, known);
    }

    fn finding(&self, service: &Value, reader: &dyn ObjectReader) -> Option<Finding> {
        match self.servers.get(service["metadata"].text("name")) {
            Some(known) => Some(known.finding.clone()),
            None => match checked(service, reader).0 {
                Check::Known(finding) => Some(finding),
                Check::Ask => None,
            },
        }
    }
}

async fn write_status(client: &kube::Client, service: Value) {
    let name = service["metadata"].text("name").to_owned();
    let path = format!("{PATH}/{name}/status");
    send(client, Method::PUT, &path, service.to_string(), &name).await;
}

async fn register(client: &kube::Client, plan: registration::Plan) {
    for service in plan.create {
        let name = service["metadata"].text("name").to_owned();
        send(client, Method::POST, PATH, service.to_string(), &name).await;
    }
    for name in plan.delete {
        let path = format!("{PATH}/{name}");
        send(client, Method::DELETE, &path, String::new(), &name).await;
    }
}

async fn send(client: &kube::Client, method: Method, path: &str, body: String, name: &str) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into_bytes())
        .expect("a name that was stored makes a path");
    match client.request::<Value>(request).await {
        Ok(_) => {}
        // It changed, came or went meanwhile; that is looked at next.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => warn!(api_service = name, %error, "an APIService was not written"),
    }
}
