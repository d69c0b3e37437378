//! Finds e-mail addresses in text.

use crate::Place;

/// All addresses, in order, none within another.
pub fn find(text: &str) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for (at, _) in text.match_indices('@') {
        let start = local_start(text, at);
        let end = domain_end(text, at + 1);
        let after_last = places.last().is_none_or(|last| last.end <= start);
        if start < at && after_last && is_domain(&text[at + 1..end]) {
            places.push(Place { start, end, mark: "[email]" });
        }
    }
    places
}

/// Where the part before the `@` begins. Letters of any alphabet count, as they do since RFC 6531.
fn local_start(text: &str, at: usize) -> usize {
    let is_local = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let before = &text[..at];
    let start = before.trim_end_matches(is_local).len();
    // A quote or a dot in front of the address is the sentence's, not the address's.
    start + before[start..].len() - before[start..].trim_start_matches(['.', '\'', '`', '*', '/']).len()
}

fn domain_end(text: &str, start: usize) -> usize {
    let after = &text[start..];
    let whole = after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '.' || c == '-');
    let domain = &after[..after.len() - whole.len()];
    start + domain.trim_end_matches(['.', '-']).len()
}

/// At least two labels, and the last one of letters.
fn is_domain(domain: &str) -> bool {
    let labels: Vec<&str> = domain.split('.').collect();
    let last = labels.last().copied().unwrap_or_default();
    let has_top_level =
        last.chars().count() >= 2 && (last.starts_with("xn--") || last.chars().all(char::is_alphabetic));
    labels.len() >= 2 && labels.iter().all(|label| !label.is_empty()) && has_top_level
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        find(text).iter().map(|place| &text[place.start..place.end]).collect()
    }

    #[test]
    fn addresses_are_found_without_what_is_around_them() {
        assert_eq!(found("a@b.co"), ["a@b.co"]);
        assert_eq!(
            found("<ann.lee+x@mail.example.com>, 'bob@example.org'."),
            ["ann.lee+x@mail.example.com", "bob@example.org"]
        );
        assert_eq!(found("Mail jürgen@bücher.example."), ["jürgen@bücher.example"]);
        assert_eq!(found("mailto:x@y.example?subject=z"), ["x@y.example"]);
    }

    #[test]
    fn what_only_looks_like_one_stays() {
        for text in ["@handle", "a@b", "a @b.co", "a@.co", "5 @ 3.50", "user@10.0", "a@b..co", ""] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }
}
