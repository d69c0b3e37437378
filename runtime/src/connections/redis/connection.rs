//! A connection to one server, or to all nodes of a cluster.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, RedisFuture, RedisResult, TlsCertificates,
    Value,
};

use super::error::{Error, classify};
use super::server::{Server, info};
use crate::egress::{self, Egress};

/// The longest that one command may take; the action's own timeout is usually shorter or ends it anyway.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the client itself sends a command again that met a moved slot or a lost node; then the action's retry does.
const CLUSTER_RETRIES: u32 = 3;
/// How often the client tries to connect to a node before its commands fail.
const CLUSTER_CONNECTS: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");

/// An open connection. Cheap to clone: the clones share it.
#[derive(Clone)]
pub enum Connection {
    /// To one server.
    Single(MultiplexedConnection),
    /// To a cluster's nodes, those that it names later included.
    Cluster(ClusterConnection),
}

/// A node of a cluster; `None` is the one server that is no cluster.
pub(super) type Node = Option<(String, u16)>;

/// Resolves to the addresses that the guard let pass, and to no others.
struct Checked(Vec<SocketAddr>);

impl redis::io::AsyncDNSResolver for Checked {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _host: &'b str,
        _port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let addresses: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(self.0.iter().copied());
        Box::pin(async move { Ok(addresses) })
    }
}

/// Asks the guard about every node, whether the settings name it or the cluster does, each time it is connected to.
struct Guarded(Egress);

impl redis::io::AsyncDNSResolver for Guarded {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let addresses = self.0.resolve(host, port).await.map_err(std::io::Error::other)?;
            Ok(Box::new(addresses.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

impl Connection {
    /// Connects, to addresses that the guard lets pass.
    pub(super) async fn open(egress: &Egress, server: &Server) -> Result<Self, Error> {
        if server.cluster { cluster(egress, server).await.map(Self::Cluster) } else { any(egress, server).await }
    }

    /// What was found, or what is wrong.
    pub(super) async fn sign_of_life(&mut self) -> Result<String, String> {
        let words = |error| classify(&error).to_string();
        match self {
            Self::Single(_) => {
                redis::cmd("PING").query_async::<String>(self).await.map_err(words)?;
                Ok("the server answers PING".to_owned())
            }
            Self::Cluster(_) => {
                let told: String = redis::cmd("CLUSTER").arg("INFO").query_async(self).await.map_err(words)?;
                let line = |name: &str| told.lines().find_map(|line| line.trim_end().strip_prefix(name));
                match (line("cluster_state:"), line("cluster_size:")) {
                    (Some("ok"), Some(size)) => Ok(format!("the cluster of {size} masters answers")),
                    (state, _) => Err(format!("the cluster's state is `{}`", state.unwrap_or("unknown"))),
                }
            }
        }
    }

    /// Every node that holds keys of its own.
    pub(super) async fn masters(&mut self) -> RedisResult<Vec<Node>> {
        let Self::Cluster(cluster) = self else { return Ok(vec![None]) };
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = cluster.route_command(redis::cmd("PING"), all).await?;
        let answers: Vec<(String, String)> = redis::from_redis_value(answers)?;
        let address = |text: &str| {
            let (host, port) = text.rsplit_once(':')?;
            Some((host.to_owned(), port.parse().ok()?))
        };
        Ok(answers.iter().map(|(node, _)| address(node)).filter(Option::is_some).collect())
    }

    /// Asks that node, whatever keys the command names.
    pub(super) async fn ask(&mut self, node: &Node, command: Cmd) -> RedisResult<Value> {
        match (self, node) {
            (Self::Cluster(cluster), Some((host, port))) => {
                let node = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                cluster.route_command(command, RoutingInfo::SingleNode(node)).await
            }
            (this, _) => command.query_async(this).await,
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(single) => single.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(single) => single.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(single) => single.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

/// To the first of the URLs that can be connected to; else why the last could not.
async fn any(egress: &Egress, server: &Server) -> Result<Connection, Error> {
    let mut last = Error::Refused("no URL is set".to_owned());
    for url in &server.urls {
        match single(egress, url, server.ca.as_deref()).await {
            Ok(connection) => return Ok(Connection::Single(connection)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn single(egress: &Egress, url: &str, ca: Option<&str>) -> Result<MultiplexedConnection, Error> {
    let info = info(url).map_err(Error::Refused)?;
    let (host, port) = place(&info)?;
    let addresses = egress.resolve(&host, port).await?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_dns_resolver(Checked(addresses));
    let client = match ca {
        Some(pem) if is_tls(&info) => redis::Client::build_with_tls(info, authority(pem)),
        _ => redis::Client::open(info),
    };
    let client = client.map_err(|error| classify(&error))?;
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| classify(&error))
}

async fn cluster(egress: &Egress, server: &Server) -> Result<ClusterConnection, Error> {
    // The cluster's client tells only that no node could be reached; a connection to one says why.
    any(egress, server).await?;
    let nodes: Vec<ConnectionInfo> =
        server.urls.iter().map(|url| info(url)).collect::<Result<_, _>>().map_err(Error::Refused)?;
    let tls = nodes.iter().any(is_tls);
    let mut builder = ClusterClientBuilder::new(nodes)
        .connection_timeout(CONNECT_TIMEOUT)
        .response_timeout(RESPONSE_TIMEOUT)
        .retries(CLUSTER_RETRIES)
        .min_retry_wait(100)
        .max_retry_wait(1000)
        .max_connection_attempts(CLUSTER_CONNECTS)
        .async_dns_resolver(Guarded(egress.clone()));
    if let Some(pem) = server.ca.as_deref().filter(|_| tls) {
        builder = builder.certs(authority(pem));
    }
    let client = builder.build().map_err(|error| classify(&error))?;
    client.get_async_connection().await.map_err(|error| classify(&error))
}

fn place(info: &ConnectionInfo) -> Result<(String, u16), Error> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
            Ok((host.clone(), *port))
        }
        _ => Err(egress::Error::Denied.into()),
    }
}

fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

fn authority(pem: &str) -> TlsCertificates {
    TlsCertificates { client_tls: None, root_cert: Some(pem.as_bytes().to_vec()) }
}
