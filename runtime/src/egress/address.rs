//! Which addresses are part of the public Internet, decided on numbers, never on spellings.
//!
//! Sources: the IANA special-purpose registries for IPv4 and IPv6, and the ranges that RFC 6052 (NAT64),
//! RFC 4380 (Teredo) and RFC 3056 (6to4) use to carry one kind of address inside the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 address that `ip` stands for: packets to it end up there. `None` where it carries none.
#[must_use]
pub fn carried(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = u128::from(ip);
    let s = ip.segments();
    let low = Ipv4Addr::from(bits as u32);
    match s {
        // IPv4-mapped, and SIIT's translated form.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(low),
        // IPv4-compatible, without `::` and `::1`.
        [0, 0, 0, 0, 0, 0, ..] if bits > 1 => Some(low),
        // NAT64, well-known prefix; and the /96 form of the local-use prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => Some(low),
        // 6to4: the 32 bits after the prefix.
        [0x2002, ..] => Some(Ipv4Addr::from((bits >> 80) as u32)),
        // Teredo: the client's address, with every bit inverted.
        [0x2001, 0, ..] => Some(Ipv4Addr::from(!(bits as u32))),
        _ => None,
    }
}

/// Whether `ip` is an address of the public Internet.
#[must_use]
pub fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => is_global_v6(ip),
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    !matches!(
        ip.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    )
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    // The kernel connects a mapped address over IPv4, and a NAT64 gateway is how hosts without IPv4 reach
    // it: both are judged by the address they carry. The other carriers are long out of use and refused.
    if matches!(s, [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..]) {
        return carried(ip).is_some_and(is_global_v4);
    }
    let unicast = s[0] & 0xe000 == 0x2000;
    let special = match s {
        // 2001::/23: Teredo, benchmarking, ORCHID and other protocol assignments.
        [0x2001, second, ..] if second < 0x200 => true,
        [0x2001, 0xdb8, ..] | [0x2002, ..] => true,
        // 3fff::/20: documentation.
        [0x3fff, second, ..] if second < 0x1000 => true,
        _ => false,
    };
    unicast && !special
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn special_ranges_are_not_global_at_both_of_their_ends() {
        let special = [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.170",
            "192.0.2.255",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ];
        for text in special {
            assert!(!is_global(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn neighbours_of_the_special_ranges_are_global() {
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
        ];
        for text in public {
            assert!(is_global(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn carried_addresses_are_unwrapped() {
        let cases = [
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("::10.0.0.1", Some("10.0.0.1")),
            ("64:ff9b::10.0.0.1", Some("10.0.0.1")),
            ("2002:a00:1::", Some("10.0.0.1")),
            ("2001:0:4136:e378:8000:63bf:f5ff:fffe", Some("10.0.0.1")),
            ("2606:4700::1", None),
            ("::1", None),
        ];
        for (from, to) in cases {
            assert_eq!(carried(from.parse().unwrap()), to.map(|t| t.parse().unwrap()), "{from}");
        }
    }
}
