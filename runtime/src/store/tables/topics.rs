//! The embedded broker's topics.

use jiff::Timestamp;
use sqlx::Row;
use triggerd_core::id::TenantId;

use super::decode::at;
use super::{Connection, DbRow, Store, alone, decode};
use crate::store::{Error, TopicMessage};

impl Store {
    #[expect(clippy::too_many_arguments, reason = "they are the row's columns")]
    pub async fn topic_append(
        &self,
        tenant: &TenantId,
        broker: &str,
        topic: &str,
        key: Option<String>,
        headers: serde_json::Value,
        message: String,
        delivery_id: Option<String>,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let (tenant, broker, topic) = (tenant.clone(), broker.to_owned(), topic.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                alone(conn, &[tenant.as_str(), &broker, &topic]).await?;
                let row = sqlx::query(
                    "INSERT INTO topic_messages (tenant, broker, topic, \"offset\", key, headers, message, delivery_id, created_at) \
                     SELECT $1, $2, $3, coalesce(max(\"offset\") + 1, 0), $4, $5, $6, $7, $8 FROM topic_messages \
                     WHERE tenant = $1 AND broker = $2 AND topic = $3 \
                     ON CONFLICT (tenant, broker, topic, delivery_id) WHERE delivery_id IS NOT NULL DO NOTHING \
                     RETURNING \"offset\"",
                )
                .bind(tenant.as_str())
                .bind(broker.as_str())
                .bind(topic.as_str())
                .bind(key)
                .bind(headers.to_string())
                .bind(message)
                .bind(delivery_id.as_deref())
                .bind(now.as_millisecond())
                .fetch_optional(&mut *conn)
                .await?;
                match (row, delivery_id) {
                    (Some(row), _) => decode::unsigned(&row, "offset"),
                    (None, Some(delivery)) => offset_of(conn, &tenant, &broker, &topic, &delivery).await,
                    (None, None) => Err(decode::damaged("topic", topic)),
                }
            })
        })
        .await
    }

    pub async fn topic_read(
        &self,
        tenant: &TenantId,
        broker: &str,
        topic: &str,
        from_offset: u64,
        limit: u32,
    ) -> Result<Vec<TopicMessage>, Error> {
        let mut conn = self.reader().await?;
        let rows = sqlx::query(
            "SELECT \"offset\", key, headers, message, delivery_id, created_at FROM topic_messages \
             WHERE tenant = $1 AND broker = $2 AND topic = $3 AND \"offset\" >= $4 ORDER BY \"offset\" LIMIT $5",
        )
        .bind(tenant.as_str())
        .bind(broker)
        .bind(topic)
        .bind(i64::try_from(from_offset).unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await?;
        rows.iter().map(decode_message).collect()
    }

    pub async fn topics(&self, tenant: &TenantId, broker: &str) -> Result<Vec<(String, u64)>, Error> {
        let mut conn = self.reader().await?;
        // From topic to topic through the primary key: the number of messages does not count.
        let rows = sqlx::query(
            "WITH RECURSIVE names (topic) AS ( \
                 SELECT min(topic) FROM topic_messages WHERE tenant = $1 AND broker = $2 \
                 UNION ALL \
                 SELECT (SELECT min(topic) FROM topic_messages WHERE tenant = $1 AND broker = $2 AND topic > names.topic) \
                 FROM names WHERE names.topic IS NOT NULL) \
             SELECT topic, (SELECT max(\"offset\") + 1 FROM topic_messages AS m \
                            WHERE m.tenant = $1 AND m.broker = $2 AND m.topic = names.topic) AS next_offset \
             FROM names WHERE topic IS NOT NULL",
        )
        .bind(tenant.as_str())
        .bind(broker)
        .fetch_all(&mut *conn)
        .await?;
        rows.iter().map(|row| Ok((row.try_get("topic")?, decode::unsigned(row, "next_offset")?))).collect()
    }
}

async fn offset_of(
    conn: &mut Connection,
    tenant: &TenantId,
    broker: &str,
    topic: &str,
    delivery: &str,
) -> Result<u64, Error> {
    let row = sqlx::query(
        "SELECT \"offset\" FROM topic_messages WHERE tenant = $1 AND broker = $2 AND topic = $3 AND delivery_id = $4",
    )
    .bind(tenant.as_str())
    .bind(broker)
    .bind(topic)
    .bind(delivery)
    .fetch_one(conn)
    .await?;
    decode::unsigned(&row, "offset")
}

fn decode_message(row: &DbRow) -> Result<TopicMessage, Error> {
    Ok(TopicMessage {
        offset: decode::unsigned(row, "offset")?,
        key: row.try_get("key")?,
        headers: decode::json(row, "headers")?,
        message: decode::json(row, "message")?,
        delivery_id: row.try_get("delivery_id")?,
        created_at: at(row, "created_at")?,
    })
}
