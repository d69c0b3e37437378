//! A RabbitMQ for all tests that run at the same time, since it takes seconds to start.

use std::process::Command;
use std::sync::{Arc, Weak};

use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};

use super::certificates::Certificate;
use super::free_port;
use super::process::Process;

static SHARED: tokio::sync::Mutex<Weak<RabbitMq>> = tokio::sync::Mutex::const_new(Weak::new());

pub struct RabbitMq {
    pub port: u16,
    pub tls_port: u16,
    pub certificate: Certificate,
    _server: Process,
    /// Erlang's name server, in the foreground so that it can be ended.
    _names: Process,
}

impl RabbitMq {
    pub async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&started);
        started
    }

    async fn start() -> Self {
        let (port, tls_port, names_port) = (free_port(), free_port(), free_port());
        let names = Process::start(names_port, |_| {
            let mut command = Command::new("epmd");
            command.args(["-address", "127.0.0.1", "-port", &names_port.to_string()]);
            command
        });
        let names = names.await;
        let certificate = Certificate::for_localhost();
        let server = Process::start(port, |dir| {
            let (cert, key) = certificate.write(dir);
            let (cert, key) = (cert.display(), key.display());
            let config = format!(
                "listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.ssl.1 = 127.0.0.1:{tls_port}\n\
                 ssl_options.cacertfile = {cert}\nssl_options.certfile = {cert}\nssl_options.keyfile = {key}\n\
                 vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 1MB\n"
            );
            std::fs::write(dir.join("rabbit.conf"), config).unwrap();
            std::fs::write(dir.join("plugins"), "[].\n").unwrap();
            std::fs::write(dir.join("env"), "").unwrap();
            // Not the system's script, which works in the system's directories.
            let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
            command
                .env("HOME", dir)
                .env("RABBITMQ_NODENAME", format!("test{port}@localhost"))
                .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
                .env("RABBITMQ_LOG_BASE", dir.join("log"))
                .env("RABBITMQ_LOGS", "-")
                .env("RABBITMQ_CONFIG_FILE", dir.join("rabbit"))
                .env("RABBITMQ_CONF_ENV_FILE", dir.join("env"))
                .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("plugins"))
                .env("RABBITMQ_PID_FILE", dir.join("pid"))
                .env("RABBITMQ_DIST_PORT", free_port().to_string())
                .env("ERL_EPMD_PORT", names_port.to_string())
                .env("ERL_EPMD_ADDRESS", "127.0.0.1");
            command
        });
        Self { port, tls_port, _server: server.await, certificate, _names: names }
    }

    pub fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.port)
    }

    /// A consumer that has nothing to do with the publisher.
    pub async fn consumer(&self) -> Consumer {
        let connection = Connection::connect(&self.url(), ConnectionProperties::default()).await.unwrap();
        Consumer { channel: connection.create_channel().await.unwrap(), _connection: connection }
    }
}

pub struct Consumer {
    pub channel: Channel,
    _connection: Connection,
}

impl Consumer {
    pub async fn declare(&self, queue: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, arguments).await.unwrap();
    }

    /// The queue's next message, if there is one.
    pub async fn get(&self, queue: &str) -> Option<lapin::message::BasicGetMessage> {
        self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()
    }
}
