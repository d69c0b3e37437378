//! How settings are written: one text form for the file, the environment and flags.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A value that a setting can have.
pub(super) trait Setting: Sized {
    /// How "not set" is written where the setting may be left out.
    const ABSENT: &'static str = "";
    /// Reads it; the error says what would be right.
    fn read(text: &str) -> Result<Self, String>;
    /// Writes it so that [`Setting::read`] reads the same; secrets come out as `***`.
    fn show(&self) -> String;
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What the process is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Environment {
    /// A developer's machine: test routes exist, loopback may be called.
    Development,
    /// Anything that others rely on.
    Production,
}

impl Environment {
    /// `development` or `production`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Production => "production",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Which requests the access log has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those that were refused or failed: answered with 400 or above.
    Errors,
    /// Every one.
    All,
}

impl AccessLog {
    /// Whether a request that was answered so is logged.
    #[must_use]
    pub fn wants(self, status: http::StatusCode) -> bool {
        match self {
            Self::Off => false,
            Self::Errors => status.is_client_error() || status.is_server_error(),
            Self::All => true,
        }
    }
}

/// The address of an HTTP service, without a path of its own kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint(String);

impl Endpoint {
    /// Without a slash at the end.
    #[must_use]
    pub fn base(&self) -> &str {
        self.0.trim_end_matches('/')
    }
}

/// A part of all, from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share(pub f64);

/// A duration that may be none at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pause(pub Duration);

/// The header in which a proxy tells whom it was called by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forwarded {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` of RFC 7239.
    Forwarded,
}

/// A range of addresses (`10.0.0.0/8`, `::1/128`); a bare address is a range of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net {
    address: IpAddr,
    prefix: u8,
}

impl Net {
    /// Reads `ADDRESS` or `ADDRESS/PREFIX`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a range of addresses such as `10.0.0.0/8` or `::1`");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), str::parse).map_err(|_| wrong())?;
        if prefix > longest { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }

    /// The loopback ranges.
    #[must_use]
    pub fn loopback() -> Vec<Self> {
        vec![
            Self { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 },
            Self { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
        ]
    }

    /// Whether `address` lies in it; an IPv4 address mapped into IPv6 counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                shift == 32 || net.to_bits() >> shift == address.to_bits() >> shift
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                shift == 128 || net.to_bits() >> shift == address.to_bits() >> shift
            }
            _ => false,
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Setting for SocketAddr {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is not an address with a port such as `127.0.0.1:8080`"))
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a path is needed".to_owned()) } else { Ok(Self::from(text)) }
    }
    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" | "on" | "yes" => Ok(true),
            "false" | "0" | "off" | "no" => Ok(false),
            _ => Err(format!("`{text}` is neither `true` nor `false`")),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for u32 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is not a whole number from 0 to {}", Self::MAX))
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// Counts and sizes: `4096`, `512KiB`, `1MiB`, `2GiB`.
impl Setting for usize {
    fn read(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let factor: Option<usize> = match unit {
            "" | "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        let value = number.parse::<Self>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        value.ok_or_else(|| format!("`{text}` is not a whole number, nor a size such as `512KiB` or `1MiB`"))
    }
    fn show(&self) -> String {
        match self {
            0 => "0".to_owned(),
            n if n % (1 << 20) == 0 => format!("{}MiB", n >> 20),
            n if n % (1 << 10) == 0 && *n >= 1 << 14 => format!("{}KiB", n >> 10),
            n => n.to_string(),
        }
    }
}

/// Reads a duration as settings write it: `30s`, `24h`, `90d`.
///
/// # Errors
/// What would be right.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    Setting::read(text)
}

/// A duration as [`read_duration`] reads it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    Setting::show(&duration)
}

/// Durations: `500ms`, `30s`, `5m`, `24h`, `90d`; where there need not be one, `never`.
impl Setting for Duration {
    const ABSENT: &'static str = "never";
    fn read(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let factor: Option<u64> = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        let millis = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        let millis = millis.filter(|ms| *ms > 0 && *ms <= 100 * 366 * 86_400_000);
        millis
            .map(Self::from_millis)
            .ok_or_else(|| format!("`{text}` is not a duration such as `500ms`, `30s`, `5m`, `24h` or `90d`"))
    }
    fn show(&self) -> String {
        let millis = self.as_millis();
        for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis.is_multiple_of(factor) {
                return format!("{}{unit}", millis / factor);
            }
        }
        format!("{millis}ms")
    }
}

impl Setting for Endpoint {
    fn read(text: &str) -> Result<Self, String> {
        let uri: Option<http::Uri> = text.parse().ok();
        let is_http = |uri: &http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
        match uri.filter(is_http) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(format!("`{text}` is no address such as `http://127.0.0.1:4318`")),
        }
    }
    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Setting for Share {
    fn read(text: &str) -> Result<Self, String> {
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| format!("`{text}` is no number from 0 to 1 such as `0.1`"))
    }
    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// As durations, and `0s`.
impl Setting for Pause {
    fn read(text: &str) -> Result<Self, String> {
        if text == "0s" { Ok(Self(Duration::ZERO)) } else { Duration::read(text).map(Self) }
    }
    fn show(&self) -> String {
        if self.0.is_zero() { "0s".to_owned() } else { self.0.show() }
    }
}

impl Setting for Environment {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "development" => Ok(Self::Development),
            "production" => Ok(Self::Production),
            _ => Err(format!("`{text}` is neither `development` nor `production`")),
        }
    }
    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Setting for LogFormat {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is neither `text` nor `json`")),
        }
    }
    fn show(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

impl Setting for AccessLog {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "errors" => Ok(Self::Errors),
            "all" => Ok(Self::All),
            _ => Err(format!("`{text}` is none of `off`, `errors` and `all`")),
        }
    }
    fn show(&self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::Errors => "errors".to_owned(),
            Self::All => "all".to_owned(),
        }
    }
}

impl Setting for Forwarded {
    fn read(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err(format!("`{text}` is neither `x-forwarded-for` nor `forwarded`")),
        }
    }
    fn show(&self) -> String {
        match self {
            Self::XForwardedFor => "x-forwarded-for".to_owned(),
            Self::Forwarded => "forwarded".to_owned(),
        }
    }
}

impl Setting for Secret {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Self::new(text)) }
    }
    fn show(&self) -> String {
        "***".to_owned()
    }
}

/// `10.0.0.0/8,192.168.0.0/16`, or `none`.
impl Setting for Vec<Net> {
    fn read(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::new());
        }
        text.split(',').map(|part| Net::parse(part.trim())).collect()
    }
    fn show(&self) -> String {
        if self.is_empty() {
            return "none".to_owned();
        }
        self.iter().map(Net::to_string).collect::<Vec<_>>().join(",")
    }
}

/// `/srv/a,/srv/b`, or `none`.
impl Setting for Vec<PathBuf> {
    fn read(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::new());
        }
        let dir = |part: &str| match PathBuf::from(part.trim()) {
            path if path.is_absolute() => Ok(path),
            _ => Err(format!("`{part}` is no absolute path")),
        };
        text.split(',').map(dir).collect()
    }
    fn show(&self) -> String {
        if self.is_empty() {
            return "none".to_owned();
        }
        self.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(",")
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(text: &str) -> Result<Self, String> {
        if text == T::ABSENT { Ok(None) } else { T::read(text).map(Some) }
    }
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| T::ABSENT.to_owned(), Setting::show)
    }
}

/// A number and the letters after it.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_back_as_they_are_shown() {
        for text in ["500ms", "30s", "5m", "36h", "90d"] {
            assert_eq!(Duration::read(text).unwrap().show(), text);
        }
        for text in ["0", "1", "0.25"] {
            assert_eq!(Share::read(text).unwrap().show(), text);
        }
        for bad in ["-1", "1.5", "NaN", "half"] {
            assert!(Share::read(bad).is_err(), "{bad}");
        }
        assert_eq!(Endpoint::read("http://collector:4318/").unwrap().base(), "http://collector:4318");
        assert!(Endpoint::read("collector:4318").is_err() && Endpoint::read("http://c/?x=1").is_err());
        for text in ["0s", "5s"] {
            assert_eq!(Pause::read(text).unwrap().show(), text);
        }
        for text in ["4096", "512KiB", "1MiB", "0"] {
            assert_eq!(usize::read(text).unwrap().show(), text);
        }
        for bad in ["", "5", "s", "1.5s", "-1s", "0s", "99999999999999999999d", "5 fortnights"] {
            assert!(Duration::read(bad).is_err(), "{bad}");
        }
        assert!(usize::read("18446744073709551615MiB").is_err());
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        let private = Net::parse("10.1.0.0/16").unwrap();
        assert!(private.contains("10.1.255.1".parse().unwrap()));
        assert!(private.contains("::ffff:10.1.2.3".parse().unwrap()), "mapped addresses are no way around");
        assert!(!private.contains("10.2.0.1".parse().unwrap()));
        assert!(!private.contains("::1".parse().unwrap()));
        assert!(Net::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(Net::parse("::/0").unwrap().contains("fd00::1".parse().unwrap()));
        assert!(Net::parse("127.0.0.1").unwrap().contains("127.0.0.1".parse().unwrap()));
        for bad in ["10.0.0.0/33", "::/129", "localhost", "10.0.0.0/", "10.0.0/8", "/8"] {
            assert!(Net::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
