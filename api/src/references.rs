//! Which objects of its namespace a pod refers to by name, and which secrets a volume does: what a node has to read to run
//! the pod, and nothing else (upstream's `VisitPodSecretNames` and its like). Pure.

use serde_json::Value;

use crate::object::Fields;

/// Volumes of pods that name a secret, and where.
const VOLUME_SECRETS: [(&str, &str, &str); 10] = [
    ("azureFile", "", "secretName"),
    ("cephfs", "secretRef", "name"),
    ("cinder", "secretRef", "name"),
    ("flexVolume", "secretRef", "name"),
    ("rbd", "secretRef", "name"),
    ("secret", "", "secretName"),
    ("scaleIO", "secretRef", "name"),
    ("iscsi", "secretRef", "name"),
    ("storageos", "secretRef", "name"),
    ("csi", "nodePublishSecretRef", "name"),
];

/// References of a PersistentVolume's source that its node follows.
const SOURCE_SECRETS: [(&str, &[&str]); 8] = [
    ("cephfs", &["secretRef"]),
    ("cinder", &["secretRef"]),
    ("flexVolume", &["secretRef"]),
    ("rbd", &["secretRef"]),
    ("scaleIO", &["secretRef"]),
    ("iscsi", &["secretRef"]),
    ("storageos", &["secretRef"]),
    (
        "csi",
        &[
            "nodePublishSecretRef",
            "nodeStageSecretRef",
            "nodeExpandSecretRef",
        ],
    ),
];

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| spec.items(list))
}

/// What the environment of containers comes from: whole objects, and keys of objects.
fn environment<'v>(spec: &'v Value, whole: &'static str, key: &'static str) -> impl Iterator<Item = &'v str> {
    containers(spec).flat_map(move |container| {
        let from = container.items("envFrom").iter();
        let variables = container.items("env").iter();
        let wholes = from.map(move |from| from[whole].text("name"));
        wholes.chain(variables.map(move |variable| variable["valueFrom"][key].text("name")))
    })
}

/// What projected volumes take from one kind of object.
fn projected<'v>(volume: &'v Value, source: &'static str) -> impl Iterator<Item = &'v str> {
    let sources = volume["projected"].items("sources").iter();
    sources.map(move |projected| projected[source].text("name"))
}

fn named<'v>(names: impl Iterator<Item = &'v str>) -> Vec<&'v str> {
    names.filter(|name| !name.is_empty()).collect()
}

/// The secrets that a pod's spec names.
pub fn secrets(spec: &Value) -> Vec<&str> {
    let pulls = spec.items("imagePullSecrets").iter();
    let volumes = spec.items("volumes").iter().flat_map(|volume| {
        let own = VOLUME_SECRETS.iter().map(|(source, reference, field)| {
            let source = &volume[*source];
            let holder = if reference.is_empty() {
                source
            } else {
                &source[*reference]
            };
            holder.text(field)
        });
        own.chain(projected(volume, "secret"))
    });
    named(
        pulls
            .map(|secret| secret.text("name"))
            .chain(environment(spec, "secretRef", "secretKeyRef"))
            .chain(volumes),
    )
}

/// The config maps that a pod's spec names.
pub fn config_maps(spec: &Value) -> Vec<&str> {
    let volumes = spec.items("volumes").iter().flat_map(|volume| {
        let own = std::iter::once(volume["configMap"].text("name"));
        own.chain(projected(volume, "configMap"))
    });
    named(environment(spec, "configMapRef", "configMapKeyRef").chain(volumes))
}

/// The claims of volumes that a pod names, or that are made for it.
pub fn claims(pod: &Value) -> Vec<String> {
    let name = pod["metadata"].text("name");
    let volumes = pod["spec"].items("volumes").iter();
    let claims = volumes.filter_map(|volume| {
        if volume.has("persistentVolumeClaim") {
            return Some(volume["persistentVolumeClaim"].text("claimName").to_owned());
        }
        let made = || format!("{name}-{}", volume.text("name"));
        volume.has("ephemeral").then(made)
    });
    claims.filter(|claim| !claim.is_empty()).collect()
}

/// The resource claims that a pod names, or that were made for it.
pub fn resource_claims(pod: &Value) -> Vec<&str> {
    let statuses = pod["status"].items("resourceClaimStatuses");
    let made = |name: &str| {
        let mut same = statuses.iter().filter(|status| status.text("name") == name);
        same.next().map_or("", |status| status.text("resourceClaimName"))
    };
    let own = pod["spec"]
        .items("resourceClaims")
        .iter()
        .map(|claim| match claim.text("resourceClaimName") {
            "" => made(claim.text("name")),
            name => name,
        });
    let extended = pod["status"]["extendedResourceClaimStatus"].text("resourceClaimName");
    named(own.chain([extended]))
}

/// The secrets, by namespace and name, that the node of a PersistentVolume reads to mount it.
pub fn secrets_of_volume(volume: &Value) -> Vec<(&str, &str)> {
    let spec = &volume["spec"];
    let home = spec["claimRef"].text("namespace");
    // What says no namespace is in that of the claim.
    let at = |namespace| match namespace {
        "" => home,
        namespace => namespace,
    };
    if spec.has("azureFile") {
        let azure = &spec["azureFile"];
        let secret = (at(azure.text("secretNamespace")), azure.text("secretName"));
        return Vec::from_iter((!secret.1.is_empty()).then_some(secret));
    }
    let references = SOURCE_SECRETS
        .iter()
        .flat_map(|(source, fields)| fields.iter().map(|field| &spec[*source][*field]));
    references
        .filter(|reference| !reference.text("name").is_empty())
        .map(|reference| (at(reference.text("namespace")), reference.text("name")))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_found_where_they_are_references_and_nowhere_else() {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "nodeSelector": {"secretName": "no"},
                "imagePullSecrets": [{"name": "pull"}, {}],
                "volumes": [
                    {"name": "a", "secret": {"secretName": "mounted"}},
                    {"name": "b", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "c1"}}]}},
                    {"name": "c", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "published"}}},
                    {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "e", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"claimName": "no"}}}}},
                    {"name": "f", "configMap": {"name": "c2"}},
                ],
                "initContainers": [{"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]}],
                "ephemeralContainers": [{"envFrom": [{"configMapRef": {"name": "c3"}}]}],
                "resourceClaims": [{"name": "r", "resourceClaimName": "r1"}, {"name": "s", "resourceClaimTemplateName": "t"}],
            },
            "status": {"resourceClaimStatuses": [{"name": "s", "resourceClaimName": "s-1"}]},
        });
        assert_eq!(
            secrets(&pod["spec"]),
            ["pull", "key", "mounted", "projected", "published"]
        );
        assert_eq!(config_maps(&pod["spec"]), ["c3", "c1", "c2"]);
        assert_eq!(claims(&pod), ["data", "p-e"]);
        assert_eq!(resource_claims(&pod), ["r1", "s-1"]);
    }

    #[test]
    fn a_volume_s_secrets_are_those_its_node_reads() {
        let volume = |source: Value| {
            let mut volume = json!({"spec": {"claimRef": {"namespace": "home"}}});
            let spec = volume["spec"].as_object_mut().unwrap();
            spec.extend(source.as_object().unwrap().clone());
            volume
        };
        let csi = volume(
            json!({"csi": {"controllerPublishSecretRef": {"name": "no", "namespace": "x"},
            "nodeStageSecretRef": {"name": "stage", "namespace": "x"}}}),
        );
        assert_eq!(secrets_of_volume(&csi), [("x", "stage")]);
        let iscsi = volume(json!({"iscsi": {"secretRef": {"name": "s"}}}));
        assert_eq!(secrets_of_volume(&iscsi), [("home", "s")]);
        let azure = volume(json!({"azureFile": {"secretName": "s", "secretNamespace": "there"}}));
        assert_eq!(secrets_of_volume(&azure), [("there", "s")]);
    }
}
