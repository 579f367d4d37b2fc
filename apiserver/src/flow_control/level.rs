//! One priority level at work: its queues behind a lock, and whoever waits for their turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::config::LevelSpec;
use super::dropped::Dropped;
use super::dump::Shown;
use super::kinds::{Counting, Kind, Kinds, Phase};
use super::queue_set::{Arrival, Described, Dispatch, Estimate, QueueSet, Queuing};
use super::shares::{Bounds, Claim, Smoothed};
use super::timed::{Lasted, Uses};
use super::{Clock, Schema};

/// A priority level.
pub(super) struct Level {
    name: String,
    clock: Clock,
    tasks: TaskTracker,
    kinds: Arc<Kinds>,
    guts: Mutex<Guts>,
}

/// What is told of a level when somebody looks.
pub(super) struct LevelNow {
    pub(super) name: String,
    pub(super) uses: [Lasted; 4],
    /// How far virtual time has come.
    pub(super) progress: f64,
    pub(super) dispatched: Option<Dispatch>,
    /// How often the next request found too few seats, by its schema.
    pub(super) unaccommodated: Vec<(Arc<str>, u64)>,
}

struct Guts {
    set: QueueSet,
    /// Who is to be told when it is their turn.
    waiting: HashMap<usize, oneshot::Sender<()>>,
    dropped: Dropped,
    exempt: bool,
    bounds: Bounds,
    widest: u32,
    demand: Smoothed,
    uses: Uses,
}

impl Guts {
    /// Tells those whose turn it is, after whatever has changed. Whoever has gone meanwhile gives their place back themselves.
    fn wake(&mut self, now: Duration) {
        self.uses.note(&self.set, now);
        for id in self.set.take_served() {
            if let Some(waker) = self.waiting.remove(&id) {
                let _ = waker.send(());
            }
        }
    }

    fn configure(&mut self, spec: &LevelSpec, bounds: Bounds) {
        self.exempt = spec.share.exempt;
        self.bounds = bounds;
        self.widest = match spec.queuing {
            Queuing::Queues { hand_size, .. } => bounds.widest(hand_size),
            // What does not wait is bounded by what any request may take.
            Queuing::Exempt | Queuing::Reject => u32::MAX,
        };
    }
}

/// A request that wants a place.
pub(super) struct Attempt {
    pub(super) described: Described,
    pub(super) estimate: Estimate,
    pub(super) hash: u64,
    /// Whether time spent waiting is counted for it.
    pub(super) waits: bool,
}

impl Level {
    /// `spare` stands for its seats in what is told of their use as long as it has none.
    pub(super) fn new(
        spec: &LevelSpec,
        (bounds, spare): (Bounds, u32),
        clock: Clock,
        (tasks, kinds): (TaskTracker, Arc<Kinds>),
    ) -> Self {
        let now = clock.now();
        let mut guts = Guts {
            set: QueueSet::new(spec.queuing, bounds.initial(), now),
            waiting: HashMap::new(),
            dropped: Dropped::default(),
            exempt: false,
            bounds,
            widest: 1,
            demand: Smoothed::default(),
            uses: Uses::new(spare, now),
        };
        guts.configure(spec, bounds);
        Self {
            name: spec.name.clone(),
            clock,
            tasks,
            kinds,
            guts: Mutex::new(guts),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes another specification; how many seats there are now is said by [`Level::lend`].
    pub(super) fn configure(&self, spec: &LevelSpec, bounds: Bounds) {
        let mut guts = self.lock();
        guts.configure(spec, bounds);
        let (limit, now) = (guts.set.limit(), self.clock.now());
        guts.set.configure(spec.queuing, limit, now);
        guts.wake(now);
    }

    /// How requests wait here, and the most seats of one that does.
    pub(super) fn queuing(&self) -> (Queuing, u32) {
        let guts = self.lock();
        (guts.set.queuing(), guts.widest)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().set.is_idle()
    }

    /// What it claims, by what was wanted since this was last asked.
    pub(super) fn claim(&self) -> Claim {
        let mut guts = self.lock();
        let observed = guts.set.demand.take(self.clock.now());
        guts.demand.update(&observed);
        Claim {
            exempt: guts.exempt,
            bounds: guts.bounds,
            demand: guts.demand,
        }
    }

    /// So many seats are its own from now on.
    pub(super) fn lend(&self, seats: u32) {
        let mut guts = self.lock();
        let (queuing, now) = (guts.set.queuing(), self.clock.now());
        guts.set.configure(queuing, seats, now);
        guts.wake(now);
    }

    /// How much it was used until now, and how far it has come.
    pub(super) fn look(&self) -> LevelNow {
        let mut guts = self.lock();
        let unaccommodated = guts.set.unaccommodated.iter();
        LevelNow {
            name: self.name.clone(),
            progress: guts.set.progress(),
            dispatched: guts.set.dispatched,
            unaccommodated: unaccommodated
                .map(|(schema, count)| (Arc::clone(schema), *count))
                .collect(),
            uses: guts.uses.read(self.clock.now()),
        }
    }

    /// Lets somebody look.
    pub(super) fn show<T>(&self, quiescing: bool, look: impl FnOnce(&Shown<'_>) -> T) -> T {
        let guts = self.lock();
        look(&Shown {
            name: &self.name,
            quiescing,
            set: &guts.set,
        })
    }

    /// A place for a request of a schema: at once, after some waiting, or not at all.
    pub(super) async fn enter(
        schema: &Arc<Schema>,
        attempt: Attempt,
        patience: Duration,
    ) -> Result<Place, u64> {
        let level = &schema.level;
        let (estimate, waits) = (attempt.estimate, attempt.waits);
        let arrived = level.clock.now();
        let (turn, mut place) = {
            let place = |id| Place::new(schema, id, &attempt, arrived);
            let (hash, described) = (attempt.hash, attempt.described.clone());
            let mut guts = level.lock();
            let arrival = guts.set.arrive(described, estimate, hash, arrived);
            guts.wake(arrived);
            match arrival {
                Arrival::Refused(reason) => {
                    schema.series.reject(reason);
                    schema.series.refused_after.observe(0.0);
                    return Err(guts.dropped.note(arrived.as_secs()));
                }
                Arrival::Served(id, length) => {
                    schema.series.enqueued(length);
                    (None, place(id))
                }
                Arrival::Waits(id, length) => {
                    let (waker, turn) = oneshot::channel();
                    guts.waiting.insert(id, waker);
                    schema.series.enqueued(Some(length));
                    (Some(turn), place(id))
                }
            }
        };
        if let Some(turn) = turn {
            place.wait(turn, patience).await?;
        }
        if waits {
            place.note_waited(level.clock.now());
        }
        place.begin();
        Ok(place)
    }

    fn lock(&self) -> MutexGuard<'_, Guts> {
        self.guts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's place in its level. Dropping it gives the seats back, or gives up waiting.
pub(crate) struct Place {
    schema: Arc<Schema>,
    id: usize,
    estimate: Estimate,
    kind: Kind,
    watch: bool,
    arrived: Duration,
    /// When it began to be served, and its count among those that are.
    began: Option<(Duration, Counting)>,
    /// Whether it is no longer here.
    gone: bool,
}

impl Place {
    fn new(schema: &Arc<Schema>, id: usize, attempt: &Attempt, arrived: Duration) -> Self {
        let verb = attempt.described.info.verb.as_str();
        Self {
            schema: Arc::clone(schema),
            id,
            estimate: attempt.estimate,
            kind: Kind::of(verb),
            watch: verb == "watch",
            arrived,
            began: None,
            gone: false,
        }
    }

    /// Waits for its turn.
    async fn wait(&mut self, turn: oneshot::Receiver<()>, patience: Duration) -> Result<(), u64> {
        let schema = Arc::clone(&self.schema);
        let level = &schema.level;
        let (waiting, seats) = (&schema.series.waiting, &schema.series.seats_waiting);
        let _counted = (
            Counted::new(waiting, 1),
            Counted::new(seats, self.estimate.max_seats()),
            level.kinds.count(Phase::Waiting, self.kind, level.clock),
        );
        if tokio::time::timeout(patience, turn)
            .await
            .is_ok_and(|turn| turn.is_ok())
        {
            return Ok(());
        }
        let now = level.clock.now();
        let mut guts = level.lock();
        guts.waiting.remove(&self.id);
        if !guts.set.cancel(self.id, now) {
            // Its turn came at the last moment.
            return Ok(());
        }
        guts.wake(now);
        self.note_cancelled(now);
        Err(guts.dropped.note(now.as_secs()))
    }

    /// It waited in vain, or for longer than whoever asked cared to.
    fn note_cancelled(&mut self, now: Duration) {
        self.gone = true;
        self.schema.series.reject("time-out");
        self.note_waited(now);
    }

    /// How long it waited. What came to a queue counts as what is served, as upstream counts it, whatever became of it there.
    fn note_waited(&self, now: Duration) {
        let waited = now.saturating_sub(self.arrived);
        self.schema.series.waited.observe(waited.as_secs_f64());
    }

    fn begin(&mut self) {
        let (level, series) = (&self.schema.level, &self.schema.series);
        series.dispatched.inc();
        series.executing.inc();
        series.seats_executing.add(i64::from(self.estimate.max_seats()));
        let counting = level.kinds.count(Phase::Executing, self.kind, level.clock);
        self.began = Some((level.clock.now(), counting));
    }

    /// What it was taken to need is free again.
    fn note_released(schema: &Schema, estimate: Estimate) {
        let seats = i64::from(estimate.max_seats());
        schema.series.seats_executing.sub(seats);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        let schema = Arc::clone(&self.schema);
        let (level, series) = (&schema.level, &schema.series);
        let now = level.clock.now();
        let began = self.began.take().map(|(began, _)| began);
        if let Some(began) = began {
            series.executing.dec();
            series
                .executed(self.watch)
                .observe(now.saturating_sub(began).as_secs_f64());
        }
        let (id, estimate) = (self.id, self.estimate);
        let lingers = {
            let mut guts = level.lock();
            guts.waiting.remove(&id);
            let lingers = if guts.set.cancel(id, now) {
                self.note_cancelled(now);
                None
            } else {
                guts.set.finish(id, now)
            };
            guts.wake(now);
            lingers
        };
        let Some(lingers) = lingers else {
            if began.is_some() {
                Self::note_released(&schema, estimate);
            }
            return;
        };
        let release = move || {
            let level = &schema.level;
            let (mut guts, now) = (level.lock(), level.clock.now());
            guts.set.release(id, now);
            guts.wake(now);
            if began.is_some() {
                Self::note_released(&schema, estimate);
            }
        };
        if Handle::try_current().is_ok() {
            self.schema.level.tasks.spawn(async move {
                tokio::time::sleep(lingers).await;
                release();
            });
        } else {
            release();
        }
    }
}

/// Counted in a gauge until it is dropped.
struct Counted<'a>(&'a prometheus::IntGauge, i64);

impl<'a> Counted<'a> {
    fn new(gauge: &'a prometheus::IntGauge, count: u32) -> Self {
        gauge.add(i64::from(count));
        Self(gauge, i64::from(count))
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.sub(self.1);
    }
}
