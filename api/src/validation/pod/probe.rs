//! Probes and lifecycle handlers.

use serde_json::Value;

use super::container::{port_number, port_number_or_name};
use super::spec::Pod;
use crate::names;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::{faults, non_negative};

/// The signals that may stop a container; between `SIGRTMIN` and `SIGRTMAX` there are numbered ones.
const SIGNALS: [&str; 36] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMIN",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

/// The lifecycle and the three probes of a container that runs for long.
pub(super) fn lifecycle_and_probes(
    container: &Value,
    pod: &Pod<'_>,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    if let Some(lifecycle) = container.field("lifecycle") {
        self::lifecycle(lifecycle, pod, &at.child("lifecycle"), errors);
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.field(name) else {
            continue;
        };
        let at = at.child(name);
        self::probe(probe, pod, &at, errors);
        if name == "readinessProbe" {
            if let Some(grace) = probe.field("terminationGracePeriodSeconds") {
                let rule = "must not be set for readinessProbes";
                errors.invalid(&at.child("terminationGracePeriodSeconds"), grace, rule);
            }
        } else if let Some(successes) = probe.number("successThreshold").filter(|&n| n != 1) {
            errors.invalid(&at.child("successThreshold"), successes, "must be 1");
        }
    }
}

fn probe(probe: &Value, pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    handler(probe, pod, at, errors);
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        non_negative(probe.number(name), &at.child(name), errors);
    }
    if let Some(grace) = probe
        .number("terminationGracePeriodSeconds")
        .filter(|&seconds| seconds <= 0)
    {
        errors.invalid(
            &at.child("terminationGracePeriodSeconds"),
            grace,
            "must be greater than 0",
        );
    }
}

fn lifecycle(lifecycle: &Value, pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["postStart", "preStop"] {
        if let Some(hook) = lifecycle.field(name) {
            handler(hook, pod, &at.child(name), errors);
        }
    }
    let Some(Value::String(signal)) = lifecycle.field("stopSignal") else {
        return;
    };
    let at = at.child("stopSignal");
    let realtime = signal.starts_with("SIGRTMIN+") || signal.starts_with("SIGRTMAX-");
    match pod.os() {
        "" => errors.forbidden(&at, "may not be set for containers with empty `spec.os.name`"),
        "windows" if !matches!(signal.as_str(), "SIGKILL" | "SIGTERM") => {
            errors.not_supported(&at, signal, &["SIGKILL", "SIGTERM"]);
        }
        "linux" if !realtime && !SIGNALS.contains(&signal.as_str()) => {
            errors.not_supported(&at, signal, &SIGNALS)
        }
        _ => {}
    }
}

fn handler(handler: &Value, pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let mut found = false;
    for name in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = handler.field(name) else {
            continue;
        };
        let at = at.child(name);
        if found {
            errors.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match name {
            "exec" if action.count("command") == 0 => errors.required(&at.child("command"), ""),
            "httpGet" => http_get(action, &at, errors),
            "tcpSocket" => port_number_or_name(action.field("port"), &at.child("port"), errors),
            "grpc" => port_number(
                action.number("port").unwrap_or_default(),
                &at.child("port"),
                errors,
            ),
            "sleep" => sleep(action, pod, &at, errors),
            _ => {}
        }
    }
    if !found {
        errors.required(at, "must specify a handler type");
    }
}

fn http_get(action: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if action.text("path").is_empty() {
        errors.required(&at.child("path"), "");
    }
    port_number_or_name(action.field("port"), &at.child("port"), errors);
    if !matches!(action.text("scheme"), "HTTP" | "HTTPS") {
        errors.not_supported(&at.child("scheme"), action.text("scheme"), &["HTTP", "HTTPS"]);
    }
    for header in action.items("httpHeaders") {
        let name = header.text("name");
        faults(
            &at.child("httpHeaders"),
            name,
            names::http_header_name(name),
            errors,
        );
    }
}

fn sleep(action: &Value, pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let seconds = action.number("seconds").unwrap_or_default();
    if let Some(grace) = pod.grace_period().filter(|&grace| seconds < 0 || seconds > grace) {
        let rule = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(at, seconds, rule);
    }
}
