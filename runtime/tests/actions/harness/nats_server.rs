//! A nats-server of its own.

use std::path::Path;
use std::process::Command;

use super::free_port;
use super::process::Process;

pub struct NatsServer {
    pub port: u16,
    process: Process,
}

impl NatsServer {
    /// With JetStream.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With more configuration.
    pub async fn with(config: &str) -> Self {
        let port = free_port();
        let process = Process::start(port, |dir| {
            let store = dir.join("js");
            let text = format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?} }}\n{config}\n");
            std::fs::write(dir.join("nats.conf"), text).unwrap();
            command(dir)
        });
        Self { port, process: process.await }
    }

    /// Kills it, and starts it again with what it has stored.
    pub async fn kill_and_restart(&mut self) {
        self.process.kill_and_restart(self.port, command).await;
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.unwrap()
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new("nats-server");
    command.arg("-c").arg(dir.join("nats.conf"));
    command
}
