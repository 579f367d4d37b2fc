use proptest::prelude::*;

use super::*;

const QUEUES: Queuing = Queuing::Queues {
    queues: 8,
    hand_size: 1,
    length_limit: 10,
};

fn described(flow: &str) -> Described {
    Described {
        schema: "schema".into(),
        flow: flow.to_owned(),
        user: flow.to_owned(),
        info: Arc::default(),
    }
}

fn wide(seats: u32) -> Estimate {
    Estimate {
        initial_seats: seats,
        ..Estimate::ONE
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn hands_are_dealt_without_doubles_and_as_upstream_deals_them() {
    let mut hand = [0; HAND_MAX];
    assert_eq!(
        deal(8238791057607451177, 128, 9, &mut hand),
        [41, 119, 0, 49, 67, 79, 62, 117, 23]
    );
    for hash in (0..1000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
        let mut dealt = deal(hash, 64, 8, &mut hand).to_vec();
        dealt.sort_unstable();
        dealt.dedup();
        assert!(dealt.len() == 8 && dealt[7] < 64, "{dealt:?}");
    }
}

#[test]
fn what_there_are_no_seats_for_waits_and_what_there_is_no_room_for_is_refused() {
    let queuing = Queuing::Queues {
        queues: 1,
        hand_size: 1,
        length_limit: 1,
    };
    let mut set = QueueSet::new(queuing, 1, ms(0));
    let Arrival::Served(first, _) = set.arrive(described("a"), Estimate::ONE, 0, ms(0)) else {
        panic!("there is a seat");
    };
    let second = set.arrive(described("a"), Estimate::ONE, 0, ms(1));
    assert!(matches!(second, Arrival::Waits(_, 1)));
    let third = set.arrive(described("a"), Estimate::ONE, 0, ms(1));
    assert_eq!(third, Arrival::Refused("queue-full"));
    set.finish(first, ms(2));
    assert_eq!(set.take_served().len(), 1);
    let mut strict = QueueSet::new(Queuing::Reject, 1, ms(0));
    assert!(matches!(
        strict.arrive(described("a"), Estimate::ONE, 0, ms(0)),
        Arrival::Served(_, _)
    ));
    let refused = strict.arrive(described("a"), Estimate::ONE, 0, ms(0));
    assert_eq!(refused, Arrival::Refused("concurrency-limit"));
    let mut exempt = QueueSet::new(Queuing::Exempt, 0, ms(0));
    assert!(matches!(
        exempt.arrive(described("a"), Estimate::ONE, 0, ms(0)),
        Arrival::Served(_, _)
    ));
}

/// Serves everybody who wants it from two flows for a while, one request taking `took`; says how many of each.
fn compete(seats: [u32; 2], took: [u64; 2], limit: u32) -> [u32; 2] {
    let mut set = QueueSet::new(QUEUES, limit, ms(0));
    let mut served = [0, 0];
    let mut running: Vec<(Duration, usize, usize)> = Vec::new();
    let mut of = std::collections::HashMap::new();
    for now in (0..20_000).map(ms) {
        for flow in 0..2 {
            while set.queues[flow].waiting.len() < 10 {
                match set.arrive(described("f"), wide(seats[flow]), flow as u64, now) {
                    Arrival::Served(id, _) => {
                        of.insert(id, flow);
                        running.push((now + ms(took[flow]), id, flow));
                        served[flow] += 1;
                    }
                    Arrival::Waits(id, _) => {
                        of.insert(id, flow);
                    }
                    Arrival::Refused(_) => break,
                }
            }
        }
        let (done, left): (Vec<_>, Vec<_>) = running.into_iter().partition(|(end, ..)| *end <= now);
        running = left;
        for (_, id, _) in done {
            set.finish(id, now);
        }
        for id in set.take_served() {
            let flow = of[&id];
            served[flow] += 1;
            running.push((now + ms(took[flow]), id, flow));
        }
        assert!(set.seats_in_use <= limit);
    }
    served
}

#[test]
fn flows_get_the_same_number_of_seats_for_the_same_time() {
    let near = |[a, b]: [u32; 2], ratio: f64| {
        let found = f64::from(a) / f64::from(b);
        assert!((found / ratio - 1.0).abs() < 0.1, "{a} to {b} is not {ratio}");
    };
    near(compete([1, 1], [10, 10], 10), 1.0);
    near(compete([1, 1], [10, 40], 10), 4.0);
    near(compete([1, 2], [10, 10], 10), 2.0);
}

#[test]
fn a_flow_that_comes_late_does_not_wait_for_all_that_came_before() {
    let queuing = Queuing::Queues {
        queues: 8,
        hand_size: 1,
        length_limit: 1000,
    };
    let mut set = QueueSet::new(queuing, 1, ms(0));
    let mut ids = Vec::new();
    for _ in 0..100 {
        match set.arrive(described("elephant"), Estimate::ONE, 0, ms(0)) {
            Arrival::Served(id, _) => ids.push(id),
            other => assert!(matches!(other, Arrival::Waits(..))),
        }
    }
    let Arrival::Waits(mouse, _) = set.arrive(described("mouse"), Estimate::ONE, 1, ms(1)) else {
        panic!("the seat is taken");
    };
    let mut before = 0;
    let mut current = ids[0];
    for now in (10..).step_by(10).map(ms) {
        set.finish(current, now);
        current = set.take_served()[0];
        if current == mouse {
            break;
        }
        before += 1;
    }
    assert!(before <= 1, "{before} were served before it");
}

#[test]
fn what_is_wider_than_all_there_is_is_served_alone() {
    let mut set = QueueSet::new(QUEUES, 2, ms(0));
    let Arrival::Served(narrow, _) = set.arrive(described("a"), Estimate::ONE, 0, ms(0)) else {
        panic!("there is a seat");
    };
    let Arrival::Waits(broad, _) = set.arrive(described("b"), wide(5), 1, ms(0)) else {
        panic!("somebody is served");
    };
    set.finish(narrow, ms(1));
    assert_eq!(set.take_served(), [broad]);
    assert!(matches!(
        set.arrive(described("a"), Estimate::ONE, 0, ms(2)),
        Arrival::Waits(..)
    ));
}

#[test]
fn seats_are_kept_for_what_a_request_sets_off() {
    let estimate = Estimate {
        initial_seats: 1,
        final_seats: 4,
        additional_latency: ms(5),
    };
    let mut set = QueueSet::new(QUEUES, 2, ms(0));
    let Arrival::Served(id, _) = set.arrive(described("a"), estimate, 0, ms(0)) else {
        panic!("nobody is served");
    };
    // Four seats for 5 ms are two for 10 ms.
    assert_eq!(set.finish(id, ms(1)), Some(ms(10)));
    assert_eq!((set.executing, set.seats_in_use), (0, 2));
    assert!(matches!(
        set.arrive(described("b"), Estimate::ONE, 1, ms(2)),
        Arrival::Waits(..)
    ));
    set.release(id, ms(11));
    assert_eq!(set.take_served().len(), 1);
}

#[test]
fn who_gives_up_is_gone_and_who_is_served_is_not() {
    let mut set = QueueSet::new(QUEUES, 1, ms(0));
    let Arrival::Served(first, _) = set.arrive(described("a"), Estimate::ONE, 0, ms(0)) else {
        panic!("there is a seat");
    };
    let Arrival::Waits(second, _) = set.arrive(described("a"), Estimate::ONE, 0, ms(0)) else {
        panic!("there is none");
    };
    assert!(!set.cancel(first, ms(1)));
    assert!(set.cancel(second, ms(1)));
    set.finish(first, ms(2));
    assert!(set.is_idle() && set.take_served().is_empty() && set.seats_in_use == 0);
}

#[test]
fn queues_that_are_no_longer_wanted_are_drained() {
    let mut set = QueueSet::new(QUEUES, 1, ms(0));
    let Arrival::Served(first, _) = set.arrive(described("a"), Estimate::ONE, 0, ms(0)) else {
        panic!("there is a seat");
    };
    let Arrival::Waits(last, _) = set.arrive(described("b"), Estimate::ONE, 7, ms(0)) else {
        panic!("there is none");
    };
    let fewer = Queuing::Queues {
        queues: 2,
        hand_size: 1,
        length_limit: 10,
    };
    set.configure(fewer, 1, ms(1));
    assert_eq!(set.queues.len(), 8);
    set.finish(first, ms(2));
    assert_eq!(set.take_served(), [last]);
    set.finish(last, ms(3));
    assert_eq!(set.queues.len(), 2);
}

proptest! {
    #[test]
    fn nobody_is_lost_and_no_seat_is_taken_twice(
        steps in proptest::collection::vec((0u8..4, 0u64..40, 1u32..6, 0u64..20), 1..200),
        limit in 1u32..12,
    ) {
        let mut set = QueueSet::new(QUEUES, limit, ms(0));
        let (mut now, mut waiting, mut running, mut lingering) = (ms(0), Vec::new(), Vec::new(), Vec::new());
        for (step, flow, seats, pause) in steps {
            now += ms(pause);
            match step {
                0 | 1 => {
                    let estimate = Estimate { additional_latency: ms(u64::from(seats % 3)), final_seats: seats, ..wide(seats) };
                    match set.arrive(described("f"), estimate, flow, now) {
                        Arrival::Served(id, _) => running.push(id),
                        Arrival::Waits(id, _) => waiting.push(id),
                        Arrival::Refused(_) => {}
                    }
                }
                2 if !running.is_empty() => {
                    let id = running.swap_remove(flow as usize % running.len());
                    if set.finish(id, now).is_some() {
                        lingering.push(id);
                    }
                }
                3 if !waiting.is_empty() => {
                    let id = waiting.swap_remove(flow as usize % waiting.len());
                    prop_assert!(set.cancel(id, now));
                }
                _ => if let Some(id) = lingering.pop() {
                    set.release(id, now);
                },
            }
            for id in set.take_served() {
                waiting.retain(|other| *other != id);
                running.push(id);
            }
            prop_assert_eq!((set.waiting as usize, set.executing as usize), (waiting.len(), running.len()));
            let alone = set.executing == 1;
            prop_assert!(set.seats_in_use <= limit || alone || !lingering.is_empty());
            let seats: u32 = set.entries().filter(|(_, entry)| entry.started.is_some()).map(|(_, entry)| entry.estimate.max_seats()).sum();
            prop_assert_eq!(set.seats_in_use, seats);
            prop_assert_eq!(set.queues.iter().map(|queue| queue.seats_in_use).sum::<u32>(), seats);
        }
        for id in lingering {
            set.release(id, now);
            running.extend(set.take_served());
        }
        while let Some(id) = running.pop() {
            if set.finish(id, now).is_some() {
                set.release(id, now);
            }
            running.extend(set.take_served());
        }
        prop_assert!(set.is_idle() && set.seats_in_use == 0 && set.entries().next().is_none());
    }
}

#[test]
fn what_is_told_of_progress_is_of_the_last_turn() {
    let mut set = QueueSet::new(QUEUES, 2, ms(0));
    let Arrival::Served(first, Some(1)) = set.arrive(described("a"), Estimate::ONE, 0, ms(0)) else {
        panic!("there is a seat, by way of a queue");
    };
    assert_eq!(set.dispatched.map(|last| (last.r, last.start)), Some((0.0, 0.0)));
    // Two wide ones wait in queues of their own: one seat is not enough.
    for (hash, at) in [(1, 100), (2, 300)] {
        let waits = set.arrive(described("b"), wide(2), hash, ms(at));
        assert!(matches!(waits, Arrival::Waits(_, 1)));
    }
    assert_eq!(set.unaccommodated["schema"], 2);
    set.finish(first, ms(500));
    let last = set.dispatched.unwrap();
    assert_eq!(last.start, last.next[0]);
    assert!(last.next[0] < last.next[1], "the second came later: {last:?}");
    assert_eq!(last.next, last.discounted, "their queues have nothing under way");
    assert!(last.r >= last.next[1]);
    assert_eq!(set.progress(), last.r);
}
