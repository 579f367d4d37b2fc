//! When a Job's failed pods end it, and when some of its pods are success enough.

use serde_json::Value;

use crate::names;
use crate::object::Fields;
use crate::quote::quote;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::{faults, non_negative};

/// The longest text that names indexes.
const INDEXES_MAX: usize = 64 * 1024;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const CONDITIONS_MAX: usize = 20;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// What Go prints for a list of words with `%q`.
fn quoted_list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("valid values: [{}]", words.join(" "))
}

pub(super) fn failure_policy(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
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

pub(super) fn success_policy(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
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
pub(super) fn indexes(text: &str, completions: i64) -> Result<i64, String> {
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
