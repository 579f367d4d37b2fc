//! Amounts of resources by name, and what a pod amounts to as a whole. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::object::Fields;
use crate::quantity::Quantity;

/// Amounts by the resource's name: Go's `ResourceList`.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts that a map of quantities states.
pub fn read(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.parse().ok()?)))
        .collect()
}

/// The map of quantities that states these amounts.
pub fn write(amounts: &Amounts) -> Value {
    let entries = amounts.iter();
    entries
        .map(|(name, amount)| (name.clone(), Value::from(amount.to_string())))
        .collect()
}

/// Adds every amount of `more`.
pub fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = total
            .get(name)
            .map_or_else(|| amount.clone(), |sum| sum.plus(amount));
        total.insert(name.clone(), sum);
    }
}

/// Makes every amount at least that of `least`.
pub fn raise(total: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        if total.get(name).is_none_or(|most| most < amount) {
            total.insert(name.clone(), amount.clone());
        }
    }
}

/// What containers amount to, one by one and together.
pub trait Sum: Clone + Default {
    /// Adds every amount of `more`.
    fn add(&mut self, more: &Self);
    /// Makes every amount at least that of `least`.
    fn raise(&mut self, least: &Self);
}

impl Sum for Amounts {
    fn add(&mut self, more: &Self) {
        add(self, more);
    }

    fn raise(&mut self, least: &Self) {
        raise(self, least);
    }
}

/// When an init container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// Until it has ended, before the next one begins.
    ToItsEnd,
    /// From then on, beside the others: a sidecar (KEP-753).
    Always,
}

impl Init {
    /// By a container's restart policy.
    pub fn of(restart_policy: &str) -> Self {
        if restart_policy == "Always" {
            Self::Always
        } else {
            Self::ToItsEnd
        }
    }
}

/// What containers need at most at any time: together with all sidecars, or one init container with the sidecars before it.
pub fn together<S: Sum>(
    containers: impl IntoIterator<Item = S>,
    init: impl IntoIterator<Item = (Init, S)>,
) -> S {
    let mut running = S::default();
    containers.into_iter().for_each(|own| running.add(&own));
    let (mut sidecars, mut at_start) = (S::default(), S::default());
    for (when, mut own) in init {
        match when {
            Init::Always => {
                running.add(&own);
                sidecars.add(&own);
                at_start.raise(&sidecars);
            }
            Init::ToItsEnd => {
                own.add(&sidecars);
                at_start.raise(&own);
            }
        }
    }
    running.raise(&at_start);
    running
}

/// Whether a pod may state this resource for itself as a whole (KEP-2837).
pub fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// What of a pod is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counting {
    /// What containers have been given, where that is more than they ask for: a resize under way counts both (KEP-1287).
    pub given: bool,
    /// What running a pod costs besides its containers (KEP-688).
    pub overhead: bool,
}

/// What a pod needs at most at any time, in `requests` or `limits`: its containers [`together`]; what it states for itself as a
/// whole counts instead.
pub fn of_pod(pod: &Value, kind: &str, counting: Counting) -> Amounts {
    let spec = &pod["spec"];
    let of = |container: &Value, statuses: &str| of_container(pod, container, kind, statuses, counting);
    let containers = spec.items("containers").iter();
    let init = spec.items("initContainers").iter().map(|container| {
        let when = Init::of(container.text("restartPolicy"));
        match when {
            Init::Always => (when, of(container, "initContainerStatuses")),
            Init::ToItsEnd => (when, read(&container["resources"][kind])),
        }
    });
    let mut total = together(
        containers.map(|container| of(container, "containerStatuses")),
        init,
    );
    let whole = read(&spec["resources"][kind]).into_iter();
    total.extend(whole.filter(|(name, _)| is_of_pods(name)));
    if counting.overhead {
        let mut overhead = read(&spec["overhead"]);
        // What is not limited is not limited with the overhead either.
        overhead.retain(|name, _| kind == "requests" || total.contains_key(name));
        add(&mut total, &overhead);
    }
    total
}

fn of_container(pod: &Value, container: &Value, kind: &str, statuses: &str, counting: Counting) -> Amounts {
    let mut own = read(&container["resources"][kind]);
    let statuses = pod["status"].items(statuses);
    let mut named = statuses
        .iter()
        .filter(|status| status.text("name") == container.text("name"));
    if let Some(status) = named
        .next()
        .filter(|status| counting.given && status.has("resources"))
    {
        raise(&mut own, &read(&status["resources"][kind]));
        if kind == "requests" {
            raise(&mut own, &read(&status["allocatedResources"]));
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn milli(amounts: &Amounts, name: &str) -> i64 {
        amounts[name].milli_value()
    }

    #[test]
    fn a_pod_needs_what_its_hungriest_moment_needs() {
        let of = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = json!({"spec": {
            "containers": [{"resources": of("1")}, {"resources": of("1")}],
            "initContainers": [{"resources": of("3")}, {"restartPolicy": "Always", "resources": of("500m")}, {"resources": of("3")}],
            "overhead": {"cpu": "10m"}}});
        assert_eq!(milli(&of_pod(&pod, "requests", Counting::default()), "cpu"), 3500);
        let overhead = Counting {
            overhead: true,
            ..Counting::default()
        };
        assert_eq!(milli(&of_pod(&pod, "requests", overhead), "cpu"), 3510);
        assert!(of_pod(&pod, "limits", overhead).is_empty());
    }

    #[test]
    fn what_a_container_has_counts_until_it_is_given_back() {
        let pod = json!({
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"containerStatuses": [
                {"name": "c", "resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "1"}}]}});
        let given = Counting {
            given: true,
            ..Counting::default()
        };
        assert_eq!(milli(&of_pod(&pod, "requests", given), "cpu"), 2000);
        assert_eq!(milli(&of_pod(&pod, "requests", Counting::default()), "cpu"), 1000);
    }
}
