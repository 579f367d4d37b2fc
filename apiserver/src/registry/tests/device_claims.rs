//! What a writer of ResourceClaims needs rights to beyond the one to write them.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::{Answer, Fixture};
use crate::authz::{AuthorizationMode, Authorizer};
use crate::request::UserInfo;

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const STATUS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/c/status";

fn claim(admin: bool) -> Value {
    let mut exactly = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    if admin {
        exactly["adminAccess"] = json!(true);
    }
    json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}})
}

fn allocation(node: &str) -> Value {
    json!({"devices": {"results": [{"request": "r", "driver": "gpu.example.com", "pool": "p", "device": "d"}]},
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}})
}

/// The agent of a driver, whose pod runs on a node.
fn agent(node: &str) -> UserInfo {
    UserInfo {
        name: "system:serviceaccount:default:agent".to_owned(),
        extra: [(
            "authentication.kubernetes.io/node-name".to_owned(),
            vec![node.to_owned()],
        )]
        .into(),
        ..UserInfo::default()
    }
}

async fn guarded() -> Fixture {
    let fixture = Fixture::new().await;
    let authorizer = Authorizer::new(vec![AuthorizationMode::Rbac], fixture.registry.reader());
    fixture.registry.guard_grants(Arc::new(authorizer));
    fixture
}

impl Fixture {
    async fn let_agent(&self, role: &str, rules: Value) {
        let role_object = json!({"metadata": {"name": role}, "rules": rules});
        self.create(&format!("{RBAC}/clusterroles"), role_object).await;
        let binding = json!({"metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "agent"}]});
        self.create(&format!("{RBAC}/clusterrolebindings"), binding).await;
    }

    async fn write_status(&self, user: &UserInfo, change: impl FnOnce(&mut Value)) -> Answer {
        let mut object = self.get(&format!("{CLAIMS}/c")).await.json();
        if !object["status"].is_object() {
            object["status"] = json!({});
        }
        change(&mut object["status"]);
        self.ask_as(user, Method::PUT, STATUS, object).await
    }
}

#[tokio::test]
async fn devices_in_use_are_for_namespaces_that_say_so() {
    let fixture = guarded().await;
    let refused = fixture.ask(Method::POST, CLAIMS, Some(claim(true))).await;
    let want = "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the \
                `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    assert!(
        refused.code == 422 && refused.message().contains(want),
        "{}",
        refused.message()
    );
    let template = json!({"metadata": {"name": "t"}, "spec": {"spec": claim(true)["spec"]}});
    let templates = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";
    assert_eq!(
        fixture
            .ask(Method::POST, templates, Some(template.clone()))
            .await
            .code,
        422
    );
    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    fixture
        .patch(
            "/api/v1/namespaces/default",
            "application/merge-patch+json",
            label,
        )
        .await;
    fixture.create(CLAIMS, claim(true)).await;
    fixture.create(templates, template).await;
}

#[tokio::test]
async fn a_claim_is_bound_and_spoken_for_by_those_who_may() {
    let fixture = guarded().await;
    fixture.create(CLAIMS, claim(false)).await;
    let agent = agent("n1");
    let allocate = |status: &mut Value| status["allocation"] = allocation("n1");
    let refused = fixture.write_status(&agent, allocate).await;
    let want = "status.allocation: Forbidden: changing status.allocation or status.reservedFor requires \
                resource=\"resourceclaims/binding\", verb=\"update\" permission: resourceclaims.resource.k8s.io is forbidden: User \
                \"system:serviceaccount:default:agent\" cannot update resource \"resourceclaims/binding\" in API group \
                \"resource.k8s.io\" at the cluster scope";
    assert!(
        refused.code == 422 && refused.message().contains(want),
        "{}",
        refused.message()
    );
    let binds = json!([{"verbs": ["update"], "apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims/binding"]}]);
    fixture.let_agent("binds", binds).await;
    let bound = fixture.write_status(&agent, allocate).await;
    assert_eq!(bound.code, 200, "{}", bound.message());

    let speak = |status: &mut Value| {
        status["devices"] = json!([{"driver": "gpu.example.com", "pool": "p", "device": "d"}]);
    };
    let refused = fixture.write_status(&agent, speak).await;
    let want = "status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", \
                verb=\"[associated-node:update arbitrary-node:update]\" permission: resourceclaims.resource.k8s.io \
                \"gpu.example.com\" is forbidden";
    assert!(
        refused.code == 422 && refused.message().contains(want),
        "{}",
        refused.message()
    );
    let speaks = json!([{"verbs": ["associated-node:update"], "apiGroups": ["resource.k8s.io"],
        "resources": ["resourceclaims/driver"], "resourceNames": ["gpu.example.com"]}]);
    fixture.let_agent("speaks", speaks).await;
    let elsewhere = UserInfo {
        extra: [(
            "authentication.kubernetes.io/node-name".to_owned(),
            vec!["n2".to_owned()],
        )]
        .into(),
        ..agent.clone()
    };
    assert_eq!(fixture.write_status(&elsewhere, speak).await.code, 422);
    let spoken = fixture.write_status(&agent, speak).await;
    assert_eq!(spoken.code, 200, "{}", spoken.message());

    let take_away = |status: &mut Value| {
        status.as_object_mut().unwrap().remove("allocation");
    };
    let freed = fixture.write_status(&agent, take_away).await;
    assert_eq!(
        (freed.code, freed.json()["status"]["devices"].is_null()),
        (200, true),
        "{}",
        freed.message()
    );
}
