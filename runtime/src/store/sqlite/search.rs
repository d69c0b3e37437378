//! How the inbox finds events: segment by segment, newest first, by the sets that are kept of them (`segments.rs`), and one by one
//! where none is kept, or none that is to be believed.

use std::collections::HashSet;
use std::time::Instant;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};
use triggerd_core::id::TenantId;

use super::bits::{Bits, SEGMENT_BITS};
use super::segments::{Kept, SOURCE, TABLE, TYPE, UNMATCHED, hash, range};
use super::tables::filter::status_is;
use crate::store::{Error, EventFilter, EventStatus, Position};

/// Events after the last built segment that are looked at one by one. With more, as after an upgrade, nothing is found here.
const TAIL: i64 = 150_000;
/// No event's number is larger, as those of its runs begin with it.
const LAST: i64 = i64::MAX >> 18;
/// Unfinished runs that are read to know the events that are pending.
const UNFINISHED: i64 = 100_000;

/// One tenant's events of a filter.
pub(super) struct Search {
    tenant: String,
    filter: EventFilter,
    /// Type, source and table, with the beginnings of their digests.
    fields: Vec<(usize, String, i64)>,
}

/// What was found.
pub(super) struct Found {
    /// Their places, newest first.
    pub(super) places: Vec<Position>,
    /// Where the search stopped because its time was up: nothing above was left out.
    pub(super) rest: Option<Position>,
}

/// A piece of the inbox, in which the tenant may have events.
struct Piece {
    /// Its first and last number.
    seqs: (i64, i64),
    first_at: i64,
    last_at: i64,
    /// The segment, and what is kept of it; a piece without is looked at one by one.
    segment: Option<(i64, Kept)>,
}

/// Which events of a piece may match.
enum Candidates {
    /// All of them, for all that is known.
    Any,
    /// All but those of no run and these, as far as the status goes, which is `delivered`.
    Except(Vec<i64>),
    /// These, for all that is known.
    Seqs(Vec<i64>),
    /// These. `exact`: without exception, as far as type, source, table and status go.
    Of { bits: Bits, exact: bool },
}

impl Search {
    pub(super) fn new(tenant: &TenantId, filter: &EventFilter) -> Self {
        let wanted = [(TYPE, &filter.event_type), (SOURCE, &filter.source), (TABLE, &filter.table)];
        let fields =
            wanted.into_iter().filter_map(|(field, value)| value.as_ref().map(|v| (field, v.clone(), hash(v))));
        Self { tenant: tenant.as_str().to_owned(), filter: filter.clone(), fields: fields.collect() }
    }

    /// The next `limit` events below `top`. `None` where too little of the store has been built for that.
    pub(super) fn find(
        &self,
        conn: &Connection,
        top: Position,
        limit: usize,
        ends: Instant,
    ) -> Result<Option<Found>, Error> {
        let Some(pieces) = self.pieces(conn)? else { return Ok(None) };
        let unfinished = self.unfinished(conn)?;
        let mut places: Vec<Position> = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let above = Position { accepted_at: piece.last_at, seq: i64::MAX };
            if places.get(limit.saturating_sub(1)).is_some_and(|last| *last > above) {
                break;
            }
            // Only where the next page begins further down than this one.
            if n > 0 && above < top && Instant::now() > ends {
                places.retain(|place| *place > above);
                return Ok(Some(Found { places, rest: Some(above) }));
            }
            if piece.first_at > top.accepted_at || self.is_outside(piece) {
                continue;
            }
            let candidates = self.candidates(conn, piece, unfinished.as_deref())?;
            places.extend(self.places(conn, piece, &candidates, top, limit)?);
            places.sort_unstable_by(|a, b| b.cmp(a));
            places.truncate(limit);
        }
        Ok(Some(Found { places, rest: None }))
    }

    /// How many there are; with `false`, how many there are at least: the time was up. `None` as in [`Search::find`].
    pub(super) fn count(&self, conn: &Connection, ends: Instant) -> Result<Option<(u64, bool)>, Error> {
        let Some(pieces) = self.pieces(conn)? else { return Ok(None) };
        let unfinished = self.unfinished(conn)?;
        let mut total = 0;
        for (n, piece) in pieces.iter().enumerate() {
            // The newest piece in any case: on a machine that is busy with other things a small store is counted all the same.
            if n > 0 && Instant::now() > ends {
                return Ok(Some((total, false)));
            }
            if self.is_outside(piece) {
                continue;
            }
            let is_inside = self.filter.start.is_none_or(|start| start.as_millisecond() <= piece.first_at)
                && self.filter.end.is_none_or(|end| piece.last_at < end.as_millisecond());
            if let (Some((_, kept)), true, true, None) =
                (piece.segment, is_inside, self.fields.is_empty(), self.filter.status)
            {
                total += kept.events();
                continue;
            }
            total += match self.candidates(conn, piece, unfinished.as_deref())? {
                Candidates::Of { bits, exact: true } if is_inside => bits.count(),
                candidates if candidates.is_none() => 0,
                candidates => self.counted(conn, piece, &candidates)?,
            };
        }
        Ok(Some((total, true)))
    }

    /// The pieces, by their newest events.
    fn pieces(&self, conn: &Connection) -> Result<Option<Vec<Piece>>, Error> {
        let built: Option<i64> =
            conn.prepare_cached("SELECT max(segment) FROM inbox_built")?.query_row([], |row| row.get(0))?;
        let tail = built.map_or(i64::MIN, |segment| (segment + 1) << SEGMENT_BITS);
        let (first, last): (Option<i64>, Option<i64>) = conn
            .prepare_cached("SELECT (SELECT min(seq) FROM events WHERE seq >= ?1), (SELECT max(seq) FROM events)")?
            .query_row([tail], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut pieces = Vec::new();
        if let (Some(first), Some(last)) = (first, last) {
            if last - first > TAIL {
                return Ok(None);
            }
            pieces.push(Piece { seqs: (first, LAST), first_at: i64::MIN, last_at: i64::MAX, segment: None });
        }
        let changed: HashSet<i64> = conn
            .prepare_cached("SELECT c.segment FROM inbox_changed AS c JOIN inbox_built AS b ON b.segment = c.segment")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut heads = conn.prepare_cached(
            "SELECT segment, events, first_at, last_at, kept FROM inbox_segments WHERE tenant = ? ORDER BY segment DESC",
        )?;
        let mut rows = heads.query([&self.tenant])?;
        while let Some(row) = rows.next()? {
            let segment: i64 = row.get(0)?;
            let kept = Kept::new(row.get(4)?, row.get::<_, i64>(1)?.unsigned_abs());
            pieces.push(Piece {
                seqs: range(segment),
                // No event ever comes into a built segment: these bounds hold whatever has gone from it.
                first_at: row.get(2)?,
                last_at: row.get(3)?,
                segment: (!changed.contains(&segment)).then_some((segment, kept)),
            });
        }
        pieces.sort_by_key(|piece| std::cmp::Reverse((piece.last_at, piece.seqs.0)));
        Ok(Some(pieces))
    }

    fn is_outside(&self, piece: &Piece) -> bool {
        self.filter.start.is_some_and(|start| piece.last_at < start.as_millisecond())
            || self.filter.end.is_some_and(|end| piece.first_at >= end.as_millisecond())
    }

    /// The events that have an unfinished run, ascending; `None` where there are too many, or nobody needs to know.
    fn unfinished(&self, conn: &Connection) -> Result<Option<Vec<i64>>, Error> {
        if !matches!(self.filter.status, Some(EventStatus::Pending | EventStatus::Delivered)) {
            return Ok(None);
        }
        let mut seqs: Vec<i64> = Vec::new();
        for sql in [
            "SELECT seq >> 18 FROM runs INDEXED BY runs_due WHERE due_at IS NOT NULL AND parked = 0 LIMIT ?",
            // The parked ones are only here.
            "SELECT seq >> 18 FROM runs INDEXED BY runs_lane WHERE ordering_key IS NOT NULL AND due_at IS NOT NULL LIMIT ?",
        ] {
            let before = seqs.len();
            let mut statement = conn.prepare_cached(sql)?;
            let mut rows = statement.query([UNFINISHED + 1])?;
            while let Some(row) = rows.next()? {
                seqs.push(row.get(0)?);
            }
            if (seqs.len() - before) as i64 > UNFINISHED {
                return Ok(None);
            }
        }
        seqs.sort_unstable();
        seqs.dedup();
        Ok(Some(seqs))
    }

    fn candidates(&self, conn: &Connection, piece: &Piece, unfinished: Option<&[i64]>) -> Result<Candidates, Error> {
        let Some((segment, kept)) = piece.segment else { return self.of_status(conn, piece, unfinished) };
        if self.fields.is_empty() && self.filter.status.is_none() {
            return Ok(Candidates::Any);
        }
        let mut exact = kept.is_by_field();
        let mut bits = None;
        if kept.is_by_field() {
            for (field, _, hash) in &self.fields {
                exact &= !kept.is_shared(*field);
                let Some(of_value) = self.set(conn, segment, *field, kept.key(*field, *hash))? else {
                    return Ok(Candidates::none());
                };
                narrow(&mut bits, of_value);
            }
        }
        let mut bits = match bits {
            Some(bits) => bits,
            None => self.all(conn, segment)?,
        };
        let unmatched = || -> Result<Bits, Error> { Ok(self.set(conn, segment, UNMATCHED, 0)?.unwrap_or_default()) };
        match self.filter.status {
            None => {}
            Some(EventStatus::Unmatched) if kept.is_by_field() => bits.keep(&unmatched()?),
            Some(EventStatus::Unmatched) => {}
            Some(EventStatus::Failed) => bits.keep(&self.failed(conn, piece)?),
            Some(EventStatus::Pending) => match unfinished {
                Some(seqs) => {
                    bits.keep(&Bits::of(within(seqs, piece)));
                    bits.remove(&self.failed(conn, piece)?);
                }
                None => exact = false,
            },
            Some(EventStatus::Delivered) => {
                bits.remove(&unmatched()?);
                bits.remove(&self.failed(conn, piece)?);
                match unfinished {
                    Some(seqs) => bits.remove(&Bits::of(within(seqs, piece))),
                    None => exact = false,
                }
            }
        }
        Ok(Candidates::Of { bits, exact })
    }

    /// The candidates of a piece of which nothing is kept: by their runs, so that not those of each event are looked up.
    fn of_status(&self, conn: &Connection, piece: &Piece, unfinished: Option<&[i64]>) -> Result<Candidates, Error> {
        Ok(match (self.filter.status, unfinished) {
            (Some(EventStatus::Failed), _) => Candidates::Seqs(self.failed_seqs(conn, piece)?),
            (Some(EventStatus::Pending), Some(seqs)) => Candidates::Seqs(within(seqs, piece).to_vec()),
            (Some(EventStatus::Delivered), Some(seqs)) => {
                let mut except = self.failed_seqs(conn, piece)?;
                except.extend(within(seqs, piece));
                Candidates::Except(except)
            }
            _ => Candidates::Any,
        })
    }

    fn set(&self, conn: &Connection, segment: i64, field: usize, key: i64) -> Result<Option<Bits>, Error> {
        conn.prepare_cached(
            "SELECT bits FROM inbox_values WHERE segment = ? AND tenant = ? AND field = ? AND value = ?",
        )?
        .query_row(params![segment, self.tenant, field as i64, key], |row| row.get::<_, Vec<u8>>(0))
        .optional()?
        .map(|bytes| Bits::decode(&bytes))
        .transpose()
    }

    fn all(&self, conn: &Connection, segment: i64) -> Result<Bits, Error> {
        let bytes: Vec<u8> = conn
            .prepare_cached("SELECT bits FROM inbox_segments WHERE tenant = ? AND segment = ?")?
            .query_row(params![self.tenant, segment], |row| row.get(0))?;
        Bits::decode(&bytes)
    }

    /// Those of a segment.
    fn failed(&self, conn: &Connection, piece: &Piece) -> Result<Bits, Error> {
        Ok(Bits::of(&self.failed_seqs(conn, piece)?))
    }

    /// The events of a piece that have a dead letter.
    fn failed_seqs(&self, conn: &Connection, piece: &Piece) -> Result<Vec<i64>, Error> {
        let mut statement = conn.prepare_cached(
            "SELECT seq >> 18 FROM runs INDEXED BY runs_dead WHERE state = 'failed' AND tenant = ? \
             AND seq BETWEEN ? << 18 AND (? << 18) | 262143",
        )?;
        let mut rows = statement.query(params![self.tenant, piece.seqs.0, piece.seqs.1])?;
        let mut seqs: Vec<i64> = Vec::new();
        while let Some(row) = rows.next()? {
            seqs.push(row.get(0)?);
        }
        // An event's runs lie together.
        seqs.dedup();
        Ok(seqs)
    }

    /// The newest places of candidates that do match.
    fn places(
        &self,
        conn: &Connection,
        piece: &Piece,
        candidates: &Candidates,
        top: Position,
        limit: usize,
    ) -> Result<Vec<Position>, Error> {
        if candidates.is_none() {
            return Ok(Vec::new());
        }
        let (mut sql, mut values) = self.query("e.accepted_at, e.seq", piece, candidates);
        sql.push_str(" AND (e.accepted_at, e.seq) < (?, ?) ORDER BY e.accepted_at DESC, e.seq DESC LIMIT ?");
        values.extend([top.accepted_at, top.seq, limit as i64].map(Value::Integer));
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut places = Vec::new();
        while let Some(row) = rows.next()? {
            places.push(Position { accepted_at: row.get(0)?, seq: row.get(1)? });
        }
        Ok(places)
    }

    /// How many candidates do match.
    fn counted(&self, conn: &Connection, piece: &Piece, candidates: &Candidates) -> Result<u64, Error> {
        let (sql, values) = self.query("count(*)", piece, candidates);
        let count: i64 = conn.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// `columns` of those candidates that match.
    fn query(&self, columns: &str, piece: &Piece, candidates: &Candidates) -> (String, Vec<Value>) {
        let mut values = Vec::new();
        let list = |seqs: Vec<i64>| Value::Text(serde_json::Value::from(seqs).to_string());
        let listed = "json_each(?) AS c CROSS JOIN events AS e ON e.seq = c.value WHERE true";
        let from = match candidates {
            Candidates::Of { bits, .. } => {
                values.push(list(bits.seqs(piece.seqs.0 >> SEGMENT_BITS).collect()));
                listed
            }
            Candidates::Seqs(seqs) => {
                values.push(list(seqs.clone()));
                listed
            }
            Candidates::Any | Candidates::Except(_) => {
                values.extend([Value::Integer(piece.seqs.0), Value::Integer(piece.seqs.1)]);
                "events AS e NOT INDEXED WHERE e.seq BETWEEN ? AND ?"
            }
        };
        let mut sql = format!("SELECT {columns} FROM {from} AND e.tenant = ?");
        values.push(Value::Text(self.tenant.clone()));
        // In the same snapshot there is nothing more to ask of them.
        let is_exact = matches!(candidates, Candidates::Of { exact: true, .. });
        for (field, value, _) in self.fields.iter().filter(|_| !is_exact) {
            sql.push_str([" AND e.type = ?", " AND e.source = ?", " AND e.tbl = ?"][*field]);
            values.push(Value::Text(value.clone()));
        }
        let times = [(" AND e.accepted_at >= ?", self.filter.start), (" AND e.accepted_at < ?", self.filter.end)];
        for (condition, time) in times {
            if let Some(time) = time {
                sql.push_str(condition);
                values.push(Value::Integer(time.as_millisecond()));
            }
        }
        match (candidates, self.filter.status) {
            (Candidates::Of { exact: true, .. }, _) | (_, None) => {}
            (Candidates::Except(seqs), Some(_)) => {
                sql.push_str(" AND e.run_count > 0 AND e.seq NOT IN (SELECT value FROM json_each(?))");
                values.push(list(seqs.clone()));
            }
            (_, Some(status)) => sql.push_str(&status_is(status)),
        }
        (sql, values)
    }
}

impl Candidates {
    fn none() -> Self {
        Self::Of { bits: Bits::default(), exact: true }
    }

    fn is_none(&self) -> bool {
        match self {
            Self::Any | Self::Except(_) => false,
            Self::Seqs(seqs) => seqs.is_empty(),
            Self::Of { bits, .. } => bits.is_empty(),
        }
    }
}

fn narrow(bits: &mut Option<Bits>, by: Bits) {
    match bits {
        Some(bits) => bits.keep(&by),
        None => *bits = Some(by),
    }
}

/// Those of ascending numbers that a piece has.
fn within<'s>(seqs: &'s [i64], piece: &Piece) -> &'s [i64] {
    let from = seqs.partition_point(|seq| *seq < piece.seqs.0);
    let to = seqs.partition_point(|seq| *seq <= piece.seqs.1);
    &seqs[from..to]
}
