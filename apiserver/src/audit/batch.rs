//! Events that are handed on several at a time, so that nobody waits for whoever takes them (upstream's `buffered`).

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::event::Event;

/// `--audit-log-mode`, `--audit-webhook-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Events are gathered and handed on later.
    Batch,
    /// An answer waits for its events.
    Blocking,
    /// And a request that cannot be recorded is refused.
    BlockingStrict,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "batch" => Ok(Self::Batch),
            "blocking" => Ok(Self::Blocking),
            "blocking-strict" => Ok(Self::BlockingStrict),
            other => Err(format!(
                "invalid audit mode {other}, allowed modes are \"batch,blocking,blocking-strict\""
            )),
        }
    }
}

/// How events are gathered.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchLimits {
    /// How many wait at most; further ones are dropped.
    pub buffer_size: usize,
    /// How many are handed on at once.
    pub max_size: usize,
    /// How long the first of a batch waits.
    pub max_wait: Duration,
    /// How many batches a second there are at most, and how many at once after a pause; no limit where None.
    pub throttle: Option<(f64, u32)>,
}

impl BatchLimits {
    /// Upstream's for the log: one event at a time.
    pub fn of_log() -> Self {
        Self {
            buffer_size: 10_000,
            max_size: 1,
            max_wait: Duration::ZERO,
            throttle: None,
        }
    }

    /// Upstream's for a server.
    pub fn of_webhook() -> Self {
        Self {
            buffer_size: 10_000,
            max_size: 400,
            max_wait: Duration::from_secs(30),
            throttle: Some((10.0, 15)),
        }
    }

    /// Whether batches can be made like this. `plugin` is `log` or `webhook`.
    ///
    /// # Errors
    /// Why not, in upstream's words.
    pub(super) fn check(&self, plugin: &str) -> Result<(), String> {
        let faulty = |what: &str, value: &dyn std::fmt::Display| {
            Err(format!(
                "invalid audit batch {plugin} {what} {value}, must be a positive number"
            ))
        };
        match self {
            Self { buffer_size: 0, .. } => faulty("buffer size", &0),
            Self { max_size: 0, .. } => faulty("max batch size", &0),
            Self {
                throttle: Some((rate, _)),
                ..
            } if !rate.is_sign_positive() || *rate == 0.0 => faulty("throttle QPS", rate),
            Self {
                throttle: Some((_, 0)),
                ..
            } => faulty("throttle burst", &0),
            _ => Ok(()),
        }
    }
}

/// Where events are put.
pub(super) struct Queue(mpsc::Sender<Event>);

impl Queue {
    /// Never waits: an event that there is no room for is dropped.
    pub(super) fn put(&self, event: Event) {
        if self.0.try_send(event).is_err() {
            tracing::error!("audit buffer queue blocked; an audit event is lost");
        }
    }
}

pub(super) fn queue(limits: &BatchLimits) -> (Queue, mpsc::Receiver<Event>) {
    let (sender, receiver) = mpsc::channel(limits.buffer_size.max(1));
    (Queue(sender), receiver)
}

/// Whether a batch waits until the one before is delivered (upstream's `AsyncDelegate`, which a log has not and a server has).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Batches arrive in the order of their events.
    Kept,
    /// They are delivered side by side.
    Any,
}

/// Hands batches of at most so many bytes on until shutdown, and then what is left.
pub(super) async fn run<F>(
    mut events: mpsc::Receiver<Event>,
    limits: BatchLimits,
    (max_bytes, order): (usize, Order),
    shutdown: CancellationToken,
    deliver: impl Fn(Vec<Event>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut throttle = limits.throttle.map(|(rate, burst)| Throttle::new(rate, burst));
    let delivering = TaskTracker::new();
    loop {
        let ending = shutdown.is_cancelled();
        if ending {
            events.close();
        }
        let batch = gather(&mut events, &limits, &shutdown).await;
        if batch.is_empty() {
            if ending {
                break;
            }
            continue;
        }
        for batch in split(batch, max_bytes) {
            if let Some(throttle) = &mut throttle {
                throttle.pass().await;
            }
            match order {
                Order::Kept => deliver(batch).await,
                Order::Any => drop(delivering.spawn(deliver(batch))),
            }
        }
    }
    delivering.close();
    delivering.wait().await;
}

async fn gather(
    events: &mut mpsc::Receiver<Event>,
    limits: &BatchLimits,
    shutdown: &CancellationToken,
) -> Vec<Event> {
    let mut batch = Vec::new();
    let ending = shutdown.is_cancelled();
    let first = tokio::select! {
        biased;
        event = events.recv() => event,
        () = shutdown.cancelled(), if !ending => None,
    };
    batch.extend(first);
    if batch.is_empty() {
        return batch;
    }
    let until = Instant::now() + limits.max_wait;
    while batch.len() < limits.max_size {
        let next = tokio::select! {
            biased;
            event = events.recv() => event,
            () = tokio::time::sleep_until(until), if !ending => None,
            () = shutdown.cancelled(), if !ending => None,
        };
        let Some(next) = next else {
            break;
        };
        batch.push(next);
    }
    batch
}

/// Batches of no more bytes than are to be sent at once.
fn split(events: Vec<Event>, max_bytes: usize) -> Vec<Vec<Event>> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for event in events {
        let size = event.json().len();
        if bytes + size > max_bytes && bytes > 0 {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        batches
            .last_mut()
            .into_iter()
            .for_each(|batch| batch.push(event.clone()));
    }
    batches
}

/// A bucket that tokens drop into.
struct Throttle {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Throttle {
    fn new(rate: f64, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            rate: rate.max(f64::MIN_POSITIVE),
            burst,
            tokens: burst,
            at: Instant::now(),
        }
    }

    async fn pass(&mut self) {
        let now = Instant::now();
        let gained = now.duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.burst) - 1.0;
        self.at = now;
        if self.tokens < 0.0 {
            let pause = Duration::try_from_secs_f64(-self.tokens / self.rate).unwrap_or(Duration::MAX);
            tokio::time::sleep(pause).await;
        }
    }
}
