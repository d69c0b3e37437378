//! Clients that actions share, one per system: pooled, guarded, made anew when their settings change.

pub mod amqp;
mod error;
pub mod folders;
pub mod https;
pub mod kafka;
pub mod line;
pub mod memory;
pub mod mqtt;
pub mod nats;
pub mod push;
pub mod redis;
pub mod s3;
pub mod sms;
pub mod smtp;
pub mod sql;
pub mod stream;
pub mod unsent;
mod wildcards;

use std::path::PathBuf;

use crate::egress::Egress;

/// All clients. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    /// The guard that they all go through.
    pub egress: Egress,
    /// Kafka clusters.
    pub kafka: kafka::Pool,
    /// RabbitMQ brokers.
    pub amqp: amqp::Pool,
    /// MQTT brokers.
    pub mqtt: mqtt::Pool,
    /// NATS servers.
    pub nats: nats::Pool,
    /// Redis servers.
    pub redis: redis::Pool,
    /// Mail servers.
    pub smtp: smtp::Pool,
    /// SQL servers and files.
    pub sql: sql::Pool,
    /// Services that send SMS.
    pub sms: sms::Client,
    /// Services that deliver push messages.
    pub push: push::Client,
    /// Services with a certificate authority of their own.
    pub https: https::Pool,
    /// Caches in this process.
    pub memory: memory::Caches,
    /// S3 buckets.
    pub s3: s3::Pool,
    /// Folders of this machine.
    pub folders: folders::Folders,
}

impl Connections {
    /// None is opened before it is needed.
    #[must_use]
    pub fn new(egress: Egress, storage_dir: PathBuf) -> Self {
        let https = https::Pool::new(egress.clone());
        Self {
            sms: sms::Client::new(https.clone()),
            push: push::Client::new(https.clone()),
            https,
            kafka: kafka::Pool::new(egress.clone()),
            amqp: amqp::Pool::new(egress.clone()),
            mqtt: mqtt::Pool::new(egress.clone()),
            nats: nats::Pool::new(egress.clone()),
            redis: redis::Pool::new(egress.clone()),
            smtp: smtp::Pool::new(egress.clone()),
            sql: sql::Pool::new(egress.clone(), sql::SqliteFiles::default()),
            memory: memory::Caches::default(),
            s3: s3::Pool::new(egress.clone()),
            folders: folders::Folders::new(storage_dir),
            egress,
        }
    }

    /// With the files that may be opened as SQLite databases.
    #[must_use]
    pub fn with_sqlite_files(self, files: sql::SqliteFiles) -> Self {
        Self { sql: sql::Pool::new(self.egress.clone(), files), ..self }
    }
}

/// Whether every address of the URL's host is one of this machine or of a private network.
async fn is_local(guard: &Egress, url: &str) -> bool {
    let Ok(url) = guard.check_url(url) else { return false };
    guard.is_local(url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443)).await
}
