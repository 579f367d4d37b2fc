//! Which families the addresses of a service are of: settled before anything is allocated. Pure; upstream's
//! `initIPFamilyFields`.

use coracle_api::object::Fields;
use coracle_api::validation::{self, FieldErrors, Path};
use serde_json::{Value, json};

const NONE: &str = "None";
const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const DUAL: &str = "RequireDualStack";

/// The families that a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Families {
    /// The one that a service is of which asks for none.
    pub own: &'static str,
    /// Whether there is the other as well.
    pub both: bool,
}

impl Families {
    fn has(self, family: &str) -> bool {
        self.both || family == self.own
    }
}

pub(super) fn name(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

/// Fills in the policy and the families.
///
/// # Errors
/// What does not go together, or cannot be had in this cluster.
pub(super) fn settle(
    service: &mut Value,
    old: Option<&Value>,
    families: Families,
) -> Result<(), FieldErrors> {
    if service["spec"].text("type") == "ExternalName" || old.is_some_and(|old| stays(service, old)) {
        return Ok(());
    }
    let headless = service["spec"].text("clusterIP") == NONE;
    let selectorless = headless && service["spec"].count("selector") == 0;
    if !service["spec"].has("ipFamilyPolicy") {
        let before = old.map_or("", |old| old["spec"].text("ipFamilyPolicy"));
        service["spec"]["ipFamilyPolicy"] = match before {
            "" if selectorless => DUAL.into(),
            "" => SINGLE.into(),
            before => before.into(),
        };
    }
    refused(validation::service_addresses(service))?;
    let asked = agreed(&service["spec"], old.map(|old| &old["spec"]), families)?;
    let policy = service["spec"].text("ipFamilyPolicy");
    let settled = if selectorless {
        with_other(asked, policy, families.own)
    } else {
        available(&service["spec"], asked, families)?
    };
    service["spec"]["ipFamilies"] = json!(settled);
    Ok(())
}

fn refused(errors: FieldErrors) -> Result<(), FieldErrors> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Whether a service that prefers both families stays as it is: it neither gains nor loses one because the cluster did.
fn stays(service: &Value, old: &Value) -> bool {
    let (now, before) = (&service["spec"], &old["spec"]);
    let gets_addresses = matches!(now.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer");
    let preferred = matches!(before.text("ipFamilyPolicy"), "" | PREFER);
    let same = |list: &str| now.items(list) == before.items(list);
    gets_addresses
        && now.text("type") == before.text("type")
        && now.text("ipFamilyPolicy") == PREFER
        && preferred
        && same("clusterIPs")
        && same("ipFamilies")
}

/// The families that are asked for, by name or by an address.
fn agreed(spec: &Value, old: Option<&Value>, families: Families) -> Result<Vec<String>, FieldErrors> {
    let mut errors = FieldErrors::new();
    let at = Path::new("spec");
    let policy = spec.text("ipFamilyPolicy");
    let lists = [
        ("clusterIPs", "cluster IPs", "cluster IP"),
        ("ipFamilies", "IP families", "IP family"),
    ];
    for (list, several, one) in lists {
        let fewer = |old: &Value| spec.count(list) > 0 && spec.count(list) < old.count(list);
        if policy == SINGLE && spec.count(list) == 2 {
            let rule = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {several} are specified"
            );
            errors.invalid(&at.child("ipFamilyPolicy"), SINGLE, rule);
        }
        if policy != SINGLE && old.is_some_and(fewer) {
            let rule = format!("must be 'SingleStack' to release the secondary {one}");
            errors.invalid(&at.child("ipFamilyPolicy"), policy, rule);
        }
    }
    let texts = |name: &str| {
        spec.items(name)
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
    };
    let mut asked: Vec<String> = texts("ipFamilies").collect();
    for (index, address) in texts("clusterIPs").enumerate() {
        let family = name(address.contains(':'));
        if address == NONE || index < asked.len() {
            continue;
        }
        if families.has(family) {
            asked.push(family.to_owned());
        } else {
            let rule = format!("{family} is not configured on this cluster");
            errors.invalid(&at.child("clusterIPs").index(index), &spec["clusterIPs"], rule);
        }
    }
    refused(errors).map(|()| asked)
}

/// The endpoints of a service without addresses and selector are somebody else's, and may be of both families.
fn with_other(mut families: Vec<String>, policy: &str, own: &str) -> Vec<String> {
    if families.is_empty() {
        families.push(own.to_owned());
    }
    if families.len() == 1 && policy != SINGLE {
        families.push(name(families[0] == name(false)).to_owned());
    }
    families
}

fn available(spec: &Value, asked: Vec<String>, families: Families) -> Result<Vec<String>, FieldErrors> {
    let mut errors = FieldErrors::new();
    let at = Path::new("spec");
    let policy = spec.text("ipFamilyPolicy");
    if policy == DUAL && !families.both {
        let rule = "this cluster is not configured for dual-stack services";
        errors.invalid(&at.child("ipFamilyPolicy"), DUAL, rule);
    }
    for (index, family) in asked
        .iter()
        .enumerate()
        .filter(|(_, family)| !families.has(family))
    {
        let list = at.child("ipFamilies");
        errors.invalid(&list.index(index), family, "not configured on this cluster");
    }
    refused(errors)?;
    let policy = if families.both { policy } else { SINGLE };
    Ok(with_other(asked, policy, families.own))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Families = Families {
        own: "IPv4",
        both: false,
    };
    const BOTH: Families = Families { both: true, ..V4 };

    fn settled(spec: Value) -> Result<(Value, Value), String> {
        let mut service = json!({ "spec": spec });
        match settle(&mut service, None, V4) {
            Ok(()) => Ok((
                service["spec"]["ipFamilyPolicy"].take(),
                service["spec"]["ipFamilies"].take(),
            )),
            Err(errors) => Err(errors.aggregate()),
        }
    }

    #[test]
    fn the_cluster_s_family_is_taken_where_none_is_asked_for() {
        let one = (json!("SingleStack"), json!(["IPv4"]));
        assert_eq!(settled(json!({"type": "ClusterIP"})), Ok(one.clone()));
        let headless =
            json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}});
        assert_eq!(settled(headless), Ok(one));
        let of_others = json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]});
        assert_eq!(
            settled(of_others),
            Ok((json!("RequireDualStack"), json!(["IPv4", "IPv6"])))
        );
    }

    #[test]
    fn what_the_cluster_does_not_have_is_refused() {
        assert_eq!(
            settled(json!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"})),
            Err("spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services".to_owned())
        );
        assert_eq!(
            settled(json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]})),
            Err("spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster".to_owned())
        );
    }

    fn changed(old: Value, new: Value) -> Result<Value, String> {
        let (old, mut service) = (json!({"spec": old}), json!({"spec": new}));
        match settle(&mut service, Some(&old), BOTH) {
            Ok(()) => Ok(service["spec"]["ipFamilies"].take()),
            Err(errors) => Err(errors.aggregate()),
        }
    }

    #[test]
    fn in_a_cluster_of_both_a_service_gets_what_its_policy_says() {
        let of = |policy: &str| {
            let mut service = json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": policy}});
            settle(&mut service, None, BOTH).unwrap();
            service["spec"]["ipFamilies"].take()
        };
        assert_eq!(of(SINGLE), json!(["IPv4"]));
        assert_eq!(of(PREFER), json!(["IPv4", "IPv6"]));
        assert_eq!(of(DUAL), json!(["IPv4", "IPv6"]));
    }

    #[test]
    fn a_family_comes_and_goes_only_where_the_policy_changes() {
        let one = json!({"type": "ClusterIP", "ipFamilyPolicy": PREFER, "clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"],
                         "ipFamilies": ["IPv4"]});
        assert_eq!(changed(one.clone(), one.clone()), Ok(json!(["IPv4"])));
        let mut both = one.clone();
        both["ipFamilyPolicy"] = json!(DUAL);
        assert_eq!(changed(one.clone(), both), Ok(json!(["IPv4", "IPv6"])));
        let two = json!({"type": "ClusterIP", "ipFamilyPolicy": DUAL, "clusterIP": "10.0.0.2",
                         "clusterIPs": ["10.0.0.2", "fd00::2"], "ipFamilies": ["IPv4", "IPv6"]});
        let fewer = changed(two, one).unwrap_err();
        assert!(
            fewer.contains("must be 'SingleStack' to release the secondary cluster IP"),
            "{fewer}"
        );
        assert!(
            fewer.contains("must be 'SingleStack' to release the secondary IP family"),
            "{fewer}"
        );
    }
}
