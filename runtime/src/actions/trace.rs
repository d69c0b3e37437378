//! W3C trace context of attempts: one trace per event, a new span for whatever it leads to.

use triggerd_core::event::Event;
use triggerd_core::trace::Parent;

use crate::clock::Clock;

/// The span that an attempt is: one for all that it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop([u8; 8]);

impl Hop {
    /// A new one.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        let bits = clock.id_bits();
        let mut span: [u8; 8] = std::array::from_fn(|at| bits[at + 2]);
        // All zeros would be no span.
        span[0] |= 0x80;
        Self(span)
    }

    /// Its `traceparent`: below the event's, or where that has none in a trace that is named after the event.
    #[must_use]
    pub fn traceparent(self, event: &Event) -> String {
        let span = hex::encode(self.0);
        match event.traceparent.as_deref().and_then(Parent::parse) {
            Some(Parent { trace, flags, .. }) => format!("00-{trace}-{span}-{flags:02x}"),
            None => format!("00-{}-{span}-01", event.id.0.simple()),
        }
    }
}
