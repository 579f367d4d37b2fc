//! Jobs and CronJobs.

mod cron_jobs;

use serde_json::Value;

pub(super) use self::cron_jobs::{cron_job, cron_job_update};
use super::field::{BadValue, FieldErrors, Path};
use super::internal;
use super::meta::{faults, immutable, immutable_struct, non_negative};
use super::pod::template_spec;
use super::selector::label_selector;
use crate::names;
use crate::object::{Fields, same};
use crate::quote::quote;
use crate::selector::LabelSelector;

/// The longest text that names indexes.
const INDEXES_MAX: usize = 64 * 1024;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const CONDITIONS_MAX: usize = 20;
const MANAGED_BY_MAX: usize = 63;
const INDEXED_PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
const MANY_COMPLETIONS: i64 = 100_000;
const HIGH_PARALLELISM_MAX: i64 = 10_000;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// What Go prints for a list of words with `%q`.
fn quoted_list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("valid values: [{}]", words.join(" "))
}

pub(super) fn job(job: &Value, errors: &mut FieldErrors) {
    let spec = &job["spec"];
    generated_selector(job, errors);
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
fn generated_selector(job: &Value, errors: &mut FieldErrors) {
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
    let list = Path::new("spec.template.metadata.labels");
    for (key, value) in expected {
        match labels.field(key).and_then(Value::as_str) {
            Some(found) if found == value => {}
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
            &spec["selector"],
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
pub(super) fn domain_prefixed_path(text: &str, at: &Path<'_>, errors: &mut FieldErrors) {
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

fn failure_policy(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(policy) = spec.field("podFailurePolicy") else {
        return;
    };
    let list = at.child("rules");
    if policy.count("rules") > RULES_MAX {
        errors.too_many(&list, policy.count("rules"), RULES_MAX);
    }
    for (index, rule) in policy.items("rules").iter().enumerate() {
        failure_rule(spec, rule, &list.index(index), errors);
    }
}

fn failure_rule(spec: &Value, rule: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (action, at_action) = (rule.text("action"), at.child("action"));
    match action {
        "" => errors.required(&at_action, quoted_list(&ACTIONS)),
        "FailIndex" if !spec.has("backoffLimitPerIndex") => {
            errors.invalid(&at_action, action, "requires the backoffLimitPerIndex to be set");
        }
        action if !ACTIONS.contains(&action) => errors.not_supported(&at_action, action, &ACTIONS),
        _ => {}
    }
    if let Some(codes) = rule.field("onExitCodes") {
        exit_codes(spec, codes, &at.child("onExitCodes"), errors);
    }
    conditions(rule, &at.child("onPodConditions"), errors);
    let which = match (rule.has("onExitCodes"), rule.count("onPodConditions") > 0) {
        (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.invalid_without_value(at, which);
}

fn exit_codes(spec: &Value, codes: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let operator = codes.text("operator");
    match operator {
        "" => errors.required(&at.child("operator"), quoted_list(&["In", "NotIn"])),
        "In" | "NotIn" => {}
        other => errors.not_supported(&at.child("operator"), other, &["In", "NotIn"]),
    }
    let pod = &spec["template"]["spec"];
    let known = |name: &str| {
        pod.items("containers")
            .iter()
            .chain(pod.items("initContainers"))
            .any(|container| container.text("name") == name)
    };
    if let Some(Value::String(name)) = codes.field("containerName")
        && !known(name)
    {
        let rule = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&at.child("containerName"), name, rule);
    }
    let (values, list) = (codes.items("values"), at.child("values"));
    let shown = codes.field("values").unwrap_or(&Value::Null);
    if values.is_empty() {
        errors.invalid(&list, shown, "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        errors.too_many(&list, values.len(), EXIT_CODES_MAX);
    }
    let numbers: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    for (index, number) in numbers.iter().copied().enumerate() {
        if operator == "In" && number == 0 {
            errors.invalid(&list.index(index), number, "must not be 0 for the In operator");
        }
        if numbers[..index].contains(&number) {
            errors.duplicate(&list.index(index), number);
        }
    }
    if !numbers.is_sorted() {
        errors.invalid(&list, shown, "must be ordered");
    }
}

fn conditions(rule: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    if rule.count("onPodConditions") > CONDITIONS_MAX {
        errors.too_many(list, rule.count("onPodConditions"), CONDITIONS_MAX);
    }
    let statuses = ["False", "True", "Unknown"];
    for (index, pattern) in rule.items("onPodConditions").iter().enumerate() {
        let at = list.index(index);
        let (kind, status) = (pattern.text("type"), pattern.text("status"));
        faults(&at.child("type"), kind, names::qualified_name(kind), errors);
        match status {
            "" => errors.required(&at.child("status"), quoted_list(&statuses)),
            status if !statuses.contains(&status) => {
                errors.not_supported(&at.child("status"), status, &statuses)
            }
            _ => {}
        }
    }
}

fn success_policy(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(policy) = spec.field("successPolicy") else {
        return;
    };
    if spec.text("completionMode") != "Indexed" {
        let policy = internal::shown(policy, internal::SUCCESS_POLICY);
        errors.invalid(at, policy, "requires indexed completion mode");
        return;
    }
    let list = at.child("rules");
    match policy.count("rules") {
        0 => errors.required(
            &list,
            "at least one rules must be specified when the successPolicy is specified",
        ),
        count if count > RULES_MAX => errors.too_many(&list, count, RULES_MAX),
        _ => {}
    }
    for (index, rule) in policy.items("rules").iter().enumerate() {
        let at = list.index(index);
        if !rule.has("succeededCount") && !rule.has("succeededIndexes") {
            errors.required(
                &at,
                "at least one of succeededCount or succeededIndexes must be specified",
            );
        }
        success_rule(rule, spec.number("completions").unwrap_or_default(), &at, errors);
    }
}

/// Which indexes, or how many of them, make a Job succeed.
fn success_rule(rule: &Value, completions: i64, at: &Path<'_>, errors: &mut FieldErrors) {
    let text = rule.text("succeededIndexes");
    let indexes = rule.has("succeededIndexes").then(|| indexes(text, completions));
    let at_indexes = at.child("succeededIndexes");
    if text.len() > INDEXES_MAX {
        errors.too_long(&at_indexes, INDEXES_MAX);
    }
    if let Some(Err(fault)) = &indexes {
        let rule = format!("error parsing succeededIndexes: {fault}");
        errors.invalid(&at_indexes, text, rule);
    }
    let Some(count) = rule.number("succeededCount") else {
        return;
    };
    let at = at.child("succeededCount");
    non_negative(Some(count), &at, errors);
    let mut at_most = |most: i64, what: &str| {
        if count > most {
            errors.invalid(
                &at,
                count,
                format!("must be less than or equal to {most} ({what})"),
            );
        }
    };
    at_most(completions, "the number of specified completions");
    if let Some(indexes) = indexes {
        let what = "the number of indexes in the specified succeededIndexes field";
        at_most(indexes.unwrap_or_default(), what);
    }
}

/// How many indexes a text like `1,3-5,7` names: increasing, and each below `completions`.
fn indexes(text: &str, completions: i64) -> Result<i64, String> {
    let index = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!(
            "cannot convert string to integer for index: {}",
            quote(text)
        )),
        Ok(index) if index >= completions => Err(format!("too large index: {}", quote(text))),
        Ok(index) => Ok(index),
    };
    let order = |last: i64, next: i64| match next > last {
        true => Ok(()),
        false => Err(format!("non-increasing order, previous: {last}, current: {next}")),
    };
    let (mut last, mut total) = (None, 0);
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (first, end) = match interval.split('-').collect::<Vec<_>>()[..] {
            [only] => (index(only)?, None),
            [first, end] => (index(first)?, Some(index(end)?)),
            _ => {
                let interval = quote(interval);
                return Err(format!(
                    "the fragment {interval} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if let Some(end) = end {
            order(first, end)?;
        }
        if let Some(last) = last {
            order(last, first)?;
        }
        let end = end.unwrap_or(first);
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
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

pub(super) fn job_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (spec, before) = (&new["spec"], &old["spec"]);
    let at = Path::new("spec");
    job_spec_and_selector(spec, errors);
    completions_update(spec, before, &at.child("completions"), errors);
    immutable(
        spec.field("selector"),
        before.field("selector"),
        &at.child("selector"),
        errors,
    );
    let kept = template_without_what_may_change(spec, before);
    if !same(Some(&kept), before.get("template")) {
        let shown = BadValue::rendered(spec["template"].to_string());
        // Of a suspended Job the pods' resources may change, so upstream compares one level further down.
        let place = if before.flag("suspend") {
            "template.spec"
        } else {
            "template"
        };
        errors.invalid(&at.child(place), shown, "field is immutable");
    }
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

/// While a Job is suspended and has not started, where its pods go and what they ask for may change.
fn template_without_what_may_change(spec: &Value, before: &Value) -> Value {
    let mut kept = spec["template"].clone();
    if !before.flag("suspend") {
        return kept;
    }
    let old = &before["template"];
    for name in ["nodeSelector", "tolerations", "schedulingGates"] {
        kept["spec"][name] = old["spec"][name].clone();
    }
    for name in ["annotations", "labels"] {
        kept["metadata"][name] = old["metadata"][name].clone();
    }
    kept["spec"]["affinity"]["nodeAffinity"] = old["spec"]["affinity"]["nodeAffinity"].clone();
    for list in ["containers", "initContainers"] {
        let containers = kept["spec"]
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten();
        for (container, old) in containers.zip(old["spec"].items(list)) {
            container["resources"] = old["resources"].clone();
        }
    }
    kept
}

pub(super) fn job_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, before) = (&new["status"], &old["status"]);
    let at = Path::new("status");
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(status.number(name), &at.child(name), errors);
    }
    for (name, counter) in [("failed", "failed"), ("succeeded", "succeeded")] {
        let count = |status: &Value| status.number(name).unwrap_or_default();
        if count(status) < count(before) {
            errors.invalid(
                &at.child(name),
                count(status),
                format!("cannot decrease the {counter} counter"),
            );
        }
    }
    if status.number("ready").unwrap_or_default() > status.number("active").unwrap_or_default() {
        let ready = status.number("ready").unwrap_or_default();
        errors.invalid(
            &at.child("ready"),
            ready,
            "cannot set more ready pods than active",
        );
    }
    let is = |status: &Value, kind: &str| {
        status
            .items("conditions")
            .iter()
            .any(|c| c.text("type") == kind && c.text("status") == "True")
    };
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is(before, kind) && !is(status, kind) {
            let rule = format!("cannot disable the terminal {kind}=True condition");
            errors.invalid_without_value(&at.child("conditions"), rule);
        }
    }
}
