//! The mailbox: messages as files in the data directory, for development and for tags without a mail server.
//!
//! `mailbox/TENANT/ID.eml` is the message, `ID.json` what it was made of. The id is the delivery's, so that a
//! message that is delivered twice is there once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use triggerd_core::id::TenantId;
use uuid::Uuid;

use super::{Composed, Letter};

/// The mailboxes of all tenants. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    dir: Arc<Path>,
}

/// A message in the mailbox.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// `email`, `sms` or `push`.
    #[serde(default = "email")]
    pub kind: String,
    /// The delivery id.
    pub id: String,
    /// With the angle brackets.
    pub message_id: String,
    /// The notification that was named.
    pub notification: String,
    /// The sender.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
    /// Recipients of a copy.
    pub cc: Vec<String>,
    /// Recipients of a hidden copy.
    pub bcc: Vec<String>,
    /// The subject.
    pub subject: String,
    /// The plain text.
    pub text: Option<String>,
    /// The HTML.
    pub html: Option<String>,
    /// Names of the attached files.
    pub attachments: Vec<String>,
    /// What an app gets with a push message.
    #[serde(default)]
    pub data: Option<serde_json::Value>,
    /// When it was laid down.
    pub at: jiff::Timestamp,
}

fn email() -> String {
    "email".to_owned()
}

impl Mailbox {
    /// In the data directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { dir: data_dir.join("mailbox").into() }
    }

    /// Lays a message down. The same delivery again changes nothing.
    pub async fn put(
        &self,
        tenant: &TenantId,
        notification: &str,
        letter: &Letter,
        composed: Composed,
    ) -> std::io::Result<()> {
        let dir = self.dir.join(tenant.as_str());
        let names = |list: &[lettre::message::Mailbox]| list.iter().map(ToString::to_string).collect();
        let stored = Stored {
            kind: email(),
            id: letter.id.clone(),
            message_id: composed.message_id,
            notification: notification.to_owned(),
            from: letter.from.to_string(),
            to: names(&letter.to),
            cc: names(&letter.cc),
            bcc: names(&letter.bcc),
            subject: letter.subject.clone(),
            text: letter.text.clone(),
            html: letter.html.clone(),
            attachments: letter.attachments.iter().map(|a| a.filename.clone()).collect(),
            data: None,
            at: letter.date,
        };
        let id = letter.id.clone();
        blocking(move || {
            std::fs::create_dir_all(&dir)?;
            // The description comes last: a message is there once it has one.
            write_whole(&dir, &format!("{id}.eml"), &composed.bytes)?;
            write_whole(&dir, &format!("{id}.json"), &serde_json::to_vec_pretty(&stored)?)
        })
        .await
    }

    /// Lays a message down that is no e-mail: it has no source. The same delivery again changes nothing.
    pub async fn put_stored(&self, tenant: &TenantId, stored: Stored) -> std::io::Result<()> {
        let dir = self.dir.join(tenant.as_str());
        blocking(move || {
            std::fs::create_dir_all(&dir)?;
            write_whole(&dir, &format!("{}.json", stored.id), &serde_json::to_vec_pretty(&stored)?)
        })
        .await
    }

    /// The newest messages, of one kind alone where one is named.
    pub async fn list(&self, tenant: &TenantId, kind: Option<&str>, limit: usize) -> std::io::Result<Vec<Stored>> {
        let dir = self.dir.join(tenant.as_str());
        let kind = kind.map(str::to_owned);
        blocking(move || {
            let mut names = ids(&dir)?;
            // The ids are UUIDv7: their order is that of time.
            names.sort_unstable_by(|a, b| b.cmp(a));
            let all = names.iter().filter_map(|id| read(&dir, id).transpose());
            let wanted = |stored: &std::io::Result<Stored>| {
                stored.as_ref().map_or(true, |stored| kind.as_ref().is_none_or(|kind| *kind == stored.kind))
            };
            all.filter(wanted).take(limit).collect()
        })
        .await
    }

    /// One message and its bytes, which an e-mail alone has.
    pub async fn get(&self, tenant: &TenantId, id: &str) -> std::io::Result<Option<(Stored, Option<Vec<u8>>)>> {
        let Ok(id) = Uuid::parse_str(id) else { return Ok(None) };
        let dir = self.dir.join(tenant.as_str());
        blocking(move || {
            let id = id.hyphenated().to_string();
            let Some(stored) = read(&dir, &id)? else { return Ok(None) };
            let source =
                if stored.kind == "email" { Some(std::fs::read(dir.join(format!("{id}.eml")))?) } else { None };
            Ok(Some((stored, source)))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let partial = dir.join(format!(".{name}.{}", rand::random::<u64>()));
    let mut file = std::fs::File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, dir.join(name))?;
    std::fs::File::open(dir)?.sync_all()
}

fn ids(dir: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let stem = |path: PathBuf| {
        let is_description = path.extension().is_some_and(|e| e == "json");
        let stem = path.file_stem()?.to_str()?.to_owned();
        (is_description && !stem.starts_with('.')).then_some(stem)
    };
    Ok(entries.filter_map(Result::ok).filter_map(|entry| stem(entry.path())).collect())
}

fn read(dir: &Path, id: &str) -> std::io::Result<Option<Stored>> {
    match std::fs::read(dir.join(format!("{id}.json"))) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::mail::{compose, parse_address};

    fn letter(id: &str) -> Letter {
        Letter {
            from: parse_address("shop@example.com").unwrap(),
            reply_to: None,
            to: vec![parse_address("ann@example.org").unwrap()],
            cc: vec![],
            bcc: vec![],
            subject: format!("to {id}"),
            text: Some("hello".into()),
            html: None,
            attachments: vec![],
            id: id.into(),
            date: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
        }
    }

    #[tokio::test]
    async fn a_message_that_comes_twice_is_there_once_and_by_tenant() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::new(dir.path());
        let (acme, other) = (TenantId::new("acme"), TenantId::new("other"));
        let (first, second) = ("0192f000-0000-7000-8000-000000000001", "0192f000-0000-7000-8000-000000000002");
        for id in [first, second, first] {
            let letter = letter(id);
            mailbox.put(&acme, "orders:hi", &letter, compose(&letter).unwrap()).await.unwrap();
        }
        let listed = mailbox.list(&acme, None, 10).await.unwrap();
        assert_eq!(listed.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), [second, first]);
        assert_eq!(mailbox.list(&acme, None, 1).await.unwrap().len(), 1);
        assert!(mailbox.list(&other, None, 10).await.unwrap().is_empty());
        let (stored, bytes) = mailbox.get(&acme, first).await.unwrap().unwrap();
        assert_eq!(stored.subject, format!("to {first}"));
        assert!(String::from_utf8(bytes.unwrap()).unwrap().contains("hello"));
        for absent in ["../acme/x", "0192f000-0000-7000-8000-000000000003"] {
            assert!(mailbox.get(&acme, absent).await.unwrap().is_none());
        }
        assert!(mailbox.get(&other, first).await.unwrap().is_none());
        let sms = Stored { kind: "sms".into(), id: first.into(), ..Stored::default() };
        mailbox.put_stored(&other, sms.clone()).await.unwrap();
        assert_eq!(mailbox.get(&other, first).await.unwrap(), Some((sms, None)));
    }
}
