//! `pods/eviction`: a delete that asks the pod's disruption budget first.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::selector::LabelSelector;
use coracle_api::status::{ApiError, Cause, Details, Reason};
use coracle_api::table::Gvk;
use coracle_store::Txn;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::delete::Asks;
use crate::registry::negotiate::{Purpose, accepted};
use crate::registry::options::{DeleteOptions, WriteOptions};
use crate::registry::served::Served;
use crate::registry::write::Written;
use crate::registry::{Registry, body, meta, respond};
use crate::request::{RequestContext, ResponseBody};

const TRIES: usize = 20;
const EVICTION: Gvk = Gvk {
    group: "policy",
    version: "v1",
    kind: "Eviction",
};
/// A budget keeps track of at most so many pods that are on their way.
const MOST_DISRUPTED: usize = 2000;

impl Registry {
    pub(super) async fn evict(
        &self,
        ctx: &RequestContext,
        pods: &Arc<Served>,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = accepted(ctx, Purpose::Object)?;
        let options = WriteOptions::read(ctx, "CreateOptions")?;
        let (mut eviction, _) = body::of_kind(ctx, &bytes, EVICTION, options.field_validation)?;
        let name = &ctx.info.name;
        if meta::text(&eviction, "name") != name {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        self.webhooks.create(ctx, EVICTION, &mut eviction).await?;
        let mut delete = DeleteOptions::read(ctx, eviction.get("deleteOptions").or(Some(&json!({}))))?;
        delete.dry_run |= options.dry_run;
        let current = self.current(pods, &ctx.info.namespace, name).await?;
        let pod = current.ok_or_else(|| self.not_found(pods, name))?.value();
        if needs_budget(&pod) {
            self.spend_budget(ctx, &pod, delete.dry_run).await?;
        }
        if !delete.dry_run {
            self.mark_target(ctx, pods, &mut delete).await?;
        }
        self.delete_object(ctx, pods, name, &delete, Asks::Nobody).await?;
        let success =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        respond::value(&success, accepted, StatusCode::CREATED)
    }

    /// Says of the pod that it is a target of disruption, for those who ask why it goes (KEP-3329). Where the preconditions do not
    /// hold, nothing is said: the delete answers that.
    async fn mark_target(
        &self,
        ctx: &RequestContext,
        pods: &Arc<Served>,
        delete: &mut DeleteOptions,
    ) -> Result<(), ApiError> {
        let (namespace, name) = (&ctx.info.namespace, &ctx.info.name);
        for _ in 0..TRIES {
            let Some(current) = self.current(pods, namespace, name).await? else {
                return Ok(());
            };
            let mut pod = Value::clone(&current.value());
            let revision = current.revision().to_string();
            let other =
                |wanted: &Option<String>, is: &str| wanted.as_ref().is_some_and(|wanted| wanted != is);
            if other(&delete.uid, meta::text(&pod, "uid")) || other(&delete.resource_version, &revision) {
                return Ok(());
            }
            say_target(&mut pod, self.now());
            let key = pods.key(namespace, name);
            let written = self.put(pods, &key, pod, current.revision(), Txn::new()).await?;
            if let Written::Done(entry) = written {
                if delete.resource_version.is_some() {
                    delete.resource_version = Some(entry.revision().to_string());
                }
                return Ok(());
            }
        }
        Err(self.modified(pods, name))
    }

    /// Takes one disruption from the budget that covers a pod, if one does.
    async fn spend_budget(&self, ctx: &RequestContext, pod: &Value, dry_run: bool) -> Result<(), ApiError> {
        let budgets = self
            .catalog
            .find("policy", "v1", "poddisruptionbudgets")
            .ok_or_else(|| ApiError::generic(404, ""))?;
        for _ in 0..TRIES {
            let prefix = format!("{}/", ctx.info.namespace);
            let snapshot = budgets.cache.snapshot();
            let covering: Vec<_> = snapshot
                .entries
                .with_prefix(&prefix)
                .filter(|entry| covers(&entry.value(), pod))
                .collect();
            let entry = match covering[..] {
                [] => return Ok(()),
                [entry] => entry,
                _ => {
                    return Err(ApiError::unknown(
                        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
                         support.",
                    ));
                }
            };
            if spares(&entry.value(), pod) {
                return Ok(());
            }
            let budget = spend(&entry.value(), meta::text(pod, "name"), self.now())?;
            if dry_run {
                return Ok(());
            }
            let key = budgets.key(&ctx.info.namespace, entry.name());
            let written = self
                .put(&budgets, &key, budget, entry.revision(), Txn::new())
                .await?;
            if let Written::Done(_) = written {
                return Ok(());
            }
        }
        let why = "couldn't update PodDisruptionBudget due to conflicts";
        Err(ApiError::too_many_requests(why, 10))
    }
}

/// Pods that never ran or are done, or are going already, disrupt nothing.
fn needs_budget(pod: &Value) -> bool {
    let phase = pod
        .pointer("/status/phase")
        .and_then(Value::as_str)
        .unwrap_or_default();
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && !meta::is_deleting(pod)
}

fn covers(budget: &Value, pod: &Value) -> bool {
    LabelSelector::from_object(budget.pointer("/spec/selector"))
        .is_ok_and(|selector| selector.matches_labels(pod.pointer("/metadata/labels")))
}

/// Whether evicting the pod costs the budget nothing: it is not ready, so it is none of the healthy ones, and those are enough or
/// the budget has unhealthy pods go in any case (`unhealthyPodEvictionPolicy`, KEP-3017).
fn spares(budget: &Value, pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    if conditions.any(|one| one["type"] == "Ready" && one["status"] == "True") {
        return false;
    }
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || desired > 0 && healthy >= desired
}

/// Sets the pod's condition.
fn say_target(pod: &mut Value, now: Timestamp) {
    let mut condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": meta::time(now),
    });
    let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) else {
        return;
    };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    match conditions
        .iter_mut()
        .find(|one| one["type"] == "DisruptionTarget")
    {
        Some(old) => {
            if old["status"] == "True" {
                condition["lastTransitionTime"] = old["lastTransitionTime"].take();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

/// The budget with one disruption less.
fn spend(budget: &Value, pod: &str, now: Timestamp) -> Result<Value, ApiError> {
    let number = |pointer: &str| budget.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    if number("/status/observedGeneration") < number("/metadata/generation") {
        let why = "Cannot evict pod as it would violate the pod's disruption budget.";
        let name = meta::text(budget, "name");
        return Err(refused(
            why,
            &format!("The disruption budget {name} is still being processed by the server."),
            10,
        ));
    }
    let allowed = number("/status/disruptionsAllowed");
    let disrupted = budget
        .pointer("/status/disruptedPods")
        .and_then(Value::as_object)
        .map_or(0, |pods| pods.len());
    if allowed <= 0 || disrupted > MOST_DISRUPTED {
        let why = "Cannot evict pod as it would violate the pod's disruption budget.";
        let detail = format!(
            "The disruption budget {} needs {} healthy pods and has {} currently",
            meta::text(budget, "name"),
            number("/status/desiredHealthy"),
            number("/status/currentHealthy")
        );
        return Err(refused(why, &detail, 0));
    }
    let mut budget = budget.clone();
    if let Some(status) = budget.get_mut("status").and_then(Value::as_object_mut) {
        status.insert("disruptionsAllowed".to_owned(), Value::from(allowed - 1));
        let pods = status.entry("disruptedPods").or_insert_with(|| json!({}));
        if let Some(pods) = pods.as_object_mut() {
            pods.insert(pod.to_owned(), meta::time(now));
        }
    }
    Ok(budget)
}

fn refused(why: &str, detail: &str, retry_after_seconds: u32) -> ApiError {
    let cause = Cause {
        reason: "DisruptionBudget".to_owned(),
        message: detail.to_owned(),
        field: String::new(),
    };
    let details = Details {
        causes: vec![cause],
        retry_after_seconds,
        ..Details::default()
    };
    ApiError::new(429, Reason::TooManyRequests, why, Some(details))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_until_nothing_is_left() {
        let budget = json!({"metadata": {"name": "b", "generation": 1}, "status": {
            "observedGeneration": 1, "disruptionsAllowed": 1, "desiredHealthy": 2, "currentHealthy": 3}});
        let spent = spend(&budget, "p", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(spent["status"]["disruptionsAllowed"], 0);
        assert_eq!(spent["status"]["disruptedPods"]["p"], "1970-01-01T00:00:00Z");
        let refusal = spend(&spent, "q", Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(refusal.code(), 429);
        assert_eq!(
            refusal.details().unwrap().causes[0].message,
            "The disruption budget b needs 2 healthy pods and has 3 currently"
        );
    }

    #[test]
    fn a_pod_that_is_not_ready_costs_nothing_where_enough_are_healthy() {
        let budget = |healthy: i64, policy: &str| {
            let status = json!({"desiredHealthy": 2, "currentHealthy": healthy});
            json!({"spec": {"unhealthyPodEvictionPolicy": policy}, "status": status})
        };
        let pod = |ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        assert!(spares(&budget(2, "IfHealthyBudget"), &pod("False")));
        assert!(!spares(&budget(1, "IfHealthyBudget"), &pod("False")));
        assert!(spares(&budget(1, "AlwaysAllow"), &pod("False")));
        assert!(!spares(&budget(1, "AlwaysAllow"), &pod("True")));
    }

    #[test]
    fn an_evicted_pod_says_so_once() {
        let mut pod = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        say_target(&mut pod, Timestamp::UNIX_EPOCH);
        let said = pod.clone();
        say_target(&mut pod, "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(pod, said);
        assert_eq!(pod["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");
    }
}
