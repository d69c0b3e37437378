//! What the core asks about action types without knowing any of them.

use serde_json::Value;

use crate::mistake::Mistake;

/// Where in an action's settings a rendered value ends up: it decides how the value is escaped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Place {
    /// As it is.
    #[default]
    Plain,
    /// An HTML text: `& < > " '` are escaped.
    Html,
    /// A URL: values put into its path or query are percent-encoded; a string that is one placeholder
    /// alone is the whole URL and stays as it is.
    Url,
    /// A header's value or an address: CR and LF are refused.
    Header,
}

/// The known action types. The host's registry implements it.
pub trait Catalog: Send + Sync {
    /// Every type's name and alias, for "did you mean".
    fn kinds(&self) -> Vec<&'static str>;

    /// The registered type that `kind` (a name or an alias) means, given its settings; `None` for unknown ones.
    fn canonical(&self, kind: &str, config: &Value) -> Option<&'static str>;

    /// Mistakes in the settings of a known `kind`, with pointers from the settings' root. Strings that hold a
    /// template (`{{`) are not type-checked here but after rendering.
    fn check(&self, kind: &str, config: &Value) -> Vec<Mistake>;

    /// How a value rendered at `pointer` of the settings of `kind` is escaped. `config` is the unrendered settings.
    fn place(&self, kind: &str, config: &Value, pointer: &str) -> Place;

    /// Whether `kind`, with these unrendered settings, looks at the event beyond what its templates insert: then all of a
    /// changed row is captured for it.
    fn reads_event(&self, kind: &str, config: &Value) -> bool;

    /// Whether `kind` may be used in before-events only.
    fn before_only(&self, kind: &str) -> bool;
}
