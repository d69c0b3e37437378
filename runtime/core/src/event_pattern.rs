//! What a trigger reacts to: one of the eight change events, or an event type with wildcards.

/// One entry of `events`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventPattern {
    /// `afterInsert`, `AFTER_INSERT`, `beforeWrite` ... with the operations it stands for.
    Change(ChangePattern),
    /// `order.created`, `order.*` (one dotted part), `**.failed` (any number of parts).
    Type(Vec<Part>),
}

/// A change event of a definition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangePattern {
    /// Before or after.
    pub moment: crate::event::Moment,
    /// `None` is any write.
    pub operation: Option<crate::event::Operation>,
}

/// One dotted part of a type pattern.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// The part itself.
    Exact(String),
    /// `*`: one part.
    One,
    /// `**`: any number of parts, none included.
    Many,
}

impl EventPattern {
    /// Reads one entry; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let _ = text;
        unimplemented!()
    }

    /// Whether it fits the event.
    #[must_use]
    pub fn matches(&self, event: &crate::event::Event) -> bool {
        let _ = event;
        unimplemented!()
    }
}
