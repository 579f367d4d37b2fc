//! The queues of one priority level, and who is served next: fair queuing by virtual time (KEP-1040; upstream's
//! `fairqueuing/queueset`). Pure: time is an argument, counted from any moment.
//!
//! In the virtual world every queue that has work gets the same share of the seats. Its progress, R, is how much work each
//! queue has been given since the beginning. A queue remembers the R at which its next request would begin there; the
//! request that would end first there is the next to be served here. A request is taken to last as long as an average one, and
//! the difference is made up for when it ends.
//!
//! Always holds: no more seats are taken than the limit has, save by a single request that is wider; what waits fits the
//! queues' lengths; who is neither served nor refused waits in exactly one queue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::demand::Demand;
use crate::request::RequestInfo;

/// How long a request is taken to last (upstream's `estimatedServiceDuration`).
const SERVICE: Duration = Duration::from_millis(3);

/// Seats taken for some time, in units of a nanosecond. Wide enough for longer than any server runs.
type Work = i128;

fn work(seats: u32, time: Duration) -> Work {
    Work::from(seats) * time.as_nanos() as Work
}

/// How many seats a request takes: while it is answered, and how many for how long after that (for what it sets off).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    pub(super) initial_seats: u32,
    pub(super) final_seats: u32,
    pub(super) additional_latency: Duration,
}

impl Estimate {
    pub(super) const ONE: Self = Self {
        initial_seats: 1,
        final_seats: 0,
        additional_latency: Duration::ZERO,
    };

    pub(super) fn max_seats(&self) -> u32 {
        self.initial_seats.max(self.final_seats)
    }

    fn work(&self) -> Work {
        work(self.initial_seats, SERVICE) + work(self.final_seats, self.additional_latency)
    }

    /// The same work after the answer, on no more seats than there are.
    fn within(self, limit: u32) -> Self {
        if self.final_seats <= limit || limit == 0 {
            return self;
        }
        let total = self.additional_latency * self.final_seats;
        Self {
            final_seats: limit,
            additional_latency: total / limit,
            ..self
        }
    }
}

/// How a level's requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queuing {
    /// They do not, and no limit is theirs.
    Exempt,
    /// They do not: what there are no seats for is refused.
    Reject,
    /// In queues, of which each flow has a hand.
    Queues {
        queues: u32,
        hand_size: u32,
        length_limit: u32,
    },
}

/// Whose a request is, for whoever looks at what goes on.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) schema: Arc<str>,
    pub(super) flow: String,
    pub(super) user: String,
    pub(super) info: Arc<RequestInfo>,
}

/// A request that is here.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) described: Described,
    pub(super) estimate: Estimate,
    /// The queue it waits or waited in.
    pub(super) queue: Option<usize>,
    pub(super) arrived: Duration,
    /// None while it waits.
    pub(super) started: Option<Duration>,
    arrival_r: Work,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<usize>,
    /// The work of those that wait.
    pub(super) work: Work,
    pub(super) seats_waiting: u32,
    pub(super) executing: u32,
    pub(super) seats_in_use: u32,
    pub(super) next_dispatch_r: Work,
}

impl Queue {
    fn is_active(&self) -> bool {
        !self.waiting.is_empty() || self.executing > 0
    }
}

/// What becomes of a request when it arrives. One that comes to a queue is told how long that has become by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is served, straight from a queue where there are any.
    Served(usize, Option<usize>),
    /// It waits.
    Waits(usize, usize),
    /// It is refused, for this reason.
    Refused(&'static str),
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) dispatched: u64,
    pub(super) rejected: u64,
    /// Those that waited too long, and those that gave up: upstream tells them apart no more.
    pub(super) cancelled: u64,
}

/// How far everything had come when a request was last taken from its queue, in seconds of a seat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dispatch {
    /// The progress of all.
    pub(super) r: f64,
    /// Where the request began in the virtual world.
    pub(super) start: f64,
    /// Where the next requests of queues would, at first and at last.
    pub(super) next: [f64; 2],
    /// The same without the work that their queues have under way.
    pub(super) discounted: [f64; 2],
}

fn seat_seconds(work: Work) -> f64 {
    work as f64 / 1e9
}

/// The queue that is served next, and where all begin that have somebody waiting.
struct Next {
    index: usize,
    end: Work,
    starts: [Work; 2],
    discounted: [Work; 2],
}

/// See the module.
#[derive(Debug)]
pub(super) struct QueueSet {
    queuing: Queuing,
    limit: u32,
    /// May be more than wanted, until those at the end are empty.
    pub(super) queues: Vec<Queue>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    r: Work,
    at: Duration,
    robin: usize,
    active: u32,
    pub(super) waiting: u32,
    pub(super) seats_waiting: u32,
    pub(super) executing: u32,
    pub(super) seats_in_use: u32,
    enqueues: u64,
    pub(super) counts: Counts,
    /// How often the next request found too few seats, by its schema.
    pub(super) unaccommodated: BTreeMap<Arc<str>, u64>,
    pub(super) dispatched: Option<Dispatch>,
    pub(super) demand: Demand,
    served: Vec<usize>,
}

impl QueueSet {
    pub(super) fn new(queuing: Queuing, limit: u32, now: Duration) -> Self {
        let mut set = Self {
            queuing,
            limit,
            queues: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            r: 0,
            at: now,
            robin: 0,
            active: 0,
            waiting: 0,
            seats_waiting: 0,
            executing: 0,
            seats_in_use: 0,
            enqueues: 0,
            counts: Counts::default(),
            unaccommodated: BTreeMap::new(),
            dispatched: None,
            demand: Demand::new(now),
            served: Vec::new(),
        };
        set.configure(queuing, limit, now);
        set
    }

    /// Takes another configuration. Whoever waits goes on waiting, also in queues that are no longer wanted.
    pub(super) fn configure(&mut self, queuing: Queuing, limit: u32, now: Duration) {
        self.sync(now);
        self.queuing = queuing;
        self.limit = limit;
        if let Queuing::Queues { queues, .. } = queuing
            && self.queues.len() < queues as usize
        {
            self.queues.resize_with(queues as usize, Queue::default);
        }
        self.trim();
        self.dispatch(now);
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn queuing(&self) -> Queuing {
        self.queuing
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing == 0
    }

    /// Those that are here, with their ids.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(id, entry)| Some((id, entry.as_ref()?)))
    }

    /// Those that began to be served since this was last asked.
    pub(super) fn take_served(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.served)
    }

    /// Takes a request in. `hash` tells its flow from others.
    pub(super) fn arrive(
        &mut self,
        described: Described,
        estimate: Estimate,
        hash: u64,
        now: Duration,
    ) -> Arrival {
        self.sync(now);
        let Queuing::Queues {
            hand_size,
            queues,
            length_limit,
        } = self.queuing
        else {
            if !self.accommodates(estimate.max_seats()) {
                self.counts.rejected += 1;
                return Arrival::Refused("concurrency-limit");
            }
            let id = self.enter(described, estimate, None, now);
            self.start(id, now);
            return Arrival::Served(id, None);
        };
        let index = self.choose(hash, queues as usize, hand_size as usize);
        if self.seats_in_use >= self.limit && self.queues[index].waiting.len() >= length_limit as usize {
            self.counts.rejected += 1;
            self.bound(index);
            return Arrival::Refused("queue-full");
        }
        let id = self.enter(described, estimate, Some(index), now);
        let queue = &mut self.queues[index];
        if !queue.is_active() {
            queue.next_dispatch_r = self.r;
            self.active += 1;
        }
        queue.waiting.push_back(id);
        queue.work += estimate.work();
        queue.seats_waiting += estimate.max_seats();
        let length = queue.waiting.len();
        self.waiting += 1;
        self.seats_waiting += estimate.max_seats();
        self.bound(index);
        self.note_demand(now);
        self.dispatch(now);
        match self.served.iter().position(|served| *served == id) {
            Some(at) => {
                self.served.swap_remove(at);
                Arrival::Served(id, Some(length))
            }
            None => Arrival::Waits(id, length),
        }
    }

    /// Lets a request go that waits no longer. False where it was served meanwhile.
    pub(super) fn cancel(&mut self, id: usize, now: Duration) -> bool {
        self.sync(now);
        let Some(entry) = self.entries.get(id).and_then(Option::as_ref) else {
            return true;
        };
        if entry.started.is_some() {
            return false;
        }
        let (estimate, index) = (entry.estimate, entry.queue);
        if let Some(index) = index {
            let queue = &mut self.queues[index];
            queue.waiting.retain(|waiting| *waiting != id);
            queue.work -= estimate.work();
            queue.seats_waiting -= estimate.max_seats();
            if !queue.is_active() {
                self.active -= 1;
            }
            self.bound(index);
        }
        self.waiting -= 1;
        self.seats_waiting -= estimate.max_seats();
        self.counts.rejected += 1;
        self.counts.cancelled += 1;
        self.forget(id);
        self.note_demand(now);
        true
    }

    /// A request has been answered. What it set off keeps its seats for the time that is answered; [`QueueSet::release`] is
    /// to be called after it.
    pub(super) fn finish(&mut self, id: usize, now: Duration) -> Option<Duration> {
        self.sync(now);
        let entry = self.entries.get(id).and_then(Option::as_ref)?;
        let (estimate, index) = (entry.estimate, entry.queue);
        let took = now.saturating_sub(entry.started?);
        self.executing -= 1;
        if let Some(index) = index {
            let queue = &mut self.queues[index];
            queue.executing -= 1;
            // What it was taken to last, and what it did.
            queue.next_dispatch_r -=
                work(estimate.initial_seats, SERVICE) - work(estimate.initial_seats, took);
            if !queue.is_active() {
                self.active -= 1;
            }
            self.bound(index);
        }
        if estimate.additional_latency.is_zero() {
            self.release(id, now);
            return None;
        }
        self.dispatch(now);
        Some(estimate.additional_latency)
    }

    /// Gives back the seats of a request that has been answered.
    pub(super) fn release(&mut self, id: usize, now: Duration) {
        self.sync(now);
        let Some(entry) = self.forget(id) else {
            return;
        };
        let seats = entry.estimate.max_seats();
        self.seats_in_use -= seats;
        if let Some(index) = entry.queue {
            self.queues[index].seats_in_use -= seats;
        }
        self.trim();
        self.note_demand(now);
        self.dispatch(now);
    }

    /// How far virtual time has come, in seconds of a seat.
    pub(super) fn progress(&self) -> f64 {
        seat_seconds(self.r)
    }

    /// Lets virtual time pass: each queue that has work has got its share of the seats since.
    fn sync(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        if self.active > 0 {
            let seats = (self.seats_in_use + self.seats_waiting).min(self.limit);
            self.r += work(seats, passed) / Work::from(self.active);
        }
    }

    fn enter(
        &mut self,
        described: Described,
        estimate: Estimate,
        queue: Option<usize>,
        now: Duration,
    ) -> usize {
        let entry = Entry {
            described,
            estimate,
            queue,
            arrived: now,
            started: None,
            arrival_r: self.r,
        };
        if let Some(id) = self.free.pop() {
            self.entries[id] = Some(entry);
            return id;
        }
        self.entries.push(Some(entry));
        self.entries.len() - 1
    }

    fn forget(&mut self, id: usize) -> Option<Entry> {
        let entry = self.entries.get_mut(id).and_then(Option::take);
        if entry.is_some() {
            self.free.push(id);
        }
        entry
    }

    /// The queue with the least work of those that a flow is dealt; each time another one is looked at first.
    fn choose(&mut self, hash: u64, deck: usize, hand_size: usize) -> usize {
        let mut hand = [0; HAND_MAX];
        let hand = deal(hash, deck, hand_size, &mut hand);
        let offset = (self.enqueues % hand.len() as u64) as usize;
        self.enqueues += 1;
        let (before, after) = hand.split_at(offset);
        let turned = after.iter().chain(before).copied();
        turned.min_by_key(|index| self.queues[*index].work).unwrap_or(0)
    }

    fn dispatch(&mut self, now: Duration) {
        while self.waiting > 0 && self.seats_in_use < self.limit && self.dispatch_one(now) {}
    }

    fn dispatch_one(&mut self, now: Duration) -> bool {
        let Some(next) = self.next_queue() else {
            return false;
        };
        let index = next.index;
        let Some(id) = self.queues[index].waiting.front().copied() else {
            return false;
        };
        let Some(entry) = self.entries[id].as_ref() else {
            return false;
        };
        let estimate = entry.estimate;
        if !self.accommodates(estimate.max_seats()) {
            let schema = Arc::clone(&entry.described.schema);
            *self.unaccommodated.entry(schema).or_default() += 1;
            return false;
        }
        self.robin = index;
        let (work, seats) = (estimate.work(), estimate.max_seats());
        let queue = &mut self.queues[index];
        self.dispatched = Some(Dispatch {
            r: seat_seconds(self.r),
            start: seat_seconds(queue.next_dispatch_r),
            next: next.starts.map(seat_seconds),
            discounted: next.discounted.map(seat_seconds),
        });
        queue.waiting.pop_front();
        queue.work -= work;
        queue.seats_waiting -= seats;
        queue.next_dispatch_r += work;
        self.waiting -= 1;
        self.seats_waiting -= seats;
        if let Some(entry) = self.entries[id].as_mut() {
            entry.estimate = estimate.within(self.limit);
        }
        self.start(id, now);
        self.bound(index);
        self.served.push(id);
        true
    }

    /// The queue whose oldest request would end first in the virtual world. Of equal ones, the first after the one that was
    /// last chosen.
    fn next_queue(&self) -> Option<Next> {
        let count = self.queues.len();
        let turned = (1..=count).map(|step| (self.robin + step) % count);
        let starts = turned.filter_map(|index| {
            let queue = &self.queues[index];
            let oldest = self.entries[*queue.waiting.front()?].as_ref()?;
            let start = queue.next_dispatch_r;
            Some(Next {
                index,
                end: start + oldest.estimate.work(),
                starts: [start; 2],
                discounted: [start - work(queue.seats_in_use, SERVICE); 2],
            })
        });
        let widen = |[low, high]: [Work; 2], other: [Work; 2]| [low.min(other[0]), high.max(other[1])];
        starts.reduce(|first, other| Next {
            index: if other.end < first.end {
                other.index
            } else {
                first.index
            },
            end: first.end.min(other.end),
            starts: widen(first.starts, other.starts),
            discounted: widen(first.discounted, other.discounted),
        })
    }

    fn start(&mut self, id: usize, now: Duration) {
        let Some(entry) = self.entries[id].as_mut() else {
            return;
        };
        entry.started = Some(now);
        let seats = entry.estimate.max_seats();
        if let Some(index) = entry.queue {
            let queue = &mut self.queues[index];
            queue.executing += 1;
            queue.seats_in_use += seats;
        }
        self.executing += 1;
        self.seats_in_use += seats;
        self.counts.dispatched += 1;
        self.note_demand(now);
    }

    fn accommodates(&self, seats: u32) -> bool {
        if self.queuing == Queuing::Exempt {
            return true;
        }
        if seats > self.limit {
            // What is wider than all there is is served alone.
            return self.executing == 0;
        }
        self.seats_in_use + seats <= self.limit
    }

    /// A queue gains nothing by time in which it had nothing to do.
    fn bound(&mut self, index: usize) {
        let queue = &mut self.queues[index];
        if let Some(oldest) = queue.waiting.front().and_then(|id| self.entries[*id].as_ref()) {
            queue.next_dispatch_r = queue.next_dispatch_r.max(oldest.arrival_r);
        }
    }

    /// Lets go of queues that are no longer wanted and empty.
    fn trim(&mut self) {
        let wanted = match self.queuing {
            Queuing::Queues { queues, .. } => queues as usize,
            Queuing::Exempt | Queuing::Reject => 0,
        };
        while self.queues.len() > wanted
            && self
                .queues
                .last()
                .is_some_and(|queue| !queue.is_active() && queue.seats_in_use == 0)
        {
            self.queues.pop();
        }
        self.robin = self.robin.min(self.queues.len().saturating_sub(1));
    }

    fn note_demand(&mut self, now: Duration) {
        self.demand.set(self.seats_in_use + self.seats_waiting, now);
    }
}

/// The most queues that a flow may be dealt (as validation has it).
const HAND_MAX: usize = 15;

/// Deals a hand from a deck of queues by a hash: as a card is drawn, those after it move up (upstream's `shufflesharding`).
fn deal(hash: u64, deck: usize, hand_size: usize, hand: &mut [usize; HAND_MAX]) -> &[usize] {
    let size = hand_size.clamp(1, HAND_MAX.min(deck.max(1)));
    let mut rest = hash;
    let mut drawn = [0; HAND_MAX];
    for (i, remainder) in drawn.iter_mut().enumerate().take(size) {
        let left = (deck.max(1) - i) as u64;
        *remainder = (rest % left) as usize;
        rest /= left;
    }
    for i in 0..size {
        let mut card = drawn[i];
        for before in drawn[..i].iter().rev() {
            if card >= *before {
                card += 1;
            }
        }
        hand[i] = card;
    }
    &hand[..size]
}

#[cfg(test)]
mod tests;
