//! What may change about a Job.

use serde_json::Value;

use super::{job_spec_and_selector, labelled_job};
use crate::codec::equality;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::{immutable, immutable_selector, immutable_struct};

pub(in crate::validation) fn job_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (spec, before) = (&new["spec"], &old["spec"]);
    let at = Path::new("spec");
    // Upstream asks for the faults of the Job itself and then, as part of what may change, for those of its spec again.
    let had = |label: &str| before["template"]["metadata"]["labels"].has(label);
    let prefixed = had("batch.kubernetes.io/job-name") && had("batch.kubernetes.io/controller-uid");
    labelled_job(new, prefixed, errors);
    job_spec_and_selector(spec, errors);
    completions_update(spec, before, &at.child("completions"), errors);
    immutable_selector(
        spec.field("selector"),
        before.field("selector"),
        &at.child("selector"),
        errors,
    );
    template_update(new, old, &at.child("template"), errors);
    for name in [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        let (now, then, at) = (spec.field(name), before.field(name), at.child(name));
        match name {
            "podFailurePolicy" => immutable_struct(now, then, internal::FAILURE_POLICY, &at, errors),
            "successPolicy" => immutable_struct(now, then, internal::SUCCESS_POLICY, &at, errors),
            _ => immutable(now, then, &at, errors),
        }
    }
}

fn completions_update(spec: &Value, before: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (now, then) = (spec.number("completions"), before.number("completions"));
    if spec.text("completionMode") != "Indexed" {
        immutable(spec.field("completions"), before.field("completions"), at, errors);
    } else if let Some(now) = now.filter(|_| now != then)
        && Some(now) != spec.number("parallelism")
    {
        errors.invalid(at, now, "can only be modified in tandem with spec.parallelism");
    }
}

/// Whether a Job's pods may still be described otherwise: it is suspended and none of them runs.
fn is_open(job: &Value) -> bool {
    let status = &job["status"];
    let suspended = status
        .items("conditions")
        .iter()
        .any(|condition| condition.text("type") == "Suspended" && condition.text("status") == "True");
    job["spec"].flag("suspend")
        && (!status.has("startTime") || suspended)
        && status.number("active").unwrap_or_default() == 0
}

/// Where the pods of a Job go may change while it is open, and what they ask for, too.
fn template_update(new: &Value, old: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (template, before) = (&new["spec"]["template"], &old["spec"]["template"]);
    if !is_open(old) {
        if !equality::equal_named(Some(template), Some(before), "io.k8s.api.core.v1.PodTemplateSpec") {
            let shown = internal::shown(&internal::template(template), internal::TEMPLATE);
            errors.invalid(at, shown, "field is immutable");
        }
        return;
    }
    let kept = template_without_what_may_change(template, before);
    if !equality::equal_named(kept.get("spec"), before.get("spec"), "io.k8s.api.core.v1.PodSpec") {
        let shown = internal::shown(&internal::pod_spec(&template["spec"]), internal::POD_SPEC);
        errors.invalid(&at.child("spec"), shown, "field is immutable");
    }
}

fn template_without_what_may_change(template: &Value, old: &Value) -> Value {
    let mut kept = template.clone();
    for name in ["nodeSelector", "tolerations", "schedulingGates"] {
        kept["spec"][name] = old["spec"][name].clone();
    }
    for name in ["annotations", "labels"] {
        kept["metadata"][name] = old["metadata"][name].clone();
    }
    let affinity = &old["spec"]["affinity"];
    if template["spec"].has("affinity") && old["spec"].has("affinity") {
        kept["spec"]["affinity"]["nodeAffinity"] = affinity["nodeAffinity"].clone();
    } else if names_nodes_only(&template["spec"]["affinity"]) && names_nodes_only(affinity) {
        kept["spec"]["affinity"] = affinity.clone();
    }
    for list in ["containers", "initContainers"] {
        let before = old["spec"].items(list);
        if kept["spec"].count(list) != before.len() {
            continue;
        }
        let containers = kept["spec"].get_mut(list).and_then(Value::as_array_mut);
        for (container, old) in containers.into_iter().flatten().zip(before) {
            if container.text("name") == old.text("name") {
                container["resources"] = old["resources"].clone();
            }
        }
    }
    kept
}

/// Whether an affinity, if there is one, is to nodes alone: such a one may come and go.
fn names_nodes_only(affinity: &Value) -> bool {
    !affinity.has("podAffinity") && !affinity.has("podAntiAffinity")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(suspended: bool, node: &str) -> Value {
        json!({
            "metadata": {"name": "j", "uid": "u"},
            "spec": {"suspend": suspended, "manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"restartPolicy": "Never", "nodeName": node, "nodeSelector": {"n": node}, "terminationGracePeriodSeconds": 30,
                    "dnsPolicy": "ClusterFirst", "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always",
                        "terminationMessagePolicy": "File"}]},
            }},
        })
    }

    fn faults(new: &Value, old: &Value) -> Vec<String> {
        let mut errors = FieldErrors::new();
        job_update(new, old, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pods_of_a_job_are_described_once() {
        let found = faults(&job(false, "m"), &job(false, "n"));
        assert_eq!(found.len(), 1);
        let start = r#"spec.template: Invalid value: {"labels":{"a":"b"},"Spec":{"Volumes":null,"#;
        assert!(found[0].starts_with(start), "{}", found[0]);
        assert!(found[0].ends_with("field is immutable"));
    }

    #[test]
    fn where_the_pods_of_a_suspended_job_go_may_change() {
        let (mut new, old) = (job(true, "n"), job(true, "n"));
        new["spec"]["template"]["spec"]["nodeSelector"] = json!({"n": "m"});
        new["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {}});
        assert_eq!(faults(&new, &old), [""; 0]);
        new["spec"]["template"]["spec"]["nodeName"] = "m".into();
        let found = faults(&new, &old);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("spec.template.spec: Invalid value: {\"Volumes\":null"));
    }

    #[test]
    fn faults_of_the_job_are_told_along_with_those_of_the_change() {
        let (mut new, old) = (job(false, "n"), job(false, "n"));
        new["spec"]["parallelism"] = json!(-1);
        let fault = "spec.parallelism: Invalid value: -1: must be greater than or equal to 0";
        assert_eq!(faults(&new, &old), [fault, fault]);
    }
}
