//! How nodes learn what others have changed: a log of changes, numbered without gaps.
//!
//! Whoever changes something counts `revision` up first, which makes others that change something wait, so that a number is
//! visible only after all before it. Nodes ask for what is new several times a second, and are woken besides.

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};
use triggerd_core::id::TenantId;

use super::Store;
use crate::store::{Change, ChangeKind, Changes, Error};

/// Changes that are read one by one; more are read as a whole.
const MANY: i64 = 10_000;
/// How long changes are remembered.
const REMEMBERED: &str = "1 hour";

/// Up to where this node has seen changes.
pub(super) struct Cursor(i64);

impl Cursor {
    /// From now on.
    pub(super) async fn now(conn: &mut PgConnection) -> Result<Self, Error> {
        Ok(Self(sqlx::query_scalar("SELECT n FROM revision").fetch_one(conn).await?))
    }
}

/// Notes changes of one kind by tenant and key, first of all in their transaction.
pub(super) async fn note(conn: &mut PgConnection, kind: ChangeKind, of: &[(&TenantId, &str)]) -> Result<(), Error> {
    let count = i64::try_from(of.len()).unwrap_or(i64::MAX);
    let (tenants, keys): (Vec<&str>, Vec<&str>) = of.iter().map(|(tenant, key)| (tenant.as_str(), *key)).unzip();
    // Two statements: the second must see what was committed while the first waited.
    let last: i64 =
        sqlx::query_scalar("UPDATE revision SET n = n + $1 RETURNING n").bind(count).fetch_one(&mut *conn).await?;
    sqlx::query(
        "INSERT INTO changes (n, kind, tenant, key) \
         SELECT $1 + place, $2, tenant, key FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS named (tenant, key, place)",
    )
    .bind(last - count)
    .bind(name(kind))
    .bind(tenants)
    .bind(keys)
    .execute(conn)
    .await?;
    Ok(())
}

/// The changes after a number, in order.
async fn newer(conn: &mut PgConnection, after: i64) -> Result<Vec<PgRow>, Error> {
    let sql = "SELECT n, kind, tenant, key FROM changes WHERE n > $1 ORDER BY n LIMIT $2";
    Ok(sqlx::query(sql).bind(after).bind(MANY + 1).fetch_all(conn).await?)
}

/// Forgets old changes.
pub(super) async fn forget(conn: &mut PgConnection) -> Result<(), Error> {
    let sql = "DELETE FROM changes WHERE at < clock_timestamp() - $1::interval";
    sqlx::query(sql).bind(REMEMBERED).execute(conn).await?;
    Ok(())
}

impl Store {
    pub async fn changes(&self) -> Result<Changes, Error> {
        let mut cursor = self.cursor.lock().await;
        let mut conn = self.reader().await?;
        let mut rows = newer(&mut conn, cursor.0).await?;
        if rows.is_empty() {
            // Nothing is new; or so much time has gone by that it is forgotten.
            if Cursor::now(&mut conn).await?.0 == cursor.0 {
                return Ok(Changes::Some(Vec::new()));
            }
            rows = newer(&mut conn, cursor.0).await?;
        }
        let first: Option<i64> = rows.first().map(|row| row.try_get("n")).transpose()?;
        if first != Some(cursor.0 + 1) || rows.len() as i64 > MANY {
            *cursor = Cursor::now(&mut conn).await?;
            return Ok(Changes::All);
        }
        let mut changes = Vec::with_capacity(rows.len());
        let mut last = cursor.0;
        for row in &rows {
            last = row.try_get("n")?;
            // What a newer node has changed, and this one does not know, it does not need.
            if let Some(kind) = kind(row.try_get("kind")?) {
                changes.push(Change { kind, tenant: TenantId::new(row.try_get("tenant")?), key: row.try_get("key")? });
            }
        }
        cursor.0 = last;
        Ok(Changes::Some(changes))
    }

    pub async fn tell_others(&self, kind: ChangeKind, tenant: &TenantId, key: &str) -> Result<(), Error> {
        let (tenant, key) = (tenant.clone(), key.to_owned());
        self.write_change(move |conn| Box::pin(async move { note(conn, kind, &[(&tenant, &key)]).await })).await
    }

    /// Waits until another node may have changed something.
    pub async fn wait_changes(&self) {
        self.node.wake.wait_changes().await;
    }

    /// Waits until runs may be due that another node left.
    pub async fn wait_due(&self) {
        self.node.wake.wait_due().await;
    }
}

const NAMES: [(ChangeKind, &str); 9] = [
    (ChangeKind::Trigger, "trigger"),
    (ChangeKind::Component, "component"),
    (ChangeKind::Resource, "resource"),
    (ChangeKind::Tenant, "tenant"),
    (ChangeKind::Key, "key"),
    (ChangeKind::Source, "source"),
    (ChangeKind::Destination, "destination"),
    (ChangeKind::Capture, "capture"),
    (ChangeKind::Listener, "listener"),
];

fn name(kind: ChangeKind) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == kind).map_or("", |(_, name)| name)
}

fn kind(name: &str) -> Option<ChangeKind> {
    NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
}
