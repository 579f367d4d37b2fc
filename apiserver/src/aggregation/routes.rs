//! Which server answers for which group version, as APIServices say. Pure, over a reader.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::custom::kube_aware;
use coracle_api::object::Fields;
use serde_json::Value;

use super::{GROUP, GroupVersion, Served};
use crate::discovery::{Group, Version};
use crate::outbound::{Place, Reached, Trust};
use crate::reader::{Followed, GroupResource, ObjectReader};
use crate::request::RequestInfo;

const HTTPS: u16 = 443;
/// The priority of versions of custom resources, whose APIServices may be yet to come.
const OWN_PRIORITY: i64 = 100;

/// A server that answers for a group version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Of the APIService.
    pub(super) name: String,
    pub(super) reached: Reached,
    /// As its condition says.
    pub(super) available: bool,
}

/// What an APIService says of a group version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    group_priority: i64,
    version_priority: i64,
    /// None where this server answers itself.
    remote: Option<Remote>,
}

/// Every APIService.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    routes: BTreeMap<GroupVersion, Route>,
    any_remote: bool,
}

impl Routes {
    /// What the APIServices say of their group versions.
    pub(super) fn of(services: impl Iterator<Item = (GroupVersion, Route)>) -> Self {
        let routes: BTreeMap<GroupVersion, Route> = services.collect();
        Self {
            any_remote: routes.values().any(|route| route.remote.is_some()),
            routes,
        }
    }

    /// Whether another server answers for anything.
    pub(super) fn any_remote(&self) -> bool {
        self.any_remote
    }

    /// The server that answers for a group version, where it is not this one.
    pub(super) fn remote(&self, group: &str, version: &str) -> Option<&Remote> {
        if !self.any_remote {
            return None;
        }
        let key = (group.to_owned(), version.to_owned());
        self.routes.get(&key)?.remote.as_ref()
    }

    /// Whether another server answers for anything of a group.
    pub(super) fn has_remote(&self, group: &str) -> bool {
        let mut of_group = self.routes.iter().filter(|((name, _), _)| name == group);
        self.any_remote && of_group.any(|(_, route)| route.remote.is_some())
    }

    /// Whether an APIService says that this server answers for a group version itself.
    pub(super) fn is_local(&self, group: &str, version: &str) -> bool {
        let key = (group.to_owned(), version.to_owned());
        self.routes.get(&key).is_some_and(|route| route.remote.is_none())
    }

    /// `own` groups along with those of other servers, of which `served` knows the resources. Groups stand in the order of
    /// their priorities, and so do the versions of each, as upstream sorts them; those that no APIService is about stay where
    /// they are.
    pub(super) fn merged(&self, own: &[Group], served: &Served) -> Vec<Group> {
        let mut groups = own.to_vec();
        let remotes = self.routes.iter().filter(|(_, route)| route.remote.is_some());
        for (at @ (group, version), _) in remotes {
            let made = Version {
                version: version.clone().into(),
                resources: served
                    .get(at)
                    .map(|serves| serves.resources.clone())
                    .unwrap_or_default(),
            };
            match groups.iter_mut().find(|known| known.name == *group) {
                Some(known) => {
                    known.versions.retain(|known| known.version != made.version);
                    known.versions.push(made);
                }
                None => groups.push(Group {
                    name: group.clone().into(),
                    versions: vec![made],
                }),
            }
        }
        self.sort(&mut groups);
        groups
    }

    fn sort(&self, groups: &mut [Group]) {
        let mut priorities: BTreeMap<&str, i64> = BTreeMap::new();
        for ((group, _), route) in &self.routes {
            let highest = priorities.entry(group).or_insert(route.group_priority);
            *highest = route.group_priority.max(*highest);
        }
        let (places, mut ranked): (Vec<usize>, Vec<Group>) = groups
            .iter()
            .enumerate()
            .filter(|(_, group)| priorities.contains_key(&*group.name))
            .map(|(place, group)| (place, group.clone()))
            .unzip();
        ranked.sort_by_key(|group| (Reverse(priorities[&*group.name]), group.name.to_string()));
        for (place, mut group) in places.into_iter().zip(ranked) {
            let name = group.name.to_string();
            let priority = |version: &Version| {
                let route = self.routes.get(&(name.clone(), version.version.to_string()));
                route.map_or(OWN_PRIORITY, |route| route.version_priority)
            };
            group.versions.sort_by(|one, other| {
                let priorities = priority(other).cmp(&priority(one));
                priorities.then_with(|| kube_aware(&other.version, &one.version))
            });
            groups[place] = group;
        }
    }
}

/// Reads the APIServices; those that did not change are not read again.
pub(super) fn reading() -> impl Fn(&dyn ObjectReader) -> Routes + Send + Sync + 'static {
    let services = Followed::new(GroupResource::new(GROUP, "apiservices"));
    let services = Mutex::new(services);
    move |reader| {
        let mut services = services.lock().unwrap_or_else(PoisonError::into_inner);
        services.look(reader, |service| Route::read(service));
        Routes::of(services.iter().map(|(_, route)| route.clone()))
    }
}

impl Route {
    /// What an APIService says, and of which group version.
    fn read(service: &Value) -> (GroupVersion, Self) {
        let spec = &service["spec"];
        let route = Self {
            group_priority: spec.number("groupPriorityMinimum").unwrap_or_default(),
            version_priority: spec.number("versionPriority").unwrap_or_default(),
            remote: remote(service),
        };
        (
            (spec.text("group").to_owned(), spec.text("version").to_owned()),
            route,
        )
    }
}

/// The group and version that a request is about; of discovery and schemas, too.
pub(super) fn group_version(info: &RequestInfo) -> Option<(&str, &str)> {
    if info.is_resource_request {
        return Some((&info.api_group, &info.api_version));
    }
    let path = info.path.strip_prefix("/openapi/v3").unwrap_or(&info.path);
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match (parts.next()?, parts.next()?, parts.next()) {
        ("api", version, None) => Some(("", version)),
        ("apis", group, Some(version)) if parts.next().is_none() => Some((group, version)),
        _ => None,
    }
}

/// The server that an APIService names.
pub(super) fn remote(service: &Value) -> Option<Remote> {
    let spec = &service["spec"];
    let reference = spec.field("service")?;
    let port = reference.number("port").and_then(|port| u16::try_from(port).ok());
    let place = Place::Service {
        namespace: reference.text("namespace").to_owned(),
        name: reference.text("name").to_owned(),
        port: port.unwrap_or(HTTPS),
    };
    let trust = if spec.flag("insecureSkipTLSVerify") {
        Trust::Nobody
    } else {
        // What cannot be read vouches for nobody.
        match spec.text("caBundle") {
            "" => Trust::Machine,
            text => Trust::Bundle(STANDARD.decode(text).unwrap_or_default()),
        }
    };
    let mut conditions = service["status"].items("conditions").iter();
    let available = conditions
        .any(|condition| condition.text("type") == "Available" && condition.text("status") == "True");
    Some(Remote {
        name: service["metadata"].text("name").to_owned(),
        reached: (place, trust),
        available,
    })
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::http::request_info::parse;

    fn service(group: &str, version: &str, priorities: (i64, i64), remote: bool) -> Value {
        let mut spec = json!({"group": group, "version": version, "groupPriorityMinimum": priorities.0,
            "versionPriority": priorities.1});
        if remote {
            spec["service"] = json!({"namespace": "n", "name": "s"});
        }
        json!({"metadata": {"name": format!("{version}.{group}")}, "spec": spec})
    }

    fn group(name: &'static str, versions: &[&'static str]) -> Group {
        let versions = versions.iter().map(|version| Version {
            version: (*version).into(),
            resources: Vec::new(),
        });
        Group {
            name: name.into(),
            versions: versions.collect(),
        }
    }

    #[test]
    fn groups_and_versions_stand_in_the_order_of_their_priorities() {
        let services = [
            service("apps", "v1", (17800, 15), false),
            service("batch", "v1", (17400, 15), false),
            service("high.example.com", "v1", (17500, 15), true),
            service("low.example.com", "v1", (100, 15), true),
            service("also.example.com", "v1", (100, 15), true),
            service("batch", "v2", (17400, 20), true),
            service("batch", "v0", (17400, 1), true),
        ];
        let routes = Routes::of(services.iter().map(Route::read));
        let own = [
            group("", &["v1"]),
            group("unranked", &["v1"]),
            group("apps", &["v1"]),
            group("batch", &["v1"]),
        ];
        let shown: Vec<String> = routes
            .merged(&own, &Served::new())
            .iter()
            .map(|group| {
                let versions: Vec<&str> = group.versions.iter().map(|version| &*version.version).collect();
                format!("{} {}", group.name, versions.join(","))
            })
            .collect();
        assert_eq!(
            shown,
            [
                " v1",
                "unranked v1",
                "apps v1",
                "high.example.com v1",
                "batch v2,v1,v0",
                "also.example.com v1",
                "low.example.com v1"
            ]
        );
    }

    /// Custom resources have priorities like any other, which somebody may have changed.
    #[test]
    fn priorities_of_custom_resources_count() {
        let services = [
            service("apps", "v1", (17800, 15), false),
            service("a.example.com", "v1", (1000, 100), false),
            service("b.example.com", "v1", (1000, 100), false),
            service("b.example.com", "v2", (1000, 50), false),
            service("first.example.com", "v1", (18000, 100), false),
        ];
        let routes = Routes::of(services.iter().map(Route::read));
        let own = [
            group("apps", &["v1"]),
            group("a.example.com", &["v2", "v1"]),
            group("b.example.com", &["v2", "v1"]),
            group("first.example.com", &["v1"]),
        ];
        let merged = routes.merged(&own, &Served::new());
        let names: Vec<&str> = merged.iter().map(|group| &*group.name).collect();
        assert_eq!(
            names,
            ["first.example.com", "apps", "a.example.com", "b.example.com"]
        );
        let versions = |group: &Group| {
            group
                .versions
                .iter()
                .map(|v| v.version.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(versions(&merged[2]), ["v2", "v1"]);
        assert_eq!(versions(&merged[3]), ["v1", "v2"]);
    }

    #[test]
    fn a_request_is_about_a_group_version() {
        let table = [
            ("/apis/g/v1", Some(("g", "v1"))),
            ("/apis/g/v1/", Some(("g", "v1"))),
            ("/apis/g/v1/namespaces/n/things/x", Some(("g", "v1"))),
            ("/api/v1/pods", Some(("", "v1"))),
            ("/api/v1", Some(("", "v1"))),
            ("/apis/g", None),
            ("/apis", None),
            ("/openapi/v3/apis/g", None),
            ("/openapi/v3/apis/g/v1", Some(("g", "v1"))),
        ];
        for (path, want) in table {
            let info = parse(&Method::GET, path, &[]).unwrap();
            assert_eq!(group_version(&info), want, "{path}");
        }
    }

    #[test]
    fn an_api_service_names_a_server_and_who_vouches_for_it() {
        let mut object = service("g", "v1", (1, 1), true);
        object["spec"]["caBundle"] = json!(STANDARD.encode("pem"));
        object["status"] = json!({"conditions": [{"type": "Available", "status": "True"}]});
        let found = remote(&object).unwrap();
        assert_eq!(found.reached.1, Trust::Bundle(b"pem".to_vec()));
        assert_eq!(
            (found.reached.0.authority().as_str(), found.available),
            ("s.n.svc:443", true)
        );
        object["spec"]["caBundle"] = json!("");
        object["spec"]["insecureSkipTLSVerify"] = json!(true);
        assert_eq!(remote(&object).unwrap().reached.1, Trust::Nobody);
        assert_eq!(remote(&service("g", "v1", (1, 1), false)), None);
    }
}
