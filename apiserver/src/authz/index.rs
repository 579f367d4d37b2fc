//! Roles and bindings, indexed by whom they speak of.
//!
//! An [`RbacSnapshot`] is made from all four kinds at once and never changes. [`RbacIndex`] hands out the one that holds
//! what was last written: before each answer it compares the revisions it was built at with the newest, so that a binding
//! counts from the moment its create was acknowledged. Objects that did not change are not parsed again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::watch;

use super::{Attributes, Decision, PolicyRule, Verdict};
use crate::reader::{GroupResource, ObjectReader};
use crate::request::UserInfo;

/// The API group of roles and bindings.
pub(super) const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// The resources an index is made of, in the order that [`Sources`] keeps them.
const RESOURCES: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

type Revisions = [u64; 4];
type Rules = Arc<[Arc<PolicyRule>]>;

/// The current snapshot, made anew when roles or bindings changed.
pub struct RbacIndex {
    reader: Arc<dyn ObjectReader>,
    changes: [watch::Receiver<u64>; 4],
    snapshot: ArcSwap<RbacSnapshot>,
    rebuilding: Mutex<ParsedRoles>,
}

/// Roles parsed so far, by namespace (empty for ClusterRoles) and name, with the object they were parsed from.
type ParsedRoles = HashMap<(String, String), (Arc<Value>, Rules)>;

/// Roles and bindings as they stood at one moment.
#[derive(Default)]
pub struct RbacSnapshot {
    /// None for the empty snapshot that an index starts with.
    revisions: Option<Revisions>,
    cluster: Grants,
    namespaces: HashMap<String, Grants>,
}

/// The grants of one namespace, or of the whole cluster.
#[derive(Default)]
struct Grants {
    users: HashMap<String, Vec<Arc<Grant>>>,
    groups: HashMap<String, Vec<Arc<Grant>>>,
}

/// One subject of one binding.
struct Grant {
    /// `ClusterRoleBinding "x" of ClusterRole "y" to Group "z"`.
    description: String,
    /// The rules of the role; or, where there is no such role, how that is told.
    rules: Result<Rules, String>,
}

impl RbacIndex {
    /// An index that reads nothing until it is asked.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        let changes = RESOURCES.map(|resource| reader.changes(&GroupResource::new(RBAC_GROUP, resource)));
        Self {
            reader,
            changes,
            snapshot: ArcSwap::default(),
            rebuilding: Mutex::default(),
        }
    }

    /// The snapshot that holds every write acknowledged before this call.
    pub fn current(&self) -> Arc<RbacSnapshot> {
        let snapshot = self.snapshot.load_full();
        if snapshot.revisions == Some(self.newest()) {
            return snapshot;
        }
        // A panic while the map was held can have left it partly filled, which is sound.
        let mut parsed = self.rebuilding.lock().unwrap_or_else(PoisonError::into_inner);
        let revisions = self.newest();
        let snapshot = self.snapshot.load_full();
        if snapshot.revisions == Some(revisions) {
            return snapshot;
        }
        let fresh = Arc::new(self.build(revisions, &mut parsed));
        self.snapshot.store(fresh.clone());
        fresh
    }

    fn newest(&self) -> Revisions {
        [0, 1, 2, 3].map(|at: usize| *self.changes[at].borrow())
    }

    /// Reads after the revisions were taken: the snapshot may hold more than they say, never less.
    fn build(&self, revisions: Revisions, parsed: &mut ParsedRoles) -> RbacSnapshot {
        let list = |resource: &str| self.reader.list(&GroupResource::new(RBAC_GROUP, resource), "");
        let roles = parse_roles(list(RESOURCES[0]).into_iter().chain(list(RESOURCES[1])), parsed);
        let mut snapshot = RbacSnapshot {
            revisions: Some(revisions),
            ..RbacSnapshot::default()
        };
        for binding in list(RESOURCES[2]).iter().chain(&list(RESOURCES[3])) {
            snapshot.add(binding, &roles);
        }
        snapshot
    }
}

impl RbacSnapshot {
    /// A snapshot of the given objects, for tests and for reviews of policies that are not stored.
    pub fn from_objects(roles: &[Arc<Value>], bindings: &[Arc<Value>]) -> Self {
        let roles = parse_roles(roles.iter().cloned(), &mut ParsedRoles::new());
        let mut snapshot = Self::default();
        for binding in bindings {
            snapshot.add(binding, &roles);
        }
        snapshot
    }

    /// Allows what any rule of any grant allows; never denies.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Verdict {
        let mut errors = Vec::new();
        for grant in self.grants(attributes.user, attributes.namespace) {
            match &grant.rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                    return Verdict::new(Decision::Allow, format!("RBAC: allowed by {}", grant.description));
                }
                Ok(_) => {}
                Err(error) => errors.push(error.as_str()),
            }
        }
        let reason = if errors.is_empty() {
            String::new()
        } else {
            format!("RBAC: {}", aggregate(errors))
        };
        Verdict::new(Decision::NoOpinion, reason)
    }

    /// Every rule that applies to a user, cluster-wide and in the namespace.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Arc<PolicyRule>>, Vec<String>) {
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        for grant in self.grants(user, namespace) {
            match &grant.rules {
                Ok(found) => rules.extend(found.iter().cloned()),
                Err(error) => errors.push(error.clone()),
            }
        }
        (rules, errors)
    }

    fn grants<'s>(&'s self, user: &'s UserInfo, namespace: &str) -> impl Iterator<Item = &'s Grant> {
        let local = if namespace.is_empty() {
            None
        } else {
            self.namespaces.get(namespace)
        };
        std::iter::once(&self.cluster)
            .chain(local)
            .flat_map(|grants| grants.of(user))
    }

    fn add(&mut self, binding: &Value, roles: &HashMap<(String, String), Rules>) {
        let namespace = text(binding, "/metadata/namespace");
        let role = resolve(binding, namespace, roles);
        let grants = if namespace.is_empty() {
            &mut self.cluster
        } else {
            self.namespaces.entry(namespace.to_owned()).or_default()
        };
        for subject in binding
            .pointer("/subjects")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let grant = Arc::new(Grant {
                description: describe(binding, subject),
                rules: role.clone(),
            });
            let name = text(subject, "/name");
            match text(subject, "/kind") {
                "User" => grants.users.entry(name.to_owned()).or_default().push(grant),
                "Group" => grants.groups.entry(name.to_owned()).or_default().push(grant),
                "ServiceAccount" => {
                    let home = subject_namespace(subject, namespace);
                    let user = format!("system:serviceaccount:{home}:{name}");
                    grants.users.entry(user).or_default().push(grant);
                }
                _ => {}
            }
        }
    }
}

impl Grants {
    fn of<'s>(&'s self, user: &'s UserInfo) -> impl Iterator<Item = &'s Grant> {
        let direct = self.users.get(&user.name).into_iter().flatten();
        let by_group = user
            .groups
            .iter()
            .filter_map(|group| self.groups.get(group))
            .flatten();
        direct.chain(by_group).map(Arc::as_ref)
    }
}

/// Parses what is new or changed, keeps what is not, forgets what is gone.
fn parse_roles(
    objects: impl Iterator<Item = Arc<Value>>,
    parsed: &mut ParsedRoles,
) -> HashMap<(String, String), Rules> {
    let mut kept = ParsedRoles::new();
    for object in objects {
        let key = (
            text(&object, "/metadata/namespace").to_owned(),
            text(&object, "/metadata/name").to_owned(),
        );
        let rules = match parsed.remove(&key) {
            Some((from, rules)) if Arc::ptr_eq(&from, &object) => rules,
            _ => PolicyRule::from_role(&object).into_iter().map(Arc::new).collect(),
        };
        kept.insert(key, (object, rules));
    }
    *parsed = kept;
    parsed
        .iter()
        .map(|(key, (_, rules))| (key.clone(), rules.clone()))
        .collect()
}

fn resolve(
    binding: &Value,
    namespace: &str,
    roles: &HashMap<(String, String), Rules>,
) -> Result<Rules, String> {
    let name = text(binding, "/roleRef/name");
    let (home, singular) = match text(binding, "/roleRef/kind") {
        "ClusterRole" => ("", "clusterrole"),
        _ => (namespace, "role"),
    };
    let found = roles.get(&(home.to_owned(), name.to_owned()));
    found
        .cloned()
        .ok_or_else(|| format!("{singular}.{RBAC_GROUP} {name:?} not found"))
}

fn describe(binding: &Value, subject: &Value) -> String {
    let name = text(binding, "/metadata/name");
    let namespace = text(binding, "/metadata/namespace");
    let (kind, shown) = match namespace {
        "" => ("ClusterRoleBinding", name.to_owned()),
        namespace => ("RoleBinding", format!("{name}/{namespace}")),
    };
    let subject_name = text(subject, "/name");
    let to = match text(subject, "/kind") {
        "ServiceAccount" => format!("{subject_name}/{}", subject_namespace(subject, namespace)),
        _ => subject_name.to_owned(),
    };
    format!(
        "{kind} {shown:?} of {} {:?} to {} {to:?}",
        text(binding, "/roleRef/kind"),
        text(binding, "/roleRef/name"),
        text(subject, "/kind"),
    )
}

fn subject_namespace<'v>(subject: &'v Value, binding_namespace: &'v str) -> &'v str {
    match text(subject, "/namespace") {
        "" => binding_namespace,
        namespace => namespace,
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Several errors as upstream joins them; repeats are dropped.
fn aggregate(errors: Vec<&str>) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for error in errors {
        if !distinct.contains(&error) {
            distinct.push(error);
        }
    }
    if let [only] = distinct[..] {
        only.to_owned()
    } else {
        format!("[{}]", distinct.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reader::memory::MemoryReader;

    fn user(name: &str, groups: &[&str]) -> UserInfo {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        UserInfo {
            name: name.to_owned(),
            groups,
            ..UserInfo::default()
        }
    }

    fn role(kind: &str, namespace: &str, name: &str, verb: &str) -> Value {
        let mut metadata = json!({"name": name});
        if !namespace.is_empty() {
            metadata["namespace"] = json!(namespace);
        }
        json!({"kind": kind, "metadata": metadata,
            "rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]})
    }

    fn binding(namespace: &str, name: &str, role: (&str, &str), subjects: Value) -> Value {
        let mut metadata = json!({"name": name});
        if !namespace.is_empty() {
            metadata["namespace"] = json!(namespace);
        }
        json!({"metadata": metadata, "roleRef": {"kind": role.0, "name": role.1}, "subjects": subjects})
    }

    fn arcs(values: &[Value]) -> Vec<Arc<Value>> {
        values.iter().cloned().map(Arc::new).collect()
    }

    #[test]
    fn grants_reach_users_groups_and_service_accounts_where_they_apply() {
        let snapshot = RbacSnapshot::from_objects(
            &arcs(&[
                role("ClusterRole", "", "reader", "get"),
                role("Role", "a", "writer", "create"),
            ]),
            &arcs(&[
                binding(
                    "",
                    "all",
                    ("ClusterRole", "reader"),
                    json!([{"kind": "Group", "name": "devs"}]),
                ),
                binding(
                    "a",
                    "ci",
                    ("Role", "writer"),
                    json!([{"kind": "ServiceAccount", "name": "bot"}]),
                ),
                binding(
                    "a",
                    "jane",
                    ("ClusterRole", "reader"),
                    json!([{"kind": "User", "name": "jane"}]),
                ),
            ]),
        );
        let bot = user("system:serviceaccount:a:bot", &[]);
        let jane = user("jane", &[]);
        let dev = user("joe", &["devs"]);
        let allowed_by = |user, verb, namespace| {
            let attributes = Attributes::resource(user, verb, "", "pods").in_namespace(namespace);
            let verdict = snapshot.authorize(&attributes);
            verdict.is_allowed().then_some(verdict.reason)
        };
        let say = |text: &str| Some(format!("RBAC: allowed by {text}"));
        let by_group = say(r#"ClusterRoleBinding "all" of ClusterRole "reader" to Group "devs""#);
        assert_eq!(allowed_by(&dev, "get", ""), by_group);
        assert_eq!(allowed_by(&dev, "get", "b"), by_group);
        assert_eq!(allowed_by(&dev, "create", "a"), None);
        let by_account = say(r#"RoleBinding "ci/a" of Role "writer" to ServiceAccount "bot/a""#);
        assert_eq!(allowed_by(&bot, "create", "a"), by_account);
        assert_eq!(allowed_by(&bot, "create", "b"), None);
        assert_eq!(
            allowed_by(&jane, "get", "a"),
            say(r#"RoleBinding "jane/a" of ClusterRole "reader" to User "jane""#)
        );
        assert_eq!(allowed_by(&jane, "get", ""), None);
    }

    #[test]
    fn a_role_that_is_missing_is_told() {
        let jane = json!([{"kind": "User", "name": "jane"}]);
        let snapshot = RbacSnapshot::from_objects(
            &[],
            &arcs(&[
                binding("a", "one", ("ClusterRole", "gone"), jane.clone()),
                binding("a", "two", ("Role", "lost"), jane),
            ]),
        );
        let user = user("jane", &[]);
        let verdict = snapshot.authorize(&Attributes::resource(&user, "get", "", "pods").in_namespace("a"));
        assert_eq!(verdict.decision, Decision::NoOpinion);
        let want = r#"RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, role.rbac.authorization.k8s.io "lost" not found]"#;
        assert_eq!(verdict.reason, want);
    }

    #[test]
    fn a_write_counts_from_the_next_question_on() {
        let reader = Arc::new(MemoryReader::default());
        let index = RbacIndex::new(reader.clone());
        let jane = user("jane", &[]);
        let asked = Attributes::resource(&jane, "get", "", "pods");
        assert!(!index.current().authorize(&asked).is_allowed());
        reader.put(
            &GroupResource::new(RBAC_GROUP, "clusterroles"),
            role("ClusterRole", "", "reader", "get"),
        );
        let subjects = json!([{"kind": "User", "name": "jane"}]);
        let bindings = GroupResource::new(RBAC_GROUP, "clusterrolebindings");
        reader.put(
            &bindings,
            binding("", "jane", ("ClusterRole", "reader"), subjects),
        );
        assert!(index.current().authorize(&asked).is_allowed());
        reader.put(
            &GroupResource::new(RBAC_GROUP, "clusterroles"),
            role("ClusterRole", "", "reader", "list"),
        );
        assert!(!index.current().authorize(&asked).is_allowed());
        reader.remove(&bindings, "", "jane");
        assert!(
            !index
                .current()
                .authorize(&Attributes {
                    verb: "list",
                    ..asked
                })
                .is_allowed()
        );
    }
}
