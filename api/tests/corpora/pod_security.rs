//! The pods that each level of Pod Security passes and refuses (kubernetes/pod-security-admission, 1.35).
//!
//! Each is decoded as strictly as upstream's tests do, filled in with defaults, and judged by its folder's level and version.

use coracle_api::codec::yaml;
use coracle_api::defaults;
use coracle_api::pod_security::{LevelVersion, evaluate};
use coracle_api::table::{self, Gvk};

use crate::archive::files;
use crate::outcome::Outcome;

const POD: Gvk = Gvk {
    group: "",
    version: "v1",
    kind: "Pod",
};

#[test]
fn pods() {
    let Some(files) = files("pod-security-1.35.tar.gz") else {
        return;
    };
    let ty = table::by_gvk(POD.group, POD.version, POD.kind).unwrap();
    for level in ["baseline", "restricted"] {
        for verdict in ["pass", "fail"] {
            let mut outcome = Outcome::default();
            let folder = format!("/{level}/v1.35/{verdict}/");
            let standard = LevelVersion {
                level: level.parse().unwrap(),
                version: "v1.35".parse().unwrap(),
            };
            for (path, bytes) in files.iter().filter(|(path, _)| path.contains(&folder)) {
                let mut decoded = yaml::decode(bytes, ty).unwrap();
                defaults::apply(POD, &mut decoded.value);
                let pod = &decoded.value;
                let judged = evaluate(standard, &pod["metadata"], &pod["spec"]);
                let wrong = match (
                    decoded.findings.as_slice(),
                    judged.is_allowed() == (verdict == "pass"),
                ) {
                    ([], true) => None,
                    ([], false) => Some(format!("judged otherwise: {}", judged.details())),
                    (findings, _) => Some(findings.join(", ")),
                };
                outcome.count(path, wrong);
            }
            outcome.conclude(&format!("Pod Security, {level} {verdict}"), 10, &[]);
        }
    }
}
