//! What the inbox finds events by, made behind the writer: a segment of events is read through once the next one has begun, and
//! again where it has changed.
//!
//! - A built segment is complete: numbers are given by one writer, in order. At the start, when the last numbers may be given anew because
//!   their events are gone, those that would not be are forgotten.
//! - Whatever changes which events a built segment has, or which of them have runs, marks it in the same transaction. A marked
//!   segment is not believed until it has been built anew and nobody has marked it meanwhile.
//! - What is kept here only spares looking: a search asks the events themselves wherever a set may hold too much.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::bits::{Bits, SEGMENT, SEGMENT_BITS};
use super::open::Store;
use crate::store::Error;

/// Up to so many events of a tenant in a segment are looked at one by one.
const FEW: u64 = 32;
/// Values of a field that have a set each, at most; of more, several share one.
const MOST_VALUES: u64 = 256;
/// Rows of one statement.
const ROWS: usize = 200;

/// The fields of `inbox_values`.
pub(super) const TYPE: usize = 0;
pub(super) const SOURCE: usize = 1;
pub(super) const TABLE: usize = 2;
pub(super) const UNMATCHED: usize = 3;

/// What `kept` says where sets are kept by field, and of the fields whose values share sets.
const BY_FIELD: i64 = 1;
const SHARED: i64 = 2;

/// What is kept of a tenant's events of a segment, and how its sets are to be read.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    kept: i64,
    events: u64,
}

impl Kept {
    pub(super) fn new(kept: i64, events: u64) -> Self {
        Self { kept, events }
    }

    pub(super) fn events(self) -> u64 {
        self.events
    }

    /// Whether there are sets by field at all.
    pub(super) fn is_by_field(self) -> bool {
        self.kept & BY_FIELD != 0
    }

    /// Whether values of a field share sets, so that one may hold events with another value.
    pub(super) fn is_shared(self, field: usize) -> bool {
        self.kept & (SHARED << field) != 0
    }

    /// Under what the set of a value is kept.
    pub(super) fn key(self, field: usize, hash: i64) -> i64 {
        if self.is_shared(field) { hash.rem_euclid(sets(self.events) as i64) } else { hash }
    }
}

/// How many sets there are for a field of so many events.
fn sets(events: u64) -> u64 {
    (events / 32).clamp(1, MOST_VALUES)
}

/// The beginning of the value's digest.
pub(super) fn hash(value: &str) -> i64 {
    let digest = Sha256::digest(value.as_bytes());
    i64::from_le_bytes(std::array::from_fn(|n| digest[n]))
}

/// What is to be done next.
enum Step {
    /// This segment is to be built; `marks` that it had then.
    Build(i64, Option<i64>, Vec<Tenant>),
    /// Nothing of this segment is to be kept, as it has no events or is not complete.
    Drop(i64, i64),
}

/// A tenant's events of a segment.
struct Tenant {
    name: String,
    first_at: i64,
    last_at: i64,
    all: Vec<i64>,
    values: [HashMap<String, Vec<i64>>; 3],
    unmatched: Vec<i64>,
}

impl Store {
    /// Builds one segment that is complete or has changed; `false` where there is none.
    pub async fn index_events(&self) -> Result<bool, Error> {
        match self.looks.look(next).await? {
            None => Ok(false),
            Some(Step::Drop(segment, marks)) => {
                self.write(move |conn| {
                    Box::pin(async move {
                        forget(conn, segment).await?;
                        unmark(conn, segment, marks).await
                    })
                })
                .await?;
                Ok(true)
            }
            Some(Step::Build(segment, marks, tenants)) => {
                self.write(move |conn| Box::pin(async move { keep(conn, segment, marks, &tenants).await })).await?;
                Ok(true)
            }
        }
    }
}

/// Forgets the segments into which events may come from now on: numbers go on behind the last event that there is.
pub(super) async fn forget_open(conn: &mut SqliteConnection) -> Result<(), Error> {
    let open: Vec<i64> = sqlx::query_scalar(
        "SELECT segment FROM inbox_built WHERE segment >= (SELECT coalesce(max(seq), 0) >> ? FROM events)",
    )
    .bind(i64::from(SEGMENT_BITS))
    .fetch_all(&mut *conn)
    .await?;
    for segment in open {
        forget(conn, segment).await?;
    }
    Ok(())
}

fn next(conn: &Connection) -> Result<Option<Step>, Error> {
    let newest: Option<i64> = conn.prepare_cached("SELECT max(seq) FROM events")?.query_row([], |row| row.get(0))?;
    // Of an empty store nothing is complete.
    let open = newest.map_or(i64::MIN, |seq| seq >> SEGMENT_BITS);
    let marked = conn
        .prepare_cached("SELECT segment, marks FROM inbox_changed LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((segment, marks)) = marked {
        let is_built = conn.prepare_cached("SELECT 1 FROM inbox_built WHERE segment = ?")?.exists([segment])?;
        let tenants = if is_built && segment < open { read(conn, segment)? } else { Vec::new() };
        let step =
            if tenants.is_empty() { Step::Drop(segment, marks) } else { Step::Build(segment, Some(marks), tenants) };
        return Ok(Some(step));
    }
    let built: Option<i64> =
        conn.prepare_cached("SELECT max(segment) FROM inbox_built")?.query_row([], |row| row.get(0))?;
    let first: Option<i64> = conn
        .prepare_cached("SELECT min(seq) FROM events WHERE seq >= ?")?
        .query_row([built.map_or(i64::MIN, |segment| (segment + 1) << SEGMENT_BITS)], |row| row.get(0))?;
    match first.map(|seq| seq >> SEGMENT_BITS).filter(|segment| *segment < open) {
        Some(segment) => Ok(Some(Step::Build(segment, None, read(conn, segment)?))),
        None => Ok(None),
    }
}

/// The events of a segment, by tenant.
fn read(conn: &Connection, segment: i64) -> Result<Vec<Tenant>, Error> {
    let mut tenants: Vec<Tenant> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut statement = conn.prepare_cached(
        "SELECT seq, accepted_at, run_count, tenant, type, source, tbl FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq",
    )?;
    let (first, last) = range(segment);
    let mut rows = statement.query(params![first, last])?;
    while let Some(row) = rows.next()? {
        let (seq, at, runs): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let name = text(row, 3)?.unwrap_or_default();
        let place = match places.get(name) {
            Some(place) => *place,
            None => {
                places.insert(name.to_owned(), tenants.len());
                tenants.push(Tenant::new(name));
                tenants.len() - 1
            }
        };
        let tenant = &mut tenants[place];
        tenant.first_at = tenant.first_at.min(at);
        tenant.last_at = tenant.last_at.max(at);
        tenant.all.push(seq);
        if runs == 0 {
            tenant.unmatched.push(seq);
        }
        for (field, values) in tenant.values.iter_mut().enumerate() {
            let Some(value) = text(row, 4 + field)? else { continue };
            match values.get_mut(value) {
                Some(seqs) => seqs.push(seq),
                None => values.entry(value.to_owned()).or_default().push(seq),
            }
        }
    }
    Ok(tenants)
}

fn text<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<Option<&'r str>, Error> {
    let value = row.get_ref(column)?.as_str_or_null();
    value.map_err(|error| Error::Damaged(format!("event: column {column}: {error}")))
}

/// The first and the last number of a segment.
pub(super) fn range(segment: i64) -> (i64, i64) {
    (segment << SEGMENT_BITS, (segment << SEGMENT_BITS) + SEGMENT as i64 - 1)
}

impl Tenant {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            first_at: i64::MAX,
            last_at: i64::MIN,
            all: Vec::new(),
            values: Default::default(),
            unmatched: Vec::new(),
        }
    }

    /// What is kept of it, and the sets by field and value.
    fn sets(&self) -> (i64, Vec<(usize, i64, Vec<u8>)>) {
        let events = self.all.len() as u64;
        if events <= FEW {
            return (0, Vec::new());
        }
        let mut kept = BY_FIELD;
        let mut by_key: HashMap<(usize, i64), Bits> = HashMap::new();
        for (field, values) in self.values.iter().enumerate() {
            if values.len() as u64 > sets(events) {
                kept |= SHARED << field;
            }
            for (value, seqs) in values {
                let key = Kept::new(kept, events).key(field, hash(value));
                by_key.entry((field, key)).or_default().extend(seqs.iter().copied());
            }
        }
        if !self.unmatched.is_empty() {
            by_key.insert((UNMATCHED, 0), Bits::of(&self.unmatched));
        }
        (kept, by_key.into_iter().map(|((field, key), bits)| (field, key, bits.encode())).collect())
    }
}

/// Keeps a segment in place of what was kept of it.
async fn keep(conn: &mut SqliteConnection, segment: i64, marks: Option<i64>, tenants: &[Tenant]) -> Result<(), Error> {
    if marks.is_some() {
        forget(conn, segment).await?;
    } else if is_built(conn, segment).await? {
        return Ok(());
    }
    let mut values = Vec::new();
    let mut heads = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        let (kept, sets) = tenant.sets();
        values.extend(sets.into_iter().map(|set| (&tenant.name, set)));
        heads.push((tenant, kept));
    }
    for some in heads.chunks(ROWS) {
        let mut sql: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO inbox_segments (tenant, segment, events, first_at, last_at, kept, bits) ");
        sql.push_values(some, |mut row, (tenant, kept)| {
            row.push_bind(&tenant.name).push_bind(segment).push_bind(tenant.all.len() as i64);
            row.push_bind(tenant.first_at).push_bind(tenant.last_at).push_bind(*kept);
            row.push_bind(Bits::of(&tenant.all).encode());
        });
        sql.build().execute(&mut *conn).await?;
    }
    for some in values.chunks(ROWS) {
        let mut sql: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO inbox_values (segment, tenant, field, value, bits) ");
        sql.push_values(some, |mut row, (tenant, (field, key, bits))| {
            row.push_bind(segment).push_bind(*tenant).push_bind(*field as i64).push_bind(*key).push_bind(bits);
        });
        sql.build().execute(&mut *conn).await?;
    }
    sqlx::query("INSERT INTO inbox_built (segment) VALUES (?)").bind(segment).execute(&mut *conn).await?;
    match marks {
        Some(marks) => unmark(conn, segment, marks).await,
        None => Ok(()),
    }
}

async fn is_built(conn: &mut SqliteConnection, segment: i64) -> Result<bool, Error> {
    let found = sqlx::query("SELECT 1 FROM inbox_built WHERE segment = ?").bind(segment).fetch_optional(conn).await?;
    Ok(found.is_some())
}

async fn forget(conn: &mut SqliteConnection, segment: i64) -> Result<(), Error> {
    for sql in [
        // They are by tenant first: each tenant's is looked up.
        "DELETE FROM inbox_segments WHERE (tenant, segment) IN (SELECT name, ?1 FROM (WITH RECURSIVE names (name) AS ( \
         SELECT min(tenant) FROM inbox_segments UNION ALL \
         SELECT (SELECT min(tenant) FROM inbox_segments WHERE tenant > name) FROM names WHERE name IS NOT NULL) \
         SELECT name FROM names WHERE name IS NOT NULL))",
        "DELETE FROM inbox_values WHERE segment = ?1",
        "DELETE FROM inbox_built WHERE segment = ?1",
    ] {
        sqlx::query(sql).bind(segment).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Takes a mark away, unless it was set again meanwhile.
async fn unmark(conn: &mut SqliteConnection, segment: i64, marks: i64) -> Result<(), Error> {
    sqlx::query("DELETE FROM inbox_changed WHERE segment = ? AND marks = ?")
        .bind(segment)
        .bind(marks)
        .execute(conn)
        .await?;
    Ok(())
}

/// Marks the segments of these events: some are gone, or have been given runs.
pub(super) async fn mark(conn: &mut SqliteConnection, seqs: &[i64]) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO inbox_changed (segment, marks) SELECT DISTINCT value >> ?, 1 FROM json_each(?) WHERE true \
         ON CONFLICT (segment) DO UPDATE SET marks = marks + 1",
    )
    .bind(i64::from(SEGMENT_BITS))
    .bind(serde_json::Value::from(seqs).to_string())
    .execute(conn)
    .await?;
    Ok(())
}
