//! A mosquitto of its own, and mosquitto_sub as the subscriber.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use super::certificates::Certificate;
use super::free_port;
use super::process::Process;

pub struct Mosquitto {
    pub port: u16,
    _process: Process,
}

impl Mosquitto {
    pub async fn start() -> Self {
        Self::with("allow_anonymous true", None).await
    }

    /// With more configuration, in which `DIR` stands for its directory: it has `passwords` (`u`, `p4ss`) and an
    /// `acl`. With TLS on its port where there is a certificate.
    pub async fn with(config: &str, certificate: Option<&Certificate>) -> Self {
        let port = free_port();
        let process = Process::start(port, |dir| {
            let mut text =
                format!("user root\nlistener {port} 127.0.0.1\n{}\n", config.replace("DIR", &dir.to_string_lossy()));
            if let Some(certificate) = certificate {
                let (certificate, key) = certificate.write(dir);
                text += &format!("certfile {}\nkeyfile {}\n", certificate.display(), key.display());
            }
            std::fs::write(dir.join("acl"), "topic write allowed/#\ntopic read #\n").unwrap();
            let mut passwords = Command::new("mosquitto_passwd");
            let status = passwords.args(["-b", "-c"]).arg(dir.join("passwords")).args(["u", "p4ss"]).status();
            assert!(status.unwrap().success());
            let file = dir.join("mosquitto.conf");
            std::fs::write(&file, text).unwrap();
            let mut command = Command::new("mosquitto");
            command.arg("-c").arg(file);
            command
        });
        Self { port, _process: process.await }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Hears what is published to `topic` from now on, with a quality of service of `qos` at most: 2 is for a few
    /// messages only, since with many mosquitto_sub ends in a protocol error of its own.
    pub async fn subscriber(&self, qos: u8, topic: &str) -> Subscriber {
        // Line by line: what it says on a pipe would wait in a buffer otherwise.
        let mut child = tokio::process::Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub"])
            .args(["-h", "127.0.0.1", "-V", "5", "-q", &qos.to_string(), "-v", "-d", "-F", "message %j", "-p"])
            .args([&self.port.to_string(), "-t", topic])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("mosquitto_sub can be started; `cargo xtask test` installs mosquitto-clients");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let subscribed = async { while !lines.next_line().await.unwrap().unwrap().contains("SUBACK") {} };
        tokio::time::timeout(Duration::from_secs(20), subscribed).await.unwrap();
        Subscriber { lines, _child: child }
    }
}

pub struct Subscriber {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Subscriber {
    /// The next message, with its topic, payload (a text) and properties.
    pub async fn next(&mut self) -> Value {
        self.within(Duration::from_secs(20)).await.expect("a message")
    }

    /// The next message, if one comes in time.
    pub async fn within(&mut self, patience: Duration) -> Option<Value> {
        let next = async {
            loop {
                let line = self.lines.next_line().await.unwrap()?;
                if let Some(message) = line.strip_prefix("message ") {
                    return Some(serde_json::from_str(message).unwrap());
                }
            }
        };
        tokio::time::timeout(patience, next).await.ok().flatten()
    }
}
