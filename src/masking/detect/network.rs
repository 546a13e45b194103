//! Addresses of machines: they point at people often enough. IPv4, IPv6 (RFC 4291), MAC.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::domain::DataKind;
use crate::masking::shape::{Check, Edge, Shape};

const IP: &[&str] = &["ip", "address", "host", "server", "client", "from", "gateway", "dns", "subnet", "remote"];

pub const SHAPES: &[Shape] = &[
    Shape {
        words: IP,
        ..Shape::sure(DataKind::IP_ADDRESS, "[0-9]{1,3}(?:\\.[0-9]{1,3}){3}", Check::Valid(v4), 75, "IPv4 address")
    },
    // A port may follow, or a prefix length.
    Shape {
        edge: Edge::Word,
        words: IP,
        ..Shape::sure(
            DataKind::IP_ADDRESS,
            "[0-9]{1,3}(?:\\.[0-9]{1,3}){3}(?::[0-9]{1,5}|/[0-9]{1,2})",
            Check::Part(v4_with_port),
            80,
            "IPv4 address",
        )
    },
    Shape::sure(
        DataKind::IP_ADDRESS,
        "[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?:\\.[0-9]{1,3}){3})?",
        Check::Valid(v6),
        90,
        "IPv6 address",
    ),
    Shape::sure(DataKind::MAC_ADDRESS, "[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}", Check::None, 95, "MAC address"),
    Shape::sure(DataKind::MAC_ADDRESS, "[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}", Check::None, 85, "MAC address"),
    Shape::sure(
        DataKind::MAC_ADDRESS,
        "[0-9A-Fa-f]{4}(?:\\.[0-9A-Fa-f]{4}){2}",
        Check::None,
        70,
        "MAC address as routers write it",
    ),
];

fn v4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok_and(|address| !address.is_unspecified() && !address.is_broadcast())
}

fn v4_with_port(text: &str) -> Option<std::ops::Range<usize>> {
    let end = text.find([':', '/'])?;
    v4(text.get(..end)?).then_some(0..end)
}

/// More than a few colons: a time of day parses as none, and `::` alone is nobody's.
fn v6(text: &str) -> bool {
    let written = text.bytes().filter(u8::is_ascii_hexdigit).count();
    text.parse::<Ipv6Addr>().is_ok() && (written >= 4 || text == "::1")
}
