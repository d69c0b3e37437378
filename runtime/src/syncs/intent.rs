//! A write that is about to be committed in somebody else's database, as the store keeps it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use triggerd_core::sync::{Base, Side, Version};
use uuid::Uuid;

/// The write. Whether it took effect is seen in the row: it reads as it was to, or as before.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// Names it; the audit's entry is made once for it.
    pub id: Uuid,
    /// The source is written, not the target.
    pub to_source: bool,
    /// What that side held.
    pub before: Option<String>,
    /// What both sides hold afterwards.
    pub source: Option<String>,
    /// As for the source.
    pub target: Option<String>,
    /// That is what they are agreed on then.
    pub settles: bool,
    /// The values that are lost by it.
    pub lost: Vec<Uuid>,
    /// The audit's entry, where it is made in another database.
    pub entry: Option<Map<String, Value>>,
}

impl Intent {
    /// To write `to`, which holds `before`.
    #[must_use]
    pub fn new(id: Uuid, to: Side, before: Option<Version>, after: Base) -> Self {
        let text = |version: Option<Version>| version.map(hex::encode);
        Self {
            id,
            to_source: to == Side::Source,
            before: text(before),
            source: text(after.source),
            target: text(after.target),
            settles: true,
            lost: Vec::new(),
            entry: None,
        }
    }

    /// The side that is written.
    #[must_use]
    pub fn to(&self) -> Side {
        if self.to_source { Side::Source } else { Side::Target }
    }

    /// What both sides hold afterwards.
    #[must_use]
    pub fn after(&self) -> Base {
        let version = |text: &Option<String>| hex::decode(text.as_ref()?).ok()?.try_into().ok();
        Base { source: version(&self.source), target: version(&self.target) }
    }

    /// Whether the written side, which holds `now`, holds what was to be written.
    #[must_use]
    pub fn took_effect(&self, now: Option<Version>) -> bool {
        let after = self.after();
        now == if self.to_source { after.source } else { after.target }
    }

    /// Whether the written side holds what it held before.
    #[must_use]
    pub fn left_no_trace(&self, now: Option<Version>) -> bool {
        now.map(hex::encode) == self.before
    }
}
