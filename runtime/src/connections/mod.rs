//! Clients that actions share, one per system: pooled, guarded, made anew when their settings change.

pub mod memory;
pub mod redis;
pub mod smtp;

use crate::egress::Egress;

/// All clients. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    /// The guard that they all go through.
    pub egress: Egress,
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
            redis: redis::Pool::new(egress.clone()),
            smtp: smtp::Pool::new(egress.clone()),
            memory: memory::Caches::default(),
            egress,
        }
    }
}
