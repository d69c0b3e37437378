//! Kafka: one idempotent producer per resource, through the guard, done with a message once its cluster has confirmed it.
//!
//! librdkafka connects by itself, to the brokers that are set and to those that the cluster names. So the guard is
//! asked twice: about the names in the settings before a producer is made, and about every address right before a
//! connection to it is opened.
//!
//! A message is in librdkafka's queue from [`Pool::publish`] until its delivery report, which comes within the
//! delivery timeout, whatever happens. Where the attempt is given up before that, its producer is not used again, and
//! is purged once nobody else waits on it; a report that still comes is dropped.

mod cluster;
mod error;
mod native;
mod producer;

use std::sync::Arc;
use std::time::Duration;

pub use cluster::{Cluster, Compression, DELIVERY_TIMEOUT, Mechanism, Sasl, host_and_port};
pub use error::Error;
pub use native::{Delivered, Record};

use self::producer::Producer;
use crate::egress::{self, Egress};
use crate::resources::Identity;

/// What is kept of a producer that has ended because nobody used it goes after this long.
const IDLE: Duration = Duration::from_secs(600);
/// Producers over all tenants: each has a few threads of its own.
const MAX_OPEN: u64 = 256;
/// The longest that a check waits for the cluster.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Producers by resource. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    egress: Egress,
    open: moka::future::Cache<Identity, Arc<Producer>>,
}

impl Pool {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        let open = moka::future::Cache::builder().max_capacity(MAX_OPEN).time_to_idle(IDLE).build();
        Self { egress, open }
    }

    /// Sends a record; answers once it is confirmed by all replicas that are in sync.
    pub async fn publish(&self, identity: &Identity, cluster: &Cluster, record: Record) -> Result<Delivered, Error> {
        if self.open.get(identity).await.is_some_and(|known| known.is_spent()) {
            // At worst somebody has put a new one there meanwhile, which ends once its messages are through.
            self.open.invalidate(identity).await;
        }
        let connecting = self.open.try_get_with_by_ref(identity, self.connect(cluster)).await;
        let producer = connecting.map_err(|error| Error::clone(&error))?;
        producer.publish(record).await
    }

    /// Connects and asks which brokers there are: what was found, or what is wrong.
    pub async fn check(&self, cluster: &Cluster) -> Result<String, String> {
        let producer = self.connect(cluster).await.map_err(|error| error.to_string())?;
        let asked = tokio::task::spawn_blocking(move || producer.brokers(CHECK_TIMEOUT)).await;
        let brokers = asked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let plural = if brokers == 1 { "" } else { "s" };
        Ok(format!("the cluster of {brokers} broker{plural} answers"))
    }

    async fn connect(&self, cluster: &Cluster) -> Result<Arc<Producer>, Error> {
        self.ask_guard(cluster).await?;
        let (egress, cluster) = (self.egress.clone(), cluster.clone());
        // Reading certificates takes a while.
        let made = tokio::task::spawn_blocking(move || Producer::new(egress, &cluster)).await;
        made.map_err(|error| Error::Unavailable(error.to_string()))?.map(Arc::new)
    }

    /// One broker that may be reached is enough; the others are refused when they are connected to.
    async fn ask_guard(&self, cluster: &Cluster) -> Result<(), Error> {
        let mut last = egress::Error::NotFound;
        for broker in &cluster.brokers {
            let (host, port) =
                host_and_port(broker).ok_or_else(|| Error::Refused(format!("`{broker}` is no `host:port`")))?;
            match self.egress.resolve(host, port).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }
}
