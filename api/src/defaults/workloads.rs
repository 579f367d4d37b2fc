//! Defaults of the groups `apps` and `batch`.

use serde_json::{Map, Value, json};

use super::{Rule, TEMPLATE_GENERATION};
use crate::object::{Fields, object_in, set_if_absent, set_if_empty};

pub(super) fn rule(kind: &str) -> Option<Rule> {
    Some(match kind {
        "Deployment" => deployment,
        "ReplicaSet" => |it| in_spec(it, |spec| set_if_absent(spec, "replicas", 1)),
        "DaemonSet" => |it| {
            in_spec(it, daemon_set);
            template_generation(it);
        },
        "StatefulSet" => |it| in_spec(it, stateful_set),
        "Job" => job,
        "CronJob" => |it| in_spec(it, cron_job),
        "PodFailurePolicyOnPodConditionsPattern" => |it| set_if_empty(it, "status", "True"),
        _ => return None,
    })
}

fn in_spec(object: &mut Map<String, Value>, rule: fn(&mut Map<String, Value>)) {
    if let Some(spec) = object_in(object, "spec") {
        rule(spec);
    }
}

fn deployment(object: &mut Map<String, Value>) {
    in_spec(object, |spec| {
        set_if_absent(spec, "replicas", 1);
        if let Some(strategy) = object_in(spec, "strategy") {
            set_if_empty(strategy, "type", "RollingUpdate");
            rolling(
                strategy,
                &[("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))],
            );
        }
        set_if_absent(spec, "revisionHistoryLimit", 10);
        set_if_absent(spec, "progressDeadlineSeconds", 600);
    });
}

/// The parameters of a strategy, where it is a rolling update.
fn rolling(strategy: &mut Map<String, Value>, parameters: &[(&str, Value)]) {
    if strategy.text("type") != "RollingUpdate" {
        return;
    }
    if let Some(update) = object_in(strategy, "rollingUpdate") {
        for (name, value) in parameters {
            set_if_absent(update, name, value.clone());
        }
    }
}

/// Upstream keeps a DaemonSet's generation of its template in an annotation; one that says none has the generation 0.
fn template_generation(set: &mut Map<String, Value>) {
    if let Some(metadata) = object_in(set, "metadata")
        && let Some(annotations) = object_in(metadata, "annotations")
    {
        set_if_absent(annotations, TEMPLATE_GENERATION, "0");
    }
}

fn daemon_set(spec: &mut Map<String, Value>) {
    if let Some(strategy) = object_in(spec, "updateStrategy") {
        set_if_empty(strategy, "type", "RollingUpdate");
        rolling(strategy, &[("maxUnavailable", json!(1)), ("maxSurge", json!(0))]);
    }
    set_if_absent(spec, "revisionHistoryLimit", 10);
}

fn stateful_set(spec: &mut Map<String, Value>) {
    set_if_empty(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = object_in(spec, "updateStrategy") {
        if strategy.text("type").is_empty() {
            strategy.insert("type".into(), "RollingUpdate".into());
            set_if_absent(strategy, "rollingUpdate", json!({}));
        }
        // Unlike in a Deployment, parameters are filled in only where there are some.
        if strategy.has("rollingUpdate") {
            rolling(strategy, &[("partition", json!(0))]);
        }
    }
    if let Some(policy) = object_in(spec, "persistentVolumeClaimRetentionPolicy") {
        set_if_empty(policy, "whenDeleted", "Retain");
        set_if_empty(policy, "whenScaled", "Retain");
    }
    set_if_absent(spec, "replicas", 1);
    set_if_absent(spec, "revisionHistoryLimit", 10);
    if let Some(Value::Array(claims)) = spec.get_mut("volumeClaimTemplates") {
        for claim in claims.iter_mut().filter_map(Value::as_object_mut) {
            set_if_absent(claim, "kind", "PersistentVolumeClaim");
            set_if_absent(claim, "apiVersion", "v1");
        }
    }
}

fn job(job: &mut Map<String, Value>) {
    in_spec(job, |spec| {
        if !spec.has("completions") && !spec.has("parallelism") {
            spec.insert("completions".into(), 1.into());
        }
        set_if_absent(spec, "parallelism", 1);
        let retries = if spec.has("backoffLimitPerIndex") {
            i32::MAX
        } else {
            6
        };
        set_if_absent(spec, "backoffLimit", retries);
        set_if_absent(spec, "completionMode", "NonIndexed");
        set_if_absent(spec, "suspend", false);
        let replace = if spec.has("podFailurePolicy") {
            "Failed"
        } else {
            "TerminatingOrFailed"
        };
        set_if_absent(spec, "podReplacementPolicy", replace);
        set_if_absent(spec, "manualSelector", false);
    });
    let labels = job
        .get("spec")
        .map(|spec| &spec["template"]["metadata"]["labels"]);
    if let Some(labels) = labels.filter(|labels| labels.is_object()).cloned()
        && let Some(metadata) = object_in(job, "metadata")
    {
        set_if_empty(metadata, "labels", labels);
    }
}

fn cron_job(spec: &mut Map<String, Value>) {
    set_if_empty(spec, "concurrencyPolicy", "Allow");
    set_if_absent(spec, "suspend", false);
    set_if_absent(spec, "successfulJobsHistoryLimit", 3);
    set_if_absent(spec, "failedJobsHistoryLimit", 1);
}
