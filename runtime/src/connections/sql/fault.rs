//! What databases' complaints mean: by SQLSTATE, error number and result code, never by text.
//!
//! Sources: PostgreSQL's appendix "Error Codes"; MySQL's and MariaDB's server error references; SQLite's result codes.

use sqlx::mysql::MySqlDatabaseError;
use triggerd_core::outcome::Failure;

use crate::egress;
use crate::failed::Failed;

/// Why a database did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The stable code of docs/errors.md.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Whether another try may help.
    pub retryable: bool,
    /// The connection is: another one may do at once.
    pub gone: bool,
}

/// The code of a write whose delivery is in the ledger already. It stays inside: the first result is read then.
pub const DELIVERED: &str = "DB_DELIVERED";

const UNAVAILABLE: (&str, bool) = ("DB_UNAVAILABLE", true);
const CONSTRAINT: (&str, bool) = ("DB_CONSTRAINT", false);
const UNKNOWN_TABLE: (&str, bool) = ("DB_UNKNOWN_TABLE", false);
const UNKNOWN_COLUMN: (&str, bool) = ("DB_UNKNOWN_COLUMN", false);
const DENIED: (&str, bool) = ("DB_DENIED", false);
const VALUE: (&str, bool) = ("DB_VALUE", false);
const REFUSED: (&str, bool) = ("DB_REFUSED", false);

impl Fault {
    /// For good.
    pub fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: false, gone: false }
    }

    /// Not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: "DB_UNAVAILABLE", message: message.into(), retryable: true, gone: false }
    }

    /// What PostgreSQL's complaint of that SQLSTATE means.
    pub fn of_postgres(sqlstate: &str, message: impl Into<String>) -> Self {
        let (code, retryable) = of_sqlstate(sqlstate);
        Self { code, message: message.into(), retryable, gone: retryable && sqlstate.starts_with("57P") }
    }

    /// The connection broke.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        Self { gone: true, ..Self::unavailable(egress::Error::of_io(error).to_string()) }
    }

    /// With the database's tag in front.
    #[must_use]
    pub fn failed(self, tag: &str) -> Failed {
        let message = format!("database `{tag}`: {}", self.message);
        Failed { failure: Failure::new(self.code, message), retryable: self.retryable, after: None }
    }
}

impl From<egress::Error> for Fault {
    fn from(error: egress::Error) -> Self {
        match error {
            egress::Error::Denied | egress::Error::Invalid(_) => Self::permanent(error.code(), error.to_string()),
            other => Self::unavailable(other.to_string()),
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        let of =
            |(code, retryable): (&'static str, bool), message: String| Self { code, message, retryable, gone: false };
        match &error {
            sqlx::Error::Database(fault) => {
                let message = fault.message().to_owned();
                let meaning = if let Some(mysql) = fault.try_downcast_ref::<MySqlDatabaseError>() {
                    of_mysql(mysql.number())
                } else {
                    let code = fault.code().unwrap_or_default();
                    match fault.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                        Some(postgres) if code == "23505" && postgres.table() == Some("triggerd_deliveries") => {
                            (DELIVERED, false)
                        }
                        Some(_) => of_sqlstate(&code),
                        None => of_sqlite(code.parse().unwrap_or(0)),
                    }
                };
                Self { gone: meaning.1 && is_goodbye(&**fault), ..of(meaning, message) }
            }
            sqlx::Error::Io(io) => Self::of_io(io),
            sqlx::Error::Tls(why) => of(("EPROTO", true), format!("TLS: {why}")),
            sqlx::Error::Configuration(why) => of(REFUSED, why.to_string()),
            sqlx::Error::Encode(why) => of(VALUE, why.to_string()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => of(REFUSED, error.to_string()),
            other => Self::unavailable(other.to_string()),
        }
    }
}

/// Whether the server ended the connection with it.
fn is_goodbye(fault: &dyn sqlx::error::DatabaseError) -> bool {
    match fault.try_downcast_ref::<MySqlDatabaseError>() {
        Some(mysql) => matches!(mysql.number(), 1053 | 1077..=1079 | 1927 | 2006 | 2013 | 4031),
        None => fault.code().is_some_and(|code| code.starts_with("57P")),
    }
}

fn of_sqlstate(code: &str) -> (&'static str, bool) {
    match code {
        "42P01" | "3F000" => UNKNOWN_TABLE,
        "42703" => UNKNOWN_COLUMN,
        "42501" => DENIED,
        "42804" | "42846" | "428C9" | "21000" => VALUE,
        // Lock not available, object in use, cancelled (statement timeout), a standby or a failover's old primary.
        "55P03" | "55006" | "57014" | "25006" => UNAVAILABLE,
        _ => match code.get(..2).unwrap_or_default() {
            "22" => VALUE,
            "23" | "44" => CONSTRAINT,
            "28" => DENIED,
            // Connection, rollback (serialization, deadlock), resources, operator intervention, system, internal.
            "08" | "25" | "40" | "53" | "57" | "58" | "XX" => UNAVAILABLE,
            _ => REFUSED,
        },
    }
}

fn of_mysql(number: u16) -> (&'static str, bool) {
    match number {
        1022 | 1048 | 1062 | 1169 | 1216 | 1217 | 1364 | 1451 | 1452 | 1557 | 1586 | 1761 | 1762 | 3819 | 4025 => {
            CONSTRAINT
        }
        1051 | 1109 | 1146 => UNKNOWN_TABLE,
        1054 | 1072 => UNKNOWN_COLUMN,
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1410 | 1698 | 3118 => DENIED,
        1264 | 1265 | 1292 | 1366 | 1367 | 1406 | 1411 | 1416 | 1525 | 1690 | 1906 | 3140..=3158 | 4038 => VALUE,
        // Full, memory, connections, shutdown, locks and deadlocks, killed or timed out, read-only after a failover.
        1021
        | 1037
        | 1038
        | 1040
        | 1041
        | 1043
        | 1053
        | 1077..=1079
        | 1105
        | 1114
        | 1129
        | 1152
        | 1156..=1161
        | 1180
        | 1184
        | 1203
        | 1205
        | 1206
        | 1213
        | 1226
        | 1290
        | 1317
        | 1613
        | 1614
        | 1615
        | 1792
        | 1836
        | 1927
        | 1969
        | 2006
        | 2013
        | 3024
        | 3168
        | 3169
        | 3572
        | 4031 => UNAVAILABLE,
        _ => REFUSED,
    }
}

fn of_sqlite(code: i64) -> (&'static str, bool) {
    match code & 0xff {
        19 => CONSTRAINT,
        3 | 8 | 23 => DENIED,
        18 | 20 | 25 => VALUE,
        // Busy, locked, out of memory, interrupted, I/O, full, cannot open.
        5 | 6 | 7 | 9 | 10 | 13 | 14 | 15 => UNAVAILABLE,
        _ => REFUSED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_try_may_mend_is_told_from_what_it_cannot() {
        for code in ["08006", "40001", "40P01", "53300", "55P03", "57014", "57P01", "57P03", "XX000"] {
            assert_eq!(of_sqlstate(code), UNAVAILABLE, "{code}");
        }
        assert_eq!(of_sqlstate("23505"), CONSTRAINT);
        assert_eq!(of_sqlstate("28P01"), DENIED);
        assert_eq!(of_sqlstate("22P02"), VALUE);
        assert_eq!(of_sqlstate("42601"), REFUSED);
        for number in [1205, 1213, 1040, 1053, 1317, 1969] {
            assert_eq!(of_mysql(number), UNAVAILABLE, "{number}");
        }
        assert_eq!(of_mysql(1062), CONSTRAINT);
        assert_eq!(of_mysql(1045), DENIED);
        assert_eq!(of_sqlite(5 | 1 << 8), UNAVAILABLE);
        assert_eq!(of_sqlite(2067), CONSTRAINT);
    }
}
