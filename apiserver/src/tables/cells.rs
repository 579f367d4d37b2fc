//! Which printer makes the cells of which resource.

use coracle_api::resources::Resource;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{cluster, network, pods, policy, show, workloads};

/// The cells of one row, in the order of the resource's columns; `object` is as it is stored.
pub(super) fn of(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    match resource.group {
        "" => core(resource, object, now),
        "apps" | "batch" | "autoscaling" | "policy" => workload(resource, object, now),
        "networking.k8s.io" | "discovery.k8s.io" => networking(resource, object, now),
        _ => other(resource, object, now),
    }
}

fn core(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    match resource.resource {
        "pods" => pods::pod(object, now),
        "services" => network::service(object, now),
        "endpoints" => network::endpoints(object, now),
        "nodes" => cluster::node(object, now),
        "namespaces" => cluster::namespace(object, now),
        "configmaps" => cluster::config_map(object, now),
        "secrets" => cluster::secret(object, now),
        "events" => cluster::event(object, now),
        "persistentvolumes" => cluster::volume(object, now),
        "persistentvolumeclaims" => cluster::volume_claim(object, now),
        "resourcequotas" => cluster::quota(object, now),
        "componentstatuses" => cluster::component_status(object, now),
        "replicationcontrollers" => workloads::replication_controller(object, now),
        "podtemplates" => workloads::pod_template(object, now),
        _ => plain(resource, object, now),
    }
}

fn workload(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    match resource.resource {
        "deployments" => workloads::deployment(object, now),
        "replicasets" => workloads::replica_set(object, now),
        "statefulsets" => workloads::stateful_set(object, now),
        "daemonsets" => workloads::daemon_set(object, now),
        "controllerrevisions" => workloads::controller_revision(object, now),
        "jobs" => workloads::job(object, now),
        "cronjobs" => workloads::cron_job(object, now),
        "horizontalpodautoscalers" => workloads::autoscaler(object, now),
        "poddisruptionbudgets" => workloads::disruption_budget(object, now),
        _ => plain(resource, object, now),
    }
}

fn networking(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    match resource.resource {
        "ingresses" => network::ingress(object, now),
        "ingressclasses" => network::ingress_class(object, now),
        "networkpolicies" => network::network_policy(object, now),
        "ipaddresses" => network::ip_address(object, now),
        "servicecidrs" => network::service_cidr(object, now),
        "endpointslices" => network::endpoint_slice(object, now),
        _ => plain(resource, object, now),
    }
}

fn other(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    match resource.resource {
        "events" => cluster::event(object, now),
        "leases" => cluster::lease(object, now),
        "rolebindings" | "clusterrolebindings" => policy::role_binding(object, now),
        "certificatesigningrequests" => policy::signing_request(object, now),
        "storageclasses" => policy::storage_class(object, now),
        "volumeattachments" => policy::volume_attachment(object, now),
        "volumeattributesclasses" => policy::with_text(object, "/driverName", now),
        "csidrivers" => policy::storage_driver(object, now),
        "csinodes" => policy::with_count(object, "/spec/drivers", now),
        "priorityclasses" => policy::priority_class(object, now),
        "runtimeclasses" => policy::with_text(object, "/handler", now),
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            policy::with_count(object, "/webhooks", now)
        }
        "validatingadmissionpolicies" => policy::admission_policy(object, "/spec/validations", now),
        "mutatingadmissionpolicies" => policy::admission_policy(object, "/spec/mutations", now),
        "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings" => {
            policy::admission_policy_binding(object, now)
        }
        "flowschemas" => policy::flow_schema(object, now),
        "prioritylevelconfigurations" => policy::priority_level(object, now),
        "apiservices" => policy::api_service(object, now),
        "resourceclaims" => policy::resource_claim(object, now),
        "resourceslices" => policy::resource_slice(object, now),
        _ => plain(resource, object, now),
    }
}

/// Kinds that show nothing but their name and when they were made.
fn plain(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    let cell = |name: &str| match name {
        "Name" => json!(show::text(object, "/metadata/name")),
        "Age" => show::age(object, now),
        "Created At" => json!(show::text(object, "/metadata/creationTimestamp")),
        _ => json!(""),
    };
    resource.columns.iter().map(|column| cell(column.name)).collect()
}

#[cfg(test)]
mod tests {
    use coracle_api::resources;

    use super::*;

    #[test]
    fn every_resource_fills_its_columns() {
        for resource in resources::all()
            .iter()
            .filter(|resource| resource.has_verb("get"))
        {
            let cells = of(
                resource,
                &json!({"metadata": {"name": "x"}}),
                Timestamp::UNIX_EPOCH,
            );
            assert_eq!(cells.len(), resource.columns.len(), "{}", resource.resource);
        }
    }
}
