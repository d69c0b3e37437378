//! What the capture of one database is given, however it is captured, and how it ends.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Place;
use super::status::Status;
use crate::app::App;

/// The capture of one database.
pub(super) struct Task<'t> {
    /// The program.
    pub app: &'t Arc<App>,
    /// Which database.
    pub place: &'t Place,
    /// What is told of it.
    pub status: &'t Status,
    /// Wakes it after a change that this program made.
    pub nudge: &'t Notify,
    /// Ends it.
    pub stop: &'t CancellationToken,
    /// Names this installation among those that may capture the database.
    pub owner: &'t str,
    /// Something may be left of it in the database from before.
    pub known: bool,
}

/// Why a capture ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It was asked to.
    Stopped,
    /// Nothing is to be captured any more, and nothing is left of it.
    Nothing,
    /// The server or how it is captured has changed: for another connection.
    Changed,
}
