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
use super::queue_set::{Arrival, Described, Estimate, QueueSet, Queuing};
use super::shares::{Bounds, Claim, Smoothed};
use super::timed::{Lasted, Uses};
use super::{Clock, Schema};

/// A priority level.
pub(super) struct Level {
    name: String,
    clock: Clock,
    tasks: TaskTracker,
    guts: Mutex<Guts>,
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
        tasks: TaskTracker,
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

    /// So many seats are its own from now on. Says how often the next request found too few so far.
    pub(super) fn lend(&self, seats: u32) -> u64 {
        let mut guts = self.lock();
        let (queuing, now) = (guts.set.queuing(), self.clock.now());
        guts.set.configure(queuing, seats, now);
        guts.wake(now);
        guts.set.counts.unaccommodated
    }

    /// How much it was used until now.
    pub(super) fn uses(&self) -> [Lasted; 4] {
        let mut guts = self.lock();
        guts.uses.read(self.clock.now())
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
        let verb_is_watch = attempt.described.info.verb == "watch";
        let arrived = level.clock.now();
        let (turn, mut place) = {
            let mut guts = level.lock();
            let arrival = guts
                .set
                .arrive(attempt.described, estimate, attempt.hash, arrived);
            guts.wake(arrived);
            match arrival {
                Arrival::Refused(reason) => {
                    schema.series.reject(reason);
                    return Err(guts.dropped.note(arrived.as_secs()));
                }
                Arrival::Served(id) => (None, Place::new(schema, id, estimate, verb_is_watch)),
                Arrival::Waits(id, length) => {
                    let (waker, turn) = oneshot::channel();
                    guts.waiting.insert(id, waker);
                    schema.series.lengths.observe(length as f64);
                    (Some(turn), Place::new(schema, id, estimate, verb_is_watch))
                }
            }
        };
        if let Some(turn) = turn {
            place.wait(turn, patience).await?;
        }
        if waits {
            let waited = level.clock.now().saturating_sub(arrived);
            schema.series.waited.observe(waited.as_secs_f64());
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
    watch: bool,
    /// When it began to be served.
    began: Option<Duration>,
    /// Whether it is no longer here.
    gone: bool,
}

impl Place {
    fn new(schema: &Arc<Schema>, id: usize, estimate: Estimate, watch: bool) -> Self {
        Self {
            schema: Arc::clone(schema),
            id,
            estimate,
            watch,
            began: None,
            gone: false,
        }
    }

    /// Waits for its turn.
    async fn wait(&mut self, turn: oneshot::Receiver<()>, patience: Duration) -> Result<(), u64> {
        let (waiting, seats) = (&self.schema.series.waiting, &self.schema.series.seats_waiting);
        let _counted = (
            Counted::new(waiting, 1),
            Counted::new(seats, self.estimate.max_seats()),
        );
        if tokio::time::timeout(patience, turn)
            .await
            .is_ok_and(|turn| turn.is_ok())
        {
            return Ok(());
        }
        let level = &self.schema.level;
        let now = level.clock.now();
        let mut guts = level.lock();
        guts.waiting.remove(&self.id);
        if !guts.set.cancel(self.id, true, now) {
            // Its turn came at the last moment.
            return Ok(());
        }
        guts.wake(now);
        self.gone = true;
        self.schema.series.reject("time-out");
        self.schema.series.waited_in_vain.observe(patience.as_secs_f64());
        Err(guts.dropped.note(now.as_secs()))
    }

    fn begin(&mut self) {
        let series = &self.schema.series;
        series.dispatched.inc();
        series.executing.inc();
        series.seats_executing.add(i64::from(self.estimate.max_seats()));
        self.began = Some(self.schema.level.clock.now());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (level, series) = (&self.schema.level, &self.schema.series);
        let now = level.clock.now();
        if let Some(began) = self.began {
            series.executing.dec();
            series.seats_executing.sub(i64::from(self.estimate.max_seats()));
            let sort = if self.watch { "watch" } else { "" };
            series
                .executed(sort)
                .observe(now.saturating_sub(began).as_secs_f64());
        }
        if self.gone {
            return;
        }
        let lingers = {
            let mut guts = level.lock();
            guts.waiting.remove(&self.id);
            let lingers = if guts.set.cancel(self.id, false, now) {
                None
            } else {
                guts.set.finish(self.id, now)
            };
            guts.wake(now);
            lingers
        };
        let Some(lingers) = lingers else {
            return;
        };
        let (schema, id) = (Arc::clone(&self.schema), self.id);
        let release = move || {
            let level = &schema.level;
            let (mut guts, now) = (level.lock(), level.clock.now());
            guts.set.release(id, now);
            guts.wake(now);
        };
        if Handle::try_current().is_ok() {
            level.tasks.spawn(async move {
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
