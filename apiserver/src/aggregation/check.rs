//! Whether the server of an APIService is available: a decision over what is stored and what it answered. Pure.
//!
//! Reasons and messages are upstream's (`kube-aggregator`, the local and the remote availability controllers).

use coracle_api::object::Fields;
use coracle_api::quote::quote;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What can be said before the server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// All that is to be said.
    Known(Finding),
    /// It has to be asked.
    Ask,
}

/// What the condition `Available` is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) available: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Finding {
    /// The server answered, or why it did not.
    pub(super) fn of_answer(answer: &Result<(), String>) -> Self {
        match answer {
            Ok(()) => Self {
                available: true,
                reason: "Passed",
                message: "all checks passed".to_owned(),
            },
            Err(why) => Self::missing("FailedDiscoveryCheck", why.clone()),
        }
    }

    fn missing(reason: &'static str, message: String) -> Self {
        Self {
            available: false,
            reason,
            message,
        }
    }
}

/// Looks at an APIService, the Service that it names, and the slices of that Service's namespace.
pub(super) fn check(api_service: &Value, service: Option<&Value>, slices: &[&Value]) -> Check {
    let Some(reference) = api_service["spec"].field("service") else {
        return Check::Known(Finding {
            available: true,
            reason: "Local",
            message: "Local APIServices are always available".to_owned(),
        });
    };
    let (namespace, name) = (reference.text("namespace"), reference.text("name"));
    let place = format!("service/{name} in {}", quote(namespace));
    let Some(service) = service else {
        let message = format!("{place} is not present");
        return Check::Known(Finding::missing("ServiceNotFound", message));
    };
    if service["spec"].text("type") != "ClusterIP" {
        return Check::Ask;
    }
    let wanted = reference.number("port").unwrap_or(443);
    let mut ports = service["spec"].items("ports").iter();
    let Some(port) = ports.find(|port| port.number("port") == Some(wanted)) else {
        let message = format!("{place} is not listening on port {wanted}");
        return Check::Known(Finding::missing("ServicePortError", message));
    };
    let own: Vec<&&Value> = slices
        .iter()
        .filter(|slice| slice["metadata"]["labels"].text("kubernetes.io/service-name") == name)
        .collect();
    if own.is_empty() {
        let message = format!("cannot find endpointslices for {place}");
        return Check::Known(Finding::missing("EndpointsNotFound", message));
    }
    let port_name = port.text("name");
    if own.iter().any(|slice| has_endpoint(slice, port_name)) {
        return Check::Ask;
    }
    let message = format!(
        "endpointslices for {place} have no addresses with port name {}",
        quote(port_name)
    );
    Check::Known(Finding::missing("MissingEndpoints", message))
}

fn has_endpoint(slice: &Value, port_name: &str) -> bool {
    let ready = |endpoint: &Value| {
        endpoint["conditions"]
            .field("ready")
            .is_none_or(|ready| ready == &Value::Bool(true))
    };
    let named = |port: &Value| port.text("name") == port_name && port.has("port");
    slice.items("endpoints").iter().any(ready) && slice.items("ports").iter().any(named)
}

/// The APIService with what was found in its status, where that is not there yet. The time of a condition is that of its
/// last change between true and false.
pub(super) fn with_finding(api_service: &Value, finding: &Finding, now: Timestamp) -> Option<Value> {
    let status = if finding.available { "True" } else { "False" };
    let old = api_service["status"].items("conditions");
    let mut condition = json!({
        "type": "Available", "status": status, "reason": finding.reason, "message": finding.message,
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    let mut conditions = old.to_vec();
    match conditions
        .iter_mut()
        .find(|condition| condition.text("type") == "Available")
    {
        Some(known) => {
            if known.text("status") == status
                && let Some(time) = known.field("lastTransitionTime")
            {
                condition["lastTransitionTime"] = time.clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
    if conditions == old {
        return None;
    }
    let mut next = api_service.clone();
    next["status"] = json!({"conditions": conditions});
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(check: Check) -> String {
        match check {
            Check::Ask => "ask".to_owned(),
            Check::Known(finding) => format!("{} {}: {}", finding.available, finding.reason, finding.message),
        }
    }

    #[test]
    fn a_server_is_asked_only_where_there_is_somebody_to_ask() {
        let remote = json!({"spec": {"service": {"namespace": "n", "name": "s", "port": 443}}});
        let service =
            |port: u64| json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": port}]}});
        let slice = |ready: bool, port: &str| {
            json!({"metadata": {"labels": {"kubernetes.io/service-name": "s"}}, "ports": [{"name": port, "port": 1}],
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]})
        };
        let external = json!({"spec": {"type": "ExternalName"}});
        let (good, unready, other) = (slice(true, "https"), slice(false, "https"), slice(true, "web"));
        let ours = service(443);
        let table = [
            (
                &json!({"spec": {}}),
                None,
                vec![],
                "true Local: Local APIServices are always available",
            ),
            (
                &remote,
                None,
                vec![],
                "false ServiceNotFound: service/s in \"n\" is not present",
            ),
            (
                &remote,
                Some(service(80)),
                vec![],
                "false ServicePortError: service/s in \"n\" is not listening on port 443",
            ),
            (
                &remote,
                Some(ours.clone()),
                vec![],
                "false EndpointsNotFound: cannot find endpointslices for service/s in \"n\"",
            ),
            (
                &remote,
                Some(ours.clone()),
                vec![&unready, &other],
                "false MissingEndpoints: endpointslices for service/s in \"n\" have no addresses with port name \"https\"",
            ),
            (&remote, Some(ours), vec![&unready, &good], "ask"),
            (&remote, Some(external), vec![], "ask"),
        ];
        for (api_service, service, slices, want) in table {
            assert_eq!(said(check(api_service, service.as_ref(), &slices)), want);
        }
    }

    #[test]
    fn a_condition_is_written_once_and_keeps_its_time() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
        let passed = Finding::of_answer(&Ok(()));
        let first = with_finding(&json!({"spec": {}}), &passed, early).unwrap();
        assert_eq!(with_finding(&first, &passed, late), None);
        let failed = with_finding(&first, &Finding::of_answer(&Err("x".to_owned())), late).unwrap();
        let condition = &failed["status"]["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "2026-01-02T00:00:00Z");
        let again = with_finding(&failed, &Finding::of_answer(&Err("y".to_owned())), early).unwrap();
        let condition = &again["status"]["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "2026-01-02T00:00:00Z");
        assert_eq!(
            (condition.text("reason"), condition.text("message")),
            ("FailedDiscoveryCheck", "y")
        );
    }
}
