//! Which families the addresses of a service are of: settled before anything is allocated, in a cluster that has one.
//! Pure; upstream's `initIPFamilyFields`.

use coracle_api::object::Fields;
use coracle_api::validation::{self, FieldErrors, Path};
use serde_json::{Value, json};

const NONE: &str = "None";
const SINGLE: &str = "SingleStack";
const DUAL: &str = "RequireDualStack";

pub(super) fn name(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}

/// Fills in the policy and the families. `own` is the family that the cluster has.
///
/// # Errors
/// What does not go together, or cannot be had in this cluster.
pub(super) fn settle(service: &mut Value, old: Option<&Value>, own: &str) -> Result<(), FieldErrors> {
    if service["spec"].text("type") == "ExternalName" {
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
    let families = agreed(&service["spec"], own)?;
    let policy = service["spec"].text("ipFamilyPolicy");
    let families = if selectorless {
        with_other(families, policy, own)
    } else {
        available(&service["spec"], families, own)?
    };
    service["spec"]["ipFamilies"] = json!(families);
    Ok(())
}

fn refused(errors: FieldErrors) -> Result<(), FieldErrors> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The families that are asked for, by name or by an address.
fn agreed(spec: &Value, own: &str) -> Result<Vec<String>, FieldErrors> {
    let mut errors = FieldErrors::new();
    let at = Path::new("spec");
    if spec.text("ipFamilyPolicy") == SINGLE {
        for (list, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
            if spec.count(list) == 2 {
                let rule = format!(
                    "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                );
                errors.invalid(&at.child("ipFamilyPolicy"), SINGLE, rule);
            }
        }
    }
    let texts = |name: &str| {
        spec.items(name)
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
    };
    let mut families: Vec<String> = texts("ipFamilies").collect();
    for (index, address) in texts("clusterIPs").enumerate() {
        let family = name(address.contains(':'));
        if address == NONE || index < families.len() {
            continue;
        }
        if family == own {
            families.push(family.to_owned());
        } else {
            let rule = format!("{family} is not configured on this cluster");
            errors.invalid(&at.child("clusterIPs").index(index), &spec["clusterIPs"], rule);
        }
    }
    refused(errors).map(|()| families)
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

fn available(spec: &Value, families: Vec<String>, own: &str) -> Result<Vec<String>, FieldErrors> {
    let mut errors = FieldErrors::new();
    let at = Path::new("spec");
    if spec.text("ipFamilyPolicy") == DUAL {
        let rule = "this cluster is not configured for dual-stack services";
        errors.invalid(&at.child("ipFamilyPolicy"), DUAL, rule);
    }
    for (index, family) in families.iter().enumerate().filter(|(_, family)| *family != own) {
        let list = at.child("ipFamilies");
        errors.invalid(&list.index(index), family, "not configured on this cluster");
    }
    refused(errors)?;
    Ok(if families.is_empty() {
        vec![own.to_owned()]
    } else {
        families
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(spec: Value) -> Result<(Value, Value), String> {
        let mut service = json!({ "spec": spec });
        match settle(&mut service, None, "IPv4") {
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
}
