//! Removing keys by a glob.

use super::Connection;

/// Keys that a server looks at, and removes, in one step.
const STEP: usize = 1000;

/// SCAN and UNLINK step by step, on every master of a cluster: KEYS would hold up everybody else. Answers with how
/// many keys there were. Keys that are made meanwhile, or move between a cluster's nodes, may stay.
pub async fn unlink_matching(mut connection: Connection, pattern: &str) -> Result<u64, redis::RedisError> {
    let mut count = 0;
    for node in connection.masters().await? {
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(STEP);
            let answer = connection.ask(&node, scan).await?;
            let (next, keys): (String, Vec<Vec<u8>>) = redis::from_redis_value(answer)?;
            if !keys.is_empty() {
                let removed: u64 = redis::cmd("UNLINK").arg(keys).query_async(&mut connection).await?;
                count += removed;
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
    }
    Ok(count)
}
