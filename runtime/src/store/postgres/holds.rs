//! What one node does alone: duties, and rows that a sync is looking after.
//!
//! A hold is a row with the node in it. It lasts until it is let go or the node is dead.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::Store;
use crate::clock::Clock;
use crate::store::Error;

/// The next pause before a hold that another has is looked at again.
struct Pause(Duration);

impl Pause {
    const FIRST: Self = Self(Duration::from_millis(5));
    const LONGEST: Duration = Duration::from_millis(200);

    /// Pauses; longer the next time.
    async fn pass(&mut self, clock: &Clock) {
        tokio::time::sleep(self.0.mul_f64(0.5 + clock.chance())).await;
        self.0 = (self.0 * 2).min(Self::LONGEST);
    }
}

/// Takes the hold where nobody has it who is alive; `$1` is the node, which must be.
const TAKE: &str = "INSERT INTO holds AS h (name, node, token) SELECT $2, n.id, $3 FROM nodes AS n \
     WHERE n.id = $1 AND n.lease_until > clock_timestamp() \
     ON CONFLICT (name) DO UPDATE SET node = excluded.node, token = excluded.token \
     WHERE NOT EXISTS (SELECT 1 FROM nodes AS o WHERE o.id = h.node AND o.lease_until > clock_timestamp()) \
     RETURNING h.node";

/// What those who are alive hold under names that begin with `$1`.
const HELD: &str = "SELECT h.token FROM holds AS h JOIN nodes AS n ON n.id = h.node \
     WHERE starts_with(h.name, $1) AND n.lease_until > clock_timestamp()";

impl Store {
    pub async fn take_duty(&self, name: &str) -> Result<bool, Error> {
        let name = format!("duty:{name}");
        let mut conn = self.reader().await?;
        let node = self.node.id();
        // A duty is the whole node's: to ask for it again is to ask whether it is still this node's.
        let sql = "SELECT node FROM holds WHERE name = $1";
        let holder: Option<i64> = sqlx::query_scalar(sql).bind(&name).fetch_optional(&mut *conn).await?;
        if holder == Some(node) {
            return Ok(self.node.is_alive());
        }
        let taken: Option<i64> =
            sqlx::query_scalar(TAKE).bind(node).bind(name).bind(Uuid::nil()).fetch_optional(&mut *conn).await?;
        Ok(taken.is_some())
    }

    /// Waits until nobody else holds what `name` names, and holds it.
    pub(in crate::store) async fn hold(&self, name: String) -> Result<Held, Error> {
        let token = Token::new(self);
        let mut pause = Pause::FIRST;
        loop {
            let mut conn = self.reader().await?;
            let taken: Option<i64> = sqlx::query_scalar(TAKE)
                .bind(self.node.id())
                .bind(&name)
                .bind(token.value)
                .fetch_optional(&mut *conn)
                .await?;
            drop(conn);
            if taken.is_some() {
                return Ok(Held { name, token });
            }
            if !self.node.is_alive() {
                return Err(self.node.fenced());
            }
            pause.pass(&self.clock).await;
        }
    }

    /// Waits until nobody who is alive has a hold any more that is there by now under a name that begins with `prefix`.
    pub(in crate::store) async fn until_released(&self, prefix: &str) -> Result<(), Error> {
        let mut waited_for: Option<HashSet<Uuid>> = None;
        let mut pause = Pause::FIRST;
        loop {
            let mut conn = self.reader().await?;
            let held: Vec<Uuid> = sqlx::query_scalar(HELD).bind(prefix).fetch_all(&mut *conn).await?;
            drop(conn);
            let known = |token: &Uuid| waited_for.as_ref().is_none_or(|tokens| tokens.contains(token));
            let left: HashSet<Uuid> = held.into_iter().filter(known).collect();
            if left.is_empty() {
                return Ok(());
            }
            waited_for = Some(left);
            pause.pass(&self.clock).await;
        }
    }

    async fn end_hold(&self, name: String, token: Uuid) -> Result<(), Error> {
        let mut conn = self.reader().await?;
        sqlx::query("DELETE FROM holds WHERE name = $1 AND token = $2")
            .bind(name)
            .bind(token)
            .execute(&mut *conn)
            .await?;
        Ok(())
    }
}

/// Names a hold for as long as somebody in this process has it, or is about to: a heartbeat ends those of this node that nobody has.
pub(super) struct Token {
    store: Store,
    pub(super) value: Uuid,
}

impl Token {
    /// A new one, before the hold is asked for.
    pub(super) fn new(store: &Store) -> Self {
        let value = Uuid::from_bytes(rand::random());
        store.node.tokens.lock().insert(value);
        Self { store: store.clone(), value }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.store.node.tokens.lock().remove(&self.value);
    }
}

/// A hold, let go when it is dropped.
pub(in crate::store) struct Held {
    pub(super) name: String,
    pub(super) token: Token,
}

impl Drop for Held {
    fn drop(&mut self) {
        let (store, name, token) = (self.token.store.clone(), std::mem::take(&mut self.name), self.token.value);
        tokio::spawn(async move {
            if let Err(error) = store.end_hold(name.clone(), token).await {
                tracing::debug!(%error, "The hold on {name} lasts until the next heartbeat: {error}");
            }
        });
    }
}
