use super::*;
use serde_json::{Value, json};

fn cron_job(spec: Value, status: Value) -> CronJob {
    let mut whole = json!({
        "schedule": "*/5 * * * *", "concurrencyPolicy": "Allow",
        "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {"containers": []}}}},
    });
    whole
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    let metadata = json!({
        "name": "c", "namespace": "ns", "uid": "uid-c", "creationTimestamp": "2026-03-01T10:01:00Z",
    });
    serde_json::from_value(json!({"metadata": metadata, "spec": whole, "status": status})).unwrap()
}

fn job(name: &str, end: Option<&str>) -> Arc<Job> {
    let conditions: Vec<_> = end
        .iter()
        .map(|end| json!({"type": end, "status": "True"}))
        .collect();
    let status = json!({"startTime": format!("2026-03-01T09:0{}:00Z", name.len()), "conditions": conditions});
    let metadata = json!({"name": name, "namespace": "ns", "uid": name});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap())
}

fn planned(cron_job: &CronJob, jobs: &[Arc<Job>], now: &str) -> Plan {
    let observed = Observed {
        cron_job,
        jobs,
        missing: &BTreeSet::new(),
    };
    plan(&observed, now.parse().unwrap())
}

fn reasons(plan: &Plan) -> Vec<&str> {
    plan.notes.iter().map(|note| &*note.reason).collect()
}

#[test]
fn a_job_is_started_when_it_is_due() {
    let new = cron_job(json!({}), json!({}));
    let early = planned(&new, &[], "2026-03-01T10:04:59Z");
    assert!(early.start.is_none());
    assert_eq!(early.look_again, Some("2026-03-01T10:05:00.1Z".parse().unwrap()));
    let due = planned(&new, &[], "2026-03-01T10:05:00.1Z");
    let start = due.start.unwrap();
    let minutes = start.at.as_second() / 60;
    assert_eq!(start.job.metadata.name, Some(format!("c-{minutes}")));
    assert_eq!(
        start.job.metadata.annotations.unwrap()[SCHEDULED],
        "2026-03-01T10:05:00Z"
    );
    assert_eq!(due.look_again, Some("2026-03-01T10:10:00.1Z".parse().unwrap()));
    // Only the last of those that were missed.
    let late = planned(&new, &[], "2026-03-01T10:21:00Z");
    assert_eq!(late.start.unwrap().at, "2026-03-01T10:20:00Z".parse().unwrap());
    let started = cron_job(json!({}), json!({"lastScheduleTime": "2026-03-01T10:20:00Z"}));
    assert!(planned(&started, &[], "2026-03-01T10:21:00Z").start.is_none());
}

#[test]
fn who_is_late_says_so() {
    let strict = cron_job(json!({"startingDeadlineSeconds": 30}), json!({}));
    assert!(planned(&strict, &[], "2026-03-01T10:06:00Z").start.is_none());
    assert!(planned(&strict, &[], "2026-03-01T10:05:20Z").start.is_some());
    let often = cron_job(json!({"schedule": "* * * * *"}), json!({}));
    let much = planned(&often, &[], "2026-03-01T12:00:00Z");
    assert_eq!(reasons(&much), ["TooManyMissedTimes"]);
    assert!(much.start.is_some());
    assert_eq!(
        rfc1123("2026-03-01T10:05:00Z".parse().unwrap()),
        "Sun, 01 Mar 2026 10:05:00 UTC"
    );
}

#[test]
fn the_policy_decides_about_several_at_once() {
    let active = json!({"active": [{"name": "x", "namespace": "ns", "uid": "x"}]});
    let of = |policy: &str| {
        let cron_job = cron_job(json!({"concurrencyPolicy": policy}), active.clone());
        planned(&cron_job, &[job("x", None)], "2026-03-01T10:06:00Z")
    };
    assert!(of("Allow").start.is_some());
    let forbidden = of("Forbid");
    assert!(forbidden.start.is_none());
    assert_eq!(reasons(&forbidden), ["JobAlreadyActive"]);
    let replaced = of("Replace");
    assert_eq!((replaced.delete.len(), replaced.start.is_some()), (1, true));
    assert_eq!(replaced.status.active, None);
    let suspended = cron_job(json!({"suspend": true}), json!({}));
    assert!(planned(&suspended, &[], "2026-03-01T10:06:00Z").start.is_none());
}

#[test]
fn finished_jobs_are_seen_and_the_oldest_go() {
    let active = json!({"active": [{"name": "x", "namespace": "ns", "uid": "x"}]});
    let cron_job = cron_job(
        json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}),
        active,
    );
    let jobs = [
        job("x", Some("Complete")),
        job("yy", Some("Complete")),
        job("zzz", Some("Failed")),
    ];
    let plan = planned(&cron_job, &jobs, "2026-03-01T10:02:00Z");
    let mut deleted: Vec<_> = plan.delete.iter().filter_map(|job| job.name.as_deref()).collect();
    deleted.sort_unstable();
    assert_eq!(deleted, ["x", "zzz"]);
    assert_eq!(plan.status.active, None);
    let kept = planned(&cron_job, &jobs[..1], "2026-03-01T10:02:00Z");
    assert_eq!(reasons(&kept), ["SawCompletedJob"]);
    let unexpected = planned(
        &cron_job,
        &[job("x", None), job("new", None)],
        "2026-03-01T10:02:00Z",
    );
    assert_eq!(reasons(&unexpected), ["UnexpectedJob"]);
}

#[test]
fn an_active_job_that_is_not_there_is_forgotten_once_it_was_looked_for() {
    let active = json!({"active": [{"name": "x", "namespace": "ns", "uid": "x"}]});
    let cron_job = cron_job(json!({}), active);
    assert_eq!(unseen(&cron_job, &[]).len(), 1);
    let now = "2026-03-01T10:02:00Z".parse().unwrap();
    let (none, missing) = (BTreeSet::new(), ["x".to_owned()].into());
    let observed = |missing| Observed {
        cron_job: &cron_job,
        jobs: &[],
        missing,
    };
    assert!(plan(&observed(&none), now).status.active.is_some());
    let plan = plan(&observed(&missing), now);
    assert_eq!(
        (plan.status.active.is_none(), reasons(&plan)),
        (true, vec!["MissingJob"])
    );
}

#[test]
fn a_job_of_the_schedule_that_the_status_forgot_is_remembered() {
    let mut forgotten = (*job("c-1", None)).clone();
    let annotations = json!({SCHEDULED: "2026-03-01T12:05:00+02:00"});
    forgotten.metadata.annotations = serde_json::from_value(annotations).unwrap();
    let forbids = cron_job(json!({"concurrencyPolicy": "Forbid"}), json!({}));
    let plan = planned(&forbids, &[Arc::new(forgotten)], "2026-03-01T10:11:00Z");
    assert!(plan.start.is_none());
    assert_eq!(reasons(&plan), ["UnexpectedJob", "JobAlreadyActive"]);
    assert_eq!(plan.status.active.unwrap()[0].name.as_deref(), Some("c-1"));
    let last = plan.status.last_schedule_time.unwrap().0;
    assert_eq!(last, "2026-03-01T10:05:00Z".parse().unwrap());
    // One that a user started by hand is no obstacle.
    let by_hand = planned(&forbids, &[job("hand", None)], "2026-03-01T10:11:00Z");
    assert!(by_hand.start.is_some());
    assert_eq!(by_hand.status.active, None);
}
