//! Turns contacts of one table into those of another, and merges two that have both changed.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use triggerd_sdk::{ActionError, Context, Event};

/// What a sync says of the way.
#[derive(Deserialize)]
struct Way {
    direction: String,
}

/// `first` and `last` become `name`, and back.
#[triggerd_sdk::transform]
fn names(cx: Context<Way>) -> Result<Option<Event>, ActionError> {
    let mut event = cx.event()?;
    let text = |field: &str| event.record[field].as_str().unwrap_or_default().to_owned();
    let (id, notes) = (event.record["id"].clone(), event.record["notes"].clone());
    let record = if cx.input.direction == "toTarget" {
        let name = format!("{} {}", text("first"), text("last")).trim().to_owned();
        if name.is_empty() {
            return Ok(None);
        }
        json!({"id": id, "name": name, "notes": notes})
    } else {
        let name = text("name");
        let (first, last) = name.split_once(' ').unwrap_or((&name, ""));
        json!({"id": id, "first": first, "last": last, "notes": notes})
    };
    event.record = record;
    Ok(Some(event))
}

/// Two rows that have both changed; null where one is deleted.
#[derive(Deserialize)]
struct Both {
    source: Value,
    target: Value,
}

/// Who wins, or what both shall hold.
#[derive(Serialize, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Winner(String),
    Row(Value),
}

/// The source's row, with the notes of both.
#[triggerd_sdk::action]
fn merge(cx: Context<Both>) -> Result<Verdict, ActionError> {
    let Both { source, target } = cx.input;
    if source.is_null() || target.is_null() {
        return Ok(Verdict::Winner(if source.is_null() { "target" } else { "source" }.to_owned()));
    }
    let notes = |row: &Value| row["notes"].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<String> = Vec::new();
    for note in format!("{},{}", notes(&source), notes(&target)).split(',').filter(|note| !note.is_empty()) {
        if !all.iter().any(|known| known == note) {
            all.push(note.to_owned());
        }
    }
    let mut row = source;
    row["notes"] = all.join(",").into();
    Ok(Verdict::Row(row))
}

#[cfg(test)]
mod tests {
    use triggerd_sdk::testing::{TestHost, invocation};

    use super::*;

    #[test]
    fn contacts_are_turned_and_merged() {
        let host = TestHost::new();
        let ada = json!({"id": 1, "first": "Ada", "last": "Lovelace", "notes": "a"});
        let to = |direction: &str, record: Value| invocation().record(record).input(json!({"direction": direction}));
        let turned = host.call(names, to("toTarget", ada.clone())).unwrap().unwrap().record;
        assert_eq!(turned, json!({"id": 1, "name": "Ada Lovelace", "notes": "a"}));
        assert_eq!(host.call(names, to("toSource", turned)).unwrap().unwrap().record, ada);
        assert_eq!(host.call(names, to("toTarget", json!({"id": 2}))), Ok(None));
        let both = json!({"source": ada, "target": {"id": 1, "name": "Ada L", "notes": "b,a"}});
        let merged = host.call(merge, invocation().input(both)).unwrap();
        assert_eq!(merged, Verdict::Row(json!({"id": 1, "first": "Ada", "last": "Lovelace", "notes": "a,b"})));
    }
}
