//! What a condition demands of an event before all else: the equalities by which the index tells triggers apart.
//!
//! A key is a list of alternatives, each a path and a value: an event that has none of them does not satisfy the condition,
//! whatever else it holds and whatever components say. An equality has one alternative, `IN` one for each value. An `and`
//! demands what each of its members demands. An `or` demands something only where all its members do: that one of them has
//! what it demands. `not` turns `and` and `or`, and negative operators, into each other (De Morgan).

use std::collections::HashSet;

use serde_json::Value;

use super::{Field, IndexValue, Node, Test, jsonpath};
use crate::path::{Path, Root, Step};

/// The most places that all keys of one condition may come to, taken together. The first key may have more: an `IN` of any
/// length is better looked up than evaluated.
const MAX_PLACES: usize = 256;

/// A path and what is found there: `null` stands for nothing, too.
pub type Alternative = (Path, IndexValue);

/// One of these is in every event that satisfies the condition; never empty.
pub type Key = Vec<Alternative>;

/// The keys of a condition's tree, the most telling first: those with the fewest alternatives, else in document order.
pub fn keys(root: &Node) -> Vec<Key> {
    let mut keys = demanded(root, true);
    keys.sort_by_key(Vec::len);
    let mut places = 1;
    let few = keys.iter().enumerate().take_while(|(at, key)| {
        places *= key.len();
        *at == 0 || places <= MAX_PLACES
    });
    let few = few.count();
    keys.truncate(few);
    for key in &mut keys {
        let mut seen = HashSet::new();
        key.retain(|alternative| seen.insert(alternative.clone()));
    }
    keys
}

/// What must be there for `node` to come to `wanted`, or to hang on a component.
fn demanded(node: &Node, wanted: bool) -> Vec<Key> {
    match node {
        Node::And(members) if wanted => each(members, wanted),
        Node::Or(members) if !wanted => each(members, wanted),
        Node::And(members) | Node::Or(members) => one_of(members, wanted).into_iter().collect(),
        Node::Not(member) => demanded(member, !wanted),
        Node::Field(field) => of_field(field, wanted).into_iter().collect(),
        Node::JsonPath(test) => of_json_path(test, wanted).into_iter().collect(),
        Node::Component(_) => Vec::new(),
    }
}

fn each(members: &[Node], wanted: bool) -> Vec<Key> {
    members.iter().flat_map(|member| demanded(member, wanted)).collect()
}

/// The best key of each member, as one. `None` where a member demands nothing, or there is none.
fn one_of(members: &[Node], wanted: bool) -> Option<Key> {
    let mut all = Vec::new();
    for member in members {
        all.extend(demanded(member, wanted).into_iter().min_by_key(Vec::len)?);
    }
    (!all.is_empty()).then_some(all)
}

fn of_field(field: &Field, wanted: bool) -> Option<Key> {
    if field.operator.negated == wanted {
        return None;
    }
    let at = |path: &Path, value: &Value| Some((path.clone(), IndexValue::of(Some(value))?));
    match field.operator.test {
        Test::Equals => Some(vec![at(&field.path, &field.value)?]),
        Test::Null => Some(vec![at(&field.path, &Value::Null)?]),
        Test::In => {
            let all: Option<Key> = field.value.as_array()?.iter().map(|value| at(&field.path, value)).collect();
            all.filter(|all| !all.is_empty())
        }
        // A deleted row has no new value, which equals `null`, while its record may be there.
        Test::ChangedTo if !field.value.is_null() => Some(vec![at(&field.path, &field.value)?]),
        // The old row is the previous record; of a deletion that tells only one row it is the record.
        Test::ChangedFrom if !field.value.is_null() => {
            let old = Path { root: Root::PreviousRecord, steps: field.path.steps.clone() };
            Some(vec![at(&field.path, &field.value)?, at(&old, &field.value)?])
        }
        _ => None,
    }
}

/// `$.a.b[0] == 'x'` selects one place, and demands what `record.a.b[0] EQUALS "x"` demands (and that it is there).
fn of_json_path(test: &jsonpath::Test, wanted: bool) -> Option<Key> {
    let ("==", value) = test.comparison()? else { return None };
    if !wanted {
        return None;
    }
    Some(vec![(Path { root: Root::Record, steps: plain_steps(test.query())? }, IndexValue::of(Some(value))?)])
}

/// The steps of a query of plain names and positions. No other selector is written with these characters alone, and what a
/// name or position selects, a path's step finds.
fn plain_steps(query: &str) -> Option<Vec<Step>> {
    let below = query.strip_prefix('$')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']');
    if !below.chars().all(plain) || below.contains("..") {
        return None;
    }
    Path::parse(&format!("record{below}")).ok().map(|path| path.steps)
}
