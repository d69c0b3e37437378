//! A mail server of the test's own: aiosmtpd, told by script what to answer.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::wait::PATIENCE;

/// How a mail server is protected and what it says no to.
#[derive(Default)]
pub struct SmtpSettings {
    /// `none`, `starttls` or `tls`.
    pub tls: &'static str,
    /// User and password that it wants.
    pub login: Option<(&'static str, &'static str)>,
    /// Login mechanisms that it does not offer.
    pub without: Vec<&'static str>,
    /// What it answers to the first recipients instead of 250; an empty answer is 250.
    pub rcpt: Vec<&'static str>,
    /// What it answers to the first messages instead of 250.
    pub data: Vec<&'static str>,
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// Head and body as they came.
    pub data: String,
    pub tls: bool,
    pub user: Option<String>,
}

/// A running mail server. Dropping it ends it.
pub struct Smtp {
    child: Child,
    pub port: u16,
    /// The certificate authority that it is to be trusted by, as PEM.
    pub ca: String,
    taken: Arc<(Mutex<Vec<Mail>>, Notify)>,
    _dir: tempfile::TempDir,
}

impl Smtp {
    /// Starts one that takes connections on 127.0.0.1, with a certificate for `localhost`.
    pub fn start(settings: &SmtpSettings) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).expect("a file can be written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file can be written");
        let script = json!({
            "tls": if settings.tls.is_empty() { "none" } else { settings.tls },
            "cert": cert, "key": key,
            "user": settings.login.map(|(user, _)| user), "password": settings.login.map(|(_, password)| password),
            "without": settings.without, "rcpt": settings.rcpt, "data": settings.data,
        });
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/it/harness/smtp.py");
        let mut child = Command::new(python())
            .args([file, &script.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{} cannot be started ({error}); `cargo xtask test` prepares it", python().display())
            });
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let first = lines.next().and_then(Result::ok);
        let port = first.and_then(|line| line.parse().ok());
        let port = port.expect("the mail server starts; `cargo xtask test` prepares its Python");
        let taken: Arc<(Mutex<Vec<Mail>>, Notify)> = Arc::default();
        let keep = taken.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mail: Value = serde_json::from_str(&line).expect("the script prints JSON");
                keep.0.lock().unwrap().push(Mail::read(&mail));
                keep.1.notify_waiters();
            }
        });
        Self { child, port, ca: made.cert.pem(), taken, _dir: dir }
    }

    /// Waits until `count` messages were taken; all that were.
    pub async fn wait_for(&self, count: usize) -> Vec<Mail> {
        let waiting = async {
            loop {
                let arrived = self.taken.1.notified();
                tokio::pin!(arrived);
                arrived.as_mut().enable();
                let taken = self.taken();
                if taken.len() >= count {
                    return taken;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("waited in vain for {count} messages: {:?}", self.taken()))
    }

    /// The messages taken so far.
    pub fn taken(&self) -> Vec<Mail> {
        self.taken.0.lock().unwrap().clone()
    }
}

impl Mail {
    fn read(mail: &Value) -> Self {
        let text = |name: &str| mail[name].as_str().unwrap_or_default().to_owned();
        let to = mail["to"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect();
        let user = mail["user"].as_str().map(str::to_owned);
        Self { from: text("from"), to, data: text("data"), tls: mail["tls"] == true, user }
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that has aiosmtpd: `cargo xtask test` names it.
pub fn python() -> PathBuf {
    let fallback = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.toolchain/python/bin/python"));
    std::env::var_os("TRIGGERD_TEST_PYTHON").map_or_else(fallback, PathBuf::from)
}
