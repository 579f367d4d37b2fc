//! CronJobs: when to run, and the Job to make then.

use serde_json::Value;

use super::job_spec;
use crate::cron::{self, Schedule};
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::non_negative;
use crate::validation::pod::one_of;

const CRON_NAME_MAX: usize = 52;

pub(in crate::validation) fn cron_job(cron_job: &Value, errors: &mut FieldErrors) {
    cron_job_spec(cron_job, None, errors);
    let name = cron_job["metadata"].text("name");
    if name.len() > CRON_NAME_MAX {
        errors.invalid(
            &Path::new("metadata.name"),
            name,
            "must be no more than 52 characters",
        );
    }
}

fn cron_job_spec(cron_job: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let (spec, at) = (&cron_job["spec"], Path::new("spec"));
    match spec.text("schedule") {
        "" => errors.required(&at.child("schedule"), ""),
        schedule => {
            if let Err(fault) = Schedule::parse(schedule) {
                errors.invalid(&at.child("schedule"), schedule, fault.to_string());
            }
            let had_zone = old.is_some_and(|old| old["spec"].text("schedule").contains("TZ"));
            if schedule.contains("TZ") && !had_zone {
                let rule = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
                errors.invalid(&at.child("schedule"), schedule, rule);
            }
        }
    }
    non_negative(
        spec.number("startingDeadlineSeconds"),
        &at.child("startingDeadlineSeconds"),
        errors,
    );
    if old.is_none_or(|old| old["spec"].field("timeZone") != spec.field("timeZone")) {
        time_zone(spec, &at.child("timeZone"), errors);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    one_of(
        spec.text("concurrencyPolicy"),
        &policies,
        &at.child("concurrencyPolicy"),
        errors,
    );
    let at_job = at.child("jobTemplate.spec");
    let job = &spec["jobTemplate"]["spec"];
    job_spec(job, &at_job, errors);
    if let Some(selector) = job.field("selector") {
        errors.invalid(
            &at_job.child("selector"),
            internal::shown_selector(selector),
            "`selector` will be auto-generated",
        );
    }
    if job.flag("manualSelector") {
        errors.not_supported(&at_job.child("manualSelector"), true, &["nil", "false"]);
    }
    for name in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        non_negative(spec.number(name), &at.child(name), errors);
    }
}

/// A time zone's name, as upstream's `validateTimeZone` and Go's `time.LoadLocation` take it.
fn time_zone(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(Value::String(zone)) = spec.field("timeZone") else {
        return;
    };
    let fine = |part: &str| {
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
    };
    let unknown = || format!("unknown time zone {zone}");
    if zone.is_empty() {
        errors.invalid(at, zone, "timeZone must be nil or non-empty string");
        return;
    }
    if !zone.split('/').all(fine) {
        errors.invalid(at, zone, unknown());
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        let rule = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(at, zone, rule);
    }
    // Go knows its own one by this name.
    if zone != "Local" && cron::zone(zone).is_none() {
        errors.invalid(at, zone, unknown());
    }
}

pub(in crate::validation) fn cron_job_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    cron_job_spec(new, Some(old), errors);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn zones_are_those_of_the_database_spelled_as_there() {
        for (zone, faults) in [
            ("UTC", 0),
            ("Etc/UTC", 0),
            ("Europe/Berlin", 0),
            ("America/Argentina/Buenos_Aires", 0),
            ("", 1),
            ("europe/berlin", 1),
            ("Etc/UTC-2", 1),
            ("Mars/Olympus", 1),
            ("../UTC", 1),
            ("Local", 1),
            ("local", 2),
        ] {
            let mut errors = FieldErrors::new();
            time_zone(
                &json!({"timeZone": zone}),
                &Path::new("spec.timeZone"),
                &mut errors,
            );
            assert_eq!(errors.len(), faults, "{zone}");
        }
    }

    #[test]
    fn a_zone_that_stands_is_not_asked_about_again() {
        let cron_job = |schedule: &str| {
            json!({"metadata": {"name": "c"}, "spec": {"schedule": schedule, "timeZone": "Mars/Olympus",
                "concurrencyPolicy": "Allow", "jobTemplate": {"spec": {}}}})
        };
        let told = |old: Option<&Value>| {
            let mut errors = FieldErrors::new();
            cron_job_spec(&cron_job("1 * * * *"), old, &mut errors);
            errors.aggregate().contains("unknown time zone")
        };
        assert!(told(None));
        assert!(!told(Some(&cron_job("0 * * * *"))));
    }
}
