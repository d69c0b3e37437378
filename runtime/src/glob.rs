//! Globs over cache keys, as Redis understands them: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a character.

/// Whether `text` fits `pattern` from end to end. Linear in the text for each `*`.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if let Some(next) = one(&pattern, p, text[t]) {
            (p, t) = (next, t + 1);
        } else if let Some((at, from)) = star {
            // The last star takes one more character; earlier ones never need to.
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Where the pattern goes on where its element at `p` fits `c`.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => {
            let (fits, next) = class(pattern, p + 1, c);
            fits.then_some(next)
        }
        '\\' if p + 1 < pattern.len() => (pattern[p + 1] == c).then_some(p + 2),
        literal => (*literal == c).then_some(p + 1),
    }
}

fn class(pattern: &[char], start: usize, c: char) -> (bool, usize) {
    let negated = pattern.get(start) == Some(&'^');
    let mut p = start + usize::from(negated);
    let mut found = false;
    while p < pattern.len() && pattern[p] != ']' {
        if pattern[p] == '\\' && p + 1 < pattern.len() {
            found |= pattern[p + 1] == c;
            p += 2;
        } else if p + 2 < pattern.len() && pattern[p + 1] == '-' && pattern[p + 2] != ']' {
            let (low, high) = (pattern[p].min(pattern[p + 2]), pattern[p].max(pattern[p + 2]));
            found |= (low..=high).contains(&c);
            p += 3;
        } else {
            found |= pattern[p] == c;
            p += 1;
        }
    }
    (found != negated, p + 1)
}

/// `text` so that a glob takes it literally.
#[must_use]
pub fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_fit_as_in_redis() {
        for (pattern, text, wanted) in [
            ("order:*", "order:1", true),
            ("order:*", "orders:1", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ab-ab-a", false),
            ("[", "[", false),
            ("a**", "a", true),
        ] {
            assert_eq!(fits(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn an_escaped_text_fits_itself_alone() {
        let text = "a*b?[c]\\^-";
        assert!(fits(&escape(text), text));
        assert!(!fits(&escape("a*"), "ab"));
    }

    #[test]
    fn hostile_globs_end_soon() {
        let pattern = "*a".repeat(200) + "b";
        let began = std::time::Instant::now();
        assert!(!fits(&pattern, &"a".repeat(20_000)));
        assert!(began.elapsed().as_secs() < 2);
    }
}
