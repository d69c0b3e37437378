//! What a guest is given: the event, and who called for it.

/// One attempt of one action (or condition, guard, transform) for one event.
///
/// [`Context`](crate::Context) derefs to it: `cx.delivery_id`, `cx.table`. The JSON texts are read
/// through the context's methods (`cx.record::<T>()`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// UUIDv7 of the event.
    pub event_id: String,
    /// The same on every retry of this action of this run, another one for every other: build idempotency on it.
    pub delivery_id: String,
    /// From 1.
    pub attempt: u32,
    /// The tenant's id.
    pub tenant: String,
    /// The trigger's tag.
    pub trigger: String,
    /// The action's name in the trigger.
    pub action: String,
    /// The change event's name (`afterInsert`, ...), or the event type where the event is no row change.
    pub event_name: String,
    /// The event type: `order.created`, or `TABLE.created`, `TABLE.updated`, `TABLE.deleted` for a row change.
    pub event_type: String,
    /// `insert`, `update`, `delete`; `None` where the event is no row change.
    pub operation: Option<String>,
    /// The database's tag, where the source named it.
    pub database: Option<String>,
    /// The table; `None` where the event is no row change.
    pub table: Option<String>,
    /// The environment; `default` where the event named none.
    pub env: String,
    /// When it happened: RFC 3339, UTC.
    pub timestamp: String,
    /// Who sent it, in the sender's own words.
    pub source: Option<String>,
    /// The row as it is now, or the payload of an event that is no row change.
    pub record_json: String,
    /// The row as it was.
    pub previous_record_json: Option<String>,
    /// Names of the record's fields that differ from the previous record's.
    pub changed_fields: Vec<String>,
    /// Who made the change, as the source said.
    pub user_json: Option<String>,
    /// What else the source said: an object.
    pub metadata_json: String,
    /// The rendered `input` of the action (`config` of a condition).
    pub input_json: String,
    /// What earlier actions of the run returned: an object, by action name.
    pub results_json: String,
    /// W3C `traceparent` of the attempt.
    pub traceparent: Option<String>,
}
