//! The text being rendered: every value is escaped by the place it ends up in.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::budget::Budget;
use super::found::Found;
use crate::catalog::Place;

/// Everything but RFC 3986's unreserved characters.
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text in the making.
pub(super) struct Output<'b> {
    text: String,
    place: Place,
    /// For URLs: whether scheme and host are behind us.
    in_path: bool,
    budget: &'b Budget,
}

impl<'b> Output<'b> {
    /// Nothing yet.
    pub fn new(place: Place, budget: &'b Budget) -> Self {
        Self { text: String::new(), place, in_path: false, budget }
    }

    /// Appends the template's own text.
    pub fn literal(&mut self, text: &str) -> Result<(), String> {
        self.append(text)?;
        self.find_path(text);
        Ok(())
    }

    /// Appends a value. `raw`: unescaped in HTML. `secret`: a whole base URL is believed.
    pub fn value(&mut self, found: &Found<'_>, raw: bool, secret: bool) -> Result<(), String> {
        let too_large = "the rendered settings exceed the largest size";
        let text = found.to_text(self.budget.output_left()).ok_or(too_large)?;
        match self.place {
            Place::Plain => self.append(&text),
            Place::Html if raw => self.append(&text),
            Place::Html => self.append(&escape_html(&text)),
            Place::Header => {
                check_header(&text)?;
                self.append(&text)
            }
            Place::Url => self.url_part(&text, secret),
        }
    }

    /// The whole text.
    pub fn finish(self) -> Result<String, String> {
        if self.place == Place::Url {
            let path = self.text.split(['?', '#']).next().unwrap_or_default();
            if path.split('/').any(|segment| matches!(segment, "." | "..")) {
                return Err("a segment of the URL's path is `.` or `..`, which leads to another path".to_owned());
            }
        }
        Ok(self.text)
    }

    fn append(&mut self, text: &str) -> Result<(), String> {
        self.budget.write(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    fn url_part(&mut self, text: &str, secret: bool) -> Result<(), String> {
        if self.in_path {
            for part in utf8_percent_encode(text, RESERVED) {
                self.append(part)?;
            }
            return Ok(());
        }
        let is_host = text.bytes().all(is_host_byte);
        let is_base = self.text.is_empty() && (secret || is_base_url(text));
        if !is_host && !is_base {
            return Err("it stands in the URL's scheme or host, where only letters, digits, `.`, `-` and `:` are \
                        allowed; a URL that is one placeholder alone is taken whole"
                .to_owned());
        }
        self.append(text)?;
        self.find_path(text);
        Ok(())
    }

    /// Looks whether `appended` brought us behind scheme and host. Only these characters can, so that a long
    /// host is not searched again at every piece of it.
    fn find_path(&mut self, appended: &str) {
        const ENDS_HOST: [char; 4] = ['/', '?', '#', '\\'];
        if self.place == Place::Url && !self.in_path && appended.contains(ENDS_HOST) {
            let rest = self.text.split_once("://").map_or(self.text.as_str(), |(_, rest)| rest);
            self.in_path = rest.contains(ENDS_HOST);
        }
    }
}

/// A value that is a whole string of the settings: it keeps its type, and is made safe for its place.
pub(super) fn alone(found: Found<'_>, raw: bool, place: Place, budget: &Budget) -> Result<Value, String> {
    let value = match place {
        Place::Html if !raw => match found.as_str() {
            Some(text) => Value::String(escape_html(text).into_owned()),
            None if matches!(found.json(), Some(Value::Array(_) | Value::Object(_))) => {
                let text =
                    found.to_text(budget.output_left()).ok_or("the rendered settings exceed the largest size")?;
                Value::String(escape_html(&text).into_owned())
            }
            None => found.into_value(),
        },
        Place::Header => {
            match found.as_str() {
                Some(text) => check_header(text)?,
                None => found.json().map_or(Ok(()), check_headers)?,
            }
            weigh(&found, budget)?;
            return Ok(found.into_value());
        }
        // A URL that is one placeholder alone is the whole URL.
        _ => {
            weigh(&found, budget)?;
            return Ok(found.into_value());
        }
    };
    weigh(&Found::Json(&value), budget)?;
    Ok(value)
}

/// Charges the value before it is copied.
fn weigh(found: &Found<'_>, budget: &Budget) -> Result<(), String> {
    budget.write(match found.as_str() {
        Some(text) => text.len(),
        None => found.json().map_or(0, |value| super::found::weight(value, budget.output_left())),
    })
}

/// `text` with `& < > " '` escaped.
pub(super) fn escape_html(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(['&', '<', '>', '"', '\'']) else {
        return Cow::Borrowed(text);
    };
    let mut escaped = String::with_capacity(text.len() + text.len() / 8 + 8);
    escaped.push_str(&text[..first]);
    for c in text[first..].chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

fn check_header(text: &str) -> Result<(), String> {
    if text.contains(['\r', '\n', '\0']) {
        return Err("a header or an address cannot hold a line break or NUL".to_owned());
    }
    Ok(())
}

fn check_headers(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => check_header(text),
        Value::Array(items) => items.iter().try_for_each(check_headers),
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            check_header(key)?;
            check_headers(value)
        }),
        _ => Ok(()),
    }
}

/// Whether `text` is `scheme://host…` in URL characters and without user or password: a value that stands first
/// in a URL is meant to be its base.
fn is_base_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let path = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && !host.is_empty()
        && host.bytes().all(is_host_byte)
        && rest.bytes().all(path)
}

fn is_host_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':')
}
