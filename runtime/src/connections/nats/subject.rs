//! Subjects: parts between dots, and patterns of them (<https://docs.nats.io/nats-concepts/subjects>).

use crate::connections::wildcards::Wildcards;

const WILDCARDS: Wildcards = Wildcards { separator: '.', one: "*", rest: ">", rest_may_be_none: false };

/// What is wrong with a subject that is published to: parts between dots, none empty, no wildcards.
#[must_use]
pub fn mistake(subject: &str) -> Option<String> {
    parts(subject).or_else(|| {
        let wild = WILDCARDS.in_name(subject)?;
        Some(format!("`{wild}` has a wildcard, which no subject that is published to may have"))
    })
}

/// What is wrong with a pattern of subjects: `*` stands for one part, `>` for all that follow.
#[must_use]
pub fn pattern_mistake(pattern: &str) -> Option<String> {
    parts(pattern).or_else(|| {
        let wrong = WILDCARDS.misplaced(pattern)?;
        Some(format!("`{wrong}`: `*` and `>` stand alone between dots, and `>` last"))
    })
}

fn parts(subject: &str) -> Option<String> {
    if subject.split('.').any(str::is_empty) {
        return Some("a subject's parts, between dots, may not be empty".to_owned());
    }
    let bad = subject.chars().find(|c| c.is_whitespace() || c.is_control())?;
    Some(format!("a subject may hold no white space and no control characters, such as {bad:?}"))
}

/// Whether the pattern takes the subject.
#[must_use]
pub fn fits(pattern: &str, subject: &str) -> bool {
    WILDCARDS.fit(pattern, subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_have_no_wildcards_and_no_empty_parts() {
        assert_eq!(mistake("orders.créated.1"), None);
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\r\nPUB x 0",
            "a\tb",
            "a\0",
            "*",
            "a.*",
            "a.>",
            "a*b",
            "a.b>",
            "a\u{a0}b",
        ] {
            assert!(mistake(bad).is_some(), "{bad:?}");
        }
        for good in ["a", "*", ">", "a.*.b", "a.>"] {
            assert_eq!(pattern_mistake(good), None, "{good}");
        }
        for bad in ["", "a.>.b", "a*", "a..b", "a b", ">>"] {
            assert!(pattern_mistake(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn patterns_take_subjects_as_nats_does() {
        for (pattern, subject, wanted) in [
            ("orders.>", "orders.a", true),
            ("orders.>", "orders.a.b", true),
            ("orders.>", "orders", false),
            ("orders.*", "orders.a", true),
            ("orders.*", "orders.a.b", false),
            ("a.*.c", "a.b.c", true),
            ("a", "A", false),
            ("a.b", "a", false),
            (">", "a", true),
        ] {
            assert_eq!(fits(pattern, subject), wanted, "{pattern} {subject}");
        }
    }
}
