//! `triggerd key`: API keys.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::client::Client;
use super::output::Output;

/// API keys.
#[derive(Subcommand)]
pub enum Key {
    /// Make a key; it is shown once.
    Create {
        /// What it is for.
        #[arg(long, default_value = "")]
        name: String,
        /// What it may do: events:write events:read triggers:write components:write resources:write admin.
        #[arg(long = "scope", value_delimiter = ',', default_value = "events:write,events:read")]
        scopes: Vec<String>,
        /// When it ends (RFC 3339); never without.
        #[arg(long)]
        expires_at: Option<String>,
        /// Requests per second with it; as many as the tenant has without.
        #[arg(long)]
        rate_limit: Option<u32>,
    },
    /// Make a new key in place of one, which stays good for a while; the new one is shown once.
    Rotate {
        /// Its id, as `key list` shows it.
        id: String,
        /// How long the one before it stays good: `0s`, `30m`, `24h`, `7d`.
        #[arg(long, default_value = "24h")]
        overlap: String,
        /// When the new one ends (RFC 3339); without, it lasts as long as the one before it was made for.
        #[arg(long)]
        expires_at: Option<String>,
    },
    /// List keys.
    List,
    /// Seal all secrets with the current master key, a new one where it is the data directory's.
    RotateMaster,
    /// Revoke a key.
    Revoke {
        /// Its id, as `key list` shows it.
        id: String,
    },
}

impl Key {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create { name, scopes, expires_at, rate_limit } => {
                let body = json!({"name": name, "scopes": scopes, "expires_at": expires_at, "rate_limit": rate_limit});
                let made = client.expect(client.request(Method::POST, "/api/v1/keys").json(&body)).await?;
                output.done(made["key"].as_str().unwrap_or_default(), &made);
            }
            Self::Rotate { id, overlap, expires_at } => {
                let body = json!({"overlap": overlap, "expires_at": expires_at});
                let path = format!("/api/v1/keys/{id}/rotate");
                let made = client.expect(client.request(Method::POST, &path).json(&body)).await?;
                output.done(made["key"].as_str().unwrap_or_default(), &made);
            }
            Self::List => {
                let keys = client.all("/api/v1/keys", "keys", &[]).await?;
                output.list(
                    &keys,
                    &[
                        ("id", "id"),
                        ("name", "name"),
                        ("scopes", "scopes"),
                        ("created", "created_at"),
                        ("expires", "expires_at"),
                        ("replaced by", "replaced_by"),
                    ],
                );
            }
            Self::RotateMaster => return rotate_master(client, output).await,
            Self::Revoke { id } => {
                client.expect(client.request(Method::DELETE, &format!("/api/v1/keys/{id}"))).await?;
                output.done(&format!("Revoked {id}"), &json!({"revoked": id}));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Fails where something is left that no key opens: the old key must not be thrown away then.
async fn rotate_master(client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let done = client.expect(client.request(Method::POST, "/api/v1/master-key/rotate")).await?;
    let key = done["key"].as_str().unwrap_or_default();
    output.done(&format!("Sealed {} resources anew; the master key is {key}", done["resealed"]), &done);
    let unreadable: Vec<&str> =
        done["unreadable"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
    if unreadable.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("No known key opens these; write them again: {}", unreadable.join(", "));
    Ok(ExitCode::FAILURE)
}
