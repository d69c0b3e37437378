//! What a trigger reacts to: one of the eight change events, or an event type with wildcards.

use crate::event::{Change, Event, Moment, Operation};
use crate::mistake::nearest;

/// The longest event type, and the longest pattern of one, in bytes.
pub const MAX_TYPE_BYTES: usize = 256;

/// One entry of `events`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventPattern {
    /// `afterInsert`, `AFTER_INSERT`, `beforeWrite` ... with the operations it stands for.
    Change(ChangePattern),
    /// `order.created`, `order.*` (one dotted part), `**.failed` (any number of parts).
    Type(Vec<Part>),
}

/// A change event of a definition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ChangePattern {
    /// Before or after.
    pub moment: Moment,
    /// `None` is any write: insert, update or delete.
    pub operation: Option<Operation>,
}

/// One dotted part of a type pattern.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// The part itself.
    Exact(String),
    /// `*`: one part.
    One,
    /// `**`: any number of parts, none included.
    Many,
}

/// The change events in both spellings.
const CHANGE_EVENTS: [(&str, &str, ChangePattern); 8] = [
    ("beforeInsert", "BEFORE_INSERT", before(Some(Operation::Insert))),
    ("afterInsert", "AFTER_INSERT", after(Some(Operation::Insert))),
    ("beforeUpdate", "BEFORE_UPDATE", before(Some(Operation::Update))),
    ("afterUpdate", "AFTER_UPDATE", after(Some(Operation::Update))),
    ("beforeDelete", "BEFORE_DELETE", before(Some(Operation::Delete))),
    ("afterDelete", "AFTER_DELETE", after(Some(Operation::Delete))),
    ("beforeWrite", "BEFORE_WRITE", before(None)),
    ("afterWrite", "AFTER_WRITE", after(None)),
];

const fn before(operation: Option<Operation>) -> ChangePattern {
    ChangePattern { moment: Moment::Before, operation }
}

const fn after(operation: Option<Operation>) -> ChangePattern {
    ChangePattern { moment: Moment::After, operation }
}

impl EventPattern {
    /// Reads one entry; the error says what is wrong.
    ///
    /// A bare word that is nearly a change event (`afterInserted`) is refused, although it could be an event
    /// type: as one it would hardly ever match, and nobody would be told why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let spelled = |(camel, screaming, _): &&(&str, &str, _)| *camel == text || *screaming == text;
        if let Some((_, _, change)) = CHANGE_EVENTS.iter().find(spelled) {
            return Ok(Self::Change(*change));
        }
        check_type(text)?;
        if !text.contains(['.', '*'])
            && let Some(near) = nearest_change_event(text)
        {
            return Err(format!(
                "unknown change event `{text}`, did you mean `{near}`? (an event type this close to it needs a dotted name)"
            ));
        }
        parts(text).map(Self::Type)
    }

    /// Whether it fits the event. A row change also has an event type (`orders.created`), once it is done.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.reacts_to(event.change.as_ref(), &event.event_type)
    }

    /// Whether it fits an event of that type; `change` is set where the event is a row change.
    #[must_use]
    pub fn reacts_to(&self, change: Option<&Change>, event_type: &str) -> bool {
        match (self, change) {
            (Self::Change(pattern), Some(change)) => {
                pattern.moment == change.moment
                    && pattern.operation.map_or(change.operation != Operation::Truncate, |o| o == change.operation)
            }
            (Self::Change(_), None) => false,
            (Self::Type(_), Some(change)) if change.moment == Moment::Before => false,
            (Self::Type(parts), _) => {
                let given: Vec<&str> = event_type.split('.').collect();
                fits(parts, &given)
            }
        }
    }

    /// Whether it is a change event whose write is still to come.
    #[must_use]
    pub fn is_before(&self) -> bool {
        matches!(self, Self::Change(ChangePattern { moment: Moment::Before, .. }))
    }
}

/// What is wrong with an event type as such: it has 1 to 256 bytes, no white space and no control characters.
pub fn check_type(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("an event type cannot be empty".to_owned());
    }
    if text.len() > MAX_TYPE_BYTES {
        return Err(format!("an event type has at most {MAX_TYPE_BYTES} bytes, this one has {}", text.len()));
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(format!("the event type {text:?} holds white space or a control character"));
    }
    Ok(())
}

fn nearest_change_event(text: &str) -> Option<&'static str> {
    let camel = nearest(text, CHANGE_EVENTS.iter().map(|(camel, _, _)| *camel));
    camel.or_else(|| nearest(text, CHANGE_EVENTS.iter().map(|(_, screaming, _)| *screaming)))
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut out = Vec::new();
    for part in text.split('.') {
        match part {
            "*" => out.push(Part::One),
            // `**.**` means what `**` means.
            "**" if out.last() == Some(&Part::Many) => {}
            "**" => out.push(Part::Many),
            _ if part.contains('*') => {
                return Err(format!(
                    "`{part}` in `{text}`: a wildcard stands for whole dotted parts, `*` for one and `**` for any number"
                ));
            }
            _ => out.push(Part::Exact(part.to_owned())),
        }
    }
    Ok(out)
}

/// Whether `pattern` fits the parts `given`. On a mismatch only the last `**` needs to take one part more, so
/// the cost is at most the product of the two lengths.
fn fits(pattern: &[Part], given: &[&str]) -> bool {
    let (mut at, mut next) = (0, 0);
    let mut last_many: Option<(usize, usize)> = None;
    while next < given.len() {
        match pattern.get(at) {
            Some(Part::Many) => {
                last_many = Some((at, next));
                at += 1;
                continue;
            }
            Some(Part::One) => {
                at += 1;
                next += 1;
                continue;
            }
            Some(Part::Exact(part)) if part == given[next] => {
                at += 1;
                next += 1;
                continue;
            }
            _ => {}
        }
        let Some((many, taken)) = last_many else { return false };
        last_many = Some((many, taken + 1));
        (at, next) = (many + 1, taken + 1);
    }
    pattern[at..].iter().all(|part| *part == Part::Many)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn type_fits(pattern: &str, event_type: &str) -> bool {
        let EventPattern::Type(parts) = EventPattern::parse(pattern).unwrap() else { panic!("{pattern}") };
        fits(&parts, &event_type.split('.').collect::<Vec<_>>())
    }

    #[test]
    fn change_events_are_read_in_both_spellings() {
        for (camel, screaming, pattern) in CHANGE_EVENTS {
            assert_eq!(EventPattern::parse(camel), Ok(EventPattern::Change(pattern)));
            assert_eq!(EventPattern::parse(screaming), Ok(EventPattern::Change(pattern)));
        }
    }

    #[test]
    fn a_bare_word_close_to_a_change_event_is_a_mistake_and_any_other_a_type() {
        for (text, near) in [
            ("afterInserted", "afterInsert"),
            ("AFTERINSERT", "afterInsert"),
            ("after_insert", "afterInsert"),
            ("befor_delete", "beforeDelete"),
            ("beforeWrit", "beforeWrite"),
        ] {
            let error = EventPattern::parse(text).unwrap_err();
            assert!(error.contains(&format!("did you mean `{near}`")), "{error}");
        }
        for text in ["signup", "after", "afterParty", "insert", "INSERT", "order.afterInserted"] {
            assert!(matches!(EventPattern::parse(text), Ok(EventPattern::Type(_))), "{text}");
        }
    }

    #[test]
    fn wildcards_stand_for_whole_parts() {
        assert!(type_fits("order.*", "order.created") && !type_fits("order.*", "order"));
        assert!(!type_fits("order.*", "order.item.created"));
        assert!(type_fits("**.failed", "failed") && type_fits("**.failed", "a.b.failed"));
        assert!(type_fits("a.**.z", "a.z") && type_fits("a.**.z", "a.b.c.z") && !type_fits("a.**.z", "a.z.b"));
        assert!(type_fits("**", "anything") && type_fits("**", "a.b") && type_fits("*", "a") && !type_fits("*", "a.b"));
        assert!(type_fits("a.**.b.**.c", "a.b.b.x.c") && type_fits("**.*", "a") && !type_fits("**.a.*", "a"));
    }

    #[test]
    fn odd_patterns_are_refused_with_a_reason() {
        for (text, part) in [
            ("", "empty"),
            ("a b", "white space"),
            ("a\u{0}", "control"),
            ("a.b*", "whole dotted parts"),
            ("a.**b", "whole dotted parts"),
            ("a.***", "whole dotted parts"),
            (&"a".repeat(257), "at most 256"),
        ] {
            let error = EventPattern::parse(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    /// The meaning in its plainest form.
    fn plain(pattern: &[Part], given: &[&str]) -> bool {
        match (pattern, given) {
            ([], []) => true,
            ([Part::Many, rest @ ..], _) => plain(rest, given) || (!given.is_empty() && plain(pattern, &given[1..])),
            ([Part::One, rest @ ..], [_, given @ ..]) => plain(rest, given),
            ([Part::Exact(part), rest @ ..], [first, given @ ..]) => part == first && plain(rest, given),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn fitting_means_what_the_recursive_reading_means(
            pattern in prop::collection::vec(prop::sample::select(vec!["*", "**", "a", "b"]), 1..7),
            given in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..8),
        ) {
            let parts = parts(&pattern.join(".")).unwrap();
            prop_assert_eq!(fits(&parts, &given), plain(&parts, &given));
        }
    }
}
