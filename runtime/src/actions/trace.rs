//! W3C trace context: one trace per event, a new span for whatever it leads to.

use triggerd_core::event::Event;

use crate::clock::Clock;

/// A `traceparent` below the event's: its trace, or where it has none one named after the event, and a new span.
#[must_use]
pub fn child(event: &Event, clock: &Clock) -> String {
    let span = loop {
        let span = hex::encode(&clock.id_bits()[..8]);
        if !is_zero(&span) {
            break span;
        }
    };
    match event.traceparent.as_deref().and_then(trace_of) {
        Some((trace, flags)) => format!("00-{trace}-{span}-{flags}"),
        None => format!("00-{}-{span}-01", event.id.0.simple()),
    }
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|b| b == b'0')
}

/// Trace id and flags of a `traceparent`, unless it is to be ignored (W3C Trace Context, 3.2.2).
fn trace_of(header: &str) -> Option<(&str, &str)> {
    let mut parts = header.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex =
        |text: &str, len: usize| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let ids = hex(trace, 32) && !is_zero(trace) && hex(parent, 16) && !is_zero(parent);
    let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    (ids && known && hex(flags, 2)).then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::trace_of;

    #[test]
    fn a_malformed_traceparent_is_ignored() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_of(&format!("00-{trace}-00f067aa0ba902b7-01")), Some((trace, "01")));
        assert_eq!(trace_of(&format!("cc-{trace}-00f067aa0ba902b7-01-what")), Some((trace, "01")));
        for bad in [
            "",
            "00",
            &format!("ff-{trace}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{trace}-0000000000000000-01"),
            &format!("00-{trace}-00f067aa0ba902b7-01-x"),
            &format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
        ] {
            assert_eq!(trace_of(bad), None, "{bad}");
        }
    }
}
