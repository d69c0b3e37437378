//! Templates in an action's settings: Handlebars, with JSON types kept, compiled once, rendered within bounds.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::catalog::Place;
use crate::event::Event;
use crate::id::DeliveryId;
use crate::mistake::Mistake;

/// The largest rendered configuration in bytes.
pub const MAX_OUTPUT: usize = 1024 * 1024;

/// What placeholders are looked up in.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// `record`, `type`, `user` ...
    pub event: &'a Event,
    /// `trigger.tag`
    pub trigger_tag: &'a str,
    /// `delivery.id`; also what the `uuid` helper's values are derived from, so that a retry renders the same.
    pub delivery_id: Option<DeliveryId>,
    /// `attempt`
    pub attempt: u32,
    /// `actions.NAME.output`: outputs of earlier actions by name.
    pub outputs: Option<&'a Map<String, Value>>,
    /// `secrets.NAME`, already fetched for the names that [`TemplatedConfig::secrets`] lists.
    pub secrets: Option<&'a Map<String, Value>>,
    /// What the `now` helper gives.
    pub now: Timestamp,
}

impl<'a> Scope<'a> {
    /// A scope outside of any run: no outputs, no secrets, no delivery.
    #[must_use]
    pub fn of_event(event: &'a Event, trigger_tag: &'a str, now: Timestamp) -> Self {
        Self {
            event,
            trigger_tag,
            delivery_id: None,
            attempt: 1,
            outputs: None,
            secrets: None,
            now,
        }
    }
}

/// One compiled template string.
#[derive(Debug)]
pub struct Template {}

impl Template {
    /// Compiles; a syntax error comes back as a sentence with line and column.
    pub fn compile(source: &str, place: Place) -> Result<Self, String> {
        let _ = (source, place);
        unimplemented!()
    }

    /// Renders to a value: one placeholder alone keeps its JSON type. Missing values are added to `warnings`
    /// by placeholder.
    pub fn render(&self, scope: &Scope<'_>, warnings: &mut Vec<String>) -> Result<Value, String> {
        let _ = (scope, warnings);
        unimplemented!()
    }

    /// Renders to text.
    pub fn render_text(&self, scope: &Scope<'_>) -> Result<String, String> {
        let _ = scope;
        unimplemented!()
    }
}

/// An action's settings with every template string compiled.
#[derive(Debug)]
pub struct TemplatedConfig {}

/// Rendered settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Rendered {
    /// The settings.
    pub config: Value,
    /// Placeholders without a value: `{pointer, detail}` in words.
    pub warnings: Vec<Mistake>,
}

impl TemplatedConfig {
    /// Compiles every string of `config` (keys are never templates). `place` says, for a JSON pointer into
    /// `config`, where the value ends up. Pointers of mistakes begin with `pointer`.
    pub fn compile(
        config: &Value,
        pointer: &str,
        place: &dyn Fn(&str) -> Place,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Self> {
        let _ = (config, pointer, place, mistakes);
        unimplemented!()
    }

    /// Renders all of it. `strict`: a placeholder without a value is an error. Errors name the place
    /// (pointer within the settings) and the placeholder.
    pub fn render(&self, scope: &Scope<'_>, strict: bool) -> Result<Rendered, Mistake> {
        let _ = (scope, strict);
        unimplemented!()
    }

    /// The names of the secrets it uses.
    #[must_use]
    pub fn secrets(&self) -> &[String] {
        unimplemented!()
    }
}
