//! The CNI configuration of a node with a pod network of its own: a bridge and addresses from `spec.podCIDRs`.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

const FILE: &str = "10-coracle.conflist";

/// The network configuration list. Pure. Addresses are kept under `data_dir`, so that they outlive a restart.
pub(crate) fn conflist(bridge: &str, pod_cidrs: &[String], data_dir: &Path) -> Value {
    let ranges: Vec<Value> = pod_cidrs.iter().map(|cidr| json!([{"subnet": cidr}])).collect();
    let default = |cidr: &String| if cidr.contains(':') { "::/0" } else { "0.0.0.0/0" };
    let routes: Vec<Value> = pod_cidrs
        .iter()
        .map(|cidr| json!({"dst": default(cidr)}))
        .collect();
    json!({
        "cniVersion": "1.0.0",
        "name": "coracle",
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {"type": "host-local", "dataDir": data_dir, "ranges": ranges, "routes": routes},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    })
}

/// Puts the configuration where the runtime looks, if it does not say that already. Blocking.
pub(crate) fn write(dir: &Path, config: &Value) -> io::Result<bool> {
    let text = format!("{config:#}\n");
    let path = dir.join(FILE);
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    std::fs::create_dir_all(dir)?;
    // The runtime watches the directory: a half-written file must not be seen.
    let next = dir.join(format!(".{FILE}"));
    std::fs::write(&next, text)?;
    std::fs::rename(next, path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dual_stack() {
        let cidrs = ["10.244.1.0/24".to_owned(), "fd00:1::/64".to_owned()];
        insta::assert_json_snapshot!(conflist("cni0", &cidrs, Path::new("/var/lib/kubelet/cni")));
    }

    #[test]
    fn written_once() {
        let dir = tempfile::tempdir().unwrap();
        let config = conflist("cni0", &["10.244.1.0/24".to_owned()], dir.path());
        assert!(write(dir.path(), &config).unwrap());
        assert!(!write(dir.path(), &config).unwrap());
        let other = conflist("cni0", &["10.244.2.0/24".to_owned()], dir.path());
        assert!(write(dir.path(), &other).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
