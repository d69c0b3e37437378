//! Single grants: how each is written, and what fits it.

use reqwest::Url;

/// `TAG:TOPIC`, where `*` in the topic is any text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BrokerGrant {
    tag: String,
    topic: String,
}

/// `HOST`, `*.DOMAIN` or `*`, with a port or the scheme's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct HostGrant {
    /// Without the leading `*.`; empty for any host.
    host: String,
    /// The grant began with `*`.
    wildcard: bool,
    /// `None` is 443 for https and 80 for http.
    port: Option<u16>,
}

impl BrokerGrant {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((tag, topic)) if !tag.is_empty() && !topic.is_empty() => {
                Ok(Self { tag: tag.to_owned(), topic: topic.to_owned() })
            }
            _ => Err(format!("`{text}` is not TAG:TOPIC, such as `kafka:user-events` or `kafka:*`")),
        }
    }

    pub(super) fn fits(&self, tag: &str, topic: &str) -> bool {
        self.tag == tag && glob(self.topic.as_bytes(), topic.as_bytes())
    }
}

impl HostGrant {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not HOST or HOST:PORT, such as `api.stripe.com` or `*.example.com:8443`");
        let (wildcard, rest) = match text.strip_prefix('*') {
            Some("") => {
                return Ok(Self { host: String::new(), wildcard: true, port: None });
            }
            Some(rest) => (true, rest.strip_prefix('.').or(rest.starts_with(':').then_some(rest)).ok_or_else(wrong)?),
            None => (false, text),
        };
        if wildcard && let Some(port) = rest.strip_prefix(':') {
            let port = port.parse().map_err(|_| wrong())?;
            return Ok(Self { host: String::new(), wildcard, port: Some(port) });
        }
        if rest.contains(['*', '/', '@', '?', '#', '\\']) || rest.contains(char::is_whitespace) {
            return Err(wrong());
        }
        // The URL parser gives host names the form they will be compared in: lower case, punycode, canonical addresses.
        // It drops a written default port, so the port is read from the text.
        let url = Url::parse(&format!("http://{rest}")).map_err(|_| wrong())?;
        let host = url.host_str().ok_or_else(wrong)?.trim_end_matches('.').to_owned();
        let port = match rest.rsplit_once(':') {
            Some((_, digits)) if !digits.contains(']') => Some(digits.parse().map_err(|_| wrong())?),
            _ => None,
        };
        Ok(Self { host, wildcard, port })
    }

    pub(super) fn fits(&self, url: &Url) -> bool {
        let usual = match url.scheme() {
            "https" => 443,
            "http" => 80,
            _ => return false,
        };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return false;
        };
        self.port.unwrap_or(usual) == port && self.fits_host(host.trim_end_matches('.'))
    }

    fn fits_host(&self, host: &str) -> bool {
        if !self.wildcard {
            return self.host == host;
        }
        self.host.is_empty() || host.strip_suffix(&self.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

/// An entry of `events`, if it is a pattern at all.
pub(super) fn event_pattern(text: &str) -> Result<String, String> {
    let fits = |part: &str| !part.is_empty() && (!part.contains('*') || part == "*" || part == "**");
    if text.split('.').all(fits) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not an event type; `*` stands for one dotted part and `**` for any number: `order.*`"))
    }
}

/// Whether an event type fits a granted pattern.
pub(super) fn event_fits(granted: &str, event_type: &str) -> bool {
    let (pattern, parts): (Vec<&str>, Vec<&str>) = (granted.split('.').collect(), event_type.split('.').collect());
    dotted(&pattern, &parts)
}

/// `*` is one part, `**` any number of parts.
fn dotted(pattern: &[&str], parts: &[&str]) -> bool {
    match (pattern.split_first(), parts.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => {
            dotted(rest, parts) || parts.split_first().is_some_and(|(_, others)| dotted(pattern, others))
        }
        (Some((want, rest)), Some((part, others))) => (*want == "*" || want == part) && dotted(rest, others),
        _ => false,
    }
}

/// `*` is any text. Linear in pattern times text, whatever they hold.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after_star, began)) = retry {
            retry = Some((after_star, began + 1));
            (p, t) = (after_star, began + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
