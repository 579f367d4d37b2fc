//! The pods that each level of Pod Security passes and refuses (kubernetes/pod-security-admission, 1.35).
//!
//! Each is decoded as strictly as upstream's tests do, so that a field which the table lacks shows; nothing judges them yet.

use coracle_api::codec::yaml;
use coracle_api::table;

use crate::archive::files;
use crate::outcome::Outcome;

#[test]
fn pods() {
    let Some(files) = files("pod-security-1.35.tar.gz") else {
        return;
    };
    let ty = table::by_gvk("", "v1", "Pod").unwrap();
    for level in ["baseline", "restricted"] {
        for verdict in ["pass", "fail"] {
            let mut outcome = Outcome::default();
            let folder = format!("/{level}/v1.35/{verdict}/");
            for (path, bytes) in files.iter().filter(|(path, _)| path.contains(&folder)) {
                let decoded = yaml::decode(bytes, ty).unwrap();
                match decoded.findings.as_slice() {
                    [] => outcome.unanswered("there is no Pod Security admission", 1),
                    findings => outcome.count(path, Some(findings.join(", "))),
                }
            }
            outcome.conclude(&format!("Pod Security, {level} {verdict}"), 10, &[]);
        }
    }
}
