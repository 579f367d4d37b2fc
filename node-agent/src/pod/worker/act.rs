//! From a plan's actions to operations in flight.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;

use super::super::operation::{Finished, Key, Outcome};
use super::super::start::{Job, Start};
use super::super::stop::Kill;
use super::{InFlight, Worker};
use crate::plan::{self, Action, PodPlan, Stage};

impl Worker {
    pub(super) fn job(&self) -> Job {
        Job {
            context: self.context.clone(),
            identity: self.identity.clone(),
            pod: self.pod.clone(),
        }
    }

    /// Begins what the plan wants and what is not in flight or waiting for its next try.
    pub(super) fn act(&mut self, plan: &PodPlan, now: Timestamp) {
        if plan.stage != Stage::Running {
            self.abort_starts();
        }
        self.keep_volumes_current(plan, now);
        for action in &plan.actions {
            match action {
                Action::CreateSandbox { attempt } => self.create_sandbox(*attempt, now),
                Action::StartContainer { name, attempt, .. } => self.start(name, *attempt, now),
                Action::KillContainer {
                    id,
                    name,
                    grace_seconds,
                    reason,
                } => {
                    let pod_ip = plan.status.pod_ip.clone().unwrap_or_default();
                    let (id, name, grace_seconds) = (id.clone(), name.clone(), *grace_seconds);
                    self.kill(
                        Kill {
                            id,
                            name,
                            grace_seconds,
                            reason: *reason,
                            pod_ip,
                        },
                        now,
                    );
                }
                Action::Resize { containers } => self.resize(containers, now),
                Action::StopSandbox { id } => {
                    let (job, target) = (self.job(), id.clone());
                    self.begin(Key::StopSandbox(id.clone()), now, move || {
                        job.stop_sandbox(target)
                    });
                }
                Action::RemoveContainer { id, .. } => {
                    let (job, target) = (self.job(), id.clone());
                    self.begin(Key::Remove(id.clone()), now, move || job.remove_container(target));
                }
                Action::RemoveSandbox { id } => {
                    let (job, target) = (self.job(), id.clone());
                    self.begin(Key::Remove(id.clone()), now, move || job.remove_sandbox(target));
                }
            }
        }
    }

    /// Spawns unless the same is in flight or has to wait.
    pub(super) fn begin<F, Fut>(&mut self, key: Key, now: Timestamp, operation: F)
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        if self.in_flight.contains_key(&key) {
            return;
        }
        if let Some(at) = self.retries.get(&key).and_then(|r| r.waits(now)) {
            self.wake_no_later_than(Some(at));
            return;
        }
        self.begun += 1;
        let (done, serial, operation) = (key.clone(), self.begun, operation());
        let abort = self.operations.spawn(async move {
            Finished {
                key: done,
                serial,
                outcome: operation.await,
            }
        });
        self.in_flight.insert(
            key,
            InFlight {
                serial,
                abort,
                grace_seconds: 0,
                after: None,
            },
        );
    }

    /// A pod that ends starts nothing more. A sandbox in the making is waited for, so that it is seen and stopped.
    fn abort_starts(&mut self) {
        let stale = &mut self.stale;
        self.in_flight.retain(|key, flight| {
            let start = matches!(key, Key::Start(_));
            if start {
                flight.abort.abort();
                *stale = true;
            }
            !start
        });
    }

    fn keep_volumes_current(&mut self, plan: &PodPlan, now: Timestamp) {
        if plan.stage != Stage::Running || self.in_flight.contains_key(&Key::Volumes) {
            return;
        }
        let wanted = plan
            .actions
            .iter()
            .any(|a| matches!(a, Action::CreateSandbox { .. } | Action::StartContainer { .. }));
        let renew_at = self.tokens.renew_at();
        let due = renew_at.is_some_and(|at| at <= now);
        let running = self.runtime.alive().next().is_some();
        if (self.volumes.is_none() && wanted) || (!self.volumes_current && (wanted || running)) || due {
            self.volumes_current = true;
            let (job, tokens, ready) = (self.job(), self.tokens.clone(), self.volumes.clone());
            self.begin(Key::Volumes, now, move || job.set_up_volumes(tokens, ready));
            // Not begun, for it waits for its next try: then it is still to be done.
            self.volumes_current = self.in_flight.contains_key(&Key::Volumes);
        }
        self.wake_no_later_than(renew_at.filter(|at| *at > now));
    }

    fn create_sandbox(&mut self, attempt: u32, now: Timestamp) {
        if self.volumes.is_some() && !self.in_flight.contains_key(&Key::Volumes) {
            let job = self.job();
            self.begin(Key::Sandbox, now, move || job.create_sandbox(attempt));
        }
    }

    /// Containers start one after the other, in the order of the plan, as upstream's do.
    fn start(&mut self, name: &str, attempt: u32, now: Timestamp) {
        let busy = self
            .in_flight
            .keys()
            .any(|k| matches!(k, Key::Start(_) | Key::Sandbox | Key::Volumes));
        let Some(volumes) = self.volumes.clone().filter(|_| !busy) else {
            return;
        };
        let Some(sandbox) = self.runtime.ready_sandbox() else {
            return;
        };
        let Some((container, _)) = self.pod.spec.as_ref().and_then(|s| plan::find_container(s, name)) else {
            return;
        };
        let pod_ips = if sandbox.ips.is_empty() {
            self.node.host_ips.clone()
        } else {
            sandbox.ips.clone()
        };
        let start = Start {
            container,
            attempt,
            sandbox_id: sandbox.id.clone(),
            sandbox_attempt: sandbox.attempt,
            pod_ips,
            volumes,
            target_id: self.target_of(name),
        };
        let after = self.runtime.latest(name).filter(|r| r.has_exited());
        let after = after.map(|ended| ended.finished_at.unwrap_or(ended.created_at));
        let job = self.job();
        let key = Key::Start(name.to_owned());
        self.begin(key.clone(), now, move || job.start_container(start));
        if let Some(flight) = self.in_flight.get_mut(&key) {
            flight.after = after;
        }
    }

    fn target_of(&self, ephemeral: &str) -> Option<String> {
        let all = self.pod.spec.as_ref()?.ephemeral_containers.as_ref()?;
        let target = all
            .iter()
            .find(|c| c.name == ephemeral)?
            .target_container_name
            .as_deref()?;
        self.runtime.latest(target).map(|c| c.id.clone())
    }

    /// A shorter grace than that of the stop in flight takes its place.
    fn kill(&mut self, kill: Kill, now: Timestamp) {
        let key = Key::Kill(kill.id.clone());
        let grace_seconds = kill.grace_seconds;
        if let Some(flight) = self.in_flight.get(&key) {
            if flight.grace_seconds <= grace_seconds {
                return;
            }
            flight.abort.abort();
            self.in_flight.remove(&key);
        }
        let job = self.job();
        self.begin(key.clone(), now, move || job.kill(kill));
        if let Some(flight) = self.in_flight.get_mut(&key) {
            flight.grace_seconds = grace_seconds;
        }
    }

    /// Writes the status where it changed, or where others changed it; a pod that ended and was deleted is let go once its last
    /// status is told.
    pub(super) fn tell(&mut self, plan: &PodPlan, now: Timestamp) {
        if self.removed {
            return;
        }
        let writing = self.in_flight.contains_key(&Key::Status);
        match self.overwritten.due(now) {
            Some(at) if at <= now && !writing => {
                self.overwritten.put_right(now);
                self.written = None;
            }
            due => self.wake_no_later_than(due.filter(|at| now < *at)),
        }
        let told = self
            .written
            .get_or_insert_with(|| self.pod.status.clone().unwrap_or_default());
        let current = same(told, &plan.status);
        if !current {
            if !writing {
                let (job, status) = (self.job(), plan.status.clone());
                self.writing = Some(status.clone());
                self.begin(Key::Status, now, move || job.write_status(status));
            }
        } else if plan.stage == Stage::Ended && !self.is_setting_up() {
            self.let_go(now);
        }
    }

    /// What is being made now would be left behind by a tear-down now.
    fn is_setting_up(&self) -> bool {
        self.in_flight
            .keys()
            .any(|k| matches!(k, Key::Sandbox | Key::Volumes | Key::Start(_)))
    }

    fn let_go(&mut self, now: Timestamp) {
        if !self.torn_down {
            self.probes.keep(&[]);
            let job = self.job();
            self.begin(Key::TearDown, now, move || job.tear_down());
        } else if self.pod.metadata.deletion_timestamp.is_some() {
            if let Some(at) = self.delete_after.filter(|at| now < *at) {
                self.wake_no_later_than(Some(at));
                return;
            }
            let job = self.job();
            self.begin(Key::Delete, now, move || job.delete());
        }
    }

    /// Removes what the pod left, then ends the worker: true once it is done.
    pub(super) fn finish(&mut self, now: Timestamp) -> bool {
        let empty = self.runtime.sandboxes.is_empty() && self.runtime.containers.is_empty();
        if self.finished && empty {
            return true;
        }
        let busy = self.in_flight.keys().any(|k| !matches!(k, Key::Finish));
        if !busy {
            let (job, runtime) = (self.job(), self.runtime.clone());
            self.begin(Key::Finish, now, move || job.finish(runtime));
        }
        false
    }
}

/// Whether two statuses tell the same, whatever the order of their conditions.
fn same(a: &PodStatus, b: &PodStatus) -> bool {
    let sorted = |status: &PodStatus| {
        let mut status = status.clone();
        if let Some(conditions) = &mut status.conditions {
            conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        }
        status
    };
    sorted(a) == sorted(b)
}
