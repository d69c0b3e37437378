//! Counts keys that opened nothing, by address: past a handful a minute the address is told to slow down.
//!
//! Only bad keys are ever refused by it: a good key from the same address still works. Loopback is not counted: behind
//! a proxy on the same machine that is not trusted to name its callers it is everybody's address. Of IPv6 the network counts, since
//! whoever has one address has all of its 2^64.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

/// Bad keys of one address within a [`WINDOW`].
const ALLOWED: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered. With more of them at once the count begins anew: memory is bounded, whatever is sent.
const ADDRESSES: usize = 64 * 1024;

/// What of an IPv6 address is its network.
const NETWORK: u128 = !0 << 64;

/// The addresses that sent bad keys lately.
#[derive(Default)]
pub struct BadKeys(Mutex<HashMap<IpAddr, Count>>);

struct Count {
    since: Duration,
    bad: u32,
}

impl BadKeys {
    /// Counts one; how long the address is to wait, where it has sent too many. `now` never goes back.
    pub fn note(&self, address: IpAddr, now: Duration) -> Option<Duration> {
        let address = match address.to_canonical() {
            address if address.is_loopback() => return None,
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & NETWORK)),
            v4 => v4,
        };
        let mut counts = self.0.lock();
        if counts.len() >= ADDRESSES && !counts.contains_key(&address) {
            counts.retain(|_, count| now.saturating_sub(count.since) < WINDOW);
            if counts.len() >= ADDRESSES {
                counts.clear();
            }
        }
        let count = counts.entry(address).or_insert(Count { since: now, bad: 0 });
        if now.saturating_sub(count.since) >= WINDOW {
            *count = Count { since: now, bad: 0 };
        }
        count.bad = count.bad.saturating_add(1);
        (count.bad > ALLOWED).then(|| (count.since + WINDOW).saturating_sub(now))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_bad_key_of_a_minute_is_told_to_wait() {
        let bad_keys = BadKeys::default();
        let (one, other): (IpAddr, IpAddr) = ("203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap());
        let at = Duration::from_secs;
        assert!((0..10).all(|_| bad_keys.note(one, at(5)).is_none()));
        assert_eq!(bad_keys.note(one, at(15)), Some(at(50)));
        assert_eq!(bad_keys.note(other, at(15)), None);
        assert_eq!(bad_keys.note(one, at(65)), None, "a new minute begins anew");
        assert!((0..99).all(|_| bad_keys.note("::ffff:127.0.0.1".parse().unwrap(), at(5)).is_none()));
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_are_one_caller() {
        let bad_keys = BadKeys::default();
        let at = |text: &str| bad_keys.note(text.parse().unwrap(), Duration::ZERO);
        assert!((0..10).all(|n| at(&format!("2001:db8::{n}:1")).is_none()));
        assert!(at("2001:db8::ffff").is_some());
        assert!(at("2001:db8:0:1::1").is_none());
    }

    #[test]
    fn the_table_is_bounded() {
        let bad_keys = BadKeys::default();
        for n in 0..=u32::try_from(ADDRESSES).unwrap() {
            bad_keys.note(IpAddr::V4(std::net::Ipv4Addr::from_bits(n)), Duration::ZERO);
        }
        assert!(bad_keys.0.lock().len() <= ADDRESSES);
    }
}
