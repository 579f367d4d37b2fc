//! The names of all plugins in upstream's order (`AllOrderedPlugins`), and which of them are on by default.

use std::collections::BTreeSet;

use super::configuration::AdmissionError;

/// A plugin's name, and whether it runs where nobody says otherwise.
pub(super) const ORDER: [(&str, bool); 41] = [
    ("AlwaysAdmit", false),
    ("NamespaceAutoProvision", false),
    ("NamespaceLifecycle", true),
    ("NamespaceExists", false),
    ("LimitPodHardAntiAffinityTopology", false),
    ("LimitRanger", true),
    ("ServiceAccount", true),
    ("NodeRestriction", false),
    ("TaintNodesByCondition", true),
    ("AlwaysPullImages", false),
    ("ImagePolicyWebhook", false),
    ("PodSecurity", true),
    ("PodNodeSelector", false),
    ("Priority", true),
    ("DefaultTolerationSeconds", true),
    ("PodTolerationRestriction", false),
    ("EventRateLimit", false),
    ("ExtendedResourceToleration", false),
    ("DefaultStorageClass", true),
    ("StorageObjectInUseProtection", true),
    ("PodGroupProtection", true),
    ("OwnerReferencesPermissionEnforcement", false),
    ("PersistentVolumeClaimResize", true),
    ("RuntimeClass", true),
    ("CertificateApproval", true),
    ("CertificateSigning", true),
    ("ClusterTrustBundleAttest", true),
    ("CertificateSubjectRestriction", true),
    ("DefaultIngressClass", true),
    ("DenyServiceExternalIPs", false),
    ("PodTopologyLabels", true),
    ("PodGroupWorkloadExists", true),
    ("NodeDeclaredFeatureValidator", true),
    ("JobValidation", true),
    ("PodResizeValidator", true),
    ("MutatingAdmissionPolicy", true),
    ("MutatingAdmissionWebhook", true),
    ("ValidatingAdmissionPolicy", true),
    ("ValidatingAdmissionWebhook", true),
    ("ResourceQuota", true),
    ("AlwaysDeny", false),
];

/// The plugins that run, in order.
///
/// # Errors
/// A name that is none, or one that is switched on and off.
pub(super) fn selected(enable: &[String], disable: &[String]) -> Result<Vec<&'static str>, AdmissionError> {
    for (flag, names) in [
        ("enable-admission-plugins", enable),
        ("disable-admission-plugins", disable),
    ] {
        let known = |name: &String| ORDER.iter().any(|(known, _)| known == name);
        if let Some(name) = names.iter().find(|name| !known(name)) {
            let name = name.clone();
            return Err(AdmissionError::Unknown { flag, name });
        }
    }
    let both: BTreeSet<&str> = enable
        .iter()
        .filter(|name| disable.contains(name))
        .map(String::as_str)
        .collect();
    if !both.is_empty() {
        let names = both.into_iter().collect::<Vec<_>>().join(" ");
        return Err(AdmissionError::Overlap(names));
    }
    let says = |names: &[String], name: &str| names.iter().any(|named| named == name);
    let runs = ORDER
        .iter()
        .filter(|(name, on)| says(enable, name) || (*on && !says(disable, name)));
    Ok(runs.map(|(name, _)| *name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_order_is_kept_whatever_the_flags_say() {
        let on = selected(
            &names(&["NodeRestriction", "AlwaysPullImages"]),
            &names(&["PodSecurity"]),
        )
        .unwrap();
        let start = [
            "NamespaceLifecycle",
            "LimitRanger",
            "ServiceAccount",
            "NodeRestriction",
        ];
        assert_eq!(on[..4], start);
        assert!(on.contains(&"AlwaysPullImages") && !on.contains(&"PodSecurity"));
        assert_eq!(selected(&[], &[]).unwrap().len(), 27);
    }

    #[test]
    fn names_are_those_there_are_and_stand_on_one_side() {
        let unknown = selected(&names(&["Foo"]), &[]).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "enable-admission-plugins plugin \"Foo\" is unknown"
        );
        let unknown = selected(&[], &names(&["Bar"])).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "disable-admission-plugins plugin \"Bar\" is unknown"
        );
        let both = names(&["PodSecurity", "AlwaysAdmit"]);
        assert_eq!(
            selected(&both, &both).unwrap_err().to_string(),
            "[AlwaysAdmit PodSecurity] in enable-admission-plugins and disable-admission-plugins overlapped"
        );
    }
}
