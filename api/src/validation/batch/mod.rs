//! Jobs and CronJobs.

mod cron_jobs;
mod policies;
mod status;
mod update;

use serde_json::Value;

use self::policies::{failure_policy, success_policy};
pub(super) use self::{
    cron_jobs::{cron_job, cron_job_update},
    status::job_status,
    update::job_update,
};
use super::field::{FieldErrors, Path};
use super::internal;
use super::meta::{faults, non_negative};
use super::pod::template_spec;
use super::selector::label_selector;
use crate::names;
use crate::object::Fields;
use crate::selector::LabelSelector;

const MANAGED_BY_MAX: usize = 63;
const INDEXED_PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
const MANY_COMPLETIONS: i64 = 100_000;
const HIGH_PARALLELISM_MAX: i64 = 10_000;

pub(super) fn job(job: &Value, errors: &mut FieldErrors) {
    labelled_job(job, true, errors);
}

/// A Job whose pods have the labels that it gives them; those with a prefix only where that is asked for, since the first
/// versions gave none.
fn labelled_job(job: &Value, prefixed: bool, errors: &mut FieldErrors) {
    let spec = &job["spec"];
    generated_selector(job, prefixed, errors);
    job_spec_and_selector(spec, errors);
    let completions = spec.number("completions").unwrap_or_default();
    if spec.text("completionMode") == "Indexed" && completions > 0 {
        let name = job["metadata"].text("name");
        let last = format!("{name}-{}", completions - 1);
        if !names::dns1123_label(&last).is_empty() {
            let rule = format!("will not able to create pod with invalid DNS label: {last}");
            errors.invalid(&Path::new("metadata.name"), name, rule);
        }
    }
}

/// The labels that a Job without a selector of its own gives its pods are those it selects by.
fn generated_selector(job: &Value, prefixed: bool, errors: &mut FieldErrors) {
    let spec = &job["spec"];
    if spec.flag("manualSelector") || !spec.has("selector") {
        return;
    }
    let (uid, name) = (job["metadata"].text("uid"), job["metadata"].text("name"));
    if uid.is_empty() {
        errors.required(&Path::new("metadata.uid"), "");
    }
    let labels = &spec["template"]["metadata"]["labels"];
    let expected = [
        ("controller-uid", uid),
        ("job-name", name),
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
    ];
    let expected = &expected[..if prefixed { 4 } else { 2 }];
    let list = Path::new("spec.template.metadata.labels");
    for (key, value) in expected {
        match labels.field(key).and_then(Value::as_str) {
            Some(found) if found == *value => {}
            Some(_) => errors.invalid(&list.key(key), labels, format!("must be '{value}'")),
            None => errors.required(&list.key(key), format!("must be '{value}'")),
        }
    }
    let has = |key: &str| {
        expected
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    };
    if LabelSelector::from_object(spec.field("selector")).is_ok_and(|selector| !selector.matches(has)) {
        errors.invalid(
            &Path::new("spec.selector"),
            internal::shown_selector(&spec["selector"]),
            "`selector` not auto-generated",
        );
    }
}

fn job_spec_and_selector(spec: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec");
    job_spec(spec, &at, errors);
    if !spec.has("selector") {
        errors.required(&at.child("selector"), "");
    }
    label_selector(spec.field("selector"), &at.child("selector"), errors);
    let labels = spec["template"]["metadata"].field("labels");
    if LabelSelector::from_object(spec.field("selector"))
        .is_ok_and(|selector| !selector.matches_labels(labels))
    {
        let rule = "`selector` does not match template `labels`";
        errors.invalid(
            &at.child("template.metadata.labels"),
            labels.unwrap_or(&Value::Null),
            rule,
        );
    }
}

fn job_spec(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        non_negative(spec.number(name), &at.child(name), errors);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errors.required(
            &at.child("backoffLimitPerIndex"),
            "when maxFailedIndexes is specified",
        );
    }
    if let Some(Value::String(manager)) = spec.field("managedBy") {
        domain_prefixed_path(manager, &at.child("managedBy"), errors);
        if manager.len() > MANAGED_BY_MAX {
            errors.too_long(&at.child("managedBy"), MANAGED_BY_MAX);
        }
    }
    completion_mode(spec, at, errors);
    failure_policy(spec, &at.child("podFailurePolicy"), errors);
    success_policy(spec, &at.child("successPolicy"), errors);
    replacement_policy(spec, &at.child("podReplacementPolicy"), errors);
    template_spec(&spec["template"], &at.child("template"), errors);
    let restart = spec["template"]["spec"].text("restartPolicy");
    let at_restart = at.child("template.spec.restartPolicy");
    match restart {
        "Always" | "" => errors.required(&at_restart, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.has("podFailurePolicy") => {
            let rule = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(&at_restart, restart, rule);
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(&at_restart, other, &["OnFailure", "Never"]),
    }
}

/// A domain and a path below it, such as `acme.io/foo`.
pub fn domain_prefixed_path(text: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let rule = "must be a domain-prefixed path (such as \"acme.io/foo\")";
    match text.split_once('/') {
        _ if text.is_empty() => errors.required(at, ""),
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            faults(at, host, names::dns1123_subdomain(host), errors);
            let fine = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
            if !path.bytes().all(fine) {
                let rule = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
                errors.invalid(at, path, rule);
            }
        }
        _ => errors.invalid(at, text, rule),
    }
}

fn completion_mode(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let mode = spec.text("completionMode");
    if spec.has("completionMode") && !matches!(mode, "NonIndexed" | "Indexed") {
        errors.not_supported(&at.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    if mode == "Indexed" {
        indexed(spec, at, errors);
    }
    if matches!(mode, "" | "NonIndexed") {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = spec.number(name) {
                errors.invalid(&at.child(name), number, "requires indexed completion mode");
            }
        }
    }
}

fn indexed(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (completions, parallelism) = (spec.number("completions"), spec.number("parallelism"));
    let failed = spec.number("maxFailedIndexes");
    if completions.is_none() {
        errors.required(&at.child("completions"), "when completion mode is Indexed");
    }
    let mut at_most = |name: &str, number: Option<i64>, most: i64, when: &str| {
        if let Some(number) = number.filter(|&number| number > most) {
            errors.invalid(
                &at.child(name),
                number,
                format!("must be less than or equal to {most}{when}"),
            );
        }
    };
    at_most(
        "parallelism",
        parallelism,
        INDEXED_PARALLELISM_MAX,
        " when completion mode is Indexed",
    );
    at_most("maxFailedIndexes", failed, FAILED_INDEXES_MAX, "");
    let many = completions.is_some_and(|completions| completions > MANY_COMPLETIONS);
    if many && spec.has("backoffLimitPerIndex") {
        let when =
            format!(" when completions are above {MANY_COMPLETIONS} and used with backoff limit per index");
        at_most("parallelism", parallelism, HIGH_PARALLELISM_MAX, &when);
        at_most("maxFailedIndexes", failed, HIGH_PARALLELISM_MAX, &when);
        if failed.is_none() {
            let rule = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.required(&at.child("maxFailedIndexes"), rule);
        }
    }
    if let (Some(completions), Some(failed)) = (completions, failed)
        && failed > completions
    {
        errors.invalid(
            &at.child("maxFailedIndexes"),
            failed,
            "must be less than or equal to completions",
        );
    }
}

fn replacement_policy(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let allowed: &[&str] = if spec.has("podFailurePolicy") {
        &["Failed"]
    } else {
        &["Failed", "TerminatingOrFailed"]
    };
    let policy = spec.text("podReplacementPolicy");
    if spec.has("podReplacementPolicy") && !allowed.contains(&policy) {
        errors.not_supported(at, policy, allowed);
    }
}
