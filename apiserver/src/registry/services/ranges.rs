//! Where service addresses come from: the ranges of the flag, which say what families there are, and the ServiceCIDRs,
//! which say what may be handed out. Pure.

use std::net::IpAddr;
use std::str::FromStr;

use coracle_api::object::Fields;
use serde_json::Value;

use super::addresses::{Cidr, CidrError};
use super::families::Families;
use crate::registry::meta;

/// `--service-cluster-ip-range`: one range, or two of different families, separated by a comma. The first says which
/// family a service is of that asks for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRanges {
    primary: Cidr,
    secondary: Option<Cidr>,
}

impl FromStr for ClusterRanges {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (first, second) = match text.split_once(',') {
            Some((first, second)) => (first, Some(second)),
            None => (text, None),
        };
        let primary: Cidr = first.trim().parse()?;
        let secondary: Option<Cidr> = second.map(|second| second.trim().parse()).transpose()?;
        if secondary.is_some_and(|secondary| secondary.is_ipv4() == primary.is_ipv4()) {
            return Err(CidrError::of(text));
        }
        Ok(Self { primary, secondary })
    }
}

impl ClusterRanges {
    /// The range that the Service `kubernetes` has the first address of.
    pub fn primary(&self) -> Cidr {
        self.primary
    }

    /// Both, the first one first.
    pub(crate) fn all(&self) -> impl Iterator<Item = Cidr> {
        [Some(self.primary), self.secondary].into_iter().flatten()
    }

    pub(super) fn families(&self) -> Families {
        Families {
            own: super::families::name(!self.primary.is_ipv4()),
            both: self.secondary.is_some(),
        }
    }
}

/// The ranges of a ServiceCIDR; what cannot be read is none.
pub(super) fn of(service_cidr: &Value) -> impl Iterator<Item = Cidr> {
    let texts = service_cidr["spec"].items("cidrs").iter();
    texts.filter_map(|text| text.as_str()?.parse().ok())
}

/// The ranges that addresses may be handed out of: those of ServiceCIDRs that are ready and stay.
pub(super) fn ready<'a>(service_cidrs: impl IntoIterator<Item = &'a Value>) -> Vec<Cidr> {
    let mut ranges = Vec::new();
    let usable = |object: &&Value| is_ready(object) && !meta::is_deleting(object);
    for range in service_cidrs.into_iter().filter(usable).flat_map(of) {
        if range.is_allocatable() && !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    ranges
}

fn is_ready(service_cidr: &Value) -> bool {
    let conditions = service_cidr["status"].items("conditions");
    conditions
        .iter()
        .any(|condition| condition.text("type") == "Ready" && condition.text("status") == "True")
}

/// Whether one of the ranges has an address to give.
pub(super) fn give(ranges: &[Cidr], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.gives(address))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flag_names_one_range_or_two_families() {
        let one: ClusterRanges = "10.96.0.0/12".parse().unwrap();
        assert_eq!(one.all().count(), 1);
        let two: ClusterRanges = "fd00::/108,10.96.0.0/12".parse().unwrap();
        assert_eq!(two.primary().to_string(), "fd00::/108");
        assert_eq!(
            two.all().map(|range| range.is_ipv4()).collect::<Vec<_>>(),
            [false, true]
        );
        for bad in [
            "",
            "10.0.0.0/8,10.96.0.0/12",
            "10.0.0.0/8,",
            "10.0.0.0/8,fd00::/108,fd01::/108",
        ] {
            assert!(bad.parse::<ClusterRanges>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_ready_and_stays_gives_addresses() {
        let cidr = |range: &str, status: &str| {
            json!({"metadata": {}, "spec": {"cidrs": [range]},
                   "status": {"conditions": [{"type": "Ready", "status": status}]}})
        };
        let mut going = cidr("10.2.0.0/24", "True");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let new = json!({"metadata": {}, "spec": {"cidrs": ["10.4.0.0/24"]}});
        let again = cidr("10.1.0.0/24", "True");
        let wide = cidr("fd00::/48", "True");
        let objects = [
            again.clone(),
            going,
            cidr("10.3.0.0/24", "False"),
            new,
            again,
            wide,
        ];
        let ranges = ready(&objects);
        assert_eq!(
            ranges.iter().map(Cidr::to_string).collect::<Vec<_>>(),
            ["10.1.0.0/24"]
        );
        assert!(give(&ranges, "10.1.0.9".parse().unwrap()));
        assert!(!give(&ranges, "10.3.0.9".parse().unwrap()));
    }
}
