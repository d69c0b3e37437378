//! Clients that actions share, one per system: pooled, guarded, made anew when their settings change.

pub mod amqp;
pub mod line;
pub mod memory;
pub mod mqtt;
pub mod nats;
pub mod redis;
pub mod smtp;
pub mod stream;

use crate::egress::Egress;

/// All clients. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    /// The guard that they all go through.
    pub egress: Egress,
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
    /// Caches in this process.
    pub memory: memory::Caches,
}

impl Connections {
    /// None is opened before it is needed.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self {
            amqp: amqp::Pool::new(egress.clone()),
            mqtt: mqtt::Pool::new(egress.clone()),
            nats: nats::Pool::new(egress.clone()),
            redis: redis::Pool::new(egress.clone()),
            smtp: smtp::Pool::new(egress.clone()),
            memory: memory::Caches::default(),
            egress,
        }
    }
}
