//! Priority and fairness: who is answered now, who waits and who is refused, by FlowSchemas and
//! PriorityLevelConfigurations (KEP-1040).
//!
//! Deciding is pure: `rules` finds a request's schema, `estimate` says how many seats it takes, `queue_set` who is next in a
//! level, `shares` how many seats levels have and lend. Here is the shell: it keeps what is stored prepared, holds the levels'
//! locks for a few steps at a time, wakes those whose turn it is, and gives seats back when a [`Place`] is dropped.
//!
//! Always holds: a request has a place, waits, or was refused; who waits does so for a bounded time; where seats are free
//! nobody waits.

mod collected;
mod config;
mod demand;
mod dropped;
mod dump;
mod estimate;
mod kinds;
mod level;
mod metrics;
mod queue_set;
mod rules;
mod shares;
mod timed;
mod watches;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::collected::Collected;
use self::config::{CATCH_ALL, Specs};
use self::kinds::Kinds;
pub(crate) use self::level::Place;
use self::level::{Attempt, Level, LevelNow};
use self::metrics::{SchemaSeries, Series};
use self::queue_set::{Described, Estimate, Queuing};
use self::rules::{Distinguisher, Rules};
use self::timed::Lasted;
use self::watches::Watches;
pub(crate) use self::watches::Watching;
use crate::reader::{GroupResource, ObjectReader};
use crate::request::{RequestInfo, ResourceHandler, UserInfo};

/// How often seats are lent anew (`borrowingAdjustmentPeriod`).
const LEND_EVERY: Duration = Duration::from_secs(10);
/// Nobody waits longer, whatever time they have.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const DEBUG: &str = "/debug/api_priority_and_fairness/";

/// The clock of all levels: time since the server began.
#[derive(Clone, Copy, Debug)]
struct Clock {
    began: Instant,
    began_at: Timestamp,
}

impl Clock {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// What is acted by.
struct Current {
    schemas: Vec<Arc<Schema>>,
    levels: BTreeMap<String, Arc<Level>>,
    /// Levels that are no longer there, as long as somebody has a place in them.
    leaving: Vec<Arc<Level>>,
}

struct Schema {
    name: Arc<str>,
    uid: HeaderValue,
    level_uid: HeaderValue,
    level: Arc<Level>,
    rules: Rules,
    distinguisher: Distinguisher,
    series: SchemaSeries,
}

/// Where a request belongs, as its answer tells (the uids, so that names stay unknown to who may not read them).
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    /// `X-Kubernetes-PF-FlowSchema-UID`.
    pub(crate) schema: HeaderValue,
    /// `X-Kubernetes-PF-PriorityLevel-UID`.
    pub(crate) level: HeaderValue,
}

/// What became of a request: a place, or after how many seconds it may come back.
pub(crate) struct Entered {
    pub(crate) marks: Marks,
    pub(crate) place: Result<Place, u64>,
}

/// See the module.
pub(crate) struct FlowControl {
    seats: u32,
    clock: Clock,
    reader: Arc<dyn ObjectReader>,
    resources: Arc<dyn ResourceHandler>,
    own: Vec<Value>,
    current: ArcSwap<Current>,
    /// Whoever digests or lends does so alone.
    changing: Mutex<()>,
    hasher: RandomState,
    watches: Arc<Watches>,
    kinds: Arc<Kinds>,
    series: Series,
    tasks: TaskTracker,
}

impl FlowControl {
    /// Shares `seats` out among the levels that are stored, and the two that there always are.
    pub(crate) fn new(
        seats: usize,
        reader: Arc<dyn ObjectReader>,
        resources: Arc<dyn ResourceHandler>,
        registry: &prometheus::Registry,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let clock = Clock {
            began: Instant::now(),
            began_at: Timestamp::now(),
        };
        let control = Arc::new(Self {
            seats: u32::try_from(seats).unwrap_or(u32::MAX),
            clock,
            reader,
            resources,
            own: crate::bootstrap::flow_control_objects(),
            current: ArcSwap::from_pointee(Current {
                schemas: Vec::new(),
                levels: BTreeMap::new(),
                leaving: Vec::new(),
            }),
            changing: Mutex::new(()),
            hasher: RandomState::new(),
            watches: Arc::default(),
            kinds: Arc::new(Kinds::new(clock.now())),
            series: Series::new(registry),
            tasks,
        });
        control.digest();
        let collected = Collected::new(Arc::downgrade(&control));
        registry
            .register(Box::new(collected))
            .expect("no name is registered twice");
        control
    }

    /// Follows what is stored, and lends seats, until cancelled.
    pub(crate) async fn keep(self: Arc<Self>, cancel: CancellationToken) {
        let [mut schemas, mut levels] = ["flowschemas", "prioritylevelconfigurations"]
            .map(|resource| self.reader.changes(&GroupResource::new(GROUP, resource)));
        let mut stored = true;
        let mut lending = tokio::time::interval(LEND_EVERY);
        loop {
            schemas.borrow_and_update();
            levels.borrow_and_update();
            let ended = tokio::select! {
                () = cancel.cancelled() => return,
                _ = lending.tick() => {
                    self.lend();
                    continue;
                }
                changed = schemas.changed(), if stored => changed,
                changed = levels.changed(), if stored => changed,
            };
            // Where nothing is stored nothing changes.
            stored = ended.is_ok();
            self.digest();
        }
    }

    /// Finds a place for a request, and waits for it for as long as `patience` and the level's queues allow.
    pub(crate) async fn enter(
        &self,
        info: &Arc<RequestInfo>,
        user: &UserInfo,
        query: &[(String, String)],
        patience: Duration,
    ) -> Entered {
        let schema = self.schema(info, user);
        let marks = Marks {
            schema: schema.uid.clone(),
            level: schema.level_uid.clone(),
        };
        let (queuing, widest) = schema.level.queuing();
        let estimate = self.estimate(&schema, info, query, widest);
        schema.series.seats.observe(f64::from(estimate.max_seats()));
        let mut flow = "";
        let mut hash = 0;
        if matches!(queuing, Queuing::Queues { queues, .. } if queues > 1) {
            flow = schema.distinguisher.flow(info, user);
            hash = self.hasher.hash_one((&*schema.name, flow));
        }
        let attempt = Attempt {
            described: Described {
                schema: Arc::clone(&schema.name),
                flow: flow.to_owned(),
                user: user.name.clone(),
                info: Arc::clone(info),
            },
            estimate,
            hash,
            waits: !matches!(queuing, Queuing::Exempt),
        };
        let place = Level::enter(&schema, attempt, patience.min(PATIENCE_MAX)).await;
        Entered { marks, place }
    }

    /// What each level is like, and was.
    fn look(&self) -> Vec<LevelNow> {
        let current = self.current.load();
        current.levels.values().map(|level| level.look()).collect()
    }

    /// How many requests of each kind there are, and were for how long; see [`kinds::PARTS`].
    fn kinds(&self) -> [(u32, Lasted); 4] {
        self.kinds.read(self.clock.now())
    }

    /// Counts a watch for as long as what is answered lives.
    pub(crate) fn watch(&self, info: &RequestInfo, query: &[(String, String)]) -> Option<Watching> {
        self.watches.register(info, query)
    }

    /// What is asked for below [`DEBUG`], as text.
    pub(crate) fn dump(&self, path: &str, query: &[(String, String)]) -> Option<String> {
        let current = self.current.load_full();
        let details = query
            .iter()
            .any(|(key, value)| key == "includeRequestDetails" && !value.is_empty());
        let leaving = current.leaving.iter().filter(|level| !level.is_idle());
        let leaving = leaving.map(|level| (level, true));
        let levels = current.levels.values().map(|level| (level, false)).chain(leaving);
        let rows: Vec<_> = match path.strip_prefix(DEBUG)? {
            "dump_priority_levels" => std::iter::once(dump::header_of_levels())
                .chain(levels.map(|(level, leaving)| level.show(leaving, dump::level)))
                .collect(),
            "dump_queues" => std::iter::once(dump::header_of_queues())
                .chain(levels.flat_map(|(level, leaving)| level.show(leaving, dump::queues)))
                .collect(),
            "dump_requests" => {
                let began = self.clock.began_at;
                let rows = levels.flat_map(|(level, leaving)| {
                    level.show(leaving, |shown| dump::requests(shown, began, details))
                });
                std::iter::once(dump::header_of_requests(details))
                    .chain(rows)
                    .collect()
            }
            _ => return None,
        };
        Some(dump::table(&rows))
    }

    /// The schema that a request belongs to: the first that matches, in the end the one for everybody.
    fn schema(&self, info: &RequestInfo, user: &UserInfo) -> Arc<Schema> {
        let current = self.current.load();
        let mut matching = current
            .schemas
            .iter()
            .filter(|schema| schema.rules.match_request(info, user));
        let catch_all = || current.schemas.iter().find(|schema| &*schema.name == CATCH_ALL);
        let found = matching.next().or_else(catch_all);
        Arc::clone(found.expect("the schema for everybody is always there"))
    }

    fn estimate(
        &self,
        schema: &Schema,
        info: &RequestInfo,
        query: &[(String, String)],
        widest: u32,
    ) -> Estimate {
        match info.verb.as_str() {
            "list" | "watch" => {
                let asked = estimate::ListAsked::read(&info.verb, query);
                let stored = self.resources.stored_size(&info.api_group, &info.resource);
                estimate::of_list(info, asked, stored, widest)
            }
            "create" | "update" | "patch" | "delete" => {
                // A token is no object that anybody watches.
                if info.resource == "serviceaccounts" && info.subresource == "token" {
                    return Estimate::ONE;
                }
                let watches = self.watches.concerned(info);
                schema.series.watches.observe(f64::from(watches));
                estimate::of_write(watches, widest)
            }
            _ => Estimate::ONE,
        }
    }

    /// Takes in what is stored now. Levels that stay keep their queues and whoever waits in them.
    fn digest(&self) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let list = |resource: &str| self.reader.list(&GroupResource::new(GROUP, resource), "");
        let specs = config::read(
            &list("prioritylevelconfigurations"),
            &list("flowschemas"),
            &self.own,
        );
        let before = self.current.load_full();
        let all_shares: u64 = specs
            .levels
            .iter()
            .map(|level| u64::from(level.share.shares))
            .sum();
        let mut levels = BTreeMap::new();
        for spec in &specs.levels {
            let bounds = shares::bounds(&spec.share, all_shares, self.seats);
            let level = match before.levels.get(&spec.name) {
                Some(level) => {
                    level.configure(spec, bounds);
                    Arc::clone(level)
                }
                None => {
                    let bounds = (bounds, (self.seats / 10).max(1));
                    let shared = (self.tasks.clone(), Arc::clone(&self.kinds));
                    Arc::new(Level::new(spec, bounds, self.clock, shared))
                }
            };
            levels.insert(spec.name.clone(), level);
        }
        let gone = before
            .levels
            .iter()
            .filter(|(name, _)| !levels.contains_key(*name));
        let gone = gone.map(|(_, level)| level).chain(&before.leaving);
        let leaving: Vec<_> = gone.filter(|level| !level.is_idle()).cloned().collect();
        let schemas = self.schemas(&specs, &levels);
        self.forget_series(&before, &levels);
        self.current.store(Arc::new(Current {
            schemas,
            levels,
            leaving,
        }));
        self.lend_among(&self.current.load().levels);
    }

    fn schemas(&self, specs: &Specs, levels: &BTreeMap<String, Arc<Level>>) -> Vec<Arc<Schema>> {
        let uid = |uid: &str| HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""));
        let schemas = specs.schemas.iter().filter_map(|spec| {
            let level = levels.get(&spec.level)?;
            let level_uid = specs.levels.iter().find(|level| level.name == spec.level)?;
            Some(Arc::new(Schema {
                name: spec.name.as_str().into(),
                uid: uid(&spec.uid),
                level_uid: uid(&level_uid.uid),
                level: Arc::clone(level),
                rules: spec.rules.clone(),
                distinguisher: spec.distinguisher,
                series: self.series.schema(&spec.level, &spec.name),
            }))
        });
        schemas.collect()
    }

    fn forget_series(&self, before: &Current, levels: &BTreeMap<String, Arc<Level>>) {
        let kept: HashSet<&str> = levels.keys().map(String::as_str).collect();
        for name in before.levels.keys().filter(|name| !kept.contains(name.as_str())) {
            self.series.forget_level(name);
        }
    }

    /// Lends seats anew, by what was wanted since the last time.
    fn lend(&self) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.lend_among(&self.current.load().levels);
    }

    fn lend_among(&self, levels: &BTreeMap<String, Arc<Level>>) {
        let claims: Vec<_> = levels.values().map(|level| level.claim()).collect();
        let (seats, fraction) = shares::lend(&claims);
        self.series.fair(fraction);
        for ((level, claim), seats) in levels.values().zip(&claims).zip(seats) {
            level.lend(seats);
            self.series
                .level(level.name(), &claim.bounds, &claim.demand, seats);
        }
    }
}
