//! A message's templates: the language of definitions, with the action's variables in place of the event.
//!
//! Texts are wrapped in a `with` block, inside of which bare names are members of the variables. A string of a JSON
//! template that is one placeholder alone keeps its value's type, as in definitions.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use triggerd_core::catalog::Place;
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, TenantId};
use triggerd_core::template::{Scope, Template, TemplatedConfig};

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
        let event = carrier(variables, now);
        self.0.render_text(&Scope::of_event(&event, "", now))
    }

    /// Renders every string of `source`. A mistake comes with its pointer in front.
    pub fn render_json(source: &Value, variables: &Map<String, Value>, now: Timestamp) -> Result<Value, String> {
        let event = carrier(variables, now);
        let mut mistakes = Vec::new();
        let wrapped = wrapped(source);
        let compiled = TemplatedConfig::compile(&wrapped, "", &|_| Place::Plain, &mut mistakes);
        let Some(compiled) = compiled else {
            return Err(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        };
        let rendered = compiled.render(&Scope::of_event(&event, "", now), false);
        rendered.map(|rendered| rendered.config).map_err(|mistake| mistake.to_string())
    }
}

/// The strings of `source` as templates over an event that carries the variables as its record.
fn wrapped(source: &Value) -> Value {
    match source {
        Value::String(text) => match alone(text) {
            Some(path) => format!("{{{{record.{path}}}}}").into(),
            None if text.contains("{{") => format!("{{{{#with record}}}}{text}{{{{/with}}}}").into(),
            None => source.clone(),
        },
        Value::Array(items) => items.iter().map(wrapped).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, member)| (key.clone(), wrapped(member))).collect())
        }
        other => other.clone(),
    }
}

/// The path of a string that is one placeholder alone.
fn alone(text: &str) -> Option<&str> {
    let path = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']' | '-');
    let begins = path.starts_with(|c: char| c.is_alphabetic() || c == '_');
    (begins && path.chars().all(is_path) && !path.starts_with("this")).then_some(path)
}

/// An event that carries the variables as its record.
fn carrier(variables: &Map<String, Value>, now: Timestamp) -> Event {
    let mut record = variables.clone();
    // `with` shows nothing for an empty object, and a message without variables is one all the same.
    record.entry("").or_insert(Value::Bool(true));
    let tenant = TenantId::new(TenantId::DEFAULT);
    Event { env: String::new(), ..Event::plain(EventId::new(0, [0; 10]), tenant, "", Value::Object(record), now) }
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
    fn json_keeps_the_types_of_what_stands_alone() {
        let Value::Object(variables) = json!({"id": 7, "items": [{"sku": "x"}], "name": "Ann"}) else { panic!() };
        let source = json!({"id": "{{id}}", "all": "{{ items }}", "first": "{{items.[0].sku}}", "text": "Hi {{name}}", "n": 1, "none": "{{gone}}"});
        let rendered = MessageTemplate::render_json(&source, &variables, Timestamp::UNIX_EPOCH).unwrap();
        let wanted = json!({"id": 7, "all": [{"sku": "x"}], "first": "x", "text": "Hi Ann", "n": 1, "none": null});
        assert_eq!(rendered, wanted);
        let mistake = MessageTemplate::render_json(&json!({"a": ["{{#if"]}), &variables, Timestamp::UNIX_EPOCH);
        assert!(mistake.unwrap_err().starts_with("/a/0"));
    }

    #[test]
    fn a_syntax_error_is_told() {
        assert!(MessageTemplate::compile("{{#each items}}", false).is_err());
        assert!(MessageTemplate::compile("{{", false).is_err());
    }
}
