//! Lanes: runs of one trigger with equal ordering keys execute one after another, on whichever nodes.
//!
//! All unfinished runs of a lane stand in `queue`. Whoever adds one, claims one or ends one holds the advisory lock of the lane's
//! bucket until the end of the transaction, and looks at the lane in a statement of its own after that. Several locks are taken in
//! ascending order.

use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnection;
use triggerd_core::id::TenantId;
use uuid::Uuid;

/// The first half of the locks' numbers: `trgl`.
const LOCKS: i32 = 0x7472_676c;
/// How many locks the lanes share: few enough for any number of lanes to fit a server's lock table.
const BUCKETS: u16 = 1024;

/// Names a lane. Nodes of all versions must agree on it.
pub(super) fn digest(tenant: &TenantId, trigger: &str, key: &str) -> Uuid {
    let mut hash = Sha256::new();
    for part in [tenant.as_str(), trigger] {
        // Neither holds a zero.
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(key.as_bytes());
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

/// Takes the locks of lanes until the end of the transaction.
pub(super) async fn lock(conn: &mut PgConnection, lanes: &[Uuid]) -> Result<(), sqlx::Error> {
    let bucket = |lane: &Uuid| {
        let bytes = lane.as_bytes();
        i32::from(u16::from_be_bytes([bytes[0], bytes[1]]) % BUCKETS)
    };
    let mut buckets: Vec<i32> = lanes.iter().map(bucket).collect();
    buckets.sort_unstable();
    buckets.dedup();
    // `unnest` gives them in their order.
    sqlx::query("SELECT pg_advisory_xact_lock($1, bucket) FROM unnest($2::int[]) AS bucket")
        .bind(LOCKS)
        .bind(buckets)
        .execute(conn)
        .await?;
    Ok(())
}

/// Lets the first run of each lane be claimed; under the lanes' locks, after runs of theirs have ended.
pub(super) async fn unpark(conn: &mut PgConnection, lanes: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE queue AS q SET parked = false FROM unnest($1::uuid[]) AS l (lane) \
         WHERE q.parked AND q.run_id = (SELECT f.run_id FROM queue AS f WHERE f.lane = l.lane ORDER BY f.lane_seq LIMIT 1)",
    )
    .bind(lanes)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_named_by_all_of_its_parts() {
        let of = |tenant: &str, trigger: &str, key: &str| digest(&TenantId::new(tenant), trigger, key);
        assert_eq!(of("a", "b", "c"), of("a", "b", "c"));
        assert_ne!(of("a", "bc", ""), of("a", "b", "c"));
        assert_ne!(of("ab", "", "c"), of("a", "b", "c"));
    }
}
