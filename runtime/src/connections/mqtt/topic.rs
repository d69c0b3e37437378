//! Topics: levels between slashes, and filters of them (MQTT 5.0, 4.7).

use super::MAX_TEXT;
use crate::connections::wildcards::Wildcards;

/// `a/#` takes `a` too.
const WILDCARDS: Wildcards = Wildcards { separator: '/', one: "+", rest: "#", rest_may_be_none: true };

/// What is wrong with a topic that is published to (MQTT 5.0, 4.7).
#[must_use]
pub fn mistake(topic: &str) -> Option<String> {
    text(topic).or_else(|| {
        let wild = WILDCARDS.in_name(topic)?;
        Some(format!("`{wild}` has a wildcard, which no topic that is published to may have"))
    })
}

/// What is wrong with a filter of topics: `+` stands for one level, `#` for all that follow.
#[must_use]
pub fn filter_mistake(filter: &str) -> Option<String> {
    text(filter).or_else(|| {
        let wrong = WILDCARDS.misplaced(filter)?;
        Some(format!("`{wrong}`: `+` and `#` stand alone between slashes, and `#` last"))
    })
}

fn text(topic: &str) -> Option<String> {
    if topic.is_empty() || topic.len() > MAX_TEXT {
        return Some(format!("a topic has 1 to {MAX_TEXT} bytes"));
    }
    let bad = topic.chars().find(|c| c.is_control())?;
    Some(format!("a topic may hold no control characters, such as {bad:?}"))
}

/// Whether the filter takes the topic. What begins with `$` is the broker's own: a wildcard first does not take it.
#[must_use]
pub fn fits(filter: &str, topic: &str) -> bool {
    let hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
    !hidden && WILDCARDS.fit(filter, topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_no_wildcards_and_filters_have_them_alone() {
        for good in ["a", "/", "a//b", "a b", "ä/$x"] {
            assert_eq!(mistake(good), None, "{good}");
        }
        let long = "x".repeat(MAX_TEXT + 1);
        for bad in ["", "+", "#", "a/#", "a+", "a\0", "a\r\nb", &long] {
            assert!(mistake(bad).is_some(), "{bad:?}");
        }
        for good in ["#", "+", "a/+/b", "a/#"] {
            assert_eq!(filter_mistake(good), None, "{good}");
        }
        for bad in ["", "a#", "#/a", "a+/b", "a\0"] {
            assert!(filter_mistake(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn filters_take_topics_as_mqtt_does() {
        for (filter, topic, wanted) in [
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "ab", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("+", "a", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a", "a/b", false),
        ] {
            assert_eq!(fits(filter, topic), wanted, "{filter} {topic}");
        }
    }
}
