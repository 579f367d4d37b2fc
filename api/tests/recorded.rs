//! Holds defaults, strategies and validation against the answers of a kube-apiserver (`shared/wire` beside the project).
//!
//! Each recorded create and update whose body could be decoded is filled in, prepared and judged; the verdict, and for a
//! refusal the set of (field, cause), must be the recorded one. Allocation of addresses and admission are not part of
//! this crate, so an accepted object is compared by its verdict alone. Without the recording the test says so and passes.
//! `RECORDED_SHOW=Pod` prints what differs for a kind, `Pod!` differences in wording, `Pod=` differences of objects.

use std::collections::{BTreeMap, BTreeSet};

mod recording;

use coracle_api::table::{self, Gvk};
use coracle_api::validation::FieldErrors;
use coracle_api::{codec, defaults, resources, strategy, validation};
use jiff::Timestamp;
use recording::{gvk_of, path, recording, stored};
use serde_json::{Value, json};

/// Kinds of which every recorded case must agree.
const COMPLETE: [&str; 38] = [
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "ControllerRevision",
    "DaemonSet",
    "Deployment",
    "EndpointSlice",
    "Endpoints",
    "Event",
    "FlowSchema",
    "Ingress",
    "IngressClass",
    "Job",
    "MutatingWebhookConfiguration",
    "Namespace",
    "NetworkPolicy",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "PodTemplate",
    "PriorityClass",
    "ReplicaSet",
    "ReplicationController",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "Secret",
    "SelfSubjectAccessReview",
    "Service",
    "ServiceAccount",
    "StatefulSet",
    "StorageClass",
    "SubjectAccessReview",
    "ValidatingAdmissionPolicyBinding",
    "VolumeAttachment",
];

/// Kinds of which some cases need what is not here: data about time zones, lists that are empty but there, compiled
/// expressions.
const NEARLY: [(&str, usize); 4] = [
    ("CronJob", 1),
    ("CustomResourceDefinition", 4),
    ("HorizontalPodAutoscaler", 1),
    ("ValidatingAdmissionPolicy", 3),
];

#[derive(Default)]
struct Score {
    agree: usize,
    of: usize,
    wording: usize,
    made: usize,
    same: usize,
}

/// The object of a recorded body; none when it could not be decoded, which is not judged here.
fn decoded(gvk: Gvk, body: &Value) -> Option<Value> {
    let ty = table::by_gvk(gvk.group, gvk.version, gvk.kind)?;
    let bytes = serde_json::to_vec(body).expect("JSON is written to memory");
    let mut object = codec::json::decode(&bytes, ty).ok()?.value;
    let namespaced = resources::by_kind(gvk.group, gvk.version, gvk.kind)?.namespaced;
    if namespaced {
        object["metadata"]["namespace"] = "wire".into();
    }
    Some(object)
}

/// What the admission of the recorded server adds to pods, as far as an update is judged by it.
fn admit(gvk: Gvk, object: &mut Value, old: &Value) {
    if gvk.kind != "Pod" {
        return;
    }
    let key = |toleration: &Value| toleration["key"].as_str().unwrap_or_default().to_owned();
    let mine: Vec<String> = object["spec"]["tolerations"]
        .as_array()
        .into_iter()
        .flatten()
        .map(key)
        .collect();
    let added = old["spec"]["tolerations"].as_array().into_iter().flatten();
    let added = added.filter(|one| key(one).starts_with("node.kubernetes.io/") && !mine.contains(&key(one)));
    let mut all: Vec<Value> = object["spec"]["tolerations"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    all.extend(added.cloned());
    object["spec"]["tolerations"] = Value::Array(all);
    for name in ["priority", "preemptionPolicy"] {
        if object["spec"][name].is_null() {
            object["spec"][name] = old["spec"][name].clone();
        }
    }
}

/// The object as it would be stored, and its faults.
fn create(gvk: Gvk, body: &Value) -> Option<(Value, FieldErrors)> {
    let mut object = decoded(gvk, body)?;
    object["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000".into();
    defaults::apply(gvk, &mut object);
    strategy::prepare_create(gvk, &mut object, Timestamp::UNIX_EPOCH);
    let errors = validation::create(gvk, &object);
    // What was set since may have defaults of its own; a server fills them in when it reads the object again.
    defaults::apply(gvk, &mut object);
    Some((object, errors))
}

fn update(gvk: Gvk, body: &Value, old: &Value) -> Option<(Value, FieldErrors)> {
    let mut object = decoded(gvk, body)?;
    let given = object["metadata"]["resourceVersion"]
        .as_str()
        .is_some_and(|version| !version.is_empty());
    if !given && strategy::allows_unconditional_update(gvk) {
        object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    }
    defaults::apply(gvk, &mut object);
    admit(gvk, &mut object, old);
    strategy::prepare_update(gvk, &mut object, old);
    let errors = validation::update(gvk, &object, old);
    Some((object, errors))
}

/// An object without what is set elsewhere: by the registry, by admission, by allocators.
fn comparable(gvk: Gvk, object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(ty) = table::by_gvk(gvk.group, gvk.version, gvk.kind) {
        codec::conform::conform(&mut object, ty).expect("what was made from a decoded object conforms");
    }
    object["metadata"] = json!({
        "labels": object["metadata"]["labels"], "annotations": object["metadata"]["annotations"],
        "generation": object["metadata"]["generation"]});
    if gvk.kind == "Service" {
        for name in [
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "healthCheckNodePort",
        ] {
            object["spec"][name] = Value::Null;
        }
        for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
            port["nodePort"] = Value::Null;
        }
    }
    if object["status"]["lastPhaseTransitionTime"].is_string() {
        object["status"]["lastPhaseTransitionTime"] = Value::Null;
    }
    without_uids(&object)
}

fn without_uids(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| {
                let made = key.ends_with("controller-uid");
                (
                    key.clone(),
                    if made {
                        Value::from("uid")
                    } else {
                        without_uids(value)
                    },
                )
            })
            .collect(),
        Value::Array(items) => items.iter().map(without_uids).collect(),
        other => other.clone(),
    }
}

fn faults(errors: &FieldErrors) -> BTreeSet<(String, String)> {
    errors
        .iter()
        .map(|error| (error.field.clone(), error.kind.reason().to_owned()))
        .collect()
}

fn recorded_faults(answer: &Value) -> BTreeSet<(String, String)> {
    let causes = answer["body"]["details"]["causes"]
        .as_array()
        .into_iter()
        .flatten();
    let text = |cause: &Value, name: &str| cause[name].as_str().unwrap_or_default().to_owned();
    causes
        .map(|cause| (text(cause, "field"), text(cause, "reason")))
        .collect()
}

impl Score {
    /// Counts one case: what came of it here, and what the recorded server answered.
    fn count(&mut self, gvk: Gvk, case: &Value, object: &Value, errors: &FieldErrors) {
        let answer = &case["answer"];
        let refused = answer["code"] == 422;
        let message = answer["body"]["message"].as_str().unwrap_or_default();
        let agree = errors.is_empty() != refused && faults(errors) == recorded_faults(answer);
        let to_the_word = !refused || message.ends_with(&errors.aggregate());
        self.of += 1;
        self.agree += usize::from(agree);
        self.wording += usize::from(agree && to_the_word);
        if !agree {
            show(
                gvk,
                "",
                case,
                &format!("want {message:.600}\n   have {:.600}", errors.aggregate()),
            );
        } else if !to_the_word {
            show(
                gvk,
                "!",
                case,
                &format!("want {message:.600}\n   have {:.600}", errors.aggregate()),
            );
        }
        if agree && !refused {
            let (made, recorded) = (comparable(gvk, object), comparable(gvk, &answer["body"]));
            self.made += 1;
            self.same += usize::from(made == recorded);
            if made != recorded {
                show(gvk, "=", case, &format!("want {recorded}\n   have {made}"));
            }
        }
    }
}

/// Prints a difference when it was asked for: `Pod` for verdicts, `Pod!` for wording, `Pod=` for objects.
fn show(gvk: Gvk, what: &str, case: &Value, difference: &str) {
    if std::env::var("RECORDED_SHOW").is_ok_and(|asked| asked == format!("{}{what}", gvk.kind)) {
        eprintln!("{}\n   {difference}", case["id"]);
    }
}

/// The object and its faults for a recorded create or update; none for cases that are not judged here.
fn judged(gvk: Gvk, case: &Value, stored: &BTreeMap<&str, &Value>) -> Option<(Value, FieldErrors)> {
    let message = case["answer"]["body"]["message"].as_str().unwrap_or_default();
    // The registry refuses updates without a resource version before there is anything to judge, and allocates ports.
    let elsewhere = [
        "Invalid value: 0: must be specified for an update",
        "provided port is already allocated",
    ];
    if elsewhere.iter().any(|text| message.contains(text)) {
        return None;
    }
    let path = case["path"].as_str()?.split('?').next()?;
    match case["group"].as_str()? {
        "create" => create(gvk, &case["body"]),
        "update" => update(gvk, &case["body"], stored.get(path)?),
        _ => None,
    }
}

#[test]
fn verdicts_are_those_recorded() {
    let Some(cases) = recording() else {
        println!("no recording at {}: skipped", path().display());
        return;
    };
    let stored = stored(&cases);
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    for case in &cases {
        let decoded = matches!(case["answer"]["code"].as_u64(), Some(200 | 201 | 422));
        let Some(gvk) = gvk_of(&case["body"]).filter(|_| decoded) else {
            continue;
        };
        if let Some((object, errors)) = judged(gvk, case, &stored) {
            scores
                .entry(gvk.kind)
                .or_default()
                .count(gvk, case, &object, &errors);
        }
    }
    for (
        kind,
        Score {
            agree,
            of,
            wording,
            made,
            same,
        },
    ) in &scores
    {
        println!(
            "{kind:36} {agree:4} of {of:4} agree, {wording:4} to the word; {same:4} of {made:4} objects the same"
        );
    }
    // Another recording than the published one is only shown.
    if std::env::var_os("RECORDED").is_some() {
        return;
    }
    for (kind, misses) in COMPLETE.map(|kind| (kind, 0)).into_iter().chain(NEARLY) {
        let score = &scores[kind];
        assert!(
            score.agree + misses >= score.of,
            "{kind}: {} of {} agree",
            score.agree,
            score.of
        );
    }
}
