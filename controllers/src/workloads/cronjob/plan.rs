//! When a CronJob starts its next Job, and what becomes of those it started. Pure.

use crate::owners::{controller_reference, is_controlled_by};
use crate::runtime::Note;
use crate::workloads::job::spec::{condition, finished};
use coracle_api::cron::{self, Schedule};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::fmt::rfc2822;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Says when a Job was to start.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Times that may have been missed before that is worth a warning.
const MANY: i64 = 100;
/// How long after a time it is looked whether it has come.
const DELTA: SignedDuration = SignedDuration::from_millis(100);

/// All that the plan is made from.
pub(crate) struct Observed<'a> {
    pub(crate) cron_job: &'a CronJob,
    /// The Jobs it controls.
    pub(crate) jobs: &'a [Arc<Job>],
    /// Uids of active Jobs that were looked for and are not there.
    pub(crate) missing: &'a BTreeSet<String>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Old finished Jobs, and active ones that a new one takes the place of.
    pub(crate) delete: Vec<ObjectReference>,
    pub(crate) start: Option<Start>,
    /// What the status says once that is done, without the new Job.
    pub(crate) status: CronJobStatus,
    pub(crate) notes: Vec<Note>,
    pub(crate) look_again: Option<Timestamp>,
}

/// A Job that is due.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) job: Job,
    pub(crate) at: Timestamp,
}

/// Active Jobs, by the status, that nothing is seen of.
pub(crate) fn unseen(cron_job: &CronJob, jobs: &[Arc<Job>]) -> Vec<ObjectReference> {
    let active = cron_job
        .status
        .iter()
        .flat_map(|status| status.active.iter().flatten());
    active
        .filter(|active| !jobs.iter().any(|job| job.metadata.uid == active.uid))
        .cloned()
        .collect()
}

/// Decides what to delete and what to start.
pub(crate) fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let cron_job = observed.cron_job;
    let mut plan = Plan {
        status: cron_job.status.clone().unwrap_or_default(),
        ..Plan::default()
    };
    let spec = &cron_job.spec;
    plan.clean(spec, observed.jobs);
    plan.see(observed);
    if cron_job.metadata.deletion_timestamp.is_none() {
        plan.schedule(cron_job, spec, now);
    }
    plan
}

impl Plan {
    /// Deletes the oldest of more finished Jobs than are to be kept.
    fn clean(&mut self, spec: &CronJobSpec, jobs: &[Arc<Job>]) {
        for (kind, limit) in [
            ("Complete", spec.successful_jobs_history_limit),
            ("Failed", spec.failed_jobs_history_limit),
        ] {
            let Some(limit) = limit else { continue };
            let ended = |job: &&Arc<Job>| finished(job).is_some_and(|end| end.type_ == kind);
            let mut done: Vec<_> = jobs.iter().filter(ended).collect();
            done.sort_by_key(|job| {
                let started = job.status.as_ref().and_then(|status| status.start_time.as_ref());
                let started = started.map(|time| time.0);
                (started.is_none(), started, job.metadata.name.clone())
            });
            let superfluous = done.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
            for job in done.into_iter().take(superfluous) {
                self.forget(job.metadata.uid.as_deref());
                self.delete.push(reference(job));
            }
        }
    }

    /// Brings the status up to what the Jobs say.
    fn see(&mut self, observed: &Observed<'_>) {
        for job in observed.jobs {
            let uid = job.metadata.uid.as_deref();
            let name = job.metadata.name.as_deref().unwrap_or_default();
            let listed = self.active().iter().any(|active| active.uid.as_deref() == uid);
            let Some(end) = finished(job) else {
                if !listed {
                    let message = format!("Saw a job that the controller did not create or forgot: {name}");
                    self.notes.push(Note::warning("UnexpectedJob", message));
                    self.remember(job);
                }
                continue;
            };
            if listed {
                self.forget(uid);
                let message = format!("Saw completed job: {name}, condition: {}", end.type_);
                self.notes.push(Note::normal("SawCompletedJob", message));
            }
            if condition(job, "Complete").is_some() {
                let completed = job
                    .status
                    .as_ref()
                    .and_then(|status| status.completion_time.clone());
                let last = self.status.last_successful_time.take();
                self.status.last_successful_time = last.max(completed);
            }
        }
        for gone in unseen(observed.cron_job, observed.jobs) {
            if gone
                .uid
                .as_ref()
                .is_some_and(|uid| observed.missing.contains(uid))
            {
                let name = gone.name.as_deref().unwrap_or_default();
                let message = format!("Active job went missing: {name}");
                self.notes.push(Note::normal("MissingJob", message));
                self.forget(gone.uid.as_deref());
            }
        }
    }

    /// Takes up a Job that was started for one of the times and that the status does not tell of: the controller ended before
    /// it wrote that, or the status is an old one. Upstream only warns of it, and may start a second Job beside it although the
    /// policy forbids that. What a user started by hand (`kubectl create job --from`) bears no time, and counts for nothing.
    fn remember(&mut self, job: &Job) {
        let annotations = job.metadata.annotations.as_ref();
        let time = annotations.and_then(|annotations| annotations.get(SCHEDULED));
        let Some(at) = time.and_then(|time| time.parse::<Timestamp>().ok()) else {
            return;
        };
        self.status.active.get_or_insert_default().push(reference(job));
        let last = self.status.last_schedule_time.take();
        self.status.last_schedule_time = last.max(Some(Time(at)));
    }

    fn active(&self) -> &[ObjectReference] {
        self.status.active.as_deref().unwrap_or_default()
    }

    fn forget(&mut self, uid: Option<&str>) {
        if let Some(active) = &mut self.status.active {
            active.retain(|active| active.uid.as_deref() != uid);
            self.status.active.take_if(|active| active.is_empty());
        }
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.notes.push(Note::warning(reason, message));
    }

    /// Starts what is due, as the concurrency policy has it.
    fn schedule(&mut self, cron_job: &CronJob, spec: &CronJobSpec, now: Timestamp) {
        let named = spec.time_zone.as_deref().unwrap_or_default();
        let Some(zone) = cron::zone(named) else {
            return self.warn(
                "UnknownTimeZone",
                format!("invalid timeZone: {named:?}: unknown time zone {named}"),
            );
        };
        if spec.suspend == Some(true) {
            return;
        }
        if spec.schedule.contains("TZ") {
            let message = format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                spec.schedule
            );
            self.warn("UnsupportedSchedule", message);
        }
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                let message = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                return self.warn("UnparseableSchedule", message);
            }
        };
        let timetable = Timetable {
            cron_job,
            schedule,
            zone,
        };
        self.look_again = timetable.look_again(now);
        let (due, many) = timetable.due(now);
        if many {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.warn("TooManyMissedTimes", message.to_owned());
        }
        if let Some(at) = due {
            self.start(&timetable, spec, at, now);
        }
    }

    fn start(&mut self, timetable: &Timetable<'_>, spec: &CronJobSpec, at: Timestamp, now: Timestamp) {
        let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
        if deadline.is_some_and(|deadline| at.saturating_add(deadline).is_ok_and(|last| last < now)) {
            let message = format!("Missed scheduled time to start a job: {}", rfc1123(at));
            return self.warn("MissSchedule", message);
        }
        let job = timetable.job(spec, at);
        let is_new = !self
            .active()
            .iter()
            .any(|active| active.name == job.metadata.name);
        let last = self.status.last_schedule_time.as_ref().map(|time| time.0);
        if !is_new || last == Some(at) {
            return;
        }
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !self.active().is_empty() => {
                let message =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.notes
                    .push(Note::normal("JobAlreadyActive", message.to_owned()));
                return;
            }
            Some("Replace") => self
                .delete
                .extend(self.status.active.take().into_iter().flatten()),
            _ => {}
        }
        self.start = Some(Start { job, at });
    }
}

/// A CronJob's times.
struct Timetable<'c> {
    cron_job: &'c CronJob,
    schedule: Schedule,
    zone: TimeZone,
}

/// What was due and has not been started.
struct Missed {
    /// Since when it is looked.
    since: Timestamp,
    /// The last time that has come.
    last: Option<Timestamp>,
    times: i64,
}

impl Timetable<'_> {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, &self.zone)
    }

    /// The times since the last start, counted by the distance of the first two, for there may be too many to count.
    fn missed(&self, now: Timestamp, within_deadline: bool) -> Missed {
        let meta = &self.cron_job.metadata;
        let last = self
            .cron_job
            .status
            .as_ref()
            .and_then(|status| status.last_schedule_time.as_ref());
        let since = last
            .or(meta.creation_timestamp.as_ref())
            .map_or(now, |time| time.0);
        let deadline = self.cron_job.spec.starting_deadline_seconds;
        let since = match deadline.filter(|_| within_deadline) {
            Some(seconds) => since.max(
                now.saturating_sub(SignedDuration::from_secs(seconds))
                    .unwrap_or(since),
            ),
            None => since,
        };
        let none = Missed {
            since,
            last: None,
            times: 0,
        };
        let Some(first) = self.next(since).filter(|first| *first <= now) else {
            return none;
        };
        let Some(second) = self.next(first).filter(|second| *second <= now) else {
            return Missed {
                last: Some(first),
                ..none
            };
        };
        let distance = second.duration_since(first).as_secs().max(1);
        let times = now.duration_since(first).as_secs() / distance + 1;
        let near = SignedDuration::from_secs((times - 2) * distance);
        let mut last = None;
        let mut at = first.checked_add(near).ok().and_then(|near| self.next(near));
        while let Some(time) = at.filter(|time| *time <= now) {
            last = Some(time);
            at = self.next(time);
        }
        Missed { since, last, times }
    }

    /// What is to be started now, and whether much too much was missed.
    fn due(&self, now: Timestamp) -> (Option<Timestamp>, bool) {
        let missed = self.missed(now, true);
        (missed.last, missed.last.is_some() && missed.times > MANY)
    }

    /// When there may be something to start again.
    fn look_again(&self, now: Timestamp) -> Option<Timestamp> {
        let missed = self.missed(now, false);
        let from = match missed.last {
            Some(last) => last,
            None if missed.times == 0 => missed.since,
            None => now,
        };
        self.next(from)?.checked_add(DELTA).ok()
    }

    /// The Job for this time. Its name says the time, so that none is started twice.
    fn job(&self, spec: &CronJobSpec, at: Timestamp) -> Job {
        let meta = &self.cron_job.metadata;
        let template = spec.job_template.metadata.clone().unwrap_or_default();
        let mut annotations = template.annotations.unwrap_or_default();
        let local = at.to_zoned(self.zone.clone());
        let time = if local.offset().is_zero() {
            format!("{at:.0}")
        } else {
            local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        };
        annotations.insert(SCHEDULED.to_owned(), time);
        let name = meta.name.as_deref().unwrap_or_default();
        Job {
            metadata: ObjectMeta {
                name: Some(format!("{name}-{}", at.as_second() / 60)),
                namespace: meta.namespace.clone(),
                labels: template.labels,
                annotations: Some(annotations),
                owner_references: Some(vec![controller_reference("batch/v1", "CronJob", meta)]),
                ..ObjectMeta::default()
            },
            spec: spec.job_template.spec.clone(),
            status: None,
        }
    }
}

/// When the next time of a changed schedule comes; none where it cannot be read.
pub(crate) fn next_time(cron_job: &CronJob, now: Timestamp) -> Option<Timestamp> {
    let spec = &cron_job.spec;
    let timetable = Timetable {
        cron_job,
        schedule: Schedule::parse(&spec.schedule).ok()?,
        zone: cron::zone(spec.time_zone.as_deref().unwrap_or_default())?,
    };
    timetable.look_again(now)
}

/// The status with the Job that was started, if it is not there already.
pub(crate) fn with_started(mut status: CronJobStatus, job: &Job, at: Timestamp) -> CronJobStatus {
    let active = status.active.get_or_insert_default();
    if !active.iter().any(|active| active.uid == job.metadata.uid) {
        active.push(reference(job));
    }
    status.last_schedule_time = Some(Time(at));
    status
}

/// Whether the Job of that name, which is there already, is one that this CronJob started.
pub(crate) fn is_ours(cron_job: &CronJob, job: &Job) -> bool {
    is_controlled_by(
        &job.metadata,
        cron_job.metadata.uid.as_deref().unwrap_or_default(),
    )
}

fn reference(job: &Job) -> ObjectReference {
    crate::runtime::events::reference("batch/v1", "Job", &job.metadata)
}

fn rfc1123(at: Timestamp) -> String {
    let printed = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at);
    printed.map_or_else(|_| at.to_string(), |text| text.replace("GMT", "UTC"))
}

#[cfg(test)]
mod tests;
