//! Plans and statuses of single steps, and whole Jobs in a world in memory.

mod simulation;

use super::backoff::Record;
use super::plan::{Observed, Plan, plan};
use super::spec::{FAILURES, INDEX, TRACKING, Wanted};
use super::tell::{Done, Told, tell};
use super::view::count;
use crate::observed::Pod;
use crate::owners::controller_reference;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

fn now() -> Timestamp {
    Timestamp::from_second(1000).unwrap()
}

/// A Job of this spec, with what the API server fills in.
fn job(spec: Value) -> Job {
    let mut whole = json!({
        "parallelism": 1,
        "backoffLimit": 6,
        "selector": {"matchLabels": {"job": "j"}},
        "template": {
            "metadata": {"labels": {"job": "j"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
        },
    });
    whole
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    let metadata = json!({"name": "j", "namespace": "ns", "uid": "uid-j", "resourceVersion": "1"});
    serde_json::from_value(json!({"metadata": metadata, "spec": whole})).unwrap()
}

/// A pod of the Job in this phase.
fn pod(name: &str, phase: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "ns", "uid": name, "labels": {"job": "j"}, "finalizers": [TRACKING],
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "uid-j", "controller": true}],
        },
        "spec": {"containers": []},
        "status": {"phase": phase},
    }))
    .unwrap()
}

fn of_index(index: i32, phase: &str) -> Pod {
    let mut pod = pod(&format!("p{index}-{phase}"), phase);
    pod.metadata.annotations = Some([(INDEX.to_owned(), index.to_string())].into());
    pod
}

fn planned(job: &Job, pods: &[Pod]) -> Plan {
    let pods: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
    plan(
        &Observed {
            wanted: &Wanted::of(job).unwrap(),
            pods: &pods,
            record: &Record::default(),
            reference: &controller_reference("batch/v1", "Job", &job.metadata),
        },
        now(),
    )
}

/// Plans, has it all done, and tells of it.
fn step(job: &Job, pods: &[Pod]) -> (Plan, Told) {
    let plan = planned(job, pods);
    let done = Done {
        created: count(plan.create.len()),
        deleted: plan.delete.clone(),
    };
    let told = tell(&Wanted::of(job).unwrap(), &plan.view, &done, now());
    (plan, told)
}

fn conditions(told: &Told) -> Vec<(&str, &str)> {
    let conditions = told.status.conditions.iter().flatten();
    conditions
        .map(|one| (one.type_.as_str(), one.reason.as_deref().unwrap_or_default()))
        .collect()
}

#[test]
fn as_many_run_as_are_wanted_and_left() {
    for (spec, phases, created, deleted) in [
        (json!({"parallelism": 3, "completions": 5}), vec![], 3, 0),
        (
            json!({"parallelism": 3, "completions": 5}),
            vec!["Running"; 2],
            1,
            0,
        ),
        (
            json!({"parallelism": 3, "completions": 2}),
            vec!["Succeeded", "Running"],
            0,
            0,
        ),
        (
            json!({"parallelism": 1, "completions": 5}),
            vec!["Running"; 3],
            0,
            2,
        ),
        (json!({"parallelism": 3}), vec!["Running"], 2, 0),
        (json!({"parallelism": 3}), vec!["Succeeded", "Running"], 0, 0),
        (
            json!({"parallelism": 3, "suspend": true}),
            vec!["Running"; 2],
            0,
            2,
        ),
    ] {
        let pods: Vec<_> = phases
            .iter()
            .enumerate()
            .map(|(number, phase)| pod(&number.to_string(), phase))
            .collect();
        let plan = planned(&job(spec.clone()), &pods);
        assert_eq!(
            (plan.create.len(), plan.delete.len()),
            (created, deleted),
            "{spec} {phases:?}"
        );
    }
}

#[test]
fn a_pod_is_counted_by_uid_then_by_number() {
    let mut job = job(json!({"completions": 2}));
    let (_, told) = step(&job, &[pod("a", "Succeeded"), pod("b", "Running")]);
    let uncounted = told.status.uncounted_terminated_pods.clone().unwrap();
    assert_eq!(uncounted.succeeded, Some(vec!["a".to_owned()]));
    assert_eq!((told.status.succeeded, told.status.active), (None, Some(1)));
    assert_eq!(told.counted.len(), 1);
    job.status = Some(told.status);
    let mut let_go = pod("a", "Succeeded");
    let_go.metadata.finalizers = None;
    let (plan, told) = step(&job, &[let_go, pod("b", "Running")]);
    assert_eq!(told.status.succeeded, Some(1));
    assert_eq!(told.status.uncounted_terminated_pods, Some(Default::default()));
    assert_eq!(plan.create.len() + plan.delete.len() + told.counted.len(), 0);
}

#[test]
fn the_end_is_announced_and_then_declared() {
    let mut job = job(json!({"completions": 1}));
    let (_, told) = step(&job, &[pod("a", "Succeeded")]);
    assert_eq!(conditions(&told), [("SuccessCriteriaMet", "CompletionsReached")]);
    assert!(told.notes.is_empty());
    job.status = Some(told.status);
    let (_, told) = step(&job, &[]);
    assert_eq!(
        conditions(&told),
        [
            ("SuccessCriteriaMet", "CompletionsReached"),
            ("Complete", "CompletionsReached")
        ]
    );
    assert_eq!((told.status.succeeded, told.status.active), (Some(1), None));
    assert!(told.status.completion_time.is_some());
    assert_eq!(told.notes[0].message, "Job completed");
}

#[test]
fn too_many_failures_end_the_job_and_its_other_pods() {
    let mut job = job(json!({"parallelism": 2, "completions": 4, "backoffLimit": 1}));
    let pods = [pod("a", "Failed"), pod("b", "Failed"), pod("c", "Running")];
    let (plan, told) = step(&job, &pods);
    assert_eq!(plan.delete.len(), 1);
    assert!(!plan.forget);
    assert_eq!(conditions(&told), [("FailureTarget", "BackoffLimitExceeded")]);
    let failed = told.status.uncounted_terminated_pods.clone().unwrap().failed;
    assert_eq!(
        failed.map(|failed| failed.len()),
        Some(3),
        "who is ended by it has failed too"
    );
    job.status = Some(told.status);
    let (_, told) = step(&job, &[]);
    assert_eq!(
        conditions(&told).last(),
        Some(&("Failed", "BackoffLimitExceeded"))
    );
    assert_eq!(told.status.failed, Some(3));
    assert_eq!(
        told.notes[0].message,
        "Job has reached the specified backoff limit"
    );
}

#[test]
fn a_deadline_ends_the_job_and_is_waited_for() {
    let mut job = job(json!({"activeDeadlineSeconds": 30}));
    let started = |job: &mut Job, second: i64| {
        let status = json!({"startTime": Timestamp::from_second(second).unwrap()});
        job.status = Some(serde_json::from_value(status).unwrap());
    };
    started(&mut job, 980);
    assert_eq!(planned(&job, &[]).look_again, Timestamp::from_second(1010).ok());
    started(&mut job, 960);
    let (_, told) = step(&job, &[pod("a", "Running")]);
    assert_eq!(conditions(&told), [("FailureTarget", "DeadlineExceeded")]);
}

#[test]
fn a_suspended_job_has_no_start_and_gets_a_new_one() {
    let mut suspended = job(json!({"suspend": true}));
    let (_, told) = step(&suspended, &[]);
    assert_eq!(conditions(&told), [("Suspended", "JobSuspended")]);
    assert_eq!((told.status.start_time.clone(), told.notes.len()), (None, 1));
    suspended.status = Some(told.status);
    suspended.spec.as_mut().unwrap().suspend = Some(false);
    let (plan, told) = step(&suspended, &[]);
    assert_eq!(conditions(&told), [("Suspended", "JobResumed")]);
    assert!(told.status.start_time.is_some());
    assert_eq!(plan.create.len(), 1);
}

#[test]
fn indexes_are_made_in_order_and_each_once() {
    let indexed = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 2});
    let mut job = job(indexed);
    let (plan, _) = step(&job, &[]);
    let made = &plan.create[1];
    assert_eq!(made.metadata.generate_name.as_deref(), Some("j-1-"));
    assert_eq!(made.metadata.labels.as_ref().unwrap()[INDEX], "1");
    let spec = made.spec.as_ref().unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("j-1"));
    assert_eq!(
        spec.containers[0].env.as_ref().unwrap()[0].name,
        "JOB_COMPLETION_INDEX"
    );
    let (plan, told) = step(&job, &[of_index(0, "Running"), of_index(1, "Succeeded")]);
    assert_eq!(plan.create[0].metadata.annotations.as_ref().unwrap()[INDEX], "2");
    assert_eq!(told.status.completed_indexes.as_deref(), Some("1"));
    assert_eq!(told.status.succeeded, Some(1));
    let twice = [
        of_index(0, "Running"),
        of_index(0, "Pending"),
        of_index(7, "Running"),
    ];
    assert_eq!(planned(&job, &twice).delete.len(), 2);
    job.spec.as_mut().unwrap().success_policy =
        Some(serde_json::from_value(json!({"rules": [{"succeededIndexes": "1"}]})).unwrap());
    let (plan, told) = step(&job, &[of_index(0, "Running"), of_index(1, "Succeeded")]);
    assert_eq!(conditions(&told), [("SuccessCriteriaMet", "SuccessPolicy")]);
    assert_eq!(plan.delete.len(), 1);
    assert_eq!(told.status.failed, None);
}

#[test]
fn indexes_on_their_own_know_how_often_they_failed() {
    let job = job(json!({
        "completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1,
    }));
    let failed = |before: &str| {
        let mut pod = of_index(0, "Failed");
        let annotations = pod.metadata.annotations.as_mut().unwrap();
        annotations.insert(FAILURES.to_owned(), before.to_owned());
        pod
    };
    let (plan, told) = step(&job, &[failed("0"), of_index(1, "Running")]);
    let made = plan.create[0].metadata.annotations.clone().unwrap();
    assert_eq!(made[FAILURES], "1");
    assert!(told.counted.is_empty(), "it is kept until the next is there");
    let (plan, told) = step(&job, &[failed("1"), of_index(1, "Running")]);
    assert!(plan.create.is_empty());
    assert_eq!(told.status.failed_indexes.as_deref(), Some("0"));
    let (_, told) = step(&job, &[failed("1"), of_index(1, "Succeeded")]);
    assert_eq!(conditions(&told), [("FailureTarget", "FailedIndexes")]);
}

#[test]
fn a_pod_that_ends_is_replaced_at_once_or_when_it_has_failed() {
    let mut ending = pod("a", "Running");
    ending.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    // The pause after a failure is over.
    ending.metadata.deletion_grace_period_seconds = Some(60);
    let (plan, told) = step(&job(json!({})), std::slice::from_ref(&ending));
    assert_eq!((plan.create.len(), told.status.terminating), (1, Some(1)));
    assert_eq!(told.counted.len(), 1);
    let (plan, told) = step(&job(json!({"podReplacementPolicy": "Failed"})), &[ending]);
    assert_eq!((plan.create.len(), told.counted.len()), (0, 0));
}
