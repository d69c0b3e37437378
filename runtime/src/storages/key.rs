//! Names of objects: below the storage's prefix, and nowhere else, however they are spelled.

use object_store::path::Path;

/// The longest name, prefix included: S3's bound.
const MAX_KEY: usize = 1024;
/// How often a name may be percent-encoded in itself and still be looked through.
const MAX_DECODED: usize = 4;

/// The object of that name below `prefix`, or what is wrong with the name.
pub fn below(prefix: &str, name: &str) -> Result<Path, String> {
    mistake(name).map_or(Ok(()), Err)?;
    let prefix = prefix.trim_matches('/');
    let whole = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    if whole.len() > MAX_KEY {
        return Err(format!("{} bytes with the storage's prefix; at most {MAX_KEY}", whole.len()));
    }
    // Kept as it is written: `Path::from` would encode what it does not like, and the object had another name.
    Path::parse(&whole).map_err(|error| error.to_string())
}

/// What is wrong with a name: it, or what it is percent-encoded, would lead out of the storage's prefix.
#[must_use]
pub fn mistake(name: &str) -> Option<String> {
    let mut seen = name.to_owned();
    for _ in 0..=MAX_DECODED {
        if let Some(detail) = of_plain(&seen) {
            let through = if seen == name { "" } else { " (percent-decoded)" };
            return Some(detail + through);
        }
        let decoded = percent_encoding::percent_decode_str(&seen).decode_utf8_lossy().into_owned();
        if decoded == seen {
            return None;
        }
        seen = decoded;
    }
    Some("it is percent-encoded too often".to_owned())
}

fn of_plain(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("the name is empty".to_owned());
    }
    if let Some(c) = name.chars().find(|c| c.is_control()) {
        return Some(format!("it holds the control character {}", c.escape_default()));
    }
    if name.contains('\\') {
        return Some("it holds a backslash".to_owned());
    }
    if name.starts_with('/') {
        return Some("it begins with `/`; names are below the storage's prefix".to_owned());
    }
    name.split('/').find_map(|part| match part {
        "" => Some("it holds an empty part: `//`, or `/` at the end".to_owned()),
        "." | ".." => Some(format!("it holds the part `{part}`")),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_prefix_as_they_are_written() {
        for (prefix, name, whole) in [
            ("", "a.txt", "a.txt"),
            ("tenants/acme/", "invoices/2026/ä b.pdf", "tenants/acme/invoices/2026/ä b.pdf"),
            ("/p/", "100%", "p/100%"),
            ("p", "..a/b..", "p/..a/b.."),
            ("p", "a%20b", "p/a%20b"),
        ] {
            assert_eq!(below(prefix, name).map(String::from), Ok(whole.to_owned()));
        }
    }

    #[test]
    fn what_would_lead_out_of_it_is_refused() {
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            ".",
            "./a",
            "a/./b",
            "a//b",
            "a/",
            "a\0b",
            "a\nb",
            "a\\b",
            "..\\x",
            "%2e%2e/x",
            "%2E%2E%2Fx",
            "a/%2e%2e/%2e%2e/x",
            "%252e%252e/x",
            "..%2fx",
            "%2fetc",
            "a%00b",
            "a%5cb",
            "\u{85}x",
            "%c2%85x",
            "a%2f%2fb",
        ] {
            assert!(below("p", name).is_err(), "{name:?}");
        }
        assert!(below("p", &"x".repeat(1023)).is_err() && below("", &"x".repeat(1024)).is_ok());
        assert!(mistake("%25252525252525252e").is_some());
    }
}
