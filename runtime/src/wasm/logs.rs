//! What a guest writes: lines of `log` and of its standard streams, bounded, one record per line.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// The longest line kept whole; the rest of a longer one is cut.
const LINE_BYTES: usize = 8 << 10;

/// One line that a guest wrote.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// When.
    pub time: Timestamp,
    /// `trace`, `debug`, `info`, `warn` or `error`; `info` for standard output, `warn` for standard error.
    pub level: String,
    /// What it said, control characters escaped.
    pub message: String,
    /// The structured fields; an object, or `Null`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub fields: Value,
}

/// The lines of one call. Shared by everything that writes them; what is over the bounds is counted.
#[derive(Clone)]
pub(super) struct LogBook(Arc<Mutex<Pages>>);

struct Pages {
    lines: Vec<LogLine>,
    bytes_left: usize,
    lines_left: usize,
    dropped: u64,
    /// The unfinished line of standard output, and of standard error.
    unfinished: [Vec<u8>; 2],
}

/// One of the two standard streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stream {
    Out,
    Err,
}

impl LogBook {
    pub(super) fn new(bytes: usize, lines: usize) -> Self {
        Self(Arc::new(Mutex::new(Pages {
            lines: Vec::new(),
            bytes_left: bytes,
            lines_left: lines,
            dropped: 0,
            unfinished: [Vec::new(), Vec::new()],
        })))
    }

    /// Keeps a line if there is room.
    pub(super) fn write(&self, level: &str, message: &str, fields: Value, fields_bytes: usize) {
        self.0.lock().write(level, message, fields, fields_bytes);
    }

    /// The standard stream that ends up here.
    pub(super) fn stream(&self, stream: Stream) -> LogStream {
        LogStream { book: self.clone(), stream }
    }

    /// The lines, unfinished ones included, and how many were dropped.
    pub(super) fn close(&self) -> (Vec<LogLine>, u64) {
        let mut pages = self.0.lock();
        for stream in [Stream::Out, Stream::Err] {
            if !pages.unfinished[stream as usize].is_empty() {
                pages.end_line(stream);
            }
        }
        (std::mem::take(&mut pages.lines), pages.dropped)
    }
}

impl Pages {
    fn write(&mut self, level: &str, message: &str, fields: Value, fields_bytes: usize) {
        let size = message.len().min(LINE_BYTES) + fields_bytes;
        if self.lines_left == 0 || size > self.bytes_left {
            self.dropped += 1;
            return;
        }
        self.bytes_left -= size;
        self.lines_left -= 1;
        let message = shown(message);
        self.lines.push(LogLine { time: Timestamp::now(), level: level.to_owned(), message, fields });
    }

    fn append(&mut self, stream: Stream, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(stream, &bytes[..end]);
            self.end_line(stream);
            bytes = &bytes[end + 1..];
        }
        self.keep(stream, bytes);
    }

    fn keep(&mut self, stream: Stream, bytes: &[u8]) {
        let line = &mut self.unfinished[stream as usize];
        let room = LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, stream: Stream) {
        let line = std::mem::take(&mut self.unfinished[stream as usize]);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let level = if stream == Stream::Out { "info" } else { "warn" };
        self.write(level, &String::from_utf8_lossy(line), Value::Null, 0);
    }
}

/// The text with control characters escaped, so that no line passes for two and none commands a terminal; cut to a bound.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(LINE_BYTES));
    for c in text.chars() {
        if shown.len() >= LINE_BYTES {
            shown.push('…');
            break;
        }
        let forges = c.is_control() && c != '\t'
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if forges { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// A standard stream whose lines go to the log. It never blocks and never holds more than one line.
#[derive(Clone)]
pub(super) struct LogStream {
    book: LogBook,
    stream: Stream,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    // The default would put a growing queue in front of it.
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.book.0.lock().append(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(LINE_BYTES)
    }
}

impl Pollable for LogStream {
    fn ready<'life0, 'async_trait>(&'life0 mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(std::future::ready(()))
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.book.0.lock().append(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_streams_are_split_into_lines_and_the_last_one_needs_no_end() {
        let book = LogBook::new(1000, 10);
        let mut out = book.stream(Stream::Out);
        let mut err = book.stream(Stream::Err);
        let write = |to: &mut LogStream, text: &'static str| {
            OutputStream::write(to, Bytes::from_static(text.as_bytes())).expect("it never fails");
        };
        write(&mut out, "one\ntw");
        write(&mut err, "oops\r\n");
        write(&mut out, "o\nthree");
        let (lines, dropped) = book.close();
        let said: Vec<_> = lines.iter().map(|l| (l.level.as_str(), l.message.as_str())).collect();
        assert_eq!(said, [("info", "one"), ("warn", "oops"), ("info", "two"), ("info", "three")]);
        assert_eq!(dropped, 0);
    }

    #[test]
    fn what_is_over_the_bounds_is_counted_not_kept() {
        let book = LogBook::new(100, 3);
        book.write("info", &"x".repeat(90), Value::Null, 0);
        book.write("info", &"y".repeat(90), Value::Null, 0);
        for _ in 0..5 {
            book.write("info", "z", Value::Null, 0);
        }
        let (lines, dropped) = book.close();
        assert_eq!((lines.len(), dropped), (3, 4));
    }

    #[test]
    fn a_line_cannot_pass_for_two_or_command_a_terminal() {
        assert_eq!(shown("a\n[error] b\u{1b}[2J\tc"), "a\\n[error] b\\u{1b}[2J\tc");
    }
}
