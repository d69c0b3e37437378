//! A redis-server of its own, on a free port, in a directory that goes with it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::free_port;

pub struct RedisServer {
    pub host: &'static str,
    pub port: u16,
    child: Child,
    _dir: TempDir,
}

/// A server that speaks TLS alone, with a certificate for `localhost`.
pub struct TlsRedis {
    pub server: RedisServer,
    /// The authority that it is to be trusted by, as PEM.
    pub ca: String,
}

/// Three masters that share the slots.
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisServer {
    pub async fn start() -> Self {
        Self::start_at(free_port()).await
    }

    pub async fn start_at(port: u16) -> Self {
        let server = Self::spawn("127.0.0.1", port, &["--port", &port.to_string()], tempfile::tempdir().unwrap());
        server.ready().await;
        server
    }

    fn spawn(host: &'static str, port: u16, arguments: &[&str], dir: TempDir) -> Self {
        let child = Command::new("redis-server")
            .args(["--bind", host, "--save", "", "--appendonly", "no", "--dir"])
            .arg(dir.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server cannot be started ({error}); `cargo xtask test` installs it"));
        Self { host, port, child, _dir: dir }
    }

    async fn ready(&self) {
        until("redis-server takes connections", async || {
            tokio::net::TcpStream::connect((self.host, self.port)).await.is_ok()
        })
        .await;
    }

    pub fn url(&self) -> String {
        format!("redis://{}:{}", self.host, self.port)
    }

    pub async fn client(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl TlsRedis {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let ca = made.cert.pem();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        std::fs::write(&cert, &ca).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let port = free_port();
        let written = port.to_string();
        let tls = ["--port", "0", "--tls-port", &written, "--tls-cert-file", &cert, "--tls-key-file", &key];
        let all = [&tls[..], &["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no"]].concat();
        let server = RedisServer::spawn("127.0.0.1", port, &all, dir);
        server.ready().await;
        Self { server, ca }
    }
}

impl RedisCluster {
    /// A node on each of the addresses.
    pub async fn start(hosts: [&'static str; 3]) -> Self {
        let nodes = hosts.map(|host| {
            let (port, bus) = (free_port(), free_port().to_string());
            let written = port.to_string();
            // Which of this machine's addresses a node has, the others cannot find out by themselves.
            let announce = ["--cluster-announce-ip", host];
            let arguments = ["--port", &written, "--cluster-enabled", "yes", "--cluster-port", &bus];
            let arguments = [&arguments[..], &announce].concat();
            RedisServer::spawn(host, port, &arguments, tempfile::tempdir().unwrap())
        });
        let cluster = Self { nodes: nodes.into() };
        for node in &cluster.nodes {
            node.ready().await;
        }
        let addresses = cluster.nodes.iter().map(|node| format!("{}:{}", node.host, node.port));
        // It waits without end for nodes that do not find each other.
        let made = Command::new("timeout")
            .args(["60", "redis-cli", "--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        for node in &cluster.nodes {
            let mut client = node.client().await;
            until("every node knows all slots", async || {
                let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut client).await.unwrap();
                info.contains("cluster_state:ok") && info.contains("cluster_size:3")
            })
            .await;
        }
        cluster
    }

    /// The number that `INFO` has under `name`, of each node.
    pub async fn info(&self, section: &str, name: &str) -> Vec<Option<u64>> {
        let mut found = Vec::new();
        for node in &self.nodes {
            let mut client = node.client().await;
            let info: String = redis::cmd("INFO").arg(section).query_async(&mut client).await.unwrap();
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
            let digits =
                line.map(|line| line.trim_start_matches("calls=").split(',').next().unwrap().trim().to_owned());
            found.push(digits.map(|digits| digits.parse().unwrap()));
        }
        found
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in 30 s: {what}");
}
