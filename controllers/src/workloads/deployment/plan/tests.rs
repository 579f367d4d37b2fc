use super::*;
use crate::owners::controller_reference;
use crate::workloads::replicaset::fixtures::template;
use k8s_openapi::api::apps::v1::{
    DeploymentCondition, DeploymentSpec, DeploymentStrategy, ReplicaSetSpec, ReplicaSetStatus,
    RollingUpdateDeployment,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn deployment(replicas: i32, image: &str) -> Deployment {
    let labels: BTreeMap<_, _> = [("app".to_owned(), "web".to_owned())].into();
    let mut template = template(labels.clone());
    template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned());
    let rolling = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(3)),
        max_unavailable: Some(IntOrString::Int(2)),
    };
    Deployment {
        metadata: ObjectMeta {
            namespace: Some("default".to_owned()),
            name: Some("web".to_owned()),
            uid: Some("uid-web".to_owned()),
            generation: Some(1),
            annotations: Some([("team".to_owned(), "blue".to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            selector: LabelSelector {
                match_labels: Some(labels),
                match_expressions: None,
            },
            template,
            strategy: Some(DeploymentStrategy {
                rolling_update: Some(rolling),
                ..DeploymentStrategy::default()
            }),
            progress_deadline_seconds: Some(600),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// A set of the Deployment with so many pods, all available, sized for so many replicas and three in surge.
fn set(name: &str, image: &str, size: i32, sized_for: i32, created: i64, revision: &str) -> Arc<ReplicaSet> {
    let mut template = revisions::template(&deployment(0, image));
    let meta = template.metadata.as_mut().unwrap();
    meta.labels
        .as_mut()
        .unwrap()
        .insert(crate::workloads::hash::LABEL.to_owned(), name.to_owned());
    let annotations = [
        (facts::REVISION, revision.to_owned()),
        (facts::DESIRED_REPLICAS, sized_for.to_string()),
        (facts::MAX_REPLICAS, (sized_for + 3).to_string()),
        ("team", "blue".to_owned()),
    ];
    Arc::new(ReplicaSet {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}")),
            creation_timestamp: Some(Time(at(created))),
            labels: meta.labels.clone(),
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
            owner_references: Some(vec![controller_reference(
                "apps/v1",
                "Deployment",
                &deployment(0, "").metadata,
            )]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(size),
            template: Some(template),
            ..ReplicaSetSpec::default()
        }),
        status: Some(ReplicaSetStatus {
            replicas: size,
            ready_replicas: Some(size),
            available_replicas: Some(size),
            ..ReplicaSetStatus::default()
        }),
    })
}

fn planned(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Plan {
    plan(
        &Observed {
            deployment,
            replica_sets: sets,
            pods: &[],
        },
        at(1_000),
    )
}

fn sizes(plan: &Plan) -> BTreeMap<String, i32> {
    let resized = plan
        .change
        .iter()
        .filter_map(|change| Some((name(&change.set), change.replicas?)));
    resized.collect()
}

fn condition(plan: &Plan, kind: &str) -> DeploymentCondition {
    let conditions = plan.status.clone().unwrap().conditions.unwrap();
    conditions
        .into_iter()
        .find(|condition| condition.type_ == kind)
        .unwrap()
}

#[test]
fn the_first_plan_makes_revision_one() {
    let plan = planned(&deployment(3, "web:1"), &[]);
    assert_eq!(plan.revision.as_deref(), Some("1"));
    insta::assert_json_snapshot!("first_replica_set", plan.create);
    insta::assert_json_snapshot!("first_status", plan.status);
}

/// The example of the documentation: 8 old and 5 new pods of 10 and 3 in surge grow to 15 and 3.
#[test]
fn sets_in_the_middle_of_a_rollout_share_a_scaling() {
    let sets = [
        set("old", "web:1", 8, 10, 1, "1"),
        set("new", "web:2", 5, 10, 2, "2"),
    ];
    let plan = planned(&deployment(15, "web:2"), &sets);
    assert_eq!(
        sizes(&plan),
        [("new".to_owned(), 7), ("old".to_owned(), 11)].into()
    );
    let plan = planned(&deployment(0, "web:2"), &sets);
    assert_eq!(
        sizes(&plan),
        [("new".to_owned(), 0), ("old".to_owned(), 0)].into()
    );
}

#[test]
fn a_rollback_brings_the_old_set_back_as_a_new_revision() {
    let sets = [
        set("first", "web:1", 0, 3, 1, "1"),
        set("second", "web:2", 3, 3, 2, "2"),
    ];
    let plan = planned(&deployment(3, "web:1"), &sets);
    assert!(plan.create.is_none());
    assert_eq!(plan.revision.as_deref(), Some("3"));
    let back = plan
        .change
        .iter()
        .find(|change| name(&change.set) == "first")
        .unwrap();
    assert_eq!(back.annotations[facts::REVISION], "3");
    assert_eq!(back.annotations[facts::REVISION_HISTORY], "1");
    assert_eq!(back.replicas, Some(3));
}

#[test]
fn a_paused_deployment_scales_and_does_not_roll() {
    let mut paused = deployment(5, "web:2");
    paused.spec.as_mut().unwrap().paused = Some(true);
    let plan = planned(&paused, &[set("old", "web:1", 3, 3, 1, "1")]);
    assert!(plan.create.is_none());
    assert_eq!(sizes(&plan), [("old".to_owned(), 5)].into());
    let progressing = condition(&plan, "Progressing");
    assert_eq!(
        (progressing.status.as_str(), progressing.reason.as_deref()),
        ("Unknown", Some("DeploymentPaused"))
    );
}

#[test]
fn conditions_tell_how_far_a_rollout_is() {
    let new = set("new", "web:1", 3, 3, 1, "1");
    let mut deployment = deployment(3, "web:1");
    let arrived = planned(&deployment, std::slice::from_ref(&new));
    let progressing = condition(&arrived, "Progressing");
    assert_eq!(
        progressing.message.as_deref(),
        Some("ReplicaSet \"new\" has successfully progressed.")
    );
    assert_eq!(
        condition(&arrived, "Available").message.as_deref(),
        Some("Deployment has minimum availability.")
    );

    // The same with no pod ready, ten minutes after the last that was heard.
    let mut stuck = (*new).clone();
    let status = stuck.status.as_mut().unwrap();
    (status.ready_replicas, status.available_replicas) = (None, None);
    let mut before = status::status(
        &Seen {
            deployment: &deployment,
            facts: &Facts::of(&deployment),
            new: Some(&Arc::new(stuck.clone())),
            old: &[],
            new_set: NewSet::Created("new"),
            rolling: true,
        },
        at(100),
    );
    assert_eq!(before.1, Some(at(700)), "the deadline is when to look again");
    before.0.observed_generation = Some(1);
    deployment.status = Some(before.0);
    let late = planned(&deployment, &[Arc::new(stuck)]);
    let progressing = condition(&late, "Progressing");
    assert_eq!(progressing.reason.as_deref(), Some("ProgressDeadlineExceeded"));
    assert_eq!(
        progressing.message.as_deref(),
        Some("ReplicaSet \"new\" has timed out progressing.")
    );
    assert_eq!(
        condition(&late, "Available").reason.as_deref(),
        Some("MinimumReplicasUnavailable")
    );
}

#[test]
fn a_selector_of_everything_is_refused() {
    let mut greedy = deployment(3, "web:1");
    greedy.spec.as_mut().unwrap().selector = LabelSelector::default();
    let plan = planned(&greedy, &[]);
    assert!(plan.selects_all && plan.create.is_none());
    assert_eq!(plan.status.unwrap().observed_generation, Some(1));
}
