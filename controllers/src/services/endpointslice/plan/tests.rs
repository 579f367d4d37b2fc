use super::*;
use crate::services::fixtures::{backend, node, service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

fn planned(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>]) -> Plan {
    let nodes = [("n1".to_owned(), node("n1"))].into();
    plan(&Observed {
        service,
        pods,
        nodes: &nodes,
        slices,
    })
}

/// The slices after a plan, as the API server would show them.
fn applied(plan: Plan, slices: &[Arc<EndpointSlice>], round: usize) -> Vec<Arc<EndpointSlice>> {
    let gone: Vec<_> = plan.delete.iter().map(|target| target.name.clone()).collect();
    let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap();
    let updated: Vec<_> = plan.update.iter().map(name).collect();
    let stays = |slice: &&Arc<EndpointSlice>| !gone.contains(&name(slice)) && !updated.contains(&name(slice));
    let mut after: Vec<_> = slices.iter().filter(stays).cloned().collect();
    after.extend(plan.update.into_iter().map(Arc::new));
    for (number, mut slice) in plan.create.into_iter().enumerate() {
        slice.metadata.name = Some(format!("web-{round}-{number}"));
        slice.metadata.uid = slice.metadata.name.clone();
        after.push(Arc::new(slice));
    }
    after
}

#[test]
fn a_ready_pod_behind_a_named_port() {
    let mut plan = planned(&service(), &[backend("a", "10.244.0.5", true)], &[]);
    assert!(plan.update.is_empty() && plan.delete.is_empty());
    insta::assert_json_snapshot!(plan.create.remove(0));
}

#[test]
fn conditions_follow_readiness_and_termination() {
    let mut terminating = Arc::unwrap_or_clone(backend("a", "10.244.0.5", true));
    terminating.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let mut publishing = service();
    publishing.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
    let cases = [
        (service(), backend("a", "10.244.0.5", true), (true, true, false)),
        (
            service(),
            backend("a", "10.244.0.5", false),
            (false, false, false),
        ),
        (service(), Arc::new(terminating.clone()), (false, true, true)),
        (
            publishing.clone(),
            backend("a", "10.244.0.5", false),
            (true, false, false),
        ),
        (publishing, Arc::new(terminating), (true, true, true)),
    ];
    for (service, pod, (ready, serving, terminating)) in cases {
        let plan = planned(&service, &[pod], &[]);
        let conditions = plan.create[0].endpoints.as_ref().unwrap()[0]
            .conditions
            .clone()
            .unwrap();
        let expected = EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        };
        assert_eq!(conditions, expected);
    }
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let plan = planned(&service(), &[], &[]);
    assert_eq!(plan.create.len(), 1);
    assert_eq!(plan.create[0].endpoints, Some(vec![]));
    let slices = applied(plan, &[], 0);
    assert_eq!(planned(&service(), &[], &slices), Plan::default());
}

#[test]
fn headless_pods_have_host_names_in_their_own_subdomain() {
    let mut headless = service();
    headless.spec.as_mut().unwrap().cluster_ip = Some("None".to_owned());
    let mut pod = Arc::unwrap_or_clone(backend("a", "10.244.0.5", true));
    let spec = pod.spec.as_mut().unwrap();
    spec.hostname = Some("a".to_owned());
    spec.subdomain = Some("web".to_owned());
    let slice = planned(&headless, &[Arc::new(pod)], &[]).create.remove(0);
    assert_eq!(slice.endpoints.unwrap()[0].hostname.as_deref(), Some("a"));
    assert_eq!(
        slice
            .metadata
            .labels
            .unwrap()
            .get(backends::HEADLESS)
            .map(String::as_str),
        Some("")
    );
}

#[test]
fn pods_with_other_ports_get_slices_of_their_own() {
    let mut other = Arc::unwrap_or_clone(backend("b", "10.244.0.6", true));
    other.spec.as_mut().unwrap().containers[0].ports.as_mut().unwrap()[0].container_port = 9090;
    let plan = planned(
        &service(),
        &[backend("a", "10.244.0.5", true), Arc::new(other)],
        &[],
    );
    let ports: Vec<_> = plan
        .create
        .iter()
        .map(|slice| slice.ports.as_ref().unwrap()[0].port)
        .collect();
    assert_eq!(ports, [Some(8080), Some(9090)]);
}

#[test]
fn a_pod_on_a_node_that_is_gone_is_left_out() {
    let mut pod = Arc::unwrap_or_clone(backend("a", "10.244.0.5", true));
    pod.spec.as_mut().unwrap().node_name = Some("gone".to_owned());
    let plan = planned(&service(), &[Arc::new(pod)], &[]);
    assert_eq!(plan.create[0].endpoints, Some(vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever pods come and go, each plan leads to slices that hold exactly the pods, at most 100 each, and planning
    /// after acting gives nothing to do.
    #[test]
    fn slices_follow_the_pods(rounds in prop::collection::vec(prop::collection::btree_map(0u16..400, any::<bool>(), 0..350), 1..5)) {
        let mut slices = Vec::new();
        for (round, pods) in rounds.iter().enumerate() {
            let pods: Vec<_> = pods
                .iter()
                .map(|(n, ready)| backend(&format!("p{n}"), &format!("10.244.{}.{}", n / 250, n % 250), *ready))
                .collect();
            let plan = planned(&service(), &pods, &slices);
            slices = applied(plan, &slices, round);
            let mut found: Vec<_> = slices
                .iter()
                .flat_map(|slice| slice.endpoints.iter().flatten())
                .map(|endpoint| endpoint.addresses[0].clone())
                .collect();
            found.sort();
            let mut expected: Vec<_> = pods.iter().map(|pod| backends::ips(pod)[0].to_owned()).collect();
            expected.sort();
            prop_assert_eq!(found, expected);
            prop_assert!(slices.iter().all(|slice| slice.endpoints.as_ref().unwrap().len() <= MOST));
            prop_assert_eq!(planned(&service(), &pods, &slices), Plan::default());
        }
    }
}
