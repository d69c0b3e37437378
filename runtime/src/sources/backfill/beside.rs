//! The live capture, as a backfill has it beside itself.

use crate::connections::sql::{Fault, Session};

/// How changes are captured while rows are read. A page is read like this: in one transaction [`look`](Self::look), then the
/// rows; after it [`tell`](Self::tell), then the rows are told of, and only then what has changed since.
pub(in crate::sources) trait Beside {
    /// Changes that a snapshot sees.
    type Seen;

    /// Which changes the snapshot of the transaction that `session` is in sees; `None` where so many were not told of that
    /// they come first.
    async fn look(&mut self, session: &mut Session) -> Result<Option<Self::Seen>, Fault>;

    /// Tells of all of those that were not told of, and of no others; `false` gives the page up. The transaction is over.
    async fn tell(&mut self, session: &mut Session, seen: Self::Seen) -> Result<bool, Fault>;
}
