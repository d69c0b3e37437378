//! A Redis server of the test's own.

use std::process::{Child, Command, Stdio};

use super::ports::free_port;
use super::wait::eventually;

/// A Redis server. Dropping it ends it.
pub struct Redis {
    child: Option<Child>,
    port: u16,
    dir: tempfile::TempDir,
}

impl Redis {
    /// Starts one that takes connections.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let mut redis = Self { child: None, port: free_port(), dir };
        redis.up().await;
        redis
    }

    /// Starts it again, at the same port and with nothing in it.
    pub async fn up(&mut self) {
        let child = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
            ])
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server cannot be started ({error}); `cargo xtask test` installs it"));
        self.child = Some(child);
        eventually(|| async { self.connect().await.map(|_| ()).map_err(|error| error.to_string()) }).await;
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Asks it something.
    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let mut connection = self.connect().await.expect("the server takes connections");
        command.query_async(&mut connection).await.expect("the server answers what was asked for")
    }

    async fn connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
