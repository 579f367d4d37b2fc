//! IP addresses and blocks of them: `cidr('10.0.0.0/8').containsIP('10.1.2.3')`.

use std::net::IpAddr;

use super::ty::{Bool, CIDR, IP, Int, String};
use super::{EvalError, Functions, Value, no_such_overload, text};
use crate::cel::functions::{Op, cost};
use crate::cel::world::Opaque;

pub(super) fn declare(functions: &mut Functions) {
    functions.global("ip", &[String], IP, cost::first, |_, args| {
        parse(text(args, 0)?).map(|ip| Value::Opaque(Opaque::Ip(ip)))
    });
    functions.global("isIP", &[String], Bool, cost::first, |_, args| {
        Ok(Value::Bool(parse(text(args, 0)?).is_ok()))
    });
    functions.global("ip.isCanonical", &[String], Bool, cost::first_twice, |_, args| {
        let text = text(args, 0)?;
        Ok(Value::Bool(parse(text)?.to_string() == text))
    });
    functions.member("family", &[IP], Int, cost::one, |_, args| {
        Ok(Value::Int(if ip(args, 0)?.is_ipv4() { 4 } else { 6 }))
    });
    let questions: [(&'static str, Op); 5] = [
        ("isUnspecified", |_, args| {
            Ok(Value::Bool(ip(args, 0)?.is_unspecified()))
        }),
        ("isLoopback", |_, args| {
            Ok(Value::Bool(ip(args, 0)?.is_loopback()))
        }),
        ("isLinkLocalMulticast", |_, args| {
            Ok(Value::Bool(is_link_local_multicast(ip(args, 0)?)))
        }),
        ("isLinkLocalUnicast", |_, args| {
            Ok(Value::Bool(is_link_local_unicast(ip(args, 0)?)))
        }),
        ("isGlobalUnicast", |_, args| {
            Ok(Value::Bool(is_global_unicast(ip(args, 0)?)))
        }),
    ];
    for (name, op) in questions {
        functions.member(name, &[IP], Bool, cost::one, op);
    }
    blocks(functions);
}

fn blocks(functions: &mut Functions) {
    functions.global("cidr", &[String], CIDR, cost::first, |_, args| {
        let (ip, length) = parse_block(text(args, 0)?)?;
        Ok(Value::Opaque(Opaque::Cidr(ip, length)))
    });
    functions.global("isCIDR", &[String], Bool, cost::first, |_, args| {
        Ok(Value::Bool(parse_block(text(args, 0)?).is_ok()))
    });
    functions.member("ip", &[CIDR], IP, cost::one, |_, args| {
        Ok(Value::Opaque(Opaque::Ip(block(args, 0)?.0)))
    });
    functions.member("prefixLength", &[CIDR], Int, cost::one, |_, args| {
        Ok(Value::Int(block(args, 0)?.1.into()))
    });
    functions.member("masked", &[CIDR], CIDR, cost::one, |_, args| {
        let (ip, length) = block(args, 0)?;
        Ok(Value::Opaque(Opaque::Cidr(masked(ip, length), length)))
    });
    for other in [String, IP] {
        functions.member("containsIP", &[CIDR, other], Bool, cost::block, |_, args| {
            let other = match args.get(1) {
                Some(Value::String(text)) => parse(text)?,
                _ => ip(args, 1)?,
            };
            Ok(Value::Bool(contains(block(args, 0)?, other)))
        });
    }
    for other in [String, CIDR] {
        functions.member("containsCIDR", &[CIDR, other], Bool, cost::blocks, |_, args| {
            let other = match args.get(1) {
                Some(Value::String(text)) => parse_block(text)?,
                _ => block(args, 1)?,
            };
            let own = block(args, 0)?;
            Ok(Value::Bool(own.1 <= other.1 && contains(own, other.0)))
        });
    }
}

/// An address without a zone, and no IPv4 address inside of an IPv6 one.
fn parse(text: &str) -> Result<IpAddr, EvalError> {
    if text.contains('%') {
        return Err(EvalError::new(format!(
            "IP address {text:?} with zone value is not allowed"
        )));
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => Err(EvalError::new(format!(
            "IPv4-mapped IPv6 address {text:?} is not allowed"
        ))),
        Ok(ip) => Ok(ip),
        Err(_) => Err(EvalError::new(format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        ))),
    }
}

fn parse_block(text: &str) -> Result<(IpAddr, u8), EvalError> {
    let wrong = |why: &str| {
        EvalError::new(format!(
            "network address parse error during conversion from string: network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}"
        ))
    };
    let (ip, length) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
    let ip = match ip.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            return Err(EvalError::new(format!(
                "network address parse error during conversion from string: IPv4-mapped IPv6 address {text:?} is not allowed"
            )));
        }
        Ok(ip) => ip,
        Err(_) => return Err(wrong(&format!("ParseAddr({ip:?}): unable to parse IP"))),
    };
    let plain = length == "0" || (!length.starts_with('0') && length.bytes().all(|b| b.is_ascii_digit()));
    let most = if ip.is_ipv4() { 32 } else { 128 };
    match length.parse::<u8>() {
        Ok(length) if plain && length <= most => Ok((ip, length)),
        Ok(_) if plain => Err(wrong("prefix length out of range")),
        _ => Err(wrong(&format!("bad bits after slash: {length:?}"))),
    }
}

fn ip(args: &[Value<'_>], index: usize) -> Result<IpAddr, EvalError> {
    match args.get(index) {
        Some(Value::Opaque(Opaque::Ip(ip))) => Ok(*ip),
        _ => Err(no_such_overload("ip", args)),
    }
}

fn block(args: &[Value<'_>], index: usize) -> Result<(IpAddr, u8), EvalError> {
    match args.get(index) {
        Some(Value::Opaque(Opaque::Cidr(ip, length))) => Ok((*ip, *length)),
        _ => Err(no_such_overload("cidr", args)),
    }
}

fn is_link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

/// As Go has it: private addresses are global, the broadcast address is not.
fn is_global_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !broadcast
        && !ip.is_unspecified()
        && !ip.is_loopback()
        && !ip.is_multicast()
        && !is_link_local_unicast(ip)
}

fn masked(ip: IpAddr, length: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

fn contains((block, length): (IpAddr, u8), ip: IpAddr) -> bool {
    block.is_ipv4() == ip.is_ipv4() && masked(block, length) == masked(ip, length)
}
