#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Clause, Columns, Row, TestKind, Wanted, wanted};
use crate::catalog::{Catalog, Place};
use crate::compile::compile;
use crate::definition::Trigger;
use crate::event::Operation;
use crate::mistake::Mistake;

/// One action that looks at what its templates insert, and one that looks at the event.
struct Two;

impl Catalog for Two {
    fn kinds(&self) -> Vec<&'static str> {
        vec!["log.info", "custom"]
    }
    fn canonical(&self, kind: &str, _config: &Value) -> Option<&'static str> {
        ["log.info", "custom"].into_iter().find(|known| *known == kind)
    }
    fn check(&self, _kind: &str, _config: &Value) -> Vec<Mistake> {
        Vec::new()
    }
    fn place(&self, _kind: &str, _config: &Value, _pointer: &str) -> Place {
        Place::Plain
    }
    fn reads_event(&self, kind: &str, _config: &Value) -> bool {
        kind == "custom"
    }
    fn before_only(&self, _kind: &str) -> bool {
        false
    }
}

fn trigger(more: Value) -> Trigger {
    let mut definition = json!({
        "tag": "t", "database": "shop", "tables": ["orders"], "events": ["afterUpdate"],
        "actions": [{"type": "log.info", "config": {"message": "{{record.id}}"}}],
    });
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    compile(&definition, 1, &Two).unwrap()
}

fn of(triggers: &[Trigger]) -> Wanted {
    wanted(triggers, "shop", "default", None, "orders")
}

fn columns(more: Value) -> Columns {
    of(&[trigger(more)]).update.unwrap().columns
}

fn named(names: &[&str]) -> Columns {
    Columns::Named(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>())
}

#[test]
fn columns_are_those_that_conditions_keys_and_templates_name() {
    let more = json!({
        "condition": {"and": [{"field": "status", "operator": "CHANGED"}, {"field": "previousRecord.total", "operator": "GREATER_THAN", "value": 1}]},
        "ordering": {"key": "{{record.customer.id}}"},
        "actions": [{
            "type": "log.info", "quota": {"key": "{{record.tenant}}", "limit": 1, "window": "1d"},
            "config": {"message": "{{#each record.items}}{{this.sku}} {{record.email}}{{/each}} {{lower record.name}}"},
            "fallback": [{"type": "log.info", "config": {"message": ["{{default previousRecord.note 'x'}}", 5]}}],
        }],
    });
    let wanted = ["status", "total", "customer", "tenant", "items", "email", "name", "note"];
    assert_eq!(columns(more), named(&wanted));
}

#[test]
fn whoever_may_look_anywhere_is_told_everything() {
    let message = |template: &str| json!({"actions": [{"type": "log.info", "config": {"message": template}}]});
    for more in [
        message("{{record}}"),
        message("{{json payload}}"),
        message("{{changedFields}}"),
        message("{{#with record}}{{id}}{{/with}}"),
        json!({"actions": [{"type": "custom", "config": {}}]}),
        json!({"condition": {"jsonpath": "$.a"}}),
        json!({"condition": {"not": {"component": "c"}}}),
    ] {
        assert_eq!(columns(more.clone()), Columns::All, "{more}");
    }
    let two = [trigger(json!({})), trigger(message("{{record}}"))];
    assert_eq!(of(&two).update.unwrap().columns, Columns::All);
}

#[test]
fn only_what_a_trigger_of_that_database_reacts_to_is_wanted() {
    let nothing = [
        json!({"database": "other"}),
        json!({"tables": ["stock"]}),
        json!({"env": "prd"}),
        json!({"enabled": false}),
        json!({"events": ["beforeUpdate"]}),
        json!({"events": ["stock.*"]}),
    ];
    for more in nothing {
        assert!(of(&[trigger(more.clone())]).is_nothing(), "{more}");
    }
    let all = of(&[trigger(json!({"events": ["afterWrite"], "database": "sh*", "tables": ["*"]}))]);
    assert!(all.insert.is_some() && all.update.is_some() && all.delete.is_some() && !all.truncate);
    let by_type = of(&[trigger(json!({"events": ["orders.truncated", "*.deleted"]}))]);
    assert!(by_type.truncate && by_type.delete.is_some() && by_type.insert.is_none());
    let anywhere = json!({"tag": "t", "events": ["afterInsert"], "actions": [{"type": "log.info", "config": {}}]});
    assert!(of(&[compile(&anywhere, 1, &Two).unwrap()]).is_nothing(), "a trigger without a database makes none tell");
}

#[test]
fn rows_are_those_that_a_condition_may_take() {
    let confirmed = json!({"field": "record.status", "operator": "EQUALS", "value": "confirmed"});
    let rows = |triggers: &[Trigger], operation| of(triggers).of(operation).unwrap().rows.clone();
    let one = trigger(json!({"condition": confirmed, "events": ["afterWrite"]}));
    let Clause::Test(test) = rows(std::slice::from_ref(&one), Operation::Update) else { panic!() };
    assert_eq!((test.row, test.column.as_str(), test.kind), (Row::New, "status", TestKind::Equals));
    // A deleted row is no record: the condition itself decides.
    assert_eq!(rows(std::slice::from_ref(&one), Operation::Delete), Clause::Unknown);
    let changed = json!({"not": {"field": "total", "operator": "CHANGED_TO", "value": 5}});
    let two = [one, trigger(json!({"condition": changed}))];
    let Clause::Any(members) = rows(&two, Operation::Update) else { panic!() };
    assert!(matches!(&members[..], [Clause::Test(_), Clause::Not(_)]), "{members:?}");
    let Clause::Test(insert) = rows(&two[..1], Operation::Insert) else { panic!() };
    assert_eq!(insert.column, "status");
    let three = [trigger(json!({"condition": confirmed})), trigger(json!({}))];
    assert_eq!(rows(&three, Operation::Update), Clause::Unknown, "a trigger without a condition takes every row");
    let nested = json!({"field": "record.address.city", "operator": "EQUALS", "value": "x"});
    assert_eq!(rows(&[trigger(json!({"condition": nested}))], Operation::Update), Clause::Unknown);
}
