//! Addresses and blocks that can be written in more than one way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Warnings;
use crate::quote::quote;
use crate::validation::Path;

/// An address of IPv6 should be written as RFC 5952 has it.
pub(super) fn address(text: &str, at: &Path<'_>, found: &mut Warnings) {
    if let Ok(IpAddr::V6(ip)) = text.parse()
        && ip.to_string() != text
    {
        let (text, proper) = (quote(text), quote(&ip.to_string()));
        found.at(
            at,
            format!("IPv6 address {text} should be in RFC 5952 canonical format ({proper})"),
        );
    }
}

/// A block should be written so, too, and begin where it begins.
pub(super) fn block(text: &str, at: &Path<'_>, found: &mut Warnings) {
    let parsed = text
        .split_once('/')
        .and_then(|(ip, length)| Some((ip.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?)));
    let Some((ip, length)) = parsed else { return };
    let (first, most) = match ip {
        IpAddr::V4(ip) => (IpAddr::V4(first_v4(ip, length)), 32),
        IpAddr::V6(ip) => (IpAddr::V6(first_v6(ip, length)), 128),
    };
    if length > most {
        return;
    }
    if first != ip {
        let (whole, one) = (
            quote(&format!("{first}/{length}")),
            quote(&format!("{ip}/{most}")),
        );
        let text = quote(text);
        found.at(
            at,
            format!("CIDR value {text} is ambiguous in this context (should be {whole} or {one}?)"),
        );
    } else if ip.is_ipv6() && format!("{ip}/{length}") != text {
        let (text, proper) = (quote(text), quote(&format!("{ip}/{length}")));
        found.at(
            at,
            format!("IPv6 CIDR value {text} should be in RFC 5952 canonical format ({proper})"),
        );
    }
}

fn first_v4(ip: Ipv4Addr, length: u8) -> Ipv4Addr {
    let mask = u32::MAX
        .checked_shl(32_u32.saturating_sub(length.into()))
        .unwrap_or(0);
    Ipv4Addr::from(u32::from(ip) & mask)
}

fn first_v6(ip: Ipv6Addr, length: u8) -> Ipv6Addr {
    let mask = u128::MAX
        .checked_shl(128_u32.saturating_sub(length.into()))
        .unwrap_or(0);
    Ipv6Addr::from(u128::from(ip) & mask)
}
