//! How runs are taken from a node that holds them: from a dead one, from one that leaves, and from one that lost track of them.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use uuid::Uuid;

use super::held::Dropped;
use super::node::NOW_MS;
use crate::store::Error;

/// Rows of a node that one transaction takes over.
const SLICE: i64 = 5000;

/// Whose runs are taken over.
#[derive(Clone, Copy)]
pub(super) enum Whose<'a> {
    /// Those of a node whose lease has ended.
    Dead,
    /// Those of a process that had this home before: its lease may last, and it is known to have ended.
    Former(&'a str),
    /// Those of this node.
    Node(i64),
}

/// A node from which runs were taken.
pub(super) struct Taken {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) runs: u64,
}

/// Takes over a slice of one node's runs, in a transaction of its own; `None` where there is no such node. To be called until
/// then: the node's row goes with its last run.
pub(super) async fn take_from(conn: &mut PgConnection, whose: Whose<'_>) -> Result<Option<Taken>, Error> {
    let mut tx = conn.begin().await?;
    // A statement of the node that is under way has a share of the row: it is waited for, and none comes after.
    let found = match whose {
        // One node takes a dead one over.
        Whose::Dead => sqlx::query(
            "SELECT id, name, low_run FROM nodes WHERE lease_until < clock_timestamp() ORDER BY id LIMIT 1 \
             FOR UPDATE SKIP LOCKED",
        ),
        Whose::Former(home) => {
            sqlx::query("SELECT id, name, low_run FROM nodes WHERE home = $1 ORDER BY id LIMIT 1 FOR UPDATE").bind(home)
        }
        Whose::Node(id) => sqlx::query("SELECT id, name, low_run FROM nodes WHERE id = $1 FOR UPDATE").bind(id),
    };
    let Some(node) = found.fetch_optional(&mut *tx).await? else {
        tx.rollback().await?;
        return Ok(None);
    };
    let (id, name) = (node.try_get("id")?, node.try_get("name")?);
    let runs = take_over(&mut tx, id, node.try_get("low_run")?).await?;
    tx.commit().await?;
    Ok(Some(Taken { id, name, runs }))
}

/// Makes runs that a node holds due, under the node's row lock; answers with how many. Nobody is their holder then, so that the
/// former one can report nothing any more. Where that was all that it held, the node is none any more.
async fn take_over(conn: &mut PgConnection, node: i64, low: Uuid) -> Result<u64, Error> {
    let sql = format!(
        "WITH named AS MATERIALIZED (SELECT run_id FROM queue WHERE holder = $1 LIMIT {SLICE} FOR UPDATE), \
         found AS MATERIALIZED ( \
             SELECT run_id AS id FROM named UNION \
             (SELECT r.id FROM runs AS r WHERE r.id >= $2 AND r.holder = $1 ORDER BY r.id LIMIT {SLICE})), \
         freed AS ( \
             UPDATE runs AS r SET state = 0, holder = NULL FROM found \
             WHERE r.id = found.id AND r.holder = $1 AND r.state = 1 RETURNING r.id, r.event_id, r.tenant, r.created_at), \
         ended AS (DELETE FROM queue AS q USING named WHERE q.run_id = named.run_id \
             AND NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.id = q.run_id AND r.holder = $1 AND r.state = 1) RETURNING q.run_id), \
         due AS (INSERT INTO queue (run_id, event_id, tenant, due_at, lost, created_at) \
             SELECT id, event_id, tenant, {NOW_MS}, true, created_at FROM freed \
             ON CONFLICT (run_id) DO UPDATE SET holder = NULL, due_at = excluded.due_at, lost = true) \
         SELECT (SELECT count(*) FROM freed) + (SELECT count(*) FROM ended)"
    );
    let taken: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(node).bind(low).fetch_one(&mut *conn).await?;
    if taken < SLICE {
        sqlx::query("DELETE FROM holds WHERE node = $1").bind(node).execute(&mut *conn).await?;
        sqlx::query("DELETE FROM nodes WHERE id = $1").bind(node).execute(conn).await?;
    }
    Ok(taken.unsigned_abs())
}

/// Gives these runs back where the node still holds them under these epochs, as ones whose holder lost track of them in the
/// middle of an attempt; they are due at once. Answers with how many that were.
pub(super) async fn release(conn: &mut PgConnection, node: i64, runs: &[Dropped]) -> Result<u64, Error> {
    let ids: Vec<Uuid> = runs.iter().map(|one| one.id.0).collect();
    let epochs: Vec<i64> = runs.iter().map(|one| one.epoch).collect();
    let sql = format!(
        "WITH freed AS ( \
             UPDATE runs AS r SET state = 0, holder = NULL FROM unnest($2::uuid[], $3::bigint[]) AS u (id, epoch) \
             WHERE r.id = u.id AND r.epoch = u.epoch AND r.holder = $1 AND r.state = 1 RETURNING r.id, r.event_id, r.tenant, r.created_at), \
         due AS (INSERT INTO queue (run_id, event_id, tenant, due_at, lost, created_at) \
             SELECT id, event_id, tenant, {NOW_MS}, true, created_at FROM freed \
             ON CONFLICT (run_id) DO UPDATE SET holder = NULL, due_at = excluded.due_at, lost = true) \
         SELECT count(*) FROM freed"
    );
    let freed: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(node).bind(ids).bind(epochs).fetch_one(conn).await?;
    Ok(freed.unsigned_abs())
}
