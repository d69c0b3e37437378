//! W3C trace context of attempts: one trace per event, a new span for whatever it leads to.

use triggerd_core::event::Event;
use triggerd_core::trace::Parent;

use crate::clock::Clock;

/// The span that an attempt is: one for all that it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop {
    span: [u8; 8],
    /// Trace and flags of a span that is exported; else it is in the event's trace.
    within: Option<([u8; 16], u8)>,
}

impl Hop {
    /// A new one.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        let bits = clock.id_bits();
        let mut span: [u8; 8] = std::array::from_fn(|at| bits[at + 2]);
        // All zeros would be no span.
        span[0] |= 0x80;
        Self { span, within: None }
    }

    /// A span of a trace that is known.
    #[must_use]
    pub fn within((trace, span, flags): ([u8; 16], [u8; 8], u8)) -> Self {
        Self { span, within: Some((trace, flags)) }
    }

    /// Its `traceparent`: below the event's, or where that has none in a trace that is named after the event.
    #[must_use]
    pub fn traceparent(self, event: &Event) -> String {
        let span = hex::encode(self.span);
        if let Some((trace, flags)) = self.within {
            return format!("00-{}-{span}-{flags:02x}", hex::encode(trace));
        }
        match event.traceparent.as_deref().and_then(Parent::parse) {
            Some(Parent { trace, flags, .. }) => format!("00-{trace}-{span}-{flags:02x}"),
            None => format!("00-{}-{span}-01", event.id.0.simple()),
        }
    }
}
