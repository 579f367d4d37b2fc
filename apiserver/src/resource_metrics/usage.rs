//! What two looks at a node come to: how much was used between them. Pure.
//!
//! The rules are metrics-server's: CPU is what was used per second of the time between the looks, or since the start of a
//! container that started after the first of them; memory is what was used at the second.

use std::collections::BTreeMap;

use coracle_api::object::Fields;
use jiff::Timestamp;

use super::text::Value;

/// Namespace, pod and container.
pub(super) type ContainerKey = (String, String, String);

/// What a node or a container had used by then.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figure {
    /// In milliseconds since 1970.
    pub(super) at: i64,
    pub(super) cpu_seconds: f64,
    pub(super) memory_bytes: f64,
    /// When it started, in seconds since 1970, where that is known.
    pub(super) started: Option<f64>,
}

/// A look at a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    pub(super) at: Timestamp,
    pub(super) node: Option<Figure>,
    pub(super) containers: BTreeMap<ContainerKey, Figure>,
}

/// Two looks, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Looks {
    pub(super) before: Look,
    pub(super) last: Look,
}

/// What was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// In billionths of a core.
    pub(super) cpu_nanocores: u64,
    pub(super) memory_bytes: u64,
    /// Over how long, in milliseconds.
    pub(super) window: i64,
    /// By when, in milliseconds since 1970.
    pub(super) at: i64,
}

impl Look {
    /// Of what an agent said, which was heard at this time.
    pub(super) fn new(at: Timestamp, values: &[Value]) -> Self {
        let mut node: Option<Figure> = None;
        let mut containers: BTreeMap<ContainerKey, Figure> = BTreeMap::new();
        for value in values.iter().filter(|value| value.value.is_finite()) {
            let label = |name: &str| value.labels.get(name).cloned().unwrap_or_default();
            let key = (label("namespace"), label("pod"), label("container"));
            match value.name.as_str() {
                "node_cpu_usage_seconds_total" => node.get_or_insert_default().cpu(value, at),
                "node_memory_working_set_bytes" => node.get_or_insert_default().memory_bytes = value.value,
                "container_cpu_usage_seconds_total" => containers.entry(key).or_default().cpu(value, at),
                "container_memory_working_set_bytes" => {
                    containers.entry(key).or_default().memory_bytes = value.value;
                }
                "container_start_time_seconds" => {
                    containers.entry(key).or_default().started = Some(value.value);
                }
                _ => {}
            }
        }
        // What was only ever said to have started uses nothing that is known.
        containers.retain(|_, figure| figure.at > 0);
        Self {
            at,
            node: node.filter(|figure| figure.at > 0),
            containers,
        }
    }
}

impl Look {
    /// Whether a subject was there to be seen, if it is a pod that runs.
    pub(super) fn has_seen(&self, subject: &serde_json::Value) -> bool {
        if subject["status"].text("phase") != "Running" {
            return true;
        }
        let metadata = &subject["metadata"];
        let (namespace, name) = (metadata.text("namespace"), metadata.text("name"));
        let mut keys = self.containers.keys();
        keys.any(|(its_namespace, pod, _)| its_namespace == namespace && pod == name)
    }
}

impl Figure {
    fn cpu(&mut self, value: &Value, heard: Timestamp) {
        self.cpu_seconds = value.value;
        self.at = value.at.unwrap_or_else(|| heard.as_millisecond());
    }

    /// What was used since `before`; none where no time has passed.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a measured amount that is not negative, of which fractions do not count"
    )]
    fn since(&self, before: Option<&Figure>) -> Option<Usage> {
        let started = self.started.map(|seconds| (seconds * 1000.0) as i64);
        let same = before.filter(|before| {
            before.cpu_seconds <= self.cpu_seconds && started.is_none_or(|started| started <= before.at)
        });
        let (from, used) = match same {
            Some(before) => (before.at, self.cpu_seconds - before.cpu_seconds),
            None => (started?, self.cpu_seconds),
        };
        let window = self.at - from;
        (window > 0).then(|| Usage {
            cpu_nanocores: (used * 1e12 / window as f64).max(0.0).round() as u64,
            memory_bytes: self.memory_bytes.max(0.0) as u64,
            window,
            at: self.at,
        })
    }
}

impl Looks {
    /// What the node used.
    pub(super) fn node(&self) -> Option<Usage> {
        self.last.node?.since(self.before.node.as_ref())
    }

    /// What the containers of a pod used, by name.
    pub(super) fn containers(&self, namespace: &str, pod: &str) -> Vec<(&str, Usage)> {
        let of_pod = |key: &&ContainerKey| key.0 == namespace && key.1 == pod;
        let mut found = Vec::new();
        for key in self.last.containers.keys().filter(of_pod) {
            let before = self.before.containers.get(key);
            if let Some(usage) = self.last.containers[key].since(before) {
                found.push((key.2.as_str(), usage));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::read;
    use super::*;

    fn look(seconds: i64, text: &str) -> Look {
        Look::new(Timestamp::from_second(seconds).unwrap(), &read(text))
    }

    fn labelled(name: &str, container: &str, rest: &str) -> String {
        format!("{name}{{container=\"{container}\",namespace=\"n\",pod=\"p\"}} {rest}\n")
    }

    #[test]
    fn usage_is_what_was_used_between_two_looks() {
        let before = "node_cpu_usage_seconds_total 10 1000\nnode_memory_working_set_bytes 1 1000\n"
            .to_owned()
            + &labelled("container_cpu_usage_seconds_total", "a", "1 1000")
            + &labelled("container_memory_working_set_bytes", "a", "7 1000");
        let after = "node_cpu_usage_seconds_total 12.5 11000\nnode_memory_working_set_bytes 2 11000\n"
            .to_owned()
            + &labelled("container_cpu_usage_seconds_total", "a", "1.5 11000")
            + &labelled("container_memory_working_set_bytes", "a", "8 11000")
            + &labelled("container_cpu_usage_seconds_total", "new", "2 11000")
            + &labelled("container_start_time_seconds", "new", "7")
            + &labelled("container_cpu_usage_seconds_total", "unknown", "2 11000");
        let looks = Looks {
            before: look(1, &before),
            last: look(11, &after),
        };
        let usage = |cpu_nanocores, memory_bytes, window| Usage {
            cpu_nanocores,
            memory_bytes,
            window,
            at: 11_000,
        };
        assert_eq!(looks.node(), Some(usage(250_000_000, 2, 10_000)));
        assert_eq!(
            looks.containers("n", "p"),
            [
                ("a", usage(50_000_000, 8, 10_000)),
                ("new", usage(500_000_000, 0, 4_000))
            ]
        );
        assert!(looks.containers("n", "other").is_empty());
    }

    #[test]
    fn only_pods_that_run_are_missed() {
        let look = look(1, &labelled("container_cpu_usage_seconds_total", "a", "1 1000"));
        let subject = |name: &str, phase: &str| serde_json::json!({"metadata": {"name": name, "namespace": "n"}, "status": {"phase": phase}});
        assert!(look.has_seen(&subject("p", "Running")));
        assert!(!look.has_seen(&subject("q", "Running")));
        assert!(look.has_seen(&subject("q", "Pending")));
    }

    #[test]
    fn a_container_that_started_anew_is_counted_from_its_start() {
        let text = |cpu: &str, started: &str| {
            labelled("container_cpu_usage_seconds_total", "a", cpu)
                + &labelled("container_start_time_seconds", "a", started)
        };
        let looks = Looks {
            before: look(1, &text("50 1000", "0.5")),
            last: look(11, &text("3 11000", "5")),
        };
        let found = looks.containers("n", "p");
        assert_eq!(
            (found[0].1.cpu_nanocores, found[0].1.window),
            (500_000_000, 6_000)
        );
    }
}
