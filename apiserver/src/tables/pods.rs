//! Pods: what state they are in, told from their containers' states.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::show::{NONE, age, flag, items, number, or, since, text};

/// What a pod's containers amount to.
#[derive(Default)]
struct State {
    reason: String,
    ready: usize,
    restarts: i64,
    /// The latest time at which a container ended before it was started again.
    restarted: String,
}

pub(super) fn pod(pod: &Value, now: Timestamp) -> Vec<Value> {
    let state = state(pod);
    let sidecars = items(pod, "/spec/initContainers")
        .iter()
        .filter(|container| is_sidecar(container))
        .count();
    let total = items(pod, "/spec/containers").len() + sidecars;
    let restarts = match (state.restarts, state.restarted.as_str()) {
        (0, _) | (_, "") => state.restarts.to_string(),
        (count, last) => format!("{count} ({} ago)", since(last, now)),
    };
    vec![
        json!(text(pod, "/metadata/name")),
        json!(format!("{}/{total}", state.ready)),
        json!(state.reason),
        json!(restarts),
        age(pod, now),
        json!(or(text(pod, "/status/podIP"), NONE)),
        json!(or(text(pod, "/spec/nodeName"), NONE)),
        json!(or(text(pod, "/status/nominatedNodeName"), NONE)),
        json!(gates(pod)),
    ]
}

/// The conditions of a pod's row, by which `kubectl` tells what is over.
pub(super) fn row_conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match text(pod, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

fn state(pod: &Value) -> State {
    let mut state = State {
        reason: or(text(pod, "/status/reason"), text(pod, "/status/phase")).to_owned(),
        ..State::default()
    };
    let gated = |c: &&Value| text(c, "/type") == "PodScheduled" && text(c, "/reason") == "SchedulingGated";
    if items(pod, "/status/conditions")
        .iter()
        .any(|condition| gated(&condition))
    {
        "SchedulingGated".clone_into(&mut state.reason);
    }
    let initializing = init_state(pod, &mut state);
    if !initializing || condition_is_true(pod, "Initialized") {
        main_state(pod, &mut state);
    }
    let deleting = pod
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null());
    let finished = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    if deleting && text(pod, "/status/reason") == "NodeLost" {
        "Unknown".clone_into(&mut state.reason);
    } else if deleting && !finished {
        "Terminating".clone_into(&mut state.reason);
    }
    state
}

/// Looks through the init containers; true where one of them is not done.
fn init_state(pod: &Value, state: &mut State) -> bool {
    let specs = items(pod, "/spec/initContainers");
    let (mut sidecar_restarts, mut sidecar_restarted) = (0, String::new());
    let mut initializing = false;
    for (at, status) in items(pod, "/status/initContainerStatuses").iter().enumerate() {
        let spec = specs.iter().find(|spec| spec.get("name") == status.get("name"));
        let sidecar = spec.is_some_and(is_sidecar);
        count_restarts(status, &mut state.restarts, &mut state.restarted);
        if sidecar {
            count_restarts(status, &mut sidecar_restarts, &mut sidecar_restarted);
        }
        let terminated = status.pointer("/state/terminated");
        if terminated.is_some() && number(status, "/state/terminated/exitCode") == 0 {
            continue;
        }
        if sidecar && flag(status, "/started") {
            state.ready += usize::from(flag(status, "/ready"));
            continue;
        }
        let waiting = text(status, "/state/waiting/reason");
        state.reason = match terminated {
            Some(terminated) => format!("Init:{}", ended(terminated)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{at}/{}", specs.len()),
        };
        initializing = true;
        break;
    }
    if !initializing || condition_is_true(pod, "Initialized") {
        (state.restarts, state.restarted) = (sidecar_restarts, sidecar_restarted);
    }
    initializing
}

fn main_state(pod: &Value, state: &mut State) {
    let mut running = false;
    for status in items(pod, "/status/containerStatuses").iter().rev() {
        count_restarts(status, &mut state.restarts, &mut state.restarted);
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut state.reason);
        } else if let Some(terminated) = status.pointer("/state/terminated") {
            state.reason = ended(terminated);
        } else if flag(status, "/ready") && status.pointer("/state/running").is_some() {
            running = true;
            state.ready += 1;
        }
    }
    if state.reason == "Completed" && running {
        let shown = if condition_is_true(pod, "Ready") {
            "Running"
        } else {
            "NotReady"
        };
        shown.clone_into(&mut state.reason);
    }
}

fn ended(terminated: &Value) -> String {
    match (text(terminated, "/reason"), number(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn count_restarts(status: &Value, restarts: &mut i64, restarted: &mut String) {
    *restarts += number(status, "/restartCount");
    let finished = text(status, "/lastState/terminated/finishedAt");
    // Times of one form are ordered as texts.
    if finished > restarted.as_str() {
        finished.clone_into(restarted);
    }
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}

fn condition_is_true(pod: &Value, kind: &str) -> bool {
    let conditions = items(pod, "/status/conditions");
    conditions
        .iter()
        .any(|condition| text(condition, "/type") == kind && text(condition, "/status") == "True")
}

fn gates(pod: &Value) -> String {
    let gates = items(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates
        .iter()
        .filter(|gate| condition_is_true(pod, text(gate, "/conditionType")))
        .count();
    format!("{open}/{}", gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pod: Value) -> [String; 3] {
        let cells = super::pod(&pod, "2026-11-22T08:01:00Z".parse().unwrap());
        [1, 2, 3].map(|at| cells[at].as_str().unwrap().to_owned())
    }

    #[test]
    fn states_of_pods() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]});
        let table = [
            (json!({"phase": "Pending"}), ["0/2", "Pending", "0"]),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}),
                ["0/2", "Init:0/1", "0"],
            ),
            (
                json!({"phase": "Running", "containerStatuses": [
                    {"name": "a", "ready": true, "state": {"running": {}}},
                    {"name": "b", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"finishedAt": "2026-11-22T08:00:00Z"}}}]}),
                ["1/2", "CrashLoopBackOff", "3 (60s ago)"],
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 3}}}]}),
                ["0/2", "ExitCode:3", "0"],
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted"}),
                ["0/2", "Evicted", "0"],
            ),
        ];
        for (status, want) in table {
            let pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
            assert_eq!(shown(pod), want, "{status}");
        }
    }

    #[test]
    fn a_pod_on_its_way_out_is_terminating() {
        let pod = json!({"metadata": {"deletionTimestamp": "2026-11-22T08:00:00Z"}, "status": {"phase": "Running"}});
        assert_eq!(shown(pod)[1], "Terminating");
    }
}
