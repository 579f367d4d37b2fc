//! Jobs in a world in memory, with views that lag, and crashes between any two writes.
//!
//! The controller's views are as old as may be, but never older than what it wrote itself; a write of the status holds to the
//! resourceVersion it was planned from. A crash loses the rest of a step and all that the process remembers.

use super::{job, pod};
use crate::observed::Pod;
use crate::owners::controller_reference;
use crate::workloads::job::backoff::Record;
use crate::workloads::job::plan::{Observed, Plan, plan};
use crate::workloads::job::spec::{self, TRACKING, Wanted};
use crate::workloads::job::tell::{Done, tell};
use crate::workloads::job::view::count;
use crate::workloads::pods;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The controller reconciles, and crashes after so many writes.
    Reconcile(usize),
    /// It sees the Job, or its pods, as they are.
    See { job: bool },
    /// A pod of this number ends, well or badly.
    Finish(usize, bool),
    /// Someone wants so many at once.
    Parallelism(i32),
}

/// What of the world is known.
#[derive(Clone)]
struct Objects {
    job: Job,
    pods: BTreeMap<String, Arc<Pod>>,
}

struct World {
    real: Objects,
    seen: Objects,
    record: Record,
    revision: i64,
    budget: usize,
    /// Pods that finished while they were to be counted.
    finished: (i32, i32),
    created: i32,
}

/// The process ended before this write.
struct Crash;

impl World {
    fn new(parallelism: i32, completions: i32, limit: i32) -> Self {
        let spec = json!({"parallelism": parallelism, "completions": completions, "backoffLimit": limit});
        let real = Objects {
            job: job(spec),
            pods: BTreeMap::new(),
        };
        Self {
            seen: real.clone(),
            real,
            record: Record::default(),
            revision: 1,
            budget: 0,
            finished: (0, 0),
            created: 0,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.revision).unwrap()
    }

    fn write(&mut self) -> Result<String, Crash> {
        self.budget = self.budget.checked_sub(1).ok_or(Crash)?;
        self.revision += 1;
        Ok(self.revision.to_string())
    }

    fn reconcile(&mut self, budget: usize) {
        self.budget = budget;
        if self.try_reconcile().is_err() {
            (self.seen, self.record) = (self.real.clone(), Record::default());
        }
    }

    fn try_reconcile(&mut self) -> Result<(), Crash> {
        let job = self.seen.job.clone();
        if spec::finished(&job).is_some() {
            return Ok(());
        }
        let wanted = Wanted::of(&job).unwrap();
        let plan = self.plan(&wanted);
        if plan.forget {
            self.strip(&plan.delete)?;
        }
        self.delete(&plan.delete)?;
        self.create(plan.create.len())?;
        let done = Done {
            created: count(plan.create.len()),
            deleted: plan.delete.clone(),
        };
        let told = tell(&wanted, &plan.view, &done, self.now());
        if told.status != *wanted.status {
            let version = self.write()?;
            if self.real.job.metadata.resource_version != job.metadata.resource_version {
                return Ok(());
            }
            self.real.job.metadata.resource_version = Some(version);
            self.real.job.status = Some(told.status);
            self.seen.job = self.real.job.clone();
            self.record = plan.view.backoff;
        }
        self.strip(&told.counted)
    }

    fn plan(&self, wanted: &Wanted<'_>) -> Plan {
        let pods: Vec<_> = self.seen.pods.values().cloned().collect();
        let observed = Observed {
            wanted,
            pods: &pods,
            record: &self.record,
            reference: &controller_reference("batch/v1", "Job", &wanted.job.metadata),
        };
        plan(&observed, self.now())
    }

    fn create(&mut self, new: usize) -> Result<(), Crash> {
        for _ in 0..new {
            let name = self.write()?;
            self.created += 1;
            self.real
                .pods
                .insert(name.clone(), Arc::new(pod(&name, "Pending")));
        }
        self.saw_pods(new > 0);
        Ok(())
    }

    fn delete(&mut self, victims: &[Arc<Pod>]) -> Result<(), Crash> {
        for victim in victims {
            self.write()?;
            let now = Time(self.now());
            self.change(victim, |pod| pod.metadata.deletion_timestamp = Some(now));
        }
        self.saw_pods(!victims.is_empty());
        Ok(())
    }

    fn strip(&mut self, from: &[Arc<Pod>]) -> Result<(), Crash> {
        for stripped in from {
            self.write()?;
            self.change(stripped, |pod| pod.metadata.finalizers = None);
        }
        self.saw_pods(!from.is_empty());
        Ok(())
    }

    fn saw_pods(&mut self, wrote: bool) {
        if wrote {
            self.seen.pods.clone_from(&self.real.pods);
        }
    }

    /// Changes a pod if it is there, and removes it if it is to go and nothing keeps it.
    fn change(&mut self, pod: &Pod, change: impl FnOnce(&mut Pod)) {
        let name = pod.metadata.name.as_deref().unwrap();
        let Some(real) = self.real.pods.get_mut(name) else {
            return;
        };
        change(Arc::make_mut(real));
        let ended = pods::is_finished(real) && pods::is_terminating(real);
        if ended && !pods::has_finalizer(real, TRACKING) {
            self.real.pods.remove(name);
        }
    }

    fn finish(&mut self, number: usize, well: bool) {
        let running: Vec<_> = self
            .real
            .pods
            .values()
            .filter(|pod| !pods::is_finished(pod))
            .collect();
        let Some(pod) = running.get(number % running.len().max(1)) else {
            return;
        };
        let pod = Arc::clone(pod);
        if pods::has_finalizer(&pod, TRACKING) {
            if well {
                self.finished.0 += 1;
            } else {
                self.finished.1 += 1;
            }
        }
        let phase = if well { "Succeeded" } else { "Failed" };
        self.change(&pod, |pod| {
            pod.status.get_or_insert_default().phase = Some(phase.to_owned());
        });
        self.revision += 1;
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Reconcile(budget) => self.reconcile(budget),
            Step::See { job: true } => self.seen.job = self.real.job.clone(),
            Step::See { job: false } => self.seen.pods.clone_from(&self.real.pods),
            Step::Finish(number, well) => self.finish(number, well),
            Step::Parallelism(parallelism) => {
                self.real.job.spec.as_mut().unwrap().parallelism = Some(parallelism);
                self.revision += 1;
                self.real.job.metadata.resource_version = Some(self.revision.to_string());
            }
        }
    }

    /// Lets everyone act until the Job is finished. Time goes by in leaps longer than any pause.
    fn settle(&mut self) {
        for _ in 0..500 {
            self.seen = self.real.clone();
            self.revision += 601;
            self.reconcile(usize::MAX);
            if spec::finished(&self.real.job).is_some() {
                return;
            }
            self.finish(0, true);
        }
        panic!("the job does not come to an end: {:?}", self.real);
    }
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects")
            .field("status", &self.job.status)
            .field("pods", &self.pods.keys())
            .finish()
    }
}

fn quiet_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..12).prop_map(Step::Reconcile),
        4 => any::<bool>().prop_map(|job| Step::See { job }),
        5 => (0usize..9, prop::bool::weighted(0.7)).prop_map(|(number, well)| Step::Finish(number, well)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Every pod that finished is counted once, whatever happens meanwhile.
    #[test]
    fn pods_are_counted_once(
        (parallelism, completions, limit) in (1i32..4, 1i32..6, 0i32..5),
        steps in prop::collection::vec(quiet_step(), 0..80),
    ) {
        let mut world = World::new(parallelism, completions, limit);
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
        let status = world.real.job.status.clone().unwrap();
        let kept = world.real.pods.values().filter(|pod| pods::has_finalizer(pod, TRACKING));
        prop_assert_eq!(kept.count(), 0, "finished pods are let go");
        let counted = (status.succeeded.unwrap_or(0), status.failed.unwrap_or(0));
        let end = spec::finished(&world.real.job).unwrap();
        prop_assert_eq!(counted.0 + counted.1, world.created);
        if end.type_ == "Complete" {
            prop_assert_eq!(counted, world.finished);
            prop_assert!(counted.0 >= completions);
        } else {
            // Those which were ended by the Job's failure have failed, whatever became of them in the end.
            prop_assert!(counted.0 <= world.finished.0 && counted.1 > limit);
        }
    }

    /// A Job comes to an end however the number of its pods is changed, and leaves none that is held.
    #[test]
    fn jobs_come_to_an_end(
        completions in 1i32..6,
        steps in prop::collection::vec(
            prop_oneof![8 => quiet_step(), 1 => (0i32..4).prop_map(Step::Parallelism)],
            0..80,
        ),
    ) {
        let mut world = World::new(2, completions, 3);
        steps.into_iter().for_each(|step| world.step(step));
        world.step(Step::Parallelism(2));
        world.settle();
        prop_assert!(world.real.pods.values().all(|pod| !pods::has_finalizer(pod, TRACKING)));
    }
}
