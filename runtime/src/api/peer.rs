//! Where a request comes from: the other end of its connection, or whom a trusted proxy names.
//!
//! What a header says is believed from a trusted proxy alone, and one hop at a time from the last on: each proxy adds the address that
//! it was called from, so that the first address which is no trusted proxy is the caller, and what stands before it anybody may have
//! written.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::config::{Forwarded, Server};

/// Where a request came from; the server's loop puts it on every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// The caller's address.
    #[must_use]
    pub fn caller(self, headers: &HeaderMap, config: &Server) -> IpAddr {
        let is_trusted = |address: IpAddr| config.trusted_proxies.iter().any(|net| net.contains(address));
        let mut caller = self.0.to_canonical();
        if !is_trusted(caller) {
            return caller;
        }
        let hops = match config.forwarded_header {
            Forwarded::XForwardedFor => x_forwarded_for(headers),
            Forwarded::Forwarded => forwarded(headers),
        };
        for hop in hops.into_iter().rev() {
            // A proxy that hides or does not know whom it was called by is the last that is known.
            let Some(address) = hop else { break };
            caller = address.to_canonical();
            if !is_trusted(caller) {
                break;
            }
        }
        caller
    }
}

/// The hops of `X-Forwarded-For`, the one that is farthest away first; `None` for one that is no address.
fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all("x-forwarded-for").iter();
    lines.flat_map(|line| line.to_str().unwrap_or_default().split(',').map(address).collect::<Vec<_>>()).collect()
}

/// The hops of `Forwarded` (RFC 7239), the one that is farthest away first.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all("forwarded").iter();
    let hop = |element: String| {
        let mut pairs = split(&element, ';').into_iter();
        pairs.find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| address(value.trim().trim_matches('"')))?
        })
    };
    lines.flat_map(|line| split(line.to_str().unwrap_or_default(), ',').into_iter().map(hop)).collect()
}

/// The parts of a text between separators that stand in no quotes.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is one from the start").push(c);
    }
    parts
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Config, Net};
    use http::HeaderName;

    fn caller(trusted: &[&str], header: Forwarded, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut config = Config::default().server;
        config.trusted_proxies = trusted.iter().map(|net| Net::parse(net).unwrap()).collect();
        config.forwarded_header = header;
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(HeaderName::from_static(name), line.parse().unwrap());
        }
        Peer(peer.parse().unwrap()).caller(&headers, &config).to_string()
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        let lines = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")];
        for header in [Forwarded::XForwardedFor, Forwarded::Forwarded] {
            assert_eq!(caller(&[], header, "203.0.113.9", &lines), "203.0.113.9");
            assert_eq!(caller(&["10.0.0.0/8"], header, "203.0.113.9", &lines), "203.0.113.9");
            assert_eq!(caller(&["10.0.0.0/8"], header, "::ffff:10.1.1.1", &lines), "192.0.2.1");
            assert_eq!(caller(&["10.0.0.0/8"], header, "10.1.1.1", &[]), "10.1.1.1");
        }
    }

    #[test]
    fn what_stands_before_the_first_that_is_not_trusted_anybody_may_have_written() {
        let lines = [("x-forwarded-for", "198.51.100.7, 192.0.2.1"), ("x-forwarded-for", "10.0.0.2")];
        assert_eq!(caller(&["10.0.0.0/8"], Forwarded::XForwardedFor, "10.0.0.1", &lines), "192.0.2.1");
        let lines = [("x-forwarded-for", "192.0.2.1, unknown, 10.0.0.2")];
        assert_eq!(caller(&["10.0.0.0/8"], Forwarded::XForwardedFor, "10.0.0.1", &lines), "10.0.0.2");
    }

    #[test]
    fn the_other_header_is_not_looked_at() {
        let lines = [("forwarded", "for=198.51.100.7"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(caller(&["10.0.0.1"], Forwarded::XForwardedFor, "10.0.0.1", &lines), "192.0.2.1");
        assert_eq!(caller(&["10.0.0.1"], Forwarded::Forwarded, "10.0.0.1", &lines), "198.51.100.7");
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        let forwarded =
            |text: &str| caller(&["127.0.0.0/8"], Forwarded::Forwarded, "127.0.0.1", &[("forwarded", text)]);
        assert_eq!(forwarded("For=\"[2001:db8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(forwarded("proto=http;by=203.0.113.43;for=192.0.2.60"), "192.0.2.60");
        assert_eq!(forwarded("for=\"a,b\";secret=\"x;for=1.1.1.1\", for=192.0.2.43"), "192.0.2.43");
        assert_eq!(forwarded("for=_hidden"), "127.0.0.1");
        assert_eq!(forwarded("for"), "127.0.0.1");
        for (text, wanted) in [("192.0.2.1:8080", "192.0.2.1"), ("[2001:db8::1]:80", "2001:db8::1"), ("::1", "::1")] {
            assert_eq!(address(text).unwrap().to_string(), wanted);
        }
        assert_eq!(address("1.2.3"), None);
    }
}
