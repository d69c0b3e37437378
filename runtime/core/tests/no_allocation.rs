//! Evaluating a condition on fields of the record allocates nothing: it is done for every event and trigger.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use serde_json::json;
use triggerd_core::condition::Condition;
use triggerd_core::event::Event;

thread_local! {
    // Per thread: the test harness allocates on its own.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn evaluating_a_field_of_the_record_allocates_nothing() {
    let event: Event = serde_json::from_value(json!({
        "id": "01890a5d-ac96-774b-bcce-b302099a8057", "tenant": "acme", "type": "orders.updated",
        "change": {"operation": "update", "table": "orders"},
        "record": {"status": "paid", "total": 12.50, "at": "2024-05-06T07:08:09Z", "tags": ["a"]},
        "previousRecord": {"status": "new"},
        "env": "prd", "timestamp": "2024-05-06T07:08:09Z", "acceptedAt": "2024-05-06T07:08:09Z",
    }))
    .expect("the event is well formed");
    let source = json!({"and": [
        {"field": "record.status", "operator": "EQUALS", "value": "paid"},
        {"field": "record.total", "operator": "EQUALS", "value": 12.5},
        {"field": "record.total", "operator": "LESS_THAN", "value": 1e300},
        {"field": "record.at", "operator": "GREATER_THAN", "value": "2024-05-06T07:08:09+02:00"},
        {"field": "record.status", "operator": "IN", "value": ["new", "paid"]},
        {"field": "record.tags[0]", "operator": "STARTS_WITH", "value": "a"},
        {"field": "record.tags", "operator": "CONTAINS", "value": "a"},
        {"field": "record.none", "operator": "IS_EMPTY"},
        {"field": "status", "operator": "CHANGED_TO", "value": "paid"},
    ]});
    let mut mistakes = Vec::new();
    let condition = Condition::compile(&source, "", &mut mistakes).expect("the condition is right");
    let before = ALLOCATIONS.get();
    let verdict = condition.evaluate(&event, &|_| None);
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!(verdict, Some(true));
}
