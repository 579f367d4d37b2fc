use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::authz::AuthorizationMode;
use crate::reader::GroupResource;
use crate::reader::memory::MemoryReader;

const RBAC: &str = "rbac.authorization.k8s.io";

/// Who holds rules of a ClusterRole.
fn authorizer(holders: &[(&str, Value)]) -> Authorizer {
    let reader = MemoryReader::default();
    for (user, rules) in holders {
        let role = json!({"metadata": {"name": user}, "rules": rules});
        let binding = json!({"metadata": {"name": user}, "roleRef": {"kind": "ClusterRole", "name": user},
            "subjects": [{"kind": "User", "name": user}]});
        reader.put(&GroupResource::new(RBAC, "clusterroles"), role);
        reader.put(&GroupResource::new(RBAC, "clusterrolebindings"), binding);
    }
    Authorizer::new(vec![AuthorizationMode::Rbac], Arc::new(reader))
}

fn rule(verb: &str, group: &str, resource: &str, names: &[&str]) -> Value {
    json!({"verbs": [verb], "apiGroups": [group], "resources": [resource], "resourceNames": names})
}

fn named(name: &str) -> UserInfo {
    UserInfo {
        name: name.to_owned(),
        ..UserInfo::default()
    }
}

/// A service account whose pod runs on a node.
fn agent(node: &str) -> UserInfo {
    let mut agent = named("system:serviceaccount:kube-system:agent");
    agent.extra.insert(NODE_NAME.to_owned(), vec![node.to_owned()]);
    agent
}

struct World {
    impersonation: Impersonation,
    authorizer: Authorizer,
}

impl World {
    fn new(holders: &[(&str, Value)]) -> Self {
        Self {
            impersonation: Impersonation::default(),
            authorizer: authorizer(holders),
        }
    }

    /// Whom a sender is who asks to list pods with these headers.
    async fn ask(&self, sender: &UserInfo, pairs: &[(&'static str, &str)]) -> Result<Impersonated, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let asked = Attributes::resource(sender, "list", "", "pods");
        let heeded = self
            .impersonation
            .heed(&mut headers, &asked, &self.authorizer)
            .await;
        heeded
            .map(|found| found.expect("a user is asked for"))
            .map_err(|error| error.to_string())
    }
}

/// Jane may list pods as bob.
fn of_jane() -> World {
    World::new(&[(
        "jane",
        json!([
            rule("impersonate:user-info", AUTHENTICATION_GROUP, "users", &["bob"]),
            rule("impersonate:user-info", AUTHENTICATION_GROUP, "groups", &["devs"]),
            rule(
                "impersonate:user-info",
                AUTHENTICATION_GROUP,
                "userextras/example.com/scope",
                &["all"]
            ),
            rule("impersonate-on:user-info:list", "", "pods", &[]),
        ]),
    )])
}

#[tokio::test]
async fn a_constrained_right_counts_for_what_it_names() {
    let world = of_jane();
    let jane = named("jane");
    let bob = world
        .ask(
            &jane,
            &[("impersonate-user", "bob"), ("impersonate-group", "devs")],
        )
        .await
        .unwrap();
    assert_eq!(bob.user.groups, ["devs", AUTHENTICATED]);
    assert_eq!(bob.constraint, "impersonate:user-info");
    let scoped = [
        ("impersonate-user", "bob"),
        ("impersonate-extra-example.com%2fscope", "all"),
    ];
    assert_eq!(
        world.ask(&jane, &scoped).await.unwrap().user.extra["example.com/scope"],
        ["all"]
    );
    let asked = Attributes::resource(&jane, "delete", "", "pods");
    let mut headers = HeaderMap::from_iter([(
        http::HeaderName::from_static("impersonate-user"),
        "bob".parse().unwrap(),
    )]);
    let refused = world
        .impersonation
        .heed(&mut headers, &asked, &world.authorizer)
        .await
        .unwrap_err();
    let want = "pods is forbidden: User \"jane\" cannot impersonate-on:user-info:delete resource \"pods\" in API group \"\" at the cluster scope";
    assert_eq!(refused.to_string(), want);
}

#[tokio::test]
async fn parts_that_are_not_named_are_refused() {
    let (world, jane) = (of_jane(), named("jane"));
    for (headers, want) in [
        (
            &[("impersonate-user", "joe")][..],
            "users.authentication.k8s.io \"joe\" is forbidden: User \"jane\" cannot impersonate:user-info resource \"users\"",
        ),
        (
            &[("impersonate-user", "bob"), ("impersonate-group", "ops")],
            "groups.authentication.k8s.io \"ops\" is forbidden",
        ),
        (
            &[("impersonate-user", "bob"), ("impersonate-group", MASTERS)],
            "impersonating the system:masters group is not allowed",
        ),
        (
            &[("impersonate-user", "bob"), ("impersonate-uid", "7")],
            "uids.authentication.k8s.io \"7\" is forbidden",
        ),
        (
            &[("impersonate-user", "bob"), ("impersonate-extra-scope", "all")],
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: \"scope\": must be a domain-prefixed path",
        ),
        (
            &[
                ("impersonate-user", "bob"),
                ("impersonate-extra-example.com%2fscope", ""),
            ],
            "impersonating the empty string value in extra is not allowed",
        ),
    ] {
        let refused = world.ask(&jane, headers).await.unwrap_err();
        assert!(refused.contains(want), "{refused}");
    }
}

#[tokio::test]
async fn nodes_and_accounts_have_ways_of_their_own() {
    let own = json!([
        rule("impersonate:associated-node", AUTHENTICATION_GROUP, "nodes", &[]),
        rule("impersonate-on:associated-node:list", "", "pods", &[]),
    ]);
    let any = json!([
        rule(
            "impersonate:arbitrary-node",
            AUTHENTICATION_GROUP,
            "nodes",
            &["n2"]
        ),
        rule("impersonate-on:arbitrary-node:list", "", "pods", &[]),
        rule(
            "impersonate:serviceaccount",
            AUTHENTICATION_GROUP,
            "serviceaccounts",
            &["bot"]
        ),
        rule("impersonate-on:serviceaccount:list", "", "pods", &[]),
    ]);
    let world = World::new(&[("system:serviceaccount:kube-system:agent", own), ("jane", any)]);
    let as_node = [("impersonate-user", "system:node:n1")];
    let found = world.ask(&agent("n1"), &as_node).await.unwrap();
    assert_eq!(found.user.groups, [NODES, AUTHENTICATED]);
    assert_eq!(found.constraint, "impersonate:associated-node");
    let elsewhere = world.ask(&agent("n2"), &as_node).await.unwrap_err();
    assert!(
        elsewhere.contains("impersonate-on:arbitrary-node:list"),
        "{elsewhere}"
    );
    let jane = named("jane");
    let second = world
        .ask(&jane, &[("impersonate-user", "system:node:n2")])
        .await
        .unwrap();
    assert_eq!(second.constraint, "impersonate:arbitrary-node");
    let bot = world
        .ask(&jane, &[("impersonate-user", "system:serviceaccount:a:bot")])
        .await
        .unwrap();
    assert_eq!(
        bot.user.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:a",
            AUTHENTICATED
        ]
    );
    assert_eq!(bot.constraint, "impersonate:serviceaccount");
    let with_groups = [
        ("impersonate-user", "system:node:n2"),
        ("impersonate-group", NODES),
    ];
    let refused = world.ask(&jane, &with_groups).await.unwrap_err();
    assert!(
        refused.contains("cannot impersonate resource \"users\" in API group \"\""),
        "{refused}"
    );
}

#[tokio::test]
async fn many_parts_are_asked_about_at_once() {
    let rules = json!([
        rule("impersonate:user-info", AUTHENTICATION_GROUP, "users", &["bob"]),
        rule("impersonate:user-info", AUTHENTICATION_GROUP, "groups", &["*"]),
        rule("impersonate-on:user-info:list", "", "pods", &[]),
    ]);
    let world = World::new(&[("jane", rules)]);
    let groups = |most: usize| {
        let groups = ["a", "b", "c", "d"].into_iter().take(most);
        let mut headers = vec![("impersonate-user", "bob")];
        headers.extend(groups.map(|group| ("impersonate-group", group)));
        headers
    };
    assert!(world.ask(&named("jane"), &groups(4)).await.is_ok());
    assert!(world.ask(&named("jane"), &groups(3)).await.is_err());
}

#[tokio::test]
async fn what_let_a_sender_last_is_tried_first() {
    let rules = json!([rule("impersonate", "", "users", &["bob"])]);
    let world = World::new(&[("jane", rules)]);
    let jane = named("jane");
    let first = world
        .ask(&jane, &[("impersonate-user", "joe")])
        .await
        .unwrap_err();
    assert!(first.contains("cannot impersonate-on:user-info:list"), "{first}");
    let bob = world.ask(&jane, &[("impersonate-user", "bob")]).await.unwrap();
    assert_eq!(bob.constraint, "", "the right is one to be bob in all");
    let then = world
        .ask(&jane, &[("impersonate-user", "joe")])
        .await
        .unwrap_err();
    assert!(then.contains("cannot impersonate resource \"users\""), "{then}");
}

#[tokio::test]
async fn attempts_are_counted_by_the_way_that_let_them() {
    let registry = Registry::new();
    let world = World {
        impersonation: Impersonation::new(&registry),
        ..of_jane()
    };
    let bob = [("impersonate-user", "bob")];
    assert!(world.ask(&named("jane"), &bob).await.is_ok());
    assert!(world.ask(&named("joe"), &bob).await.is_err());
    let mut text = Vec::new();
    let gathered = registry.gather();
    prometheus::Encoder::encode(&prometheus::TextEncoder::new(), &gathered, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let counted = |series: &str| text.contains(&format!("apiserver_impersonation_{series}\n"));
    for series in [
        "attempts_total{decision=\"allowed\",mode=\"user-info\"} 1",
        "attempts_total{decision=\"denied\",mode=\"\"} 1",
        "attempts_duration_seconds_count{decision=\"denied\",mode=\"\"} 1",
        "authorization_attempts_total{decision=\"allowed\",mode=\"user-info\"} 2",
        "authorization_attempts_total{decision=\"denied\",mode=\"user-info\"} 1",
        "authorization_attempts_total{decision=\"denied\",mode=\"legacy\"} 1",
    ] {
        assert!(counted(series), "{series} is not among\n{text}");
    }
}
