//! `/version`: what clients adapt to. The fields are upstream's; the version is that of the API, with ours as build metadata.

use serde_json::{Value, json};

/// The Kubernetes version whose API is served, and this program's own version.
pub const GIT_VERSION: &str = concat!("v1.36.3+coracle-", env!("CARGO_PKG_VERSION"));

/// The version whose API is served, without a `v`.
pub(crate) const API_VERSION: &str = "1.36.3";

/// The same without its last part: the version that is emulated.
pub(crate) fn emulated() -> String {
    let document = document();
    let part = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    format!("{}.{}", part("emulationMajor"), part("emulationMinor"))
}

/// The document.
pub fn document() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": option_env!("CORACLE_GIT_COMMIT").unwrap_or_default(),
        "gitTreeState": "",
        "buildDate": option_env!("CORACLE_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
        "goVersion": "",
        "compiler": "rustc",
        "platform": platform(),
    })
}

fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}
