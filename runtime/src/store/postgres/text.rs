//! Texts that may hold U+0000, which PostgreSQL's `text` does not.
//!
//! U+0001 escapes: `\u{1}0` is U+0000 and `\u{1}1` is U+0001. Nearly every text is kept as it is.

use std::borrow::Cow;

/// As it is kept.
pub(super) fn kept(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| b <= 1) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\u{1}', "\u{1}1").replace('\0', "\u{1}0"))
}

/// As it was.
pub(super) fn read(text: String) -> String {
    if !text.contains('\u{1}') {
        return text;
    }
    text.replace("\u{1}0", "\0").replace("\u{1}1", "\u{1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back() {
        for text in ["", "plain", "\0", "\u{1}", "\u{1}0", "a\0\u{1}1\u{1}\0b", "\u{1}\u{1}0\0"] {
            assert!(!kept(text).contains('\0'));
            assert_eq!(read(kept(text).into_owned()), text, "{text:?}");
        }
    }
}
