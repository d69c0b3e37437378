//! From a letter to its bytes: headers encoded, line ends settled, the same Message-ID on every try.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use lettre::Message;
use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::{Attachment as Part, Mailbox, MultiPart, SinglePart};
use schemars::JsonSchema;
use serde::Deserialize;
use triggerd_core::mistake::Mistake;

/// The largest message with its attachments.
pub const MAX_BYTES: usize = 25 << 20;

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The sender.
    pub from: Mailbox,
    /// Where answers go.
    pub reply_to: Option<Mailbox>,
    /// Recipients.
    pub to: Vec<Mailbox>,
    /// Recipients of a copy.
    pub cc: Vec<Mailbox>,
    /// Recipients of a copy that the others do not see.
    pub bcc: Vec<Mailbox>,
    /// The subject.
    pub subject: String,
    /// The plain text.
    pub text: Option<String>,
    /// The HTML.
    pub html: Option<String>,
    /// Attachments.
    pub attachments: Vec<Attachment>,
    /// The delivery id: what the Message-ID is made of.
    pub id: String,
    /// The Date header.
    pub date: Timestamp,
}

/// A file in a message.
#[derive(Clone, Default, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Attachment {
    /// Its name.
    pub filename: String,
    /// Its bytes as base64.
    pub content: Option<String>,
    /// Its text, in place of `content`.
    pub text: Option<String>,
    /// Where in the record its base64 is, in place of `content`: `invoice.pdf`.
    pub data_field: Option<String>,
    /// Its media type; where it is left out, `text/plain` of a text and `application/octet-stream` of anything else.
    pub content_type: Option<String>,
}

/// A message that is ready to be handed over.
#[derive(Clone, Debug)]
pub struct Composed {
    /// Who hands it over, to whom.
    pub envelope: Envelope,
    /// The message.
    pub bytes: Vec<u8>,
    /// Its Message-ID, with the angle brackets.
    pub message_id: String,
}

/// Builds the message, or names every mistake.
pub fn compose(letter: &Letter) -> Result<Composed, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    if let Some(c) = letter.subject.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        mistakes.push(Mistake::new("/subject", format!("a subject cannot hold {}", c.escape_default())));
    }
    let parts = attachments(&letter.attachments, &mut mistakes);
    if letter.text.is_none() && letter.html.is_none() {
        mistakes.push(Mistake::new("/body", "a message needs a text"));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let message_id = format!("<{}@{}>", letter.id, letter.from.email.domain());
    let message = build(letter, parts, &message_id).map_err(|e| vec![Mistake::new("", e.to_string())])?;
    let bytes = message.formatted();
    if bytes.len() > MAX_BYTES {
        return Err(vec![Mistake::new(
            "/attachments",
            format!("the message has {} bytes; at most {MAX_BYTES}", bytes.len()),
        )]);
    }
    Ok(Composed { envelope: message.envelope().clone(), bytes, message_id })
}

fn build(letter: &Letter, parts: Vec<SinglePart>, message_id: &str) -> Result<Message, lettre::error::Error> {
    let mut builder = Message::builder()
        .from(letter.from.clone())
        .subject(letter.subject.clone())
        .message_id(Some(message_id.to_owned()))
        .date(SystemTime::from(letter.date));
    builder = letter.reply_to.iter().fold(builder, |b, m| b.reply_to(m.clone()));
    builder = letter.to.iter().fold(builder, |b, m| b.to(m.clone()));
    builder = letter.cc.iter().fold(builder, |b, m| b.cc(m.clone()));
    // Taken into the envelope and left out of the message's headers.
    builder = letter.bcc.iter().fold(builder, |b, m| b.bcc(m.clone()));
    let plain = |text: &str| SinglePart::builder().header(ContentType::TEXT_PLAIN).body(lines(text));
    let html = |text: &str| SinglePart::builder().header(ContentType::TEXT_HTML).body(lines(text));
    let body = match (&letter.text, &letter.html) {
        (Some(text), Some(rich)) => MultiPart::alternative().singlepart(plain(text)).singlepart(html(rich)),
        (text, rich) => {
            let single = text.as_deref().map(plain).or_else(|| rich.as_deref().map(html));
            let single = single.unwrap_or_else(|| plain(""));
            if parts.is_empty() {
                return builder.singlepart(single);
            }
            return builder
                .multipart(parts.into_iter().fold(MultiPart::mixed().singlepart(single), MultiPart::singlepart));
        }
    };
    if parts.is_empty() {
        return builder.multipart(body);
    }
    builder.multipart(parts.into_iter().fold(MultiPart::mixed().multipart(body), MultiPart::singlepart))
}

/// Every sort of line end becomes CRLF: a bare one could end the message early on some servers.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n").replace('\0', "")
}

fn attachments(written: &[Attachment], mistakes: &mut Vec<Mistake>) -> Vec<SinglePart> {
    let mut parts = Vec::new();
    for (index, attachment) in written.iter().enumerate() {
        let at = |field: &str| format!("/attachments/{index}/{field}");
        let name = attachment.filename.trim();
        if name.is_empty()
            || name.len() > 255
            || name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | '\u{2028}' | '\u{2029}'))
        {
            mistakes.push(Mistake::new(
                at("filename"),
                "a file name has 1 to 255 bytes, no `/`, `\\` or control character",
            ));
        }
        let is_text = attachment.text.is_some();
        let default = if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
        let kind = attachment.content_type.as_deref().unwrap_or(default);
        let kind = if kind.chars().any(char::is_control) { None } else { ContentType::parse(kind).ok() };
        if kind.is_none() {
            mistakes.push(Mistake::new(at("contentType"), "this is no media type like `application/pdf`"));
        }
        let bytes = match (&attachment.content, &attachment.text) {
            (Some(content), None) => {
                STANDARD.decode(content.trim()).map_err(|_| ("content", "the content must be base64"))
            }
            (None, Some(text)) => Ok(text.clone().into_bytes()),
            _ => Err(("content", "one of `content`, `text` and `dataField` is needed")),
        };
        if let Err((field, detail)) = bytes {
            mistakes.push(Mistake::new(at(field), detail));
        }
        if let (Some(kind), Ok(bytes)) = (kind, bytes) {
            parts.push(Part::new(name.to_owned()).body(bytes, kind));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::mail::parse_address;

    fn letter() -> Letter {
        Letter {
            from: parse_address("Shop <shop@example.com>").unwrap(),
            reply_to: None,
            to: vec![parse_address("Ann <ann@example.org>").unwrap()],
            cc: vec![],
            bcc: vec![parse_address("audit@example.com").unwrap()],
            subject: "Order \u{2713}".into(),
            text: Some("line\n.\nend\rbare".into()),
            html: None,
            attachments: vec![],
            id: "0192".into(),
            date: Timestamp::from_second(1_700_000_000).unwrap(),
        }
    }

    #[test]
    fn the_message_is_ascii_with_a_stable_id_and_hides_blind_copies() {
        let composed = compose(&letter()).unwrap();
        let text = String::from_utf8(composed.bytes.clone()).unwrap();
        assert!(text.is_ascii());
        assert_eq!(composed.message_id, "<0192@example.com>");
        assert!(text.contains("Message-ID: <0192@example.com>\r\n"), "{text}");
        assert!(!text.contains("audit@example.com"), "{text}");
        assert_eq!(composed.envelope.to().len(), 2);
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
        assert_eq!(compose(&letter()).unwrap().bytes, composed.bytes);
    }

    #[test]
    fn headers_cannot_be_smuggled_through_subject_or_file_names() {
        let mut bad = letter();
        bad.subject = "Hello\r\nBcc: evil@example.com".into();
        bad.attachments = vec![Attachment {
            filename: "a\r\nX: y".into(),
            content: Some("!".into()),
            content_type: Some("text/plain\r\nX: y".into()),
            ..Attachment::default()
        }];
        let places: Vec<String> = compose(&bad).unwrap_err().into_iter().map(|m| m.pointer).collect();
        assert_eq!(
            places,
            ["/subject", "/attachments/0/filename", "/attachments/0/contentType", "/attachments/0/content"]
        );
    }

    #[test]
    fn long_subjects_are_folded_and_never_break_a_line() {
        let mut long = letter();
        long.subject = "x".repeat(3000);
        let text = String::from_utf8(compose(&long).unwrap().bytes).unwrap();
        assert_eq!(text.matches("\r\n\r\n").count(), 1, "one end of headers");
    }

    #[test]
    fn text_html_and_files_travel_together() {
        let mut full = letter();
        full.html = Some("<b>hi</b>".into());
        full.attachments = vec![Attachment {
            filename: "a.txt".into(),
            content: Some(STANDARD.encode("file")),
            content_type: Some("text/plain".into()),
            ..Attachment::default()
        }];
        let text = String::from_utf8(compose(&full).unwrap().bytes).unwrap();
        for wanted in ["multipart/mixed", "multipart/alternative", "text/html", "filename=\"a.txt\""] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }
}
