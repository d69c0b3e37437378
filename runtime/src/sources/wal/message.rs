//! What the plugin `pgoutput` says, taken apart.
//!
//! Source: PostgreSQL's chapter "Frontend/Backend Protocol", section "Logical Replication Message Formats", protocol
//! version 1: whole transactions, in the order of their commits, nothing of those that were rolled back.

use std::borrow::Cow;

use super::lsn::Lsn;

/// One message.
#[derive(PartialEq, Debug)]
pub(super) enum Told<'a> {
    /// A transaction follows, which committed at this place and time.
    Begin { commit: Lsn, micros: i64, xid: u32 },
    /// It ends; what follows it in the log begins at this place.
    Commit { end: Lsn },
    /// What a table looks like from here on.
    Relation(Relation),
    /// A row was added.
    Insert { relation: u32, new: Tuple<'a> },
    /// A row was changed.
    Update { relation: u32, old: Option<Old<'a>>, new: Tuple<'a> },
    /// A row was removed.
    Delete { relation: u32, old: Old<'a> },
    /// Tables were emptied.
    Truncate { relations: Vec<u32> },
    /// An application's own words.
    Message { transactional: bool, prefix: Cow<'a, str>, content: &'a [u8] },
    /// A type's name, or the origin of a transaction: nothing that is needed here.
    Nothing,
}

/// A table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Relation {
    pub(super) id: u32,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
}

/// A column of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Column {
    /// Part of the replica identity.
    pub(super) key: bool,
    pub(super) name: String,
    pub(super) type_id: u32,
}

/// A row as it was.
#[derive(PartialEq, Debug)]
pub(super) enum Old<'a> {
    /// Only the columns of the replica identity mean anything.
    Key(Tuple<'a>),
    /// All of it (`REPLICA IDENTITY FULL`).
    Whole(Tuple<'a>),
}

/// The cells of a row, in the order of the relation's columns.
pub(super) type Tuple<'a> = Vec<Cell<'a>>;

/// A value of a row.
#[derive(PartialEq, Debug)]
pub(super) enum Cell<'a> {
    Null,
    /// Kept outside of its row (TOAST), and not written again: the log does not have it.
    Unchanged,
    Text(Cow<'a, str>),
}

/// Takes a message apart; `None` where it is not made as it should be.
pub(super) fn read(bytes: &[u8]) -> Option<Told<'_>> {
    let mut rest = Rest(bytes);
    Some(match rest.u8()? {
        b'B' => Told::Begin { commit: Lsn(rest.u64()?), micros: rest.u64()?.cast_signed(), xid: rest.u32()? },
        b'C' => {
            rest.take(1 + 8)?;
            Told::Commit { end: Lsn(rest.u64()?) }
        }
        b'R' => Told::Relation(relation(&mut rest)?),
        b'I' => {
            let relation = rest.u32()?;
            rest.is(b'N')?;
            Told::Insert { relation, new: rest.tuple()? }
        }
        b'U' => {
            let relation = rest.u32()?;
            let old = match rest.0.first()? {
                b'N' => None,
                _ => Some(rest.old()?),
            };
            rest.is(b'N')?;
            Told::Update { relation, old, new: rest.tuple()? }
        }
        b'D' => Told::Delete { relation: rest.u32()?, old: rest.old()? },
        b'T' => {
            let count = rest.u32()?;
            rest.take(1)?;
            Told::Truncate { relations: (0..count).map(|_| rest.u32()).collect::<Option<_>>()? }
        }
        b'M' => {
            let transactional = rest.u8()? & 1 == 1;
            rest.take(8)?;
            let prefix = rest.text()?;
            let length = rest.u32()? as usize;
            Told::Message { transactional, prefix, content: rest.take(length)? }
        }
        _ => Told::Nothing,
    })
}

fn relation(rest: &mut Rest<'_>) -> Option<Relation> {
    let (id, schema, name) = (rest.u32()?, rest.text()?.into_owned(), rest.text()?.into_owned());
    // Which replica identity it is shows in the columns' flags.
    rest.take(1)?;
    let count = rest.u16()?;
    let mut column = || {
        let key = rest.u8()? & 1 == 1;
        let name = rest.text()?.into_owned();
        let type_id = rest.u32()?;
        rest.take(4)?;
        Some(Column { key, name, type_id })
    };
    let columns = (0..count).map(|_| column()).collect::<Option<_>>()?;
    Some(Relation { id, schema, name, columns })
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn is(&mut self, wanted: u8) -> Option<()> {
        (self.u8()? == wanted).then_some(())
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<Cow<'a, str>> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(String::from_utf8_lossy(text))
    }

    fn old(&mut self) -> Option<Old<'a>> {
        match self.u8()? {
            b'K' => self.tuple().map(Old::Key),
            b'O' => self.tuple().map(Old::Whole),
            _ => None,
        }
    }

    fn tuple(&mut self) -> Option<Tuple<'a>> {
        let count = self.u16()?;
        (0..count).map(|_| self.cell()).collect()
    }

    fn cell(&mut self) -> Option<Cell<'a>> {
        match self.u8()? {
            b'n' => Some(Cell::Null),
            b'u' => Some(Cell::Unchanged),
            b't' => {
                let length = self.u32()? as usize;
                // Not UTF-8 only where the database itself has no encoding (SQL_ASCII).
                Some(Cell::Text(String::from_utf8_lossy(self.take(length)?)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// An update of relation 7 with its old key, one column unchanged and one null.
    fn update() -> Vec<u8> {
        let mut bytes = b"U\0\0\0\x07K\0\x03".to_vec();
        bytes.extend(b"t\0\0\0\x011nn");
        bytes.extend(b"N\0\x03t\0\0\0\x012un");
        bytes
    }

    #[test]
    fn a_message_is_taken_apart_or_refused_as_a_whole() {
        let bytes = update();
        let text = |text: &'static str| Cell::Text(text.into());
        let old = Some(Old::Key(vec![text("1"), Cell::Null, Cell::Null]));
        let new = vec![text("2"), Cell::Unchanged, Cell::Null];
        assert_eq!(read(&bytes).unwrap(), Told::Update { relation: 7, old, new });
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), None, "{cut}");
        }
        // Lengths that claim more than there is.
        assert_eq!(read(b"I\0\0\0\x07N\xff\xff"), None);
        assert_eq!(read(b"I\0\0\0\x07N\0\x01t\xff\xff\xff\xff"), None);
        assert_eq!(read(b"T\xff\xff\xff\xff\0"), None);
    }
}
