//! The kernel's routing table by way of `ip`. No decisions here.

use std::io;
use std::net::IpAddr;
use std::process::{Output, Stdio};

use ipnet::IpNet;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::plan::{Change, Routes};

/// What marks routes as ours (rtnetlink(7), `rtm_protocol`): a number that no routing daemon has taken.
const PROTOCOL: &str = "76";

/// Why routes could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteError {
    /// The program cannot be run.
    #[error("ip cannot be run (install iproute2): {0}")]
    Run(#[from] io::Error),
    /// It refuses.
    #[error("ip refuses: {0}")]
    Refused(String),
    /// It speaks in another way than it used to.
    #[error("ip prints what is no list of routes: {0}")]
    Output(#[from] serde_json::Error),
}

/// A route as `ip -json route` prints it.
#[derive(Deserialize)]
struct Printed {
    dst: String,
    gateway: Option<IpAddr>,
}

/// Our own routes, those of an earlier process among them.
pub(super) async fn read() -> Result<Routes, RouteError> {
    let mut routes = Routes::new();
    for family in ["-4", "-6"] {
        let arguments = ["-json", family, "route", "show", "proto", PROTOCOL];
        match run(&arguments, "").await {
            Ok(output) => routes.extend(parse(&output.stdout)?),
            // A kernel without IPv6 has no such routes.
            Err(RouteError::Refused(_)) if family == "-6" => {}
            Err(error) => return Err(error),
        }
    }
    Ok(routes)
}

fn parse(text: &[u8]) -> Result<Routes, serde_json::Error> {
    if text.trim_ascii().is_empty() {
        return Ok(Routes::new());
    }
    let printed: Vec<Printed> = serde_json::from_slice(text)?;
    let routes = printed.into_iter().filter_map(|route| {
        let network = route.dst.parse::<IpNet>().ok();
        // A network of one address is printed as the address.
        let network = network.or_else(|| route.dst.parse::<IpAddr>().ok().map(IpNet::from));
        Some((network?, route.gateway?))
    });
    Ok(routes.collect())
}

/// Makes a change. What can be done is done, also where a part of it is refused.
pub(super) async fn write(change: &Change) -> Result<(), RouteError> {
    run(&["-force", "-batch", "-"], &batch(change)).await.map(drop)
}

fn batch(change: &Change) -> String {
    let mut text = String::new();
    for network in &change.remove {
        text.push_str(&format!("route delete {network} proto {PROTOCOL}\n"));
    }
    for (network, gateway) in &change.add {
        text.push_str(&format!(
            "route replace {network} via {gateway} proto {PROTOCOL}\n"
        ));
    }
    text
}

async fn run(arguments: &[&str], input: &str) -> Result<Output, RouteError> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        Ok(output)
    } else {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(RouteError::Refused(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_they_are_printed() {
        let text = br#"[{"dst":"10.244.1.0/24","gateway":"10.89.0.11","dev":"eth0","flags":[]},
            {"dst":"10.244.2.1","gateway":"10.89.0.12","dev":"eth0","flags":[]},
            {"dst":"default","gateway":"10.89.0.1"}, {"dst":"10.1.0.0/16","dev":"eth0"}]"#;
        let shown: Vec<String> = parse(text)
            .unwrap()
            .iter()
            .map(|(network, gateway)| format!("{network} {gateway}"))
            .collect();
        assert_eq!(shown, ["10.244.1.0/24 10.89.0.11", "10.244.2.1/32 10.89.0.12"]);
        assert!(parse(b"\n").unwrap().is_empty());
        assert!(parse(b"10.244.1.0/24 via 10.89.0.11").is_err());
    }

    #[test]
    fn removals_come_first() {
        let change = Change {
            add: [("10.244.1.0/24".parse().unwrap(), "10.89.0.11".parse().unwrap())].into(),
            remove: vec!["10.244.2.0/24".parse().unwrap()],
        };
        assert_eq!(
            batch(&change),
            "route delete 10.244.2.0/24 proto 76\nroute replace 10.244.1.0/24 via 10.89.0.11 proto 76\n"
        );
    }
}
