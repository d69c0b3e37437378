//! The calls of the store, whichever it is: said once here, done in `sqlite/`, `postgres/` and `tables/`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::sync::Side;
use uuid::Uuid;

use super::{
    AuditEntry, AuditFilter, AuditOutcome, ChangeKind, Changes, Claimed, Erased, Error, EventFilter, EventStatus,
    FeedCursor, Idempotency, NewRun, Page, PageRequest, Position, PutOutcome, Resealed, Retired, RowDigest, Run,
    StateValue, StoredComponent, StoredEvent, StoredKey, StoredResource, StoredTenant, StoredTrigger, SyncConflict,
    SyncOverflow, SyncRow, SyncSettled, TopicMessage, TriggerChange, TriggerEvents, postgres, sqlite,
};

/// What is kept. Cheap to clone. Its last clone's end closes it; [`Store::close`] also waits for that.
#[derive(Clone)]
pub enum Store {
    /// Embedded: a file in the data directory, one process.
    Sqlite(sqlite::Store),
    /// A PostgreSQL database that several nodes share.
    Postgres(postgres::Store),
}

/// Each call is an `async fn` of [`Store`] that answers `Result<_, Error>`. Boxed: with a transaction's kilobytes in it, it would
/// make every future large that only may come to it, and those of the hot path are moved for each event.
macro_rules! calls {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $answer:ty;)*) => {
        impl Store {$(
            $(#[$meta])*
            pub async fn $name(&self, $($arg: $type),*) -> Result<$answer, Error> {
                match self {
                    Self::Sqlite(store) => Box::pin(store.$name($($arg),*)).await,
                    Self::Postgres(store) => Box::pin(store.$name($($arg),*)).await,
                }
            }
        )*}
    };
}

calls! {
    // The store itself

    /// Waits until everything asked for is on stable storage, and lets go of the store. What is asked for afterwards is
    /// answered `Unavailable`.
    fn close() -> ();

    /// Whether the store can be read and written now: what `/ready` asks. Costs one small commit.
    fn ping() -> ();

    /// Whether this node has the duty of that name, which one node has at a time: its own already, or taken now because nobody
    /// has it who is alive. Asked for again and again by who has it.
    fn take_duty(name: &str) -> bool;

    /// Tells other nodes of something that is not kept.
    fn tell_others(kind: ChangeKind, tenant: &TenantId, key: &str) -> ();

    /// What other nodes have changed since this was last asked: definitions, resources, tenants, keys.
    fn changes() -> Changes;

    // The feed between nodes

    /// Puts a parcel for the other nodes.
    fn feed_put(origin: &str, parcel: &str) -> ();

    /// Behind everything that there is by now.
    fn feed_end() -> FeedCursor;

    /// Others' parcels behind a place, which moves on; called again soon, as they are kept for a minute only.
    fn feed_get(origin: &str, cursor: &mut FeedCursor) -> Vec<String>;

    // Events

    /// One event.
    fn event(tenant: &TenantId, id: EventId) -> Option<StoredEvent>;

    /// The inbox: newest first.
    fn events(tenant: &TenantId, filter: &EventFilter, page: &PageRequest) -> Page<StoredEvent>;

    /// The same without counting all that there are: the events, and where the next page begins.
    fn events_listed(tenant: &TenantId, filter: &EventFilter, page: &PageRequest) -> (Vec<StoredEvent>, Option<String>);

    /// Brings what the inbox finds events by up to date, one step: called again as long as it answers `true`, and now and then.
    fn index_events() -> bool;

    /// Events of a time range, oldest first, from the one after `after` on: a backtest reads them page by page.
    fn events_between(
        tenant: &TenantId,
        start: Timestamp,
        end: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Vec<Arc<Event>>;

    /// The next of a trigger's events, which may be none; `None` at the end.
    fn events_of_trigger(asked: &mut TriggerEvents) -> Option<Vec<Arc<Event>>>;

    /// Events of a filter, oldest first, behind a place; and where to go on, unless that was all. There may be none of them: looks are
    /// bounded.
    fn events_after(
        tenant: &TenantId,
        filter: &EventFilter,
        after: Position,
        limit: u32,
    ) -> (Vec<StoredEvent>, Option<Position>);

    /// Where an event is in the inbox.
    fn position_of(tenant: &TenantId, id: EventId) -> Option<Position>;

    /// Puts what is left of events in their places, and forgets what their runs have sent and received. Runs that have not ended are
    /// ended without being done; whoever holds one learns of it at its next report.
    fn erase_events(tenant: &TenantId, erased: Vec<Event>, now: Timestamp) -> Erased;

    /// Overwrites what was freed, and empties the log, so that the bytes of what was erased are gone; `false` where this store leaves
    /// that to its server.
    fn scrub() -> bool;

    /// Those of `ids` whose events are kept.
    fn known_events(ids: &[EventId]) -> HashSet<EventId>;

    /// Retention: forgets a tenant's events of these statuses that were accepted before `before`, with their runs, oldest first
    /// from the one after `after` on, `limit` at most. Called again from where it stopped.
    fn retire(
        tenant: &TenantId,
        statuses: &[EventStatus],
        before: Timestamp,
        after: Option<Position>,
        limit: u32,
    ) -> Retired;

    /// Retention of all tenants: forgets what was accepted before `before` and can go as a whole, but for what is unfinished and for
    /// dead letters; about how many events that were. Called again until there are none.
    fn drop_old(before: Timestamp, limit: u32) -> u64;

    // Runs

    /// The runs of an event, in the order they were planned.
    fn runs_of(tenant: &TenantId, event: EventId) -> Vec<Run>;

    /// One run.
    fn run(tenant: &TenantId, id: RunId) -> Option<Run>;

    /// The dead letters, those of the newest events first, each with its event.
    fn dead_letters(tenant: &TenantId, filter: &EventFilter, page: &PageRequest) -> Page<(Run, Arc<Event>)>;

    /// Forgets a dead letter: its event no longer counts as failed for it. `false` where the run is none.
    fn drop_dead_letter(tenant: &TenantId, id: RunId) -> bool;

    /// Gives an event further runs: the replay of one that matched nothing when it came, and matches now. They come
    /// behind the event's own in order, and before those of later events.
    fn add_runs(tenant: &TenantId, event: EventId, runs: Vec<NewRun>) -> ();

    /// When the next run falls due, or the next lease ends, after `now`. A run that waits for an earlier one of its lane
    /// is not counted.
    fn next_due(now: Timestamp) -> Option<Timestamp>;

    // Claims

    /// Claims up to `limit` runs that are due, oldest due first, until `lease_until`.
    fn claim(now: Timestamp, limit: u32, lease_until: Timestamp) -> Vec<Claimed>;

    /// Claims the first unfinished run of a lane, if it is due: what follows the end of the one before.
    fn claim_lane(
        tenant: &TenantId,
        trigger: &str,
        key: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Option<Claimed>;

    /// Claims one run, if it is due and its lane lets it.
    fn claim_run(id: RunId, now: Timestamp, lease_until: Timestamp) -> Option<Claimed>;

    /// Lengthens leases; `false` for each run that is not the caller's any more. Called well before they end.
    fn renew(held: Vec<(RunId, i64)>, until: Timestamp) -> Vec<bool>;

    // Replays

    /// Makes one run due again, where it has ended; answers with the run as it is then. `None` where there is none, or
    /// it has not ended.
    fn replay_run(tenant: &TenantId, id: RunId, now: Timestamp) -> Option<Run>;

    /// Makes those runs of an event due again that have ended; answers with how many.
    fn replay_event(tenant: &TenantId, id: EventId, now: Timestamp) -> u64;

    /// Makes those runs due again that have ended and belong to events of this filter, newest first, in transactions of
    /// bounded size; answers with how many. With `trigger` set, only that trigger's runs. Events accepted after `now`
    /// are left out.
    fn replay_events(tenant: &TenantId, filter: &EventFilter, now: Timestamp) -> u64;

    // Idempotency keys

    /// The answer that was given under this key, unless it is forgotten by `now`.
    fn idempotency(tenant: &TenantId, key: &str, now: Timestamp) -> Option<Idempotency>;

    /// Forgets what has expired: idempotency keys, component state and quota windows. Called every few minutes;
    /// answers with how many rows that were.
    fn delete_expired(now: Timestamp) -> u64;

    // Metrics

    /// Pending and running runs.
    fn unfinished() -> u64;

    /// How many runs there are of each state but `delivered`.
    fn queue_depths() -> Vec<(String, u64)>;

    /// When the oldest run that is pending was planned.
    fn oldest_pending() -> Option<Timestamp>;

    /// Dead letters of all tenants.
    fn dead_letter_count() -> u64;

    // Triggers

    /// The versions in force, of all tenants, by tenant and tag from the one behind `after` on: a page of at most `limit`.
    fn triggers_page(after: Option<(TenantId, String)>, limit: u32) -> Vec<StoredTrigger>;

    /// The definitions in force of those that are named, in no order.
    fn triggers_of(named: &[(TenantId, String)]) -> Vec<StoredTrigger>;

    /// The definition in force.
    fn trigger(tenant: &TenantId, tag: &str) -> Option<StoredTrigger>;

    /// Changes definitions, all in one transaction or, with an error, none. Each trigger is named once. A definition becomes
    /// its tag's next version, unless it says what the one in force says; of a trigger that is deleted the versions stay.
    fn change_triggers(changes: Vec<TriggerChange>) -> Vec<PutOutcome>;

    /// One version, whether in force or not.
    fn trigger_version(tenant: &TenantId, tag: &str, version: u32) -> Option<StoredTrigger>;

    /// Every version of a tag, newest first.
    fn trigger_versions(tenant: &TenantId, tag: &str) -> Vec<StoredTrigger>;

    /// The versions that were in force at an instant.
    fn triggers_at(tenant: &TenantId, instant: Timestamp) -> Vec<StoredTrigger>;

    // Components

    /// Stores bytes as the name's next version; the latest version's bytes again are that version, and `false`.
    fn put_component(
        tenant: &TenantId,
        name: &str,
        digest: &str,
        description: Value,
        bytes: Vec<u8>,
        now: Timestamp,
    ) -> (StoredComponent, bool);

    /// Every version of every component, by name, oldest first.
    fn components(tenant: &TenantId) -> Vec<StoredComponent>;

    /// Every version of one component, oldest first; none where there is no such.
    fn component(tenant: &TenantId, name: &str) -> Vec<StoredComponent>;

    /// The bytes as they were uploaded.
    fn component_bytes(tenant: &TenantId, digest: &str) -> Option<Vec<u8>>;

    /// Deletes a component with all its versions and its durable state. `false` where there is none.
    fn delete_component(tenant: &TenantId, name: &str) -> bool;

    // Components' state

    /// A key's value, unless it has expired by `now`.
    fn state_get(tenant: &TenantId, component: &str, key: &str, now: Timestamp) -> Option<StateValue>;

    /// Sets a key, whatever it was; answers with its new version.
    fn state_set(tenant: &TenantId, component: &str, key: &str, value: Vec<u8>, expires_at: Option<Timestamp>) -> u64;

    /// Sets a key if its version is `expected` (`None`: if it is not there or has expired); answers with its new version,
    /// `None` where it was another.
    fn state_compare_and_set(
        tenant: &TenantId,
        component: &str,
        key: &str,
        expected: Option<u64>,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Option<u64>;

    /// Deletes a key; `false` where it was not there.
    fn state_delete(tenant: &TenantId, component: &str, key: &str) -> bool;

    // Resources

    /// Stores a resource; `true` where it is new.
    fn put_resource(
        tenant: &TenantId,
        kind: &str,
        tag: &str,
        settings: Value,
        now: Timestamp,
    ) -> (StoredResource, bool);

    /// One resource.
    fn resource(tenant: &TenantId, kind: &str, tag: &str) -> Option<StoredResource>;

    /// A tenant's resources of one kind, by tag.
    fn resources(tenant: &TenantId, kind: &str) -> Vec<StoredResource>;

    /// Every tenant's resources: read once at start.
    fn resources_all() -> Vec<(TenantId, StoredResource)>;

    /// Replaces sealed texts, all in one transaction. Versions and times stay; a resource that was changed meanwhile is
    /// left as it is.
    fn reseal_resources(resealed: Vec<Resealed>) -> ();

    /// Deletes a resource; `false` where there is none.
    fn delete_resource(tenant: &TenantId, kind: &str, tag: &str) -> bool;

    // Syncs

    /// What is remembered of one row.
    fn sync_row(tenant: &TenantId, sync: &str, key: &str) -> SyncRow;

    /// What is remembered of rows, by key.
    fn sync_rows(tenant: &TenantId, sync: &str, keys: &[String]) -> HashMap<String, SyncRow>;

    /// Keys of rows that `side` held when both agreed, and of those that are under way; `limit` of them from after `after` on.
    fn sync_keys(tenant: &TenantId, sync: &str, side: Side, after: Option<&str>, limit: usize) -> Vec<String>;

    /// How many rows are remembered.
    fn sync_count(tenant: &TenantId, sync: &str) -> u64;

    /// Notes a write that is about to be committed elsewhere, with the value that is lost by it.
    fn sync_intend(
        tenant: &TenantId,
        sync: &str,
        key: &str,
        intent: &Value,
        lost: Vec<SyncConflict>,
        now: Timestamp,
    ) -> ();

    /// Notes what both sides hold now and that nothing is under way. A row that neither of them holds is forgotten.
    fn sync_settle(tenant: &TenantId, sync: &str, key: &str, settled: SyncSettled, now: Timestamp) -> ();

    /// Forgets all rows and conflicts of a sync, in slices: between them the writer serves everybody else.
    fn sync_forget(tenant: &TenantId, sync: &str) -> ();

    // Conflicts of syncs

    /// A sync's conflicts, newest first, from before `before` on, and how many there are in all.
    fn sync_conflicts(tenant: &TenantId, sync: &str, before: Option<Uuid>, limit: u32) -> (Vec<SyncConflict>, u64);

    /// One conflict.
    fn sync_conflict(tenant: &TenantId, sync: &str, id: Uuid) -> Option<SyncConflict>;

    /// How many conflicts there were since.
    fn sync_conflicts_since(tenant: &TenantId, sync: &str, since: Timestamp) -> u64;

    /// Notes that a person put the lost value back.
    fn sync_conflict_restored(tenant: &TenantId, sync: &str, id: Uuid) -> ();

    /// Drops a conflict from the list; `false` where it is not there.
    fn sync_conflict_delete(tenant: &TenantId, sync: &str, id: Uuid) -> bool;

    /// Lets conflicts go that were resolved and are from before `before`; how many.
    fn sync_conflicts_retire(before: Timestamp) -> u64;

    /// Lets the oldest conflicts of every sync go that has more than `most`, resolved ones first; which syncs, and how many
    /// of those that went nobody had resolved.
    fn sync_conflicts_bound(most: u32) -> Vec<SyncOverflow>;

    // The embedded broker

    /// Appends a message; answers with its offset, or the first one's where the same delivery published before.
    #[expect(clippy::too_many_arguments, reason = "they are the row's columns")]
    fn topic_append(
        tenant: &TenantId,
        broker: &str,
        topic: &str,
        key: Option<String>,
        headers: Value,
        message: String,
        delivery_id: Option<String>,
        now: Timestamp,
    ) -> u64;

    /// Messages from an offset on, oldest first.
    fn topic_read(tenant: &TenantId, broker: &str, topic: &str, from_offset: u64, limit: u32) -> Vec<TopicMessage>;

    /// A broker's topics, each with the offset that its next message gets.
    fn topics(tenant: &TenantId, broker: &str) -> Vec<(String, u64)>;

    // Quotas

    /// Takes one of the `limit` of an action's window; `false` where none is left. The count is forgotten at `expires_at`.
    #[expect(clippy::too_many_arguments, reason = "they are the row's columns")]
    fn quota_take(
        tenant: &TenantId,
        trigger: &str,
        action: &str,
        key: &str,
        window_start: Timestamp,
        limit: u64,
        expires_at: Timestamp,
    ) -> bool;

    /// Adds to a count of the tenant's window; what it comes to. It is forgotten at `expires_at`.
    fn quota_add(
        tenant: &TenantId,
        what: &str,
        window_start: Timestamp,
        more: u64,
        expires_at: Timestamp,
    ) -> u64;

    /// How many events of the tenant are stored; of more than `most` there are at least so many.
    fn count_events(tenant: &TenantId, most: u64) -> u64;

    /// How many nodes there are that are alive.
    fn node_count() -> u64;

    // Sources

    /// What is remembered under a key.
    fn source_state(tenant: &TenantId, kind: &str, key: &str) -> Option<Value>;

    /// Everything of a kind that is the tenant's: key and value.
    fn source_states_of(tenant: &TenantId, kind: &str) -> Vec<(String, Value)>;

    /// Everything of a kind, of all tenants: tenant, key and value.
    fn source_states(kind: &str) -> Vec<(TenantId, String, Value)>;

    /// Remembers a value under a key, in place of the one before.
    fn put_source_state(tenant: &TenantId, kind: &str, key: &str, value: &Value, now: Timestamp) -> ();

    /// Puts `new` under a key in place of `old`, `None` being nothing; `false` where it holds something else. `tell`: other nodes
    /// are told.
    #[expect(clippy::too_many_arguments, reason = "they are the row's columns, before and after")]
    fn swap_source_state(
        tenant: &TenantId,
        kind: &str,
        key: &str,
        old: Option<&Value>,
        new: Option<&Value>,
        tell: bool,
        now: Timestamp,
    ) -> bool;

    /// Forgets a key.
    fn delete_source_state(tenant: &TenantId, kind: &str, key: &str) -> ();

    // Backfills

    /// Keeps that these rows were told of.
    fn backfill_see(tenant: &TenantId, backfill: &str, rows: Vec<RowDigest>) -> ();

    /// Those of `rows` that were told of.
    fn backfill_seen(tenant: &TenantId, backfill: &str, rows: &[RowDigest]) -> HashSet<RowDigest>;

    /// Forgets what was kept for a backfill.
    fn backfill_forget(tenant: &TenantId, backfill: &str) -> ();

    // Tenants

    /// All tenants.
    fn tenants() -> Vec<StoredTenant>;

    /// One tenant.
    fn tenant(id: &TenantId) -> Option<StoredTenant>;

    /// Stores a tenant: a new one, or new limits of one that is there, whose `created_at` stays.
    fn put_tenant(tenant: StoredTenant) -> ();

    // The audit log

    /// Keeps entries that no transaction took along; one that is there already stays as it is.
    fn audit(entries: Vec<AuditEntry>) -> ();

    /// Says of an entry what came of its request after it was kept.
    fn audit_correct(entry: Uuid, outcome: AuditOutcome, status: u16) -> ();

    /// A tenant's entries, newest first, from before `before` on, and how many there are in all: of very many, how many at least.
    fn audit_entries(
        tenant: &TenantId,
        filter: &AuditFilter,
        before: Option<Uuid>,
        limit: u32,
    ) -> (Vec<AuditEntry>, u64);

    /// Retention: forgets entries from before `before`, `limit` at most; answers with how many.
    fn audit_retire(before: Timestamp, limit: u32) -> u64;

    // API keys

    /// Every tenant's keys: read once at start.
    fn keys_all() -> Vec<StoredKey>;

    /// A tenant's keys, oldest first.
    fn keys(tenant: &TenantId) -> Vec<StoredKey>;

    /// Stores a new key; an id that exists is a conflict.
    fn put_key(key: StoredKey) -> ();

    /// Stores a new key in place of the tenant's key `id`, which ends at `until` if it does not end before; `false` where there is none
    /// of that id, or another has taken its place already.
    fn replace_key(id: &str, until: Timestamp, new: StoredKey) -> bool;

    /// Deletes a tenant's key; `false` where it has none of that id.
    fn delete_key(tenant: &TenantId, id: &str) -> bool;
}
