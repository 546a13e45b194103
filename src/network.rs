//! Whose an address is, where limits are for each peer.

use std::net::{IpAddr, Ipv6Addr};

/// What counts as one peer: an IPv4 address, or the /64 of an IPv6 one, which is what one customer gets. IPv4 within IPv6 is IPv4.
#[must_use]
pub fn of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}
