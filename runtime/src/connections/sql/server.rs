//! Where a database is, read from its URL.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;
use triggerd_core::mistake::Mistake;

/// What a URL should look like.
const WANTED: &str = "write it like `postgres://user:password@host:5432/database`, `mysql://user:password@host:3306/database` or `sqlite:file.db`";

/// The system that keeps the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// A file.
    Sqlite,
}

/// How the connection is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Not at all.
    Disable,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, and the certificate is checked for the host's name.
    VerifyFull,
}

/// A database as its resource describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// `postgres://`, `mysql://`, `mariadb://` or `sqlite:`.
    pub url: String,
    /// The authority of its certificate, as PEM.
    pub ca: Option<String>,
    /// As set; else what the URL says, else what the host calls for.
    pub tls: Option<TlsMode>,
    /// The longest statement, and the longest wait for a lock.
    pub statement_timeout: Duration,
    /// Connections at once.
    pub max_connections: usize,
}

/// What a URL names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A server.
    Network(Network),
    /// A file, as written.
    File(String),
}

/// A server on the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    /// PostgreSQL, or MySQL and its kin.
    pub engine: Engine,
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The role.
    pub user: String,
    /// Its password.
    pub password: Option<String>,
    /// The database.
    pub database: String,
    /// As the URL's `sslmode` says.
    pub tls: Option<TlsMode>,
}

impl Target {
    /// Reads a URL; says what is wrong with it, never what stands in it.
    pub fn of(url: &str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" | ":memory:" => Err("a database in memory is gone with its connection; name a file".to_owned()),
                _ if path.contains(['?', '#', '\0']) => Err("a file's name holds no `?`, `#` or NUL".to_owned()),
                _ => Ok(Self::File(path.to_owned())),
            };
        }
        let url = Url::parse(url).map_err(|_| format!("this is no database URL; {WANTED}"))?;
        let (engine, port) = match url.scheme() {
            "postgres" | "postgresql" => (Engine::Postgres, 5432),
            "mysql" | "mariadb" => (Engine::Mysql, 3306),
            other => return Err(format!("`{other}` is no database; {WANTED}")),
        };
        let text = |part: &str| {
            let decoded = percent_decode_str(part).decode_utf8().map_err(|_| "the URL is not UTF-8".to_owned())?;
            if decoded.contains('\0') { Err("the URL holds a NUL".to_owned()) } else { Ok(decoded.into_owned()) }
        };
        let host = text(url.host_str().unwrap_or_default())?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let database = text(url.path().trim_start_matches('/'))?;
        let user = text(url.username())?;
        for (part, found) in [("host", &host), ("user", &user), ("database", &database)] {
            if found.is_empty() {
                return Err(format!("the URL names no {part}; {WANTED}"));
            }
        }
        Ok(Self::Network(Network {
            engine,
            host,
            port: url.port().unwrap_or(port),
            user,
            password: url.password().map(text).transpose()?,
            database,
            tls: tls_of(&url)?,
        }))
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            Self::Network(network) => network.engine,
            Self::File(_) => Engine::Sqlite,
        }
    }
}

impl Network {
    /// The mode that holds: set, written in the URL, or else full verification, and none on this machine.
    #[must_use]
    pub fn tls(&self, set: Option<TlsMode>) -> TlsMode {
        let here = self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        set.or(self.tls).unwrap_or(if here { TlsMode::Disable } else { TlsMode::VerifyFull })
    }
}

/// Providers hand out URLs with `sslmode` (PostgreSQL) or `ssl-mode` (MySQL): read, never weaker than it says.
fn tls_of(url: &Url) -> Result<Option<TlsMode>, String> {
    let mut found = None;
    for (name, value) in url.query_pairs() {
        match (name.as_ref(), value.to_ascii_lowercase().replace('_', "-").as_str()) {
            ("sslmode" | "ssl-mode", "disable" | "disabled") => found = Some(TlsMode::Disable),
            ("sslmode" | "ssl-mode", "allow" | "prefer" | "preferred" | "require" | "required") => {
                found = Some(TlsMode::Require);
            }
            ("sslmode" | "ssl-mode", "verify-ca" | "verify-full" | "verify-identity") => {
                found = Some(TlsMode::VerifyFull);
            }
            ("sslmode" | "ssl-mode", _) => return Err(format!("`{name}` has no such mode; set `tls` beside `url`")),
            _ => return Err(format!("the URL's parameter `{name}` is not taken; settings stand beside `url`")),
        }
    }
    Ok(found)
}

/// Mistakes in a database's URL.
#[must_use]
pub fn url_mistakes(url: &str) -> Vec<Mistake> {
    if url.contains("{{") {
        return Vec::new();
    }
    Target::of(url).err().map(|detail| Mistake::new("/url", detail)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn network(url: &str) -> Network {
        match Target::of(url).unwrap() {
            Target::Network(network) => network,
            Target::File(file) => panic!("{file}"),
        }
    }

    #[test]
    fn urls_are_read_and_bad_ones_are_refused() {
        let read = network("postgresql://us%40er:p%2Fw@[::1]/my%20db?sslmode=require");
        assert_eq!((read.user.as_str(), read.password.as_deref()), ("us@er", Some("p/w")));
        assert_eq!((read.host.as_str(), read.port, read.database.as_str()), ("::1", 5432, "my db"));
        assert_eq!(read.tls, Some(TlsMode::Require));
        assert_eq!(network("mariadb://u@h/d").port, 3306);
        assert_eq!(Target::of("sqlite://a/b.db").unwrap(), Target::File("a/b.db".into()));
        let bad = [
            "",
            "host:5432",
            "http://u@h/d",
            "postgres://h/d",
            "postgres://u@h",
            "sqlite:",
            "sqlite::memory:",
            "postgres://u@h/d?options=-csearch_path%3Dx",
            "postgres://u@h/d?sslmode=maybe",
            "sqlite:a.db?mode=ro",
        ];
        for url in bad {
            assert_eq!(url_mistakes(url).len(), 1, "{url}");
        }
        assert!(url_mistakes("{{secrets.URL}}").is_empty());
    }

    #[test]
    fn certificates_are_checked_except_on_this_machine() {
        assert_eq!(network("postgres://u@db.example/d").tls(None), TlsMode::VerifyFull);
        assert_eq!(network("postgres://u@127.0.0.1/d").tls(None), TlsMode::Disable);
        assert_eq!(network("postgres://u@localhost/d").tls(Some(TlsMode::VerifyFull)), TlsMode::VerifyFull);
        assert_eq!(network("mysql://u@db.example/d?ssl-mode=REQUIRED").tls(None), TlsMode::Require);
    }
}
