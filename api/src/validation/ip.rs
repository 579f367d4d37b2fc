//! IP addresses and CIDR blocks, in the strict form: no leading zeros, no IPv4 address inside an IPv6 one.

use std::net::IpAddr;

use super::field::{FieldErrors, Path};

/// The address that `text` is.
pub(crate) fn parse(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => None,
        ip => Some(ip),
    }
}

/// Any address.
pub(crate) fn address(text: &str, at: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let fine = parse(text).is_some();
    if !fine {
        errors.invalid(
            at,
            text,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
    }
    fine
}

/// The address and length of a block.
pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, length) = text.split_once('/')?;
    let ip = parse(ip)?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let plain = length == "0" || !length.starts_with('0') && length.bytes().all(|b| b.is_ascii_digit());
    let length: u8 = length.parse().ok().filter(|length| plain && *length <= most)?;
    Some((ip, length))
}

/// Any block.
pub(crate) fn cidr(text: &str, at: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let fine = parse_cidr(text).is_some();
    if !fine {
        errors.invalid(
            at,
            text,
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        );
    }
    fine
}

/// Whether `part` lies in `whole` and is smaller.
pub(crate) fn contains(whole: (IpAddr, u8), part: (IpAddr, u8)) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    };
    let mask = if whole.1 == 0 {
        0
    } else {
        u128::MAX << (128 - u32::from(whole.1))
    };
    whole.0.is_ipv4() == part.0.is_ipv4() && part.1 > whole.1 && (bits(whole.0) ^ bits(part.0)) & mask == 0
}

/// An address that an endpoint may have: one that can be reached from another machine.
pub(crate) fn endpoint(text: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(ip) = parse(text) else {
        errors.invalid(at, text, "must be a valid IP address");
        return;
    };
    let (link_local, link_local_multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    let rules = [
        (ip.is_unspecified(), format!("may not be unspecified ({text})")),
        (
            ip.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".into(),
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".into(),
        ),
        (
            link_local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into(),
        ),
    ];
    for (_, rule) in rules.into_iter().filter(|(broken, _)| *broken) {
        errors.invalid(at, text, rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_blocks_are_strict() {
        for good in ["10.0.0.1", "::1", "2001:db8::ffff"] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in ["", "10.0.0", "010.0.0.1", "::ffff:10.0.0.1", "a"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        let block = |text: &str| parse_cidr(text).unwrap();
        assert!(contains(block("10.0.0.0/8"), block("10.1.0.0/16")));
        assert!(!contains(block("10.0.0.0/8"), block("11.0.0.0/16")));
        assert!(!contains(block("10.0.0.0/8"), block("10.0.0.0/8")));
        for (block, fine) in [
            ("10.0.0.0/8", true),
            ("::/0", true),
            ("10.0.0.0/33", false),
            ("10.0.0.0/08", false),
            ("10.0.0.0", false),
        ] {
            assert_eq!(parse_cidr(block).is_some(), fine, "{block}");
        }
    }
}
