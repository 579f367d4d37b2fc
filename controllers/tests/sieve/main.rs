//! Controllers under states that they do not expect (Sieve: Sun et al., "Automatic Reliability Testing for Cluster Management
//! Controllers", OSDI 2022): at every write that they make they crash and go on from an intermediate state, come back to a
//! stale one, or do not observe what happens next. Whatever it is, no forbidden write is made, and the end is the same.
//!
//! All of it happens in virtual time. The short test takes some writes by chance, from a printed seed; the whole takes each.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "in a test a panic is the report; clippy knows only functions marked as tests"
)]

mod end_state;
mod interpose;
mod oracle;
mod scenarios;
mod world;

use fastrand::Rng;
use interpose::{Fault, Write};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::time::Instant;
use world::World;

/// Replays a short run, given the seed that it printed.
const SEED_VARIABLE: &str = "CORACLE_SIEVE_SEED";

/// How many trials the short run has in each scenario.
const TRIALS: usize = 3;

/// Whose changes can be hidden.
const HIDEABLE: [&str; 18] = [
    "pods",
    "replicasets",
    "deployments",
    "nodes",
    "namespaces",
    "configmaps",
    "endpointslices",
    "services",
    "statefulsets",
    "controllerrevisions",
    "jobs",
    "persistentvolumeclaims",
    "persistentvolumes",
    "daemonsets",
    "cronjobs",
    "poddisruptionbudgets",
    "resourcequotas",
    "endpoints",
];

/// How a scenario went.
struct Trial {
    writes: Vec<Write>,
    end: Vec<String>,
    crimes: Vec<String>,
    /// Virtual.
    took: Duration,
}

/// Plays a scenario in a runtime of its own, whose time goes on when there is nothing left to do.
fn play(scenario: &str, fault: Option<(usize, Fault)>) -> Trial {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::start(fault).await;
        scenarios::play(scenario, &mut world).await;
        let trial = Trial {
            writes: world.interposer.writes(),
            end: end_state::of(&world).await,
            crimes: world.oracle.crimes(),
            took: world.age(),
        };
        world.stop().await;
        trial
    })
}

/// Plays a scenario with a fault and answers what is wrong with it.
fn wrong(scenario: &str, reference: &Trial, at: usize, fault: &Fault) -> Option<String> {
    let trial = play(scenario, Some((at, fault.clone())));
    let write = trial
        .writes
        .get(at)
        .map_or("a write that did not come", |write| write.what.as_str());
    let head = format!("{scenario}, {fault:?} at write {at} ({write})");
    if !trial.crimes.is_empty() {
        return Some(format!("{head}:\n  {}", trial.crimes.join("\n  ")));
    }
    if trial.end == reference.end {
        return None;
    }
    let difference = difference(&reference.end, &trial.end);
    Some(format!("{head} ends differently:\n  {}", difference.join("\n  ")))
}

/// What the one has and the other has not, and the other way round. The same line may be there several times.
fn difference(expected: &[String], found: &[String]) -> Vec<String> {
    let mut missing = expected.to_vec();
    let mut extra = Vec::new();
    for line in found {
        match missing.iter().position(|one| one == line) {
            Some(at) => drop(missing.remove(at)),
            None => extra.push(format!("+ {line}")),
        }
    }
    let missing = missing.iter().map(|line| format!("- {line}"));
    missing.chain(extra).collect()
}

/// Any fault for this write.
fn choose(random: &mut Rng, at: usize) -> Fault {
    match random.u8(..5) {
        0 => Fault::CrashBefore,
        1 => Fault::CrashAfter,
        2 | 3 => Fault::Stale(random.usize(..=at)),
        _ => Fault::Hidden(HIDEABLE[random.usize(..HIDEABLE.len())]),
    }
}

fn check(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} trials went wrong:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

fn reference(scenario: &str) -> Trial {
    let reference = play(scenario, None);
    assert!(reference.crimes.is_empty(), "{:?}", reference.crimes);
    assert!(reference.writes.len() > 20, "{scenario}: {:?}", reference.writes);
    reference
}

/// Some writes, by chance.
fn at_some_writes(scenario: &str) {
    let mut random = random();
    let reference = reference(scenario);
    let trials = (0..TRIALS).filter_map(|_| {
        let at = random.usize(..reference.writes.len());
        wrong(scenario, &reference, at, &choose(&mut random, at))
    });
    check(&trials.collect::<Vec<_>>());
}

/// Every write, each with a pattern by chance.
fn at_every_write(scenario: &str) {
    let mut random = random();
    let began = Instant::now();
    let reference = reference(scenario);
    let writes = reference.writes.len();
    let trials = (0..writes).filter_map(|at| wrong(scenario, &reference, at, &choose(&mut random, at)));
    check(&trials.collect::<Vec<_>>());
    let hours = reference.took.as_secs_f64() * writes as f64 / 3600.0;
    // A line for the table in which `tools/crash` puts together what was done.
    println!(
        "| {scenario} | {writes} | {hours:.1} h | {} s |",
        began.elapsed().as_secs()
    );
}

/// From the seed that is given, or from any, which is printed.
fn random() -> Rng {
    let chosen = std::env::var(SEED_VARIABLE)
        .ok()
        .map(|seed| seed.parse().unwrap());
    let seed = chosen.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
    println!("{SEED_VARIABLE}={seed}");
    Rng::with_seed(seed)
}

/// What has gone wrong once: the namespace controller, back with a view of a namespace that was being deleted, emptied
/// another one that bore its name by then.
#[test]
fn a_namespace_made_anew_is_not_emptied_for_the_one_before() {
    let reference = reference("namespace");
    let last_of_the_one_before = last(&reference, "namespace-controller: PUT");
    let trials = (last_of_the_one_before + 1..reference.writes.len())
        .filter_map(|at| wrong("namespace", &reference, at, &Fault::Stale(last_of_the_one_before)));
    check(&trials.collect::<Vec<_>>());
}

/// The number of the last write that begins so.
fn last(trial: &Trial, what: &str) -> usize {
    let found = trial
        .writes
        .iter()
        .rposition(|write| write.what.starts_with(what));
    found.unwrap_or_else(|| panic!("no write is of {what}: {:#?}", trial.writes))
}

/// The other: the collector of pods, whose view of nodes was behind that of pods for longer than its quarantine, ended
/// pods of a node that was there.
#[test]
fn pods_of_a_node_that_has_not_been_seen_yet_stay() {
    let reference = reference("silence");
    let last = last(&reference, "deployment-controller: PATCH");
    let trials = (last..last + 3).filter_map(|at| wrong("silence", &reference, at, &Fault::Hidden("nodes")));
    check(&trials.collect::<Vec<_>>());
}

/// Makes tests of every scenario.
macro_rules! scenarios {
    ($($name:ident),*) => {
        mod some_writes {
            $(#[test]
            fn $name() {
                super::at_some_writes(stringify!($name));
            })*
        }
        mod every_write {
            $(#[test]
            #[ignore = "takes minutes; `make crash` runs it"]
            fn $name() {
                super::at_every_write(stringify!($name));
            })*
        }
    };
}
scenarios!(
    rollout, service, namespace, owners, silence, numbered, jobs, claims, everywhere, scheduled, guarded,
    mirrored
);
