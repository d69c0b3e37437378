//! The stores' tests: the conformance suite on both of them, and what only one of them promises.

#![allow(clippy::unwrap_used)]

mod conformance;
mod inbox_index;
#[path = "../../../tests/it/harness/ports.rs"]
mod ports;
mod postgres;
#[path = "../actions/harness/sql_server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod sql_server;
mod sqlite;

use ports::free_port;

/// Every promise of the suite, by module: `$on!` is called with all of them.
macro_rules! promises {
    ($on:ident) => {
        $on! {
            events:
                a_kept_event_is_read_back_as_it_was
                an_idempotency_key_keeps_one_event_until_it_expires
                equal_keys_at_the_same_time_keep_one_event
                a_batch_of_one_key_is_kept_once_as_a_whole
                a_batch_is_kept_whole_or_not_at_all
                the_inbox_is_newest_first_and_paged_without_gaps
                filters_choose_by_type_source_table_time_and_status
                a_time_range_is_read_oldest_first
                tenants_see_only_what_is_theirs
                retention_forgets_what_has_ended_and_keeps_what_has_not;
            runs:
                a_report_changes_the_run_and_its_event
                a_lost_holder_changes_nothing
                many_reports_have_an_answer_each
                dead_letters_are_listed_replayed_and_dropped
                events_are_replayed_one_by_one_and_by_filter
                an_unmatched_event_can_be_given_runs;
            claims:
                the_oldest_due_are_claimed_first_and_once
                a_long_queue_of_one_tenant_does_not_keep_the_others_waiting
                concurrent_claims_never_share_a_run
                a_lane_executes_one_after_another_in_order
                of_many_who_ask_for_lanes_at_once_one_has_each_lanes_first_run
                a_replay_never_runs_beside_a_later_one_of_its_lane
                the_numbers_that_metrics_show_are_right;
            definitions:
                each_change_of_a_trigger_is_a_version
                many_triggers_are_changed_at_once_and_read_in_pages
                each_upload_of_a_component_is_a_version
                resources_are_put_read_and_deleted;
            statuses:
                a_status_follows_from_the_runs_whatever_is_done_to_them;
            small:
                component_state_compares_sets_and_expires
                of_many_that_compare_and_set_one_wins
                what_sources_remember_is_swapped_for_what_it_was_alone
                tenants_and_keys_are_kept
                an_audit_entry_is_kept_with_its_change_or_not_at_all
                a_topic_has_offsets_without_gaps_and_a_delivery_once
                a_quota_is_taken_up_to_its_limit_in_each_window;
            syncs:
                conflicts_are_let_go_when_resolved_ones_are_old_and_where_there_are_too_many
                a_backfill_forgets_its_rows_however_many_and_no_others
            remembered_keys_are_read_a_page_at_a_time_by_the_side_that_held_the_row;
        }
    };
}
pub(crate) use promises;
