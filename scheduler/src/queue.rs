//! The pods that wait for a node, and when each is next looked at. Pure; the time is an argument.
//!
//! A pod is ready, or backs off after an attempt that failed (1 s, doubling to 10 s), or waits for something to change that
//! may help it. Ready ones come by priority, then in the order they came.

use crate::placed::priority;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
/// A pod that waited this long is looked at again whatever happened (upstream's five minutes).
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(5);

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node came or changed in what it offers or admits.
    Nodes,
    /// A pod left its node.
    Pods,
}

type Order = (Reverse<i32>, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready(Order),
    BackingOff(Timestamp),
    Waiting {
        since: Timestamp,
        for_pods: bool,
    },
    /// Taken out: it is being bound, or room is being made for it.
    Taken,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    attempts: u32,
    failed_at: Option<Timestamp>,
    state: State,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    pods: HashMap<String, Entry>,
    ready: BTreeSet<(Order, String)>,
    timed: BTreeSet<(Timestamp, String)>,
    arrivals: u64,
}

impl Queue {
    /// Takes a pod in, or what changed about it. A changed spec or label may help, so it is looked at again.
    pub fn add(&mut self, uid: &str, pod: Arc<Pod>, now: Timestamp) {
        let Some(entry) = self.pods.get_mut(uid) else {
            let entry = Entry {
                pod,
                attempts: 0,
                failed_at: None,
                state: State::Taken,
            };
            self.pods.insert(uid.to_owned(), entry);
            self.make_ready(uid);
            return;
        };
        let helps = entry.pod.spec != pod.spec || entry.pod.metadata.labels != pod.metadata.labels;
        entry.pod = pod;
        if helps && matches!(entry.state, State::Waiting { .. }) {
            self.after_backoff(uid, now);
        }
    }

    /// Forgets a pod.
    pub fn remove(&mut self, uid: &str) {
        self.leave(uid);
        self.pods.remove(uid);
    }

    /// The pod as it was last seen, if it stands here.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.pods.get(uid).map(|entry| &entry.pod)
    }

    /// The uids of all pods here.
    pub fn uids(&self) -> impl Iterator<Item = &String> {
        self.pods.keys()
    }

    /// The next pod to decide about. It stays known until it is removed or comes back.
    pub fn pop(&mut self, now: Timestamp) -> Option<(String, Arc<Pod>)> {
        while let Some((at, uid)) = self.timed.first().cloned()
            && at <= now
        {
            self.leave(&uid);
            self.make_ready(&uid);
        }
        let (_, uid) = self.ready.pop_first()?;
        let entry = self.pods.get_mut(&uid)?;
        entry.state = State::Taken;
        Some((uid, entry.pod.clone()))
    }

    /// Whether [`Queue::pop`] gives a pod.
    #[must_use]
    pub fn is_ready(&self, now: Timestamp) -> bool {
        !self.ready.is_empty() || self.due().is_some_and(|due| due <= now)
    }

    /// When [`Queue::pop`] may next give a pod, if nothing changes.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.timed.first().map(|(at, _)| *at)
    }

    /// No node can take the pod: it waits for a change.
    pub fn refused(&mut self, uid: &str, for_pods: bool, now: Timestamp) {
        self.leave(uid);
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        entry.attempts += 1;
        entry.failed_at = Some(now);
        entry.state = State::Waiting { since: now, for_pods };
        self.timed.insert((now + LONGEST_WAIT, uid.to_owned()));
    }

    /// Binding failed: the pod is tried again after a pause.
    pub fn failed(&mut self, uid: &str, now: Timestamp) {
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.attempts += 1;
            entry.failed_at = Some(now);
            self.after_backoff(uid, now);
        }
    }

    /// Wakes the pods that this may help.
    pub fn wake(&mut self, event: Event, now: Timestamp) {
        self.wake_where(now, |_, for_pods| event == Event::Nodes || for_pods);
    }

    /// Wakes pods up to this priority that wait for others to go: a node that was kept for a pod of this priority is kept no
    /// more.
    pub fn wake_up_to(&mut self, most: i32, now: Timestamp) {
        self.wake_where(now, |pod, for_pods| for_pods && priority(pod) <= most);
    }

    /// Wakes pods of which this holds, if they wait.
    pub fn wake_if(&mut self, now: Timestamp, helps: impl Fn(&Pod) -> bool) {
        self.wake_where(now, |pod, _| helps(pod));
    }

    /// Has this pod looked at again, if it waits.
    pub fn wake_one(&mut self, uid: &str, now: Timestamp) {
        let state = self.pods.get(uid).map(|entry| entry.state);
        if matches!(state, Some(State::Waiting { .. })) {
            self.after_backoff(uid, now);
        }
    }

    fn wake_where(&mut self, now: Timestamp, helps: impl Fn(&Pod, bool) -> bool) {
        let helped = |entry: &Entry| match entry.state {
            State::Waiting { for_pods, .. } => helps(&entry.pod, for_pods),
            State::Ready(_) | State::BackingOff(_) | State::Taken => false,
        };
        let mut woken: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, entry)| helped(entry))
            .map(|(uid, e)| (e.failed_at, uid.clone()))
            .collect();
        woken.sort();
        for (_, uid) in woken {
            self.after_backoff(&uid, now);
        }
    }

    /// Makes a pod ready, once its pause since the last failure is over.
    fn after_backoff(&mut self, uid: &str, now: Timestamp) {
        self.leave(uid);
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        let until = entry.failed_at.map(|failed| failed + backoff(entry.attempts));
        match until.filter(|until| *until > now) {
            None => self.make_ready(uid),
            Some(until) => {
                entry.state = State::BackingOff(until);
                self.timed.insert((until, uid.to_owned()));
            }
        }
    }

    fn make_ready(&mut self, uid: &str) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        let order = (Reverse(priority(&entry.pod)), self.arrivals);
        self.arrivals += 1;
        entry.state = State::Ready(order);
        self.ready.insert((order, uid.to_owned()));
    }

    /// Takes the pod out of where its state has put it.
    fn leave(&mut self, uid: &str) {
        let Some(entry) = self.pods.get_mut(uid) else {
            return;
        };
        match std::mem::replace(&mut entry.state, State::Taken) {
            State::Ready(order) => self.ready.remove(&(order, uid.to_owned())),
            State::BackingOff(until) => self.timed.remove(&(until, uid.to_owned())),
            State::Waiting { since, .. } => self.timed.remove(&(since + LONGEST_WAIT, uid.to_owned())),
            State::Taken => false,
        };
    }
}

fn backoff(attempts: u32) -> SignedDuration {
    let doublings = attempts.saturating_sub(1).min(10);
    (FIRST_BACKOFF * (1 << doublings)).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::PodBuilder;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn add(queue: &mut Queue, name: &str, priority: i32) {
        queue.add(
            name,
            Arc::new(PodBuilder::new(name).priority(priority).build()),
            at(0),
        );
    }

    fn pop(queue: &mut Queue, second: i64) -> Option<String> {
        queue.pop(at(second)).map(|(uid, _)| uid)
    }

    #[test]
    fn priority_first_then_arrival() {
        let mut queue = Queue::default();
        for (name, priority) in [("a", 0), ("b", 10), ("c", 0), ("d", 10)] {
            add(&mut queue, name, priority);
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, 0)).collect();
        assert_eq!(order, ["b", "d", "a", "c"]);
    }

    #[test]
    fn a_refused_pod_waits_for_what_helps_it() {
        let mut queue = Queue::default();
        add(&mut queue, "p", 0);
        pop(&mut queue, 0);
        queue.refused("p", false, at(0));
        queue.wake(Event::Pods, at(5));
        assert_eq!(pop(&mut queue, 5), None, "no pod is in its way");
        queue.wake(Event::Nodes, at(5));
        assert_eq!(pop(&mut queue, 5).as_deref(), Some("p"));
    }

    #[test]
    fn attempts_in_a_row_back_off_up_to_ten_seconds() {
        let mut queue = Queue::default();
        add(&mut queue, "p", 0);
        let mut now = 0;
        for pause in [1, 2, 4, 8, 10, 10] {
            assert!(pop(&mut queue, now).is_some());
            queue.refused("p", true, at(now));
            queue.wake(Event::Pods, at(now));
            assert_eq!(queue.due(), Some(at(now + pause)));
            assert_eq!(pop(&mut queue, now + pause - 1), None);
            now += pause;
        }
    }

    #[test]
    fn nobody_waits_longer_than_five_minutes() {
        let mut queue = Queue::default();
        add(&mut queue, "p", 0);
        pop(&mut queue, 0);
        queue.refused("p", false, at(0));
        assert_eq!(pop(&mut queue, 299), None);
        assert!(pop(&mut queue, 300).is_some());
    }

    #[test]
    fn a_removed_pod_leaves_no_trace() {
        let mut queue = Queue::default();
        add(&mut queue, "p", 0);
        queue.remove("p");
        assert_eq!(pop(&mut queue, 0), None);
        add(&mut queue, "p", 0);
        pop(&mut queue, 0);
        queue.refused("p", true, at(0));
        queue.remove("p");
        queue.wake(Event::Nodes, at(0));
        assert_eq!((queue.due(), pop(&mut queue, 1000)), (None, None));
    }
}
