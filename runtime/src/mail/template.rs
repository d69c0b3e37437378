//! A message's templates: the language of definitions, with the action's variables in place of the event.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use triggerd_core::catalog::Place;
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, TenantId};
use triggerd_core::template::{Scope, Template};

/// One compiled template over variables.
#[derive(Clone, Debug)]
pub struct MessageTemplate(Arc<Template>);

impl MessageTemplate {
    /// Compiles; a syntax error comes back as a sentence.
    pub fn compile(source: &str, is_html: bool) -> Result<Self, String> {
        // Inside `with` a bare name is a member of the value: so the variables become the names.
        let wrapped = format!("{{{{#with record}}}}{source}{{{{/with}}}}");
        let place = if is_html { Place::Html } else { Place::Plain };
        Template::compile(&wrapped, place).map(|template| Self(Arc::new(template)))
    }

    /// Renders with `variables`.
    pub fn render(&self, variables: &Map<String, Value>, now: Timestamp) -> Result<String, String> {
        let mut record = variables.clone();
        // `with` shows nothing for an empty object, and a message without variables is one all the same.
        record.entry("").or_insert(Value::Bool(true));
        let event = Event {
            id: EventId::new(0, [0; 10]),
            tenant: TenantId::new(TenantId::DEFAULT),
            event_type: String::new(),
            source: None,
            change: None,
            record: Value::Object(record),
            previous_record: Value::Null,
            env: String::new(),
            user: Value::Null,
            metadata: Map::new(),
            attributes: Map::new(),
            timestamp: now,
            accepted_at: now,
            traceparent: None,
            causation: Vec::new(),
        };
        self.0.render_text(&Scope::of_event(&event, "", now))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn render(source: &str, is_html: bool, variables: Value) -> String {
        let Value::Object(variables) = variables else { panic!("variables are an object") };
        MessageTemplate::compile(source, is_html).unwrap().render(&variables, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn variables_are_the_names_of_a_message() {
        let order = json!({"orderNumber": "A-1", "items": [{"sku": "x"}, {"sku": "y"}], "customer": {"name": "<Ann>"}});
        assert_eq!(render("Order {{orderNumber}}", false, order.clone()), "Order A-1");
        assert_eq!(render("{{#each items}}[{{sku}}]{{/each}}", false, order.clone()), "[x][y]");
        assert_eq!(render("{{customer.name}}", false, order.clone()), "<Ann>");
        assert_eq!(render("<p>{{customer.name}}</p>", true, order), "<p>&lt;Ann&gt;</p>");
        assert_eq!(render("no variables", false, json!({})), "no variables");
        assert_eq!(render("[{{missing}}]", false, json!({})), "[]");
    }

    #[test]
    fn a_syntax_error_is_told() {
        assert!(MessageTemplate::compile("{{#each items}}", false).is_err());
        assert!(MessageTemplate::compile("{{", false).is_err());
    }
}
