//! What a snapshot sees of the log's transactions.

use std::collections::HashSet;

use super::lsn::Lsn;
use crate::connections::sql::{Arg, Fault, Session};

/// `pg_current_snapshot()` comes first: what it sees has committed, so that its commit stands in the log before the end that is
/// asked for after it.
const ASK: &str = "SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.pg_current_wal_insert_lsn()::text";

/// A page of the log begins with a header of at most so many bytes (`xlog_internal.h`).
const HEADER: u64 = 40;
const PAGE: u64 = 8192;

/// The transactions that the snapshot of a transaction sees, and how far the log reaches in which their commits are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sight {
    /// The first that had not begun.
    next: u64,
    /// Those that were under way.
    under_way: HashSet<u64>,
    /// All that it sees committed before this place.
    pub(super) upto: Lsn,
}

impl Sight {
    /// Of the transaction that `session` is in.
    pub(super) async fn take(session: &mut Session) -> Result<Self, Fault> {
        let found = session.rows(ASK, &[], 1).await?.rows;
        let cell = |i: usize| found.first().and_then(|row| row.get(i)).and_then(Arg::text).unwrap_or_default();
        let sight = Self::read(cell(0), cell(1));
        sight.ok_or_else(|| Fault::unavailable("the server does not say what its snapshot sees"))
    }

    /// `xmin:xmax:xid,xid…`, and a place.
    fn read(snapshot: &str, upto: &str) -> Option<Self> {
        let mut parts = snapshot.split(':').skip(1);
        let next = parts.next()?.parse().ok()?;
        let under_way = parts.next()?.split(',').filter(|xid| !xid.is_empty()).map(|xid| xid.parse().ok());
        let Lsn(upto) = upto.parse().ok()?;
        // The insertion place stands behind a page's header where the log ends with the page before.
        let upto = if upto % PAGE <= HEADER { upto - upto % PAGE } else { upto };
        Some(Self { next, under_way: under_way.collect::<Option<_>>()?, upto: Lsn(upto) })
    }

    /// Whether it sees a committed transaction, by the number that the log has of it: the lower 32 bits.
    pub(super) fn sees(&self, transaction: Option<&str>) -> bool {
        let Some(xid) = transaction.and_then(|xid| xid.parse::<u32>().ok()) else { return true };
        // The nearest number to the snapshot's that ends with those bits.
        let behind = (self.next as u32).wrapping_sub(xid).cast_signed();
        let xid = self.next.wrapping_add_signed(-i64::from(behind));
        xid < self.next && !self.under_way.contains(&xid)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_had_committed_is_seen_also_where_numbers_have_gone_round() {
        let sight = Sight::read("790:800:795,797", "0/2001000").unwrap();
        let seen: Vec<bool> =
            [10, 794, 795, 796, 797, 799, 800, 900].map(|xid| sight.sees(Some(&u32::to_string(&xid)))).into();
        assert_eq!(seen, [true, true, false, true, false, true, false, false]);
        let round = Sight::read("4294967290:4294967300:4294967295", "0/1").unwrap();
        let seen: Vec<bool> =
            [4_294_967_294, u32::MAX, 2, 3, 4, 100].map(|xid| round.sees(Some(&xid.to_string()))).into();
        assert_eq!(seen, [true, false, true, true, false, false]);
        assert!(Sight::read("7:7:", "0/1").unwrap().under_way.is_empty());
    }

    #[test]
    fn a_place_behind_a_pages_header_is_the_end_of_the_page_before() {
        for (told, meant) in [("0/2000028", "0/2000000"), ("0/2002018", "0/2002000"), ("0/2002060", "0/2002060")] {
            assert_eq!(Sight::read("1:1:", told).unwrap().upto.to_string(), meant);
        }
    }
}
