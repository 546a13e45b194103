//! Which addresses an outbound request may connect to. What is not plainly a machine of the public internet is refused
//! unless the operator allowed its network: whoever may set a name's address must not reach what only this host can.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Networks that are not the public internet. Source: the IANA special-purpose registries (RFC 6890 and its updates).
const CLOSED_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, the metadata services of clouds among them.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Within 2000::/3, the only part of IPv6 that is the public internet.
const CLOSED_V6: [(Ipv6Addr, u8); 4] = [
    // Teredo, ORCHID, benchmarks and the like.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4 carries any IPv4 address in it.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const V4_BITS: u8 = 32;
const V6_BITS: u8 = 128;

/// A network, such as `10.1.0.0/16` or `::1/128`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a network such as `10.1.0.0/16`, with nothing set beyond its bits")]
pub struct NotANetwork;

impl Network {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => in_v4(address, (base, self.bits)),
            (IpAddr::V6(base), IpAddr::V6(address)) => in_v6(address, (base, self.bits)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (base, bits) = text.split_once('/').ok_or(NotANetwork)?;
        let base: IpAddr = base.parse().map_err(|_| NotANetwork)?;
        let is_number = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits: u8 = is_number.then(|| bits.parse().ok()).flatten().ok_or(NotANetwork)?;
        let most = if base.is_ipv4() { V4_BITS } else { V6_BITS };
        let is_base = match base {
            IpAddr::V4(base) => bits <= most && u32::from(base) & !mask_v4(bits) == 0,
            IpAddr::V6(base) => bits <= most && u128::from(base) & !mask_v6(bits) == 0,
        };
        if is_base { Ok(Self { base, bits }) } else { Err(NotANetwork) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// Whether a request may connect there. An IPv6 address that only wraps an IPv4 one is judged as that one.
#[must_use]
pub fn may_reach(address: IpAddr, allowed: &[Network]) -> bool {
    let address = address.to_canonical();
    allowed.iter().any(|network| network.contains(address)) || is_public(address)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !CLOSED_V4.into_iter().any(|network| in_v4(address, network)),
        IpAddr::V6(address) => {
            in_v6(address, GLOBAL_V6) && !CLOSED_V6.into_iter().any(|network| in_v6(address, network))
        }
    }
}

fn in_v4(address: Ipv4Addr, (base, bits): (Ipv4Addr, u8)) -> bool {
    (u32::from(address) ^ u32::from(base)) & mask_v4(bits) == 0
}

fn in_v6(address: Ipv6Addr, (base, bits): (Ipv6Addr, u8)) -> bool {
    (u128::from(address) ^ u128::from(base)) & mask_v6(bits) == 0
}

fn mask_v4(bits: u8) -> u32 {
    u32::MAX.checked_shl(u32::from(32_u8.saturating_sub(bits))).unwrap_or(0)
}

fn mask_v6(bits: u8) -> u128 {
    u128::MAX.checked_shl(u32::from(128_u8.saturating_sub(bits))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_reached_unless_the_operator_allowed_more() {
        for closed in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "203.0.113.9",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fec0::1",
            "100::1",
            "3fff::1",
        ] {
            assert!(!may_reach(closed.parse().unwrap(), &[]), "{closed}");
        }
        for open in
            ["1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"]
        {
            assert!(may_reach(open.parse().unwrap(), &[]), "{open}");
        }
    }

    #[test]
    fn what_is_allowed_is_that_network_and_no_other() {
        let allowed: Vec<Network> = ["10.1.0.0/16", "::1/128"].iter().map(|text| text.parse().unwrap()).collect();
        let may = |address: &str| may_reach(address.parse().unwrap(), &allowed);
        assert!(may("10.1.255.255") && may("::1") && may("::ffff:10.1.2.3"));
        assert!(!may("10.2.0.0") && !may("127.0.0.1") && !may("::2"));
    }

    #[test]
    fn a_network_is_written_in_one_way() {
        for wrong in
            ["10.0.0.1/8", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "::1/129", "::1/64", "localhost/8", "/8", ""]
        {
            assert_eq!(wrong.parse::<Network>(), Err(NotANetwork), "{wrong}");
        }
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("9.9.9.9".parse().unwrap()));
        assert_eq!("::1/128".parse::<Network>().unwrap().to_string(), "::1/128");
    }
}
