//! Where a Redis server or cluster is, as settings have it.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use serde_json::Value;
use triggerd_core::mistake::Mistake;

/// Where a Redis server or cluster is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// `redis://` or `rediss://`; of a cluster some of its nodes.
    pub urls: Vec<String>,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// Its certificate authority, as PEM.
    pub ca: Option<String>,
}

impl Server {
    /// Of the settings `url`, `urls`, `cluster` and `ca`; `None` where no URL is set. More than one URL is a cluster.
    #[must_use]
    pub fn of(url: Option<&str>, urls: &[String], cluster: bool, ca: Option<&str>) -> Option<Self> {
        let all: Vec<String> = url.map(str::to_owned).into_iter().chain(urls.iter().cloned()).collect();
        let cluster = cluster || !urls.is_empty();
        (!all.is_empty()).then(|| Self { urls: all, cluster, ca: ca.map(str::to_owned) })
    }
}

/// Mistakes in `url`, `urls` and `cluster` of settings.
#[must_use]
pub fn address_mistakes(settings: &Value) -> Vec<Mistake> {
    let url = settings.get("url").and_then(Value::as_str);
    let urls: Vec<&str> =
        settings.get("urls").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let is_cluster = settings.get("urls").is_some() || settings.get("cluster").and_then(Value::as_bool) == Some(true);
    let mut found = match (url, settings.get("urls")) {
        (Some(_), Some(_)) => vec![Mistake::new("/urls", "write `url` or `urls`, not both")],
        (None, Some(_)) if urls.is_empty() => vec![Mistake::new("/urls", "at least one node is needed")],
        (None, None) => vec![Mistake::new("/url", "`url` is required: `redis://host:6379`")],
        _ => Vec::new(),
    };
    found.extend(url.and_then(|url| url_mistake(url, is_cluster)).map(|detail| Mistake::new("/url", detail)));
    let listed = urls.iter().enumerate();
    found.extend(listed.filter_map(|(i, url)| Some(Mistake::new(format!("/urls/{i}"), url_mistake(url, true)?))));
    found
}

fn url_mistake(url: &str, is_cluster: bool) -> Option<String> {
    if url.contains("{{") {
        return None;
    }
    match info(url) {
        Ok(info) if is_cluster && info.redis_settings().db() != 0 => {
            Some("a cluster has the database 0 alone: leave the number out".to_owned())
        }
        Ok(_) => None,
        Err(detail) => Some(detail),
    }
}

/// What the client reads from a URL; only TCP, and with checked certificates.
pub(super) fn info(url: &str) -> Result<ConnectionInfo, String> {
    let wanted = "write it like `redis://host:6379` or, with TLS, `rediss://host:6379`";
    let info = url.into_connection_info().map_err(|_| format!("this is no Redis URL; {wanted}"))?;
    match info.addr() {
        ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { insecure: false, .. } => Ok(info),
        ConnectionAddr::TcpTls { .. } => Err("certificates are always checked; name the authority in `ca`".to_owned()),
        _ => Err(format!("only TCP servers can be reached; {wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_tcp_servers_with_checked_certificates_are_taken() {
        for good in ["redis://localhost", "redis://u:p@host:6380/2", "rediss://host", "{{secrets.URL}}"] {
            assert!(address_mistakes(&json!({ "url": good })).is_empty(), "{good}");
        }
        for bad in
            ["", "host:6379", "http://host", "unix:///run/redis.sock", "redis+unix:///run/x", "rediss://host/#insecure"]
        {
            assert_eq!(address_mistakes(&json!({ "url": bad })).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_cluster_is_some_of_its_nodes() {
        for good in [
            json!({"urls": ["redis://a:1", "redis://b:2"]}),
            json!({"url": "redis://a:1", "cluster": true}),
            json!({"urls": ["{{secrets.URL}}"]}),
        ] {
            assert!(address_mistakes(&good).is_empty(), "{good}");
        }
        for (bad, pointer) in [
            (json!({}), "/url"),
            (json!({"urls": []}), "/urls"),
            (json!({"url": "redis://a", "urls": ["redis://b"]}), "/urls"),
            (json!({"urls": ["redis://a", "redis://b/1"]}), "/urls/1"),
            (json!({"url": "redis://a/1", "cluster": true}), "/url"),
        ] {
            let found = address_mistakes(&bad);
            assert_eq!(found.iter().map(|m| m.pointer.as_str()).collect::<Vec<_>>(), [pointer], "{bad}");
        }
        let server = Server::of(None, &["redis://a".to_owned()], false, None);
        assert!(server.is_some_and(|server| server.cluster));
        assert_eq!(Server::of(None, &[], true, None), None);
    }
}
